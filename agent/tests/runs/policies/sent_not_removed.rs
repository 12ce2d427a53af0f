//! Q296879: a scanner keeps the service from removing what it has sent from MTS-OUT; a restart before a person
//! has removed it sends it again.

use std::collections::BTreeSet;
use std::time::Duration;

use mailmend_agent::engine::Engine;
use mailmend_agent::host::simulated::{SimSettings, SimWorld};
use mailmend_proto::run::{Ended, Event, Fate, Outcome, StepState};

use super::{Again, Case, stuck_outbound_routing};
use crate::site::{GUARD, IMC, Site, changed};

pub(crate) const CASE: Case = Case {
    policy: "sent-not-removed",
    site,
    least_points: 100,
    again: Again {
        every: 3,
        in_run: false,
    },
    check,
    ..stuck_outbound_routing::CASE
};

/// A start before everything was removed would have sent it again.
fn check(site: &Site, told: &str) {
    (stuck_outbound_routing::CASE.check)(site, told);
    let events = site.events();
    let first = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted);
    let touched = first(&|event| matches!(event, Event::ServiceChanged { .. }));
    saved_before_removed(site, told);
    assert_eq!(site.world.count_in_mts_out(), 0, "{told}");
    let asked = site.index("remove-sent");
    let removed = first(
        &|event| matches!(event, Event::Answered { step, answer, .. } if *step == asked && answer == "removed"),
    );
    let empty = site.index("folder-is-empty");
    let counted = first(
        &|event| matches!(event, Event::StepFinished { step, outcome: Outcome::Done, .. } if *step == empty),
    );
    assert!(
        removed.is_some() && removed < counted && counted < touched,
        "{told}: removed {removed:?}, counted {counted:?}, service touched {touched:?}"
    );
    assert!(site.world.starts(IMC) > 1, "{told}: not restarted");
}

/// Whatever was killed: nothing was removed that no copy had, and no two copies went to one place.
pub(super) fn saved_before_removed(site: &Site, told: &str) {
    let unsaved = site.world.removed_unsaved();
    assert!(unsaved.is_empty(), "{told}: removed unsaved {unsaved:?}");
    let mut places = BTreeSet::new();
    for call in site.world.tool_calls() {
        if let Some(at) = call.iter().position(|argument| argument == "--place") {
            assert!(
                places.insert((call[0].clone(), call[at + 1].clone())),
                "{told}: twice to one place: {call:?}"
            );
        }
    }
    assert!(!places.is_empty(), "{told}: nothing was saved");
}

const TOOLS: &str = r#"
[tools.imcsave]
program = "/tools/mailmend-lab"
arguments = ["imcsave"]
fresh_place = "--place"
verdicts = { saved = "item(s) saved", exists = "already exists" }

[tools.list-mts-out]
program = "/tools/mailmend-lab"
arguments = ["list-mts-out"]
verdicts = { listed = "item(s) listed" }

[tools.export-connector]
program = "/tools/mailmend-lab"
arguments = ["export-connector"]
fresh_place = "--place"
verdicts = { exported = "connector settings exported", exists = "already exists" }

[tools.compare-connector]
program = "/tools/mailmend-lab"
arguments = ["compare-connector"]
only_reads = true
verdicts = { recreated = "connector recreated", unchanged = "the connector is the exported one" }

[tools.store-room]
program = "/tools/mailmend-lab"
arguments = ["store-room"]
only_reads = true
verdicts = { enough = "enough room", short = "too little room" }

[limits]"#;

/// A server that has sent four messages and could remove none of them.
pub(super) fn site(seed: u64) -> Site {
    site_with(seed, &GUARD.replace("\n[limits]", TOOLS))
}

fn site_with(seed: u64, guard: &str) -> Site {
    let world = SimWorld::new(SimSettings {
        seed,
        stale_routes: false,
        ..SimSettings::default()
    });
    world.set_scanned(true);
    world.add_outbound(4, 300);
    world.advance(Duration::from_secs(10));
    assert_eq!(world.count_in_mts_out(), 4);
    world.set_tool_answer("export-connector", 0, "connector settings exported\n");
    world.set_tool_answer(
        "compare-connector",
        0,
        "the connector is the exported one\n",
    );
    world.set_tool_answer("store-room", 0, "enough room\n");
    let edits = [
        // The simulated server is a 5.0.
        (">=5.5, <5.6", ">=5.0, <5.6"),
        ("observe = \"2m\"", "observe = \"10s\""),
    ];
    let policy = changed("sent-not-removed", &edits);
    let mut site = Site::on(world, seed, &policy, guard);
    site.people = able;
    site
}

/// Whether this step asks, and nobody has answered.
pub(super) fn asks(site: &Site, engine: &Engine, id: &str) -> bool {
    let state = engine.state(site.run).unwrap();
    let step = site.index(id);
    let asked = matches!(state.steps.get(&step), Some(StepState::Intended { .. }));
    asked && !state.answers.contains_key(&step)
}

/// Excludes the scanner, and removes exactly what the run lists as sent; each before saying so.
fn able(site: &Site, engine: &Engine) {
    claims(site, engine, true);
}

/// Says the same and removes nothing.
fn untrue(site: &Site, engine: &Engine) {
    claims(site, engine, false);
}

fn claims(site: &Site, engine: &Engine, true_to_it: bool) {
    if asks(site, engine, "exclude-scanner") {
        site.world.set_scanned(false);
        let step = site.index("exclude-scanner");
        engine.order(&site.answer(step, "excluded")).unwrap();
    }
    if asks(site, engine, "remove-sent") {
        if true_to_it {
            remove_listed(site, engine, "tell-sent-from-waiting");
        }
        let step = site.index("remove-sent");
        engine.order(&site.answer(step, "removed")).unwrap();
    }
}

/// Takes out of MTS-OUT what a step lists as sent.
pub(super) fn remove_listed(site: &Site, engine: &Engine, step: &str) {
    let state = engine.state(site.run).unwrap();
    let listed = &state.reconciled[&site.index(step)].messages;
    let sent = listed
        .iter()
        .filter(|message| message.fate == Fate::Delivered);
    let ids: Vec<&str> = sent.map(|message| message.mts_id.as_str()).collect();
    site.world.remove_from_mts_out(&ids);
}

#[test]
fn where_removed_is_only_said_the_service_is_not_touched_and_nothing_is_sent_again() {
    let mut site = site(1);
    site.people = untrue;
    let starts = site.world.starts(IMC);
    site.live(&[]);
    site.check("only said");
    assert!(site.ended().is_some_and(|end| end != Ended::Committed));
    assert_eq!(site.world.starts(IMC), starts);
    assert_eq!(site.world.count_in_mts_out(), 4);
    assert!(site.world.balance().duplicated().is_empty());
    let touched = |event: &Event| matches!(event, Event::ServiceChanged { .. });
    assert!(!site.events().iter().any(touched));
}

/// What the guard file declares of a tool decides what a crash while it ran means.
#[test]
fn an_interrupted_tool_is_run_again_in_a_fresh_place_and_without_one_a_person_looks() {
    let declared = GUARD.replace("\n[limits]", TOOLS);
    let bare = declared.replacen("fresh_place = \"--place\"\n", "", 1);
    assert!(!bare.contains("[\"imcsave\"]\nfresh_place"), "{bare}");
    let (mut asked, mut again) = (0, 0);
    for point in 1..=60 {
        let site = site_with(1, &bare);
        site.live(&[point]);
        site.check(&format!("bare, killed at {point}"));
        if site.ended() == Some(Ended::AtRest) {
            asked += 1;
            let failures = site.failures();
            assert!(
                matches!(&failures[..], [one] if one.starts_with("A066-") && one.contains("`imcsave`")),
                "{failures:?}"
            );
            assert_eq!(site.world.count_in_mts_out(), 4, "killed at {point}");
        }
        let site = site_with(1, &declared);
        site.live(&[point]);
        assert_eq!(site.ended(), Some(Ended::Committed), "killed at {point}");
        saved_before_removed(&site, "declared");
        let runs = site.world.tool_calls();
        let saves = runs.iter().filter(|call| call[0] == "imcsave").count();
        let told = site.alarms().contains(&"A078-tool-run-again".to_owned());
        assert!(told || saves == 1, "killed at {point}: {saves} savings");
        again += usize::from(saves > 1);
    }
    assert!(asked > 0 && again > 0, "asked {asked}, again {again}");
}
