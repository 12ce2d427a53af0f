//! Detection with real processes: agents find the symptom by themselves, and it is answered as its policy
//! is bound.

use std::time::{Duration, SystemTime};

use mailmend_lab::awaited;
use mailmend_lab::load::Load;
use mailmend_lab::programs::Programs;
use mailmend_lab::scenario::fleet::{Fleet, Guarded};
use mailmend_lab::scenario::operator::Operator;
use mailmend_lab::truth::{self, Fate};
use mailmend_lab::world::{SiteSpec, World, WorldSpec};
use serde_json::Value;

use crate::lab_run::programs;

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");
const POLICY: &str = "stuck-outbound-routing";
const LIMIT: Duration = Duration::from_secs(60);
const MESSAGES: usize = 12;

/// The one symptom of a server, as `fleet symptoms` tells it.
fn symptom(operator: &Operator, server: &str) -> Value {
    let listed = operator.ask(&["fleet", "symptoms", "--all"]).unwrap();
    let all = listed["symptoms"].as_array().unwrap();
    let of_server = all.iter().find(|one| one["agent"] == server);
    of_server.cloned().unwrap_or_default()
}

/// Waits until a server's symptom is as it should be.
fn until(operator: &Operator, server: &str, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = awaited::or_fail(what, LIMIT, || {
        last = symptom(operator, server);
        seen(&last)
    });
    assert!(found.is_ok(), "{what}: {last:#}");
    last
}

fn text<'a>(symptom: &'a Value, field: &str) -> &'a str {
    symptom[field].as_str().unwrap_or_default()
}

fn rollouts(operator: &Operator) -> usize {
    let listed = operator.ask(&["rollout", "list"]).unwrap();
    listed["rollouts"].as_array().unwrap().len()
}

fn bind(operator: &Operator, reaction: &str) {
    let how = ["policy", "bind", POLICY, reaction];
    let throttles = ["--stands-for", "1s", "--settle", "2s"];
    operator.ask(&[&how[..], &throttles].concat()).unwrap();
}

fn mended(symptom: &Value) -> bool {
    text(symptom, "state") == "absent" && text(symptom, "effect").starts_with("mail flows")
}

#[test]
fn a_symptom_is_mended_by_itself_or_on_a_persons_word_and_not_where_a_server_is_in_hand() {
    programs();
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs::built_beside(LAB.as_ref()).unwrap();
    let spec = WorldSpec {
        sites: vec![SiteSpec::default(); 2],
        ..WorldSpec::default()
    };
    let world = World::build(folder.path(), spec, LAB.as_ref()).unwrap();
    let mut load = Load::new(11, &world.truth_of_users()).unwrap();
    // A quarter of an hour of life is 15 seconds here.
    let long_ago = SystemTime::now() - Duration::from_secs(20);
    let [free, held] = [0, 1].map(|site| world.outbound_only().nth(site).unwrap());
    for server in [free, held] {
        for _ in 0..MESSAGES {
            load.send_waiting_since(&server.site, &server.name, &server.dir, Some(long_ago))
                .unwrap();
        }
    }
    let mut fleet = Fleet::start(&world, &programs, &|_| Guarded::default()).unwrap();
    let operator = fleet.operator.clone();
    operator
        .ask(&["policy", "publish", "--shipped", POLICY])
        .unwrap();
    assert_eq!(
        symptom(&operator, &free.name),
        Value::Null,
        "not looked for"
    );

    let why = ["--why", "new disk", "--by", "anna"];
    let in_hand = ["agent", "in-hand", &held.name];
    operator.ask(&[&in_hand[..], &why].concat()).unwrap();
    bind(&operator, "observe");
    let stands = |one: &Value| text(one, "state") == "stands";
    let before = until(&operator, &free.name, "the symptom", stands);
    assert!(
        before["evidence"][0]
            .as_str()
            .unwrap()
            .contains("the oldest of"),
        "{before:#}"
    );
    until(&operator, &held.name, "the other symptom", stands);
    assert_eq!(rollouts(&operator), 0, "only observed");

    bind(&operator, "auto");
    let after = until(&operator, &free.name, "mail to flow", mended);
    assert!(text(&after, "effect").contains("messages delivered by evidence"));
    assert_eq!(rollouts(&operator), 1);
    let waits = until(&operator, &held.name, "its turn", stands);
    assert!(
        text(&waits, "waits").contains("in the hand of anna"),
        "{waits:#}"
    );

    bind(&operator, "propose");
    operator.ask(&["agent", "give-back", &held.name]).unwrap();
    let proposed = until(&operator, &held.name, "a proposal", |one| {
        one["proposal"].is_string()
    });
    let proposal = text(&proposed, "proposal");
    assert_eq!(rollouts(&operator), 1, "a person decides");
    let started = operator.ask(&["proposal", "start", proposal]).unwrap();
    let again = operator.ask(&["proposal", "start", proposal]).unwrap();
    assert_eq!(started["rollout"], again["rollout"]);
    until(&operator, &held.name, "mail to flow", mended);
    assert_eq!(rollouts(&operator), 2);

    // The answer to a start was lost, and the operator gives the command again.
    let lost = "0198c5aa-1234-7000-8000-000000000001";
    let start = [
        "rollout",
        "start",
        POLICY,
        "-l",
        "site",
        "--request-id",
        lost,
    ];
    let first = operator.ask(&[&start[..], &["--yes"]].concat()).unwrap();
    let again = operator.ask(&[&start[..], &["--yes"]].concat()).unwrap();
    assert_eq!(first["id"], again["id"]);
    let approved = [&start[..], &["--approve", "000000000000"]].concat();
    let changed = operator.ask(&approved).unwrap();
    assert_eq!(first["id"], changed["id"], "whatever the plan is by now");
    assert_eq!(rollouts(&operator), 3);
    let told = world.tell().unwrap();
    assert_eq!(truth::count(&told, Fate::DeliveredOnce), 2 * MESSAGES);
    assert_eq!(fleet.stop(), Vec::<String>::new());
}
