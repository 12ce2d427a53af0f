use mailmend_proto::run::Custody;

use super::*;
use crate::cli::releases::are_commands;
use crate::react::Decided;

/// When everything in the picture began, milliseconds since 1970 UTC.
const BEGAN: i64 = 1_780_000_000_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn run() -> RunId {
    RunId(Uuid::from_u128(7 << 96))
}

fn agent(name: &str) -> AgentSeen {
    AgentSeen {
        name: name.parse().unwrap(),
        site: "oslo".parse().unwrap(),
        connected: true,
        enrolled_ms: BEGAN,
        heard_ms: BEGAN,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        certificate_until_ms: BEGAN + 1000 * DAY,
        alarm: None,
        counted_ms: None,
    }
}

/// A fleet where all is well.
pub(crate) fn well() -> Picture {
    Picture {
        now_ms: BEGAN,
        certificate_ms: DAY,
        agents: vec![agent("EXA1"), agent("EXB1")],
        store: Health {
            path: "/data/controller.db".into(),
            schema: 35,
            bytes: 1000,
            free_bytes: Some(100 << 30),
        },
        ..Picture::default()
    }
}

fn kept(state: Option<Custody>) -> Kept {
    Kept {
        run: run(),
        agent: "EXA1".parse().unwrap(),
        state,
        messages: 3,
        since_ms: BEGAN,
    }
}

fn waiting(kind: Kind, expected_ms: Option<i64>) -> Waiting {
    Waiting {
        kind,
        run: Some(run()),
        site: Some("oslo".parse().unwrap()),
        predicate: "step stop on EXA1 is done".into(),
        holder: "agent EXA1, connected".into(),
        since_ms: BEGAN,
        expected_ms,
        release: "mailmend rollout abort 00000008".into(),
    }
}

fn proposed() -> Proposal {
    Proposal {
        id: Uuid::from_u128(9 << 96),
        policy: "stuck-outbound-routing".parse().unwrap(),
        version: 1,
        site: "oslo".parse().unwrap(),
        servers: ["EXB1".parse().unwrap()].into(),
        why: "it stands".into(),
        proposed_ms: BEGAN,
        decided: None::<Decided>,
        by: String::new(),
        rollout: None,
    }
}

/// Everything that can wait, all of it since [`BEGAN`], with until when it is expected.
pub(crate) fn everything() -> (Picture, Vec<(Kind, i64)>) {
    let mut picture = well();
    picture.agents[0].connected = false;
    picture.agents.push(AgentSeen {
        connected: false,
        heard_ms: 0,
        ..agent("EXC1")
    });
    picture.agents.push(AgentSeen {
        alarm: Some((BEGAN, "A051-outage: service is down".into())),
        counted_ms: Some(BEGAN),
        certificate_until_ms: BEGAN + DAY / 2,
        ..agent("EXD1")
    });
    let hand = InHand {
        by: "anna".into(),
        why: "new disk".into(),
        since_ms: BEGAN,
    };
    picture.in_hand = vec![("EXB1".parse().unwrap(), hand)];
    picture.orders = vec![OpenOrder {
        id: Uuid::from_u128(5 << 96),
        agent: "EXA1".parse().unwrap(),
        run: run(),
        kind: "settle".into(),
        by: "anna".into(),
        at_ms: BEGAN,
    }];
    picture.releases = vec![OpenRelease {
        order: Uuid::from_u128(6 << 96),
        agent: "EXA1".parse().unwrap(),
        run: run(),
        taken_ms: BEGAN,
    }];
    picture.proposals = vec![proposed()];
    let states = [Custody::Held, Custody::InDoubt, Custody::Poison];
    picture.kept = states.map(|state| kept(Some(state))).into();
    picture.kept.push(kept(None));
    picture.signed = vec![SignedSeen {
        kind: "timestamp",
        version: 7,
        expires_ms: BEGAN + 4 * DAY,
        lead_ms: 4 * DAY,
    }];
    picture.unfollowed = vec![Unfollowed {
        agent: "EXA1".parse().unwrap(),
        why: "A161-trust-expired: timestamp 6 expired".into(),
        since_ms: BEGAN,
    }];
    let rollout = RolloutId(Uuid::from_u128(8 << 96));
    let step = waiting(Kind::Step, Some(BEGAN + 5 * HOUR));
    picture.rollouts = vec![(rollout, RolloutState::Running, vec![step])];
    let minutes = |minutes: i64| BEGAN + minutes * 60_000;
    let expected = vec![
        (Kind::AgentAway, minutes(10)),
        (Kind::NeverHeard, minutes(60)),
        (Kind::Telemetry, minutes(30)),
        (Kind::Certificate, BEGAN + DAY / 4),
        (Kind::InHand, BEGAN + DAY),
        (Kind::Order, minutes(10)),
        (Kind::Release, minutes(60)),
        (Kind::Proposal, BEGAN + DAY),
        (Kind::Held, BEGAN + DAY),
        (Kind::InDoubt, BEGAN + 3 * DAY),
        (Kind::Poison, BEGAN + 7 * DAY),
        (Kind::Vanished, BEGAN + 3 * DAY),
        (Kind::Signature, BEGAN + 2 * DAY),
        (Kind::Unfollowed, minutes(30)),
        (Kind::Step, BEGAN + 5 * HOUR),
    ];
    (picture, expected)
}

#[test]
fn where_all_is_well_nothing_presses() {
    assert_eq!(examine(&well()), []);
}

#[test]
fn everything_is_overdue_from_its_expected_time_on_and_not_a_moment_before() {
    let (mut picture, expected) = everything();
    for (kind, expected_ms) in expected {
        for (now_ms, overdue) in [(expected_ms, false), (expected_ms + 1, true)] {
            picture.now_ms = now_ms;
            let matters = examine(&picture);
            let of_kind: Vec<&Matter> = matters
                .iter()
                .filter(|matter| matter.kind == kind)
                .collect();
            assert_eq!(of_kind.len(), 1, "{kind:?}");
            let matter = of_kind[0];
            assert_eq!(matter.expected_ms, Some(expected_ms), "{kind:?}");
            assert_eq!(matter.is_overdue(now_ms), overdue, "{kind:?} at {now_ms}");
            let pressing = matter.severity(now_ms);
            assert_eq!(
                matches!(pressing, Some(Severity::Grave | Severity::Overdue)),
                overdue,
                "{kind:?}"
            );
        }
    }
}

#[test]
fn every_matter_says_what_where_who_and_a_command_that_the_command_line_takes() {
    let (mut picture, _) = everything();
    picture.store.free_bytes = Some(LEAST_FREE - 1);
    picture.agents[1].version = "0.0.1".into();
    for now_ms in [BEGAN + DAY / 2, BEGAN + 30 * DAY] {
        picture.now_ms = now_ms;
        for matter in examine(&picture) {
            assert!(!matter.place.is_empty(), "{matter:?}");
            assert!(!matter.predicate.is_empty(), "{matter:?}");
            assert!(!matter.holder.is_empty(), "{matter:?}");
            are_commands(&matter.release);
        }
    }
}

#[test]
fn what_presses_most_comes_first_and_then_what_is_longest_overdue() {
    let (mut picture, _) = everything();
    picture.now_ms = BEGAN + 2 * DAY;
    picture.agents[1].version = "0.0.1".into();
    let matters = examine(&picture);
    let pressing: Vec<Severity> = matters
        .iter()
        .map_while(|matter| matter.severity(picture.now_ms))
        .collect();
    assert!(pressing.is_sorted(), "{pressing:?}");
    assert_eq!(pressing.first(), Some(&Severity::Grave));
    assert_eq!(pressing.last(), Some(&Severity::Notice));
    let rest = &matters[pressing.len()..];
    assert!(!rest.is_empty());
    assert!(
        rest.iter()
            .all(|matter| matter.severity(picture.now_ms).is_none())
    );
    let grave: Vec<Option<i64>> = matters
        .iter()
        .take_while(|matter| matter.severity(picture.now_ms) == Some(Severity::Grave))
        .map(|matter| matter.expected_ms)
        .collect();
    assert!(grave.is_sorted(), "{grave:?}");
}

#[test]
fn what_a_rollout_waits_for_is_not_told_twice_where_it_is_listed_of_the_fleet() {
    let (mut picture, _) = everything();
    let before = examine(&picture).len();
    for kind in [Kind::InHand, Kind::AgentAway, Kind::Held, Kind::Release] {
        picture.rollouts[0].2.push(waiting(kind, None));
    }
    assert_eq!(examine(&picture).len(), before);
    picture.rollouts[0].2.push(waiting(Kind::Approval, None));
    assert_eq!(examine(&picture).len(), before + 1);
}

#[test]
fn a_disk_that_is_nearly_full_is_grave_at_once() {
    let mut picture = well();
    picture.store.free_bytes = Some(LEAST_FREE);
    assert_eq!(examine(&picture), []);
    picture.store.free_bytes = Some(LEAST_FREE - 1);
    let matters = examine(&picture);
    assert_eq!(matters.len(), 1);
    assert_eq!(matters[0].severity(picture.now_ms), Some(Severity::Grave));
    assert_eq!(
        matters[0].predicate,
        "free on the disk of the store >= 1GiB, but 1023MiB is"
    );
    picture.store.free_bytes = None;
    assert_eq!(examine(&picture), []);
}

#[test]
fn a_certificate_presses_only_when_half_of_its_time_to_be_renewed_has_passed() {
    let mut picture = well();
    picture.agents[0].certificate_until_ms = BEGAN + DAY / 2 + 1;
    assert_eq!(examine(&picture), []);
    picture.agents[0].certificate_until_ms = BEGAN + DAY / 2;
    let severity = |picture: &Picture| examine(picture)[0].severity(picture.now_ms);
    assert_eq!(severity(&picture), None);
    picture.agents[0].certificate_until_ms = BEGAN + DAY / 4 - 1;
    assert_eq!(severity(&picture), Some(Severity::Grave));
    picture.agents[0].certificate_until_ms = BEGAN;
    let matters = examine(&picture);
    assert!(matters[0].holder.contains("has ended"), "{matters:?}");
    assert!(
        matters[0]
            .release
            .contains("mailmend agent token EXA1 --site oslo"),
        "{matters:?}"
    );
}

#[test]
fn an_alarm_that_is_not_heard_again_is_let_go_after_a_week() {
    let mut picture = well();
    picture.agents[0].alarm = Some((BEGAN, "A051: x".into()));
    picture.now_ms = BEGAN + agents::ALARM_STANDS_MS;
    assert_eq!(examine(&picture).len(), 1);
    picture.now_ms += 1;
    assert_eq!(examine(&picture), []);
}

#[test]
fn what_is_signed_is_told_in_time_and_says_when_it_has_expired() {
    let mut picture = well();
    picture.signed = vec![SignedSeen {
        kind: "catalogue",
        version: 3,
        expires_ms: BEGAN + 30 * DAY + 1,
        lead_ms: 30 * DAY,
    }];
    assert_eq!(examine(&picture), []);
    picture.now_ms += 1;
    assert_eq!(examine(&picture).len(), 1);
    assert!(!examine(&picture)[0].holder.contains("has expired"));
    picture.now_ms = BEGAN + 30 * DAY + 1;
    let matters = examine(&picture);
    assert!(matters[0].holder.contains("has expired"), "{matters:?}");
    assert_eq!(matters[0].severity(picture.now_ms), Some(Severity::Overdue));
}

#[test]
fn agents_of_another_version_are_one_notice_however_many_they_are() {
    let mut picture = well();
    picture.agents = (0..9)
        .map(|number| AgentSeen {
            version: "0.0.1".into(),
            ..agent(&format!("EX{number}"))
        })
        .collect();
    let matters = examine(&picture);
    assert_eq!(matters.len(), 1);
    assert_eq!(matters[0].severity(i64::MAX), Some(Severity::Notice));
    assert_eq!(matters[0].holder, "EX0, EX1, EX2 and 6 more");
}
