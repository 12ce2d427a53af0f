use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mailmend_policy::source::PolicySource;
use mailmend_policy::{library, plan};
use mailmend_proto::run::{Event, RunId, ServiceChange};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::guard::Guard;
use crate::host::Facts;
use crate::host::simulated::{SimSettings, SimWorld};
use crate::journal::{Journal, MemoryJournal};
use crate::station::Station;
use crate::trust::Permit;

const POLICY: &str = "stuck-outbound-routing";
const GUARD: &str =
    "roots = [\"/exchsrvr\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n";
const RUN: RunId = RunId(Uuid::from_u128(7));

fn of(policy: &str) -> Of {
    Of {
        policy: policy.into(),
        version: 1,
        digest: Digest::of(policy.as_bytes()),
    }
}

fn judged(policy: &str, standing: Standing) -> Judged {
    Judged {
        of: of(policy),
        standing,
        evidence: vec!["as seen".into()],
    }
}

fn watch_of(source: &PolicySource) -> wire::Watch {
    wire::Watch {
        policy: source.name().into(),
        version: 1,
        digest: source.digest().as_bytes().to_vec(),
        text: source.bytes().to_vec(),
    }
}

fn watches() -> wire::Watches {
    wire::Watches {
        watches: vec![watch_of(&library::find(POLICY).unwrap())],
        ..wire::Watches::default()
    }
}

/// Server B, its agent's station, and who looks.
struct Server {
    world: SimWorld,
    journal: Journal,
    watchlist: Arc<Watchlist>,
    watcher: Watcher,
    seen: tokio::sync::watch::Receiver<Seen>,
    station: Arc<Station>,
}

fn server(data: &Path) -> Server {
    let world = SimWorld::new(SimSettings::default());
    let journal = Journal::memory(&MemoryJournal::new(Uuid::from_u128(1))).unwrap();
    let guard = Arc::new(Guard::parse("guard.toml", GUARD).unwrap());
    let host = Arc::new(world.host());
    let station =
        Arc::new(Station::new(host, journal.clone(), guard, "SRVB".parse().unwrap()).unwrap());
    station.set_facts(Facts::from(
        [
            ("ims.direction", "outbound"),
            (plan::VERSION_FACT, "5.0.1460.8"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    ));
    let watchlist = Arc::new(Watchlist::open(data, |_| Ok(Permit::Unasked)));
    let watcher = Watcher::new(station.clone(), watchlist.clone(), Duration::from_secs(60));
    let seen = watcher.subscribe();
    Server {
        world,
        journal,
        watchlist,
        watcher,
        seen,
        station,
    }
}

impl Server {
    fn look(&self) -> Vec<Symptom> {
        self.watcher.look().unwrap();
        self.seen.borrow().symptoms.clone()
    }

    fn only(&self) -> Symptom {
        let [symptom] = <[Symptom; 1]>::try_from(self.look()).unwrap();
        symptom
    }
}

#[test]
fn a_symptom_stands_since_the_first_look_of_an_unbroken_row_and_a_look_that_cannot_tell_breaks_it()
{
    use Standing::{Absent, CannotTell, Stands};
    let mut now: Vec<Symptom> = Vec::new();
    let mut row = Vec::new();
    for (at, standing) in [Absent, Stands, Stands, CannotTell, Stands, Stands, Absent]
        .into_iter()
        .enumerate()
    {
        let at = i64::try_from(at).unwrap() * 60;
        now = after(&now, vec![judged("p", standing)], at);
        row.push((now[0].standing, now[0].since_ms, now[0].looked_ms));
    }
    assert_eq!(
        row,
        [
            (Absent, 0, 0),
            (Stands, 60, 60),
            (Stands, 60, 120),
            (CannotTell, 180, 180),
            (Stands, 240, 240),
            (Stands, 240, 300),
            (Absent, 360, 360),
        ]
    );
}

#[test]
fn another_text_of_the_policy_has_its_own_symptom() {
    let before = after(&[], vec![judged("p", Standing::Stands)], 10);
    let mut other = judged("p", Standing::Stands);
    other.of.digest = Digest::of(b"another text");
    assert_eq!(after(&before, vec![other], 20)[0].since_ms, 20);
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        Just(Standing::Absent),
        Just(Standing::Stands),
        Just(Standing::CannotTell)
    ]
}

proptest! {
    #[test]
    fn since_never_lies_ahead_and_is_the_begin_of_the_row_whatever_is_seen(
        looks in proptest::collection::vec((standing(), 1..100_i64), 1..40)
    ) {
        let mut now: Vec<Symptom> = Vec::new();
        let (mut at, mut begin, mut last) = (0, 0, None);
        for (standing, later) in looks {
            at += later;
            if last != Some(standing) {
                begin = at;
            }
            last = Some(standing);
            now = after(&now, vec![judged("p", standing)], at);
            prop_assert_eq!(now[0].since_ms, begin);
            prop_assert!(now[0].since_ms <= now[0].looked_ms);
        }
    }

    #[test]
    fn a_clock_that_jumps_never_puts_since_after_the_look(
        looks in proptest::collection::vec((standing(), -1000..1000_i64), 1..40)
    ) {
        let mut now: Vec<Symptom> = Vec::new();
        for (standing, at) in looks {
            now = after(&now, vec![judged("p", standing)], at);
            prop_assert!(now[0].since_ms <= now[0].looked_ms);
        }
    }
}

#[test]
fn a_look_is_told_once_and_again_only_where_it_is_news() {
    let seen = |standing, evidence: &str, looked_ms| Seen {
        symptoms: vec![Symptom {
            of: of("p"),
            standing,
            since_ms: 5,
            evidence: vec![evidence.into()],
            looked_ms,
        }],
        head: 3,
        looked_ms,
    };
    use Standing::{Absent, Stands};
    assert!(!worth_telling(None, &Seen::default()), "nobody has looked");
    let absent = seen(Absent, "one waits", 10);
    assert!(worth_telling(None, &absent));
    assert!(!worth_telling(Some(&absent), &seen(Absent, "two wait", 70)));
    assert!(worth_telling(Some(&absent), &seen(Stands, "two wait", 70)));
    let stands = seen(Stands, "40 wait", 10);
    assert!(!worth_telling(Some(&stands), &seen(Stands, "40 wait", 70)));
    assert!(worth_telling(Some(&stands), &seen(Stands, "41 wait", 70)));
    assert!(
        worth_telling(Some(&absent), &seen(Absent, "", 600_010)),
        "somebody still looks"
    );
    let after_a_run = Seen {
        head: 9,
        ..absent.clone()
    };
    assert!(worth_telling(Some(&absent), &after_a_run));
}

#[test]
fn the_shipped_policys_symptom_is_found_with_its_evidence_and_goes_with_the_mail() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path());
    assert!(server.look().is_empty(), "nothing is watched");
    server.watchlist.take(watches()).unwrap();
    assert_eq!(server.only().standing, Standing::Absent);
    server.world.add_outbound(3, 500);
    assert_eq!(
        server.only().standing,
        Standing::Absent,
        "it has not waited long enough"
    );
    server.world.advance(Duration::from_secs(16 * 60));
    let stands = server.only();
    assert_eq!(stands.standing, Standing::Stands, "{stands:?}");
    assert!(
        stands.evidence[0].contains("the oldest of 3 messages"),
        "{stands:?}"
    );
    server.world.advance(Duration::from_secs(60));
    assert_eq!(server.only().since_ms, stands.since_ms);
    server.world.kill_service("MSExchangeIMC");
    assert_eq!(server.only().standing, Standing::Absent);
}

#[test]
fn a_policy_for_other_servers_or_versions_is_not_looked_for_and_labels_win_over_facts() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path());
    server.watchlist.take(watches()).unwrap();
    assert_eq!(server.look().len(), 1);
    let facts = |direction: &str, version: Option<&str>| {
        let mut facts = Facts::from([("ims.direction".to_owned(), direction.to_owned())]);
        facts.extend(version.map(|text| (plan::VERSION_FACT.to_owned(), text.to_owned())));
        server.station.set_facts(facts);
    };
    facts("both", Some("5.0.1460.8"));
    assert!(server.look().is_empty(), "Server A has another role");
    facts("outbound", Some("4.0.994"));
    assert!(server.look().is_empty(), "another version");
    facts("outbound", None);
    assert_eq!(server.only().standing, Standing::CannotTell);
    facts("both", Some("5.0.1460.8"));
    let labelled = wire::Watches {
        labels: [("ims.direction".to_owned(), "outbound".to_owned())].into(),
        ..watches()
    };
    server.watchlist.take(labelled).unwrap();
    assert_eq!(server.look().len(), 1);
}

#[test]
fn what_cannot_be_read_is_told_as_such_and_so_is_a_policy_that_this_agent_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path());
    let text = String::from_utf8(library::find(POLICY).unwrap().bytes().to_vec()).unwrap();
    let with_event = text.replacen(
        "[detect]\non = \"outbound\"\nall = [",
        "[detect]\non = \"outbound\"\nall = [{ event = { source = \"MSExchangeIMC\", id = 3010, since = \"last-start\" } },",
        1,
    );
    assert_ne!(text, with_event);
    let good = PolicySource::new("with-event", with_event);
    let faulty = PolicySource::new("faulty", "schema = \"mailmend/v9\"");
    let mut forged = watch_of(&library::find(POLICY).unwrap());
    forged.text.push(b'\n');
    server
        .watchlist
        .take(wire::Watches {
            watches: vec![watch_of(&good), watch_of(&faulty), forged],
            ..wire::Watches::default()
        })
        .unwrap();
    server.world.add_outbound(1, 500);
    server.world.advance(Duration::from_secs(16 * 60));
    server.world.set_events_unreadable(true);
    let seen = server.look();
    assert_eq!(seen.len(), 3);
    for (symptom, why) in seen.iter().zip(["could not", "refuses", "digest"]) {
        assert_eq!(symptom.standing, Standing::CannotTell, "{symptom:?}");
        assert!(symptom.evidence[0].contains(why), "{symptom:?}");
    }
}

#[test]
fn while_a_run_of_ours_disturbs_the_server_nothing_is_told_and_before_and_after_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path());
    server.watchlist.take(watches()).unwrap();
    server.world.add_outbound(3, 500);
    server.world.advance(Duration::from_secs(16 * 60));
    let before = server.only();
    assert_eq!(before.standing, Standing::Stands);
    let write = |event: Event| {
        server
            .journal
            .append(RUN, 0, vec![event])
            .map(drop)
            .unwrap();
    };
    let service: mailmend_policy::name::ServiceName = "MSExchangeIMC".parse().unwrap();
    write(Event::DutyBegan {
        duty: "watchdog".into(),
        service: service.clone(),
        why: String::new(),
    });
    assert_eq!(
        server.only().since_ms,
        before.since_ms,
        "nothing is disturbed yet"
    );
    write(Event::ServiceChanged {
        service,
        change: ServiceChange::StartIntended,
        pid: 0,
    });
    let meanwhile = server.only();
    assert_eq!(meanwhile.standing, Standing::CannotTell);
    assert!(
        meanwhile.evidence[0].contains("judged again"),
        "{meanwhile:?}"
    );
    write(Event::Closed {
        how: mailmend_proto::run::Ended::Committed,
        detail: String::new(),
    });
    let after = server.only();
    assert_eq!(after.standing, Standing::Stands);
    assert!(
        after.since_ms >= meanwhile.since_ms,
        "it stands anew after the run"
    );
    assert_eq!(server.seen.borrow().head, server.journal.head());
}

#[test]
fn the_list_outlives_the_agent_and_a_damaged_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let list = Watchlist::open(folder.path(), |_| Ok(Permit::Unasked));
    assert!(list.now().watched.is_empty());
    list.take(watches()).unwrap();
    let number = list.now().number;
    list.take(watches()).unwrap();
    assert_eq!(list.now().number, number, "the same list is no change");
    let again = Watchlist::open(folder.path(), |_| Ok(Permit::Unasked));
    assert_eq!(again.now().watched.len(), 1);
    assert!(again.now().watched[0].policy.is_ok());

    let file = folder.path().join("watches");
    let bytes = std::fs::read(&file).unwrap();
    for at in [0, 40, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(&file, flipped).unwrap();
        assert!(
            Watchlist::open(folder.path(), |_| Ok(Permit::Unasked))
                .now()
                .watched
                .is_empty()
        );
    }
    std::fs::write(&file, &bytes[..20]).unwrap();
    assert!(
        Watchlist::open(folder.path(), |_| Ok(Permit::Unasked))
            .now()
            .watched
            .is_empty()
    );
    assert!(list.take(wire::Watches::default()).is_ok());
    assert!(
        Watchlist::open(folder.path(), |_| Ok(Permit::Unasked))
            .now()
            .watched
            .is_empty(),
        "an empty list replaces the former"
    );
}

#[test]
fn a_list_that_cannot_be_kept_or_is_too_long_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let list = Watchlist::open(&data, |_| Ok(Permit::Unasked));
    list.take(watches()).unwrap();
    let many = wire::Watches {
        watches: vec![wire::Watch::default(); 65],
        ..wire::Watches::default()
    };
    let refused = list.take(many).unwrap_err().to_string();
    assert!(refused.starts_with("A100-watches-refused"), "{refused}");
    std::fs::remove_file(data.join("watches")).unwrap();
    std::fs::remove_dir(&data).unwrap();
    let refused = list.take(wire::Watches::default()).unwrap_err().to_string();
    assert!(refused.starts_with("A101-watches-unwritten"), "{refused}");
    assert_eq!(list.now().watched.len(), 1);
}
