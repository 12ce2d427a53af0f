//! Q296879: a scanner keeps the service from removing what it has sent from MTS-OUT; a restart before a person
//! has removed it sends it again.

use std::time::Duration;

use mailmend_agent::engine::Engine;
use mailmend_agent::host::simulated::{SimSettings, SimWorld};
use mailmend_proto::run::{Ended, Event, Fate, Outcome, StepState};

use super::{Case, stuck_outbound_routing};
use crate::site::{GUARD, IMC, Site, changed};

pub(crate) const CASE: Case = Case {
    policy: "sent-not-removed",
    site,
    least_points: 100,
    // Killed while `imcsave` ran, it asks a person to look at what that left; nothing has been touched then.
    ends: &[Ended::Committed, Ended::AtRest],
    check,
    ..stuck_outbound_routing::CASE
};

/// A start before everything was removed would have sent it again.
fn check(site: &Site, told: &str) {
    (stuck_outbound_routing::CASE.check)(site, told);
    let events = site.events();
    let first = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted);
    let touched = first(&|event| matches!(event, Event::ServiceChanged { .. }));
    if site.ended() == Some(Ended::AtRest) {
        let failures = site.failures();
        assert!(
            matches!(&failures[..], [one] if one.starts_with("A066-") && one.contains("`imcsave`")),
            "{told}: {failures:?}"
        );
        assert_eq!(touched, None, "{told}");
        assert_eq!(site.world.count_in_mts_out(), 4, "{told}");
        return;
    }
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

const TOOLS: &str = r#"
[tools.imcsave]
program = "/tools/mailmend-lab"
arguments = ["imcsave"]
verdicts = { saved = "item(s) saved", exists = "already exists" }

[tools.list-mts-out]
program = "/tools/mailmend-lab"
arguments = ["list-mts-out"]
verdicts = { listed = "item(s) listed" }

[tools.export-connector]
program = "/tools/mailmend-lab"
arguments = ["export-connector"]
verdicts = { exported = "connector settings exported", exists = "already exists" }

[limits]"#;

/// A server that has sent four messages and could remove none of them.
fn site(seed: u64) -> Site {
    let world = SimWorld::new(SimSettings {
        seed,
        stale_routes: false,
        ..SimSettings::default()
    });
    world.set_scanned(true);
    world.add_outbound(4, 300);
    world.advance(Duration::from_secs(10));
    assert_eq!(world.count_in_mts_out(), 4);
    world.set_tool_answer("imcsave", 0, "4 item(s) saved.\n");
    world.set_tool_answer("export-connector", 0, "connector settings exported\n");
    let edits = [
        // The simulated server is a 5.0.
        (">=5.5, <5.6", ">=5.0, <5.6"),
        ("observe = \"2m\"", "observe = \"10s\""),
    ];
    let guard = GUARD.replace("\n[limits]", TOOLS);
    let policy = changed("sent-not-removed", &edits);
    let mut site = Site::on(world, seed, &policy, &guard);
    site.people = able;
    site
}

/// Whether this step asks, and nobody has answered.
fn asks(site: &Site, engine: &Engine, id: &str) -> bool {
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
            let state = engine.state(site.run).unwrap();
            let listed = &state.reconciled[&site.index("tell-sent-from-waiting")].messages;
            let sent = listed
                .iter()
                .filter(|message| message.fate == Fate::Delivered);
            let ids: Vec<&str> = sent.map(|message| message.mts_id.as_str()).collect();
            site.world.remove_from_mts_out(&ids);
        }
        let step = site.index("remove-sent");
        engine.order(&site.answer(step, "removed")).unwrap();
    }
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
