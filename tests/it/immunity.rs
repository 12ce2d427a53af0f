//! Fleet immunity with real processes: poison that a search finds on one server is set aside on another without a single
//! crash, and a message that a person called poison by mistake is given back when that is withdrawn.

use std::time::{Duration, SystemTime};

use mailmend_lab::awaited;
use mailmend_lab::clock_factor::ClockFactor;
use mailmend_lab::event_log;
use mailmend_lab::fault::{BadMessage, Effect, Faults, Place};
use mailmend_lab::ims::SERVICE;
use mailmend_lab::load::{Begins, Load, Submission};
use mailmend_lab::programs::Programs;
use mailmend_lab::scenario::fleet::{Fleet, Guarded};
use mailmend_lab::scenario::operator::Operator;
use mailmend_lab::server_dir::spooled;
use mailmend_lab::spool::SpoolMessage;
use mailmend_lab::world::{Server, SiteSpec, World, WorldSpec};
use serde_json::Value;

use crate::lab_run::programs;

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");
const POLICY: &str = "corrupt-message";
const LIMIT: Duration = Duration::from_secs(240);
const MESSAGES: usize = 6;

fn bad() -> BadMessage {
    BadMessage {
        place: Place::In,
        effect: Effect::Crash { percent: 100 },
        named: false,
    }
}

/// How often the IMS of a server died of a message.
fn crashes(server: &Server) -> usize {
    let events = event_log::read(&server.dir.events()).unwrap();
    events.iter().filter(|event| event.id == 4037).count()
}

/// Waits until the answer to a question is as it should be.
fn until(operator: &Operator, what: &str, ask: &[&str], good: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = awaited::or_fail(what, LIMIT, || {
        last = operator.ask(ask).unwrap_or_default();
        good(&last)
    });
    assert!(found.is_ok(), "{what}: {last:#}");
    last
}

fn text_of(server: &Server, name: &str) -> Vec<u8> {
    let bytes = std::fs::read(server.dir.inbound().join(name)).unwrap();
    SpoolMessage::parse(&bytes).unwrap().text
}

/// The body of a message below a header of its own: as another message with the same content.
fn resent(text: &[u8]) -> Vec<u8> {
    let at = text
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = b"From: <list@example.net>\r\nMessage-ID: <resent@example.net>";
    [&head[..], &text[at..]].concat()
}

fn waits_in(folder: &std::path::Path, name: &str) -> bool {
    spooled(folder)
        .unwrap()
        .iter()
        .any(|file| file.name.as_str() == name)
}

/// The message in the ledger of a server, by its spool name.
fn kept(operator: &Operator, server: &Server, name: &str) -> Option<Value> {
    let listed = operator
        .ask(&["ledger", "list", "--agent", &server.name])
        .ok()?;
    let entries = listed["entries"].as_array()?.clone();
    entries.into_iter().find(|entry| entry["name"] == name)
}

/// A message lies in `In` of a stopped server; waits until its agent has set it aside.
fn set_aside(operator: &Operator, server: &Server, sent: &Submission) -> Value {
    let name = sent.spool_name.as_str();
    awaited::or_fail("the file to be taken", LIMIT, || {
        !waits_in(&server.dir.inbound(), name)
    })
    .unwrap();
    let mut last = None;
    let found = awaited::or_fail("the message to be poison", LIMIT, || {
        last = kept(operator, server, name);
        last.as_ref()
            .is_some_and(|entry| entry["state"] == "poison")
    });
    assert!(found.is_ok(), "{last:#?}");
    last.unwrap()
}

#[test]
fn poison_found_on_one_server_is_set_aside_on_another_and_a_withdrawn_fingerprint_gives_mail_back()
{
    programs();
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs::built_beside(LAB.as_ref()).unwrap();
    let spec = WorldSpec {
        sites: vec![SiteSpec::well(); 2],
        clock_factor: ClockFactor(120),
        ..WorldSpec::default()
    };
    let world = World::build(folder.path(), spec, LAB.as_ref()).unwrap();
    let mut load = Load::new(17, &world.truth_of_users()).unwrap();
    // Server A of each site sends and receives.
    let [ill, other] = [0, 1].map(|site| &world.servers[2 * site]);

    // One of several messages in `In` of the one server ends its IMS.
    ill.services().stop(SERVICE, LIMIT).unwrap();
    let since = SystemTime::now() - Duration::from_secs(20);
    let sent: Vec<Submission> = (0..MESSAGES)
        .map(|_| {
            load.send_to_begin(
                &ill.site,
                &ill.name,
                &ill.dir,
                Some(since),
                Begins::Received,
            )
            .unwrap()
        })
        .collect();
    let long = |one: &&Submission| one.bytes > 1_500;
    let poison = sent.iter().find(long).expect("a long message").clone();
    let harmless = sent
        .iter()
        .filter(long)
        .nth(1)
        .expect("another long message")
        .clone();
    let poison_text = text_of(ill, poison.spool_name.as_str());
    let harmless_text = text_of(ill, harmless.spool_name.as_str());
    let mut faults = Faults::default();
    faults.messages.insert(poison.body_hash.clone(), bad());
    for server in [ill, other] {
        faults.write(&server.dir).unwrap();
    }
    let _ = ill.services().start(SERVICE, LIMIT);
    awaited::or_fail("the crash", LIMIT, || crashes(ill) == 1).unwrap();

    // A search finds it, and every agent is told.
    let by_person = |_: &Server| Guarded {
        watchdog: false,
        ..Guarded::default()
    };
    let mut fleet = Fleet::start(&world, &programs, &by_person).unwrap();
    let operator = fleet.operator.clone();
    let no_fingerprints = operator.ask(&["immunity", "list"]).unwrap();
    assert_eq!(no_fingerprints["fingerprints"], Value::Array(Vec::new()));
    operator
        .ask(&["policy", "publish", "--shipped", POLICY])
        .unwrap();
    let selector = format!("site={}", ill.site);
    let started = operator
        .ask(&["rollout", "start", POLICY, "-l", &selector, "--yes"])
        .unwrap();
    let rollout = started["id"].as_str().unwrap().to_owned();
    let listed = until(
        &operator,
        "the fingerprint",
        &["immunity", "list"],
        |list| {
            list["fingerprints"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
        },
    );
    let found = &listed["fingerprints"][0];
    assert_eq!(found["proof"], "search", "{found:#}");
    assert_eq!(found["agent"], ill.name.as_str(), "{found:#}");
    assert_eq!(found["message_id"], poison.message_id.as_str(), "{found:#}");
    until(
        &operator,
        "the rollout to end",
        &["rollout", "show", &rollout],
        |shown| {
            let state = shown["state"].as_str().unwrap_or_default();
            ["succeeded", "failed", "halted"].contains(&state)
        },
    );

    // The same message, with another server's envelope and name, is on its way there.
    other.services().stop(SERVICE, LIMIT).unwrap();
    let send = |load: &mut Load, text: Vec<u8>| {
        load.send_text(&other.site, &other.name, &other.dir, Begins::Received, text)
            .unwrap()
    };
    let copy = send(&mut load, poison_text);
    assert_eq!(copy.body_hash, poison.body_hash);
    let entry = set_aside(&operator, other, &copy);
    let evidence = entry["evidence"].as_str().unwrap();
    let id = found["id"].as_str().unwrap();
    assert!(
        evidence.contains(id) && evidence.contains(&ill.name),
        "{entry:#}"
    );
    other.services().start(SERVICE, LIMIT).unwrap();
    let innocent = load
        .send_text(
            &other.site,
            &other.name,
            &other.dir,
            Begins::Received,
            b"Message-ID: <in@x>\r\n\r\nhello".to_vec(),
        )
        .unwrap();
    let delivered = |one: &Submission| waits_in(&other.dir.mts_in(), one.spool_name.as_str());
    awaited::or_fail("mail to flow", LIMIT, || delivered(&innocent)).unwrap();
    assert_eq!(crashes(other), 0, "not a single crash");
    let shown = operator.ask(&["immunity", "show", id]).unwrap();
    assert_eq!(
        shown["messages"][0]["agent"],
        other.name.as_str(),
        "{shown:#}"
    );
    assert_eq!(shown["fingerprint"]["set_aside"], 1, "{shown:#}");

    // A person calls another message poison by mistake: what has its body is held elsewhere.
    let run = found["run"].as_str().unwrap();
    let ledger = operator.ask(&["run", "ledger", run]).unwrap();
    let entries = ledger["entries"].as_array().unwrap();
    let wrong = entries
        .iter()
        .find(|entry| entry["name"] == harmless.spool_name.as_str())
        .unwrap();
    let wrong = wrong["id"].as_str().unwrap();
    operator
        .ask(&["immunity", "add", run, wrong, "--why", "looks like it"])
        .unwrap();
    let by_word = |list: &Value| {
        let all = list["fingerprints"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["proof"] == "word")
    };
    let listed = until(&operator, "the person's", &["immunity", "list"], |list| {
        by_word(list).is_some()
    });
    let mistaken = by_word(&listed).unwrap()["id"].as_str().unwrap().to_owned();
    other.services().stop(SERVICE, LIMIT).unwrap();
    let again = send(&mut load, resent(&harmless_text));
    set_aside(&operator, other, &again);
    other.services().start(SERVICE, LIMIT).unwrap();
    assert!(!delivered(&again));

    // One command undoes it.
    let withdraw = [
        "immunity",
        "withdraw",
        &mistaken,
        "--why",
        "it is a newsletter",
    ];
    operator.ask(&withdraw).unwrap();
    operator.ask(&withdraw).unwrap();
    let ask = ["immunity", "show", mistaken.as_str()];
    until(&operator, "the mail to be given back", &ask, |shown| {
        shown["fingerprint"]["set_aside"] == 0 && shown["fingerprint"]["given_back"] == 1
    });
    awaited::or_fail("the mail to be delivered", LIMIT, || delivered(&again)).unwrap();
    let gone =
        |entry: Option<Value>| entry.is_some_and(|entry| entry["state"] == "gone-with-evidence");
    let name = again.spool_name.as_str();
    awaited::or_fail("the evidence", LIMIT, || gone(kept(&operator, other, name))).unwrap();
    // The poison stays where it is, and nothing died of all that.
    let still = kept(&operator, other, copy.spool_name.as_str()).unwrap();
    assert_eq!(still["state"], "poison", "{still:#}");
    assert_eq!(crashes(other), 0);
    assert_eq!(fleet.stop(), Vec::<String>::new());
}
