//! Q296879 where the folder itself is damaged: 3038 comes again after the light mending, and goes only when the
//! service is made anew, the store checked and defragmented.

use mailmend_agent::engine::Engine;
use mailmend_proto::run::{Ended, Event, Outcome};

use super::sent_not_removed::{self as light, asks, remove_listed, saved_before_removed};
use super::{Again, Case, stuck_outbound_routing};
use crate::site::{IMC, Site};

pub(crate) const CASE: Case = Case {
    site,
    least_points: 180,
    again: Again {
        every: 12,
        in_run: false,
    },
    check,
    ..light::CASE
};

/// Everything was delivered once, nothing was removed unsaved, and the service was made anew with an empty mailbox.
fn check(site: &Site, told: &str) {
    (stuck_outbound_routing::CASE.check)(site, told);
    saved_before_removed(site, told);
    assert_eq!(site.world.count_in_mts_out(), 0, "{told}");
    for step in [
        "recreate-connector",
        "check-store",
        "defragment-store",
        "give-address-space-back",
    ] {
        assert!(done(site, step), "{told}: `{step}` was not done");
    }
    let place = |wanted: &str| {
        let step = site.index(wanted);
        site.events().iter().position(
            |event| matches!(event, Event::StepFinished { step: one, .. } if *one == step),
        )
    };
    let order = [
        "save-store-queue-again",
        "remove-sent-again",
        "mailbox-is-empty",
        "recreate-connector",
    ]
    .map(place);
    assert!(order.is_sorted(), "{told}: {order:?}");
}

fn done(site: &Site, id: &str) -> bool {
    let wanted = site.index(id);
    site.events().iter().any(
        |event| matches!(event, Event::StepFinished { step, outcome: Outcome::Done, .. } if *step == wanted),
    )
}

/// What a person answers who is asked by these steps and has nothing to do in this world for it.
const SAID: [(&str, &str); 8] = [
    ("exclude-scanner", "no-scanner"),
    ("move-address-space", "moved"),
    ("back-up-store", "backed-up"),
    ("check-store", "fixed"),
    ("defragment-store", "defragmented"),
    ("back-up-store-again", "backed-up"),
    ("inbound-arrives", "arrived"),
    ("give-address-space-back", "given-back"),
];

/// The server of the light case, with a folder that holds everything until the service is made anew.
fn site(seed: u64) -> Site {
    let mut site = light::site(seed);
    site.people = administrator;
    site
}

fn administrator(site: &Site, engine: &Engine) {
    answers(site, engine, &SAID);
}

fn answers(site: &Site, engine: &Engine, said: &[(&str, &str)]) {
    let say = |id: &str, answer: &str| {
        engine.order(&site.answer(site.index(id), answer)).unwrap();
    };
    for (asking, listing) in [
        ("remove-sent", "tell-sent-from-waiting"),
        ("remove-sent-again", "tell-sent-again"),
    ] {
        if asks(site, engine, asking) {
            remove_listed(site, engine, listing);
            say(asking, "removed");
        }
    }
    if asks(site, engine, "recreate-connector") {
        site.world.recreate_ims();
        site.world
            .set_tool_answer("compare-connector", 0, "connector recreated\n");
        say("recreate-connector", "recreated-still-listed");
    }
    for (id, answer) in said {
        if asks(site, engine, id) {
            say(id, answer);
        }
    }
}

fn said_but(id: &'static str, answer: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut said = SAID.to_vec();
    for one in &mut said {
        if one.0 == id {
            one.1 = answer;
        }
    }
    said
}

/// The run ends with a reason, nothing is lost or sent twice, service runs, and no store was defragmented.
fn stops_before_defragmenting(site: &Site, words: &str) {
    site.live(&[]);
    site.check(words);
    assert_eq!(
        site.ended(),
        Some(Ended::Unwound),
        "{words}: {:?}",
        site.failures()
    );
    let failures = site.failures();
    assert!(
        failures.iter().any(|one| one.contains(words)),
        "{failures:?}"
    );
    assert!(!done(site, "defragment-store"));
    assert!(!site.events().iter().any(
        |event| matches!(event, Event::StepIntended { step, .. } if *step == site.index("defragment-store"))
    ));
    assert!(site.world.is_running(IMC));
    let accounts = site.world.balance().accounts;
    assert!(
        accounts.iter().all(|one| one.delivered == 1),
        "{accounts:?}"
    );
}

#[test]
fn without_a_backup_the_store_is_neither_checked_nor_defragmented() {
    let mut site = site(1);
    site.people = |site, engine| answers(site, engine, &said_but("back-up-store", "no-backup"));
    stops_before_defragmenting(&site, "answered `no-backup`");
    assert!(!done(&site, "check-store"));
}

#[test]
fn with_too_little_room_the_store_is_not_defragmented() {
    let site = site(1);
    site.world
        .set_tool_answer("store-room", 0, "too little room\n");
    stops_before_defragmenting(&site, "says `short`");
    assert!(done(&site, "check-store"));
}

#[test]
fn where_making_anew_is_only_said_the_tool_that_looks_ends_the_run() {
    let mut site = site(1);
    site.people = |site, engine| {
        if asks(site, engine, "recreate-connector") {
            let step = site.index("recreate-connector");
            engine.order(&site.answer(step, "recreated")).unwrap();
        }
        administrator(site, engine);
    };
    site.live(&[]);
    site.check("only said");
    assert!(
        site.failures()
            .iter()
            .any(|one| one.contains("says `unchanged`")),
        "{:?}",
        site.failures()
    );
    assert!(!done(&site, "check-store"));
}
