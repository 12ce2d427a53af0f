//! A person's word with real processes: mail that a run kept is released, delivered once, and the ledger agrees
//! with disk and logs.

use std::time::{Duration, SystemTime};

use mailmend_lab::awaited;
use mailmend_lab::load::Load;
use mailmend_lab::programs::Programs;
use mailmend_lab::scenario::fleet::{Fleet, Guarded};
use mailmend_lab::scenario::operator::Operator;
use mailmend_lab::truth::{self, Fate};
use mailmend_lab::world::{World, WorldSpec};
use serde_json::Value;

use crate::lab_run::programs;

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");
const POLICY: &str = "stuck-outbound-routing";
const LIMIT: Duration = Duration::from_secs(60);
const MESSAGES: usize = 12;

/// The shipped policy, which keeps what it holds, and whose run fails once the service is up again.
fn failing_policy() -> String {
    let shipped = mailmend_policy::library::SHIPPED;
    let (_, text) = shipped.iter().find(|(name, _)| *name == POLICY).unwrap();
    let probe = text.find("[[step]]\nid = \"probe\"").unwrap();
    let check = "[[step]]\nid = \"impossible\"\non = \"outbound\"\naction = \"check\"\n\
                 all = [{ file = \"${imcdata}/queue.dat\", exists = false }]\n\n";
    let kept = text.replacen("undo = \"replay\"", "undo = \"keep\"", 1);
    assert_ne!(kept, *text);
    let at = probe - (text.len() - kept.len());
    format!("{}{check}{}", &kept[..at], &kept[at..])
}

fn ended(operator: &Operator, rollout: &str) -> Value {
    let mut last = Value::Null;
    let over = awaited::or_fail("the rollout to end", LIMIT, || {
        last = operator.ask(&["rollout", "show", rollout]).unwrap();
        ["failed", "halted", "succeeded"].contains(&last["state"].as_str().unwrap())
            && last["runs"][0]["phase"] != "unwinding"
    });
    assert!(over.is_ok(), "{last:#}");
    last
}

#[test]
fn mail_that_a_failed_run_keeps_is_released_and_every_message_delivered_once() {
    programs();
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs::built_beside(LAB.as_ref()).unwrap();
    let world = World::build(folder.path(), WorldSpec::default(), LAB.as_ref()).unwrap();
    let mut load = Load::new(3, &world.truth_of_users()).unwrap();
    let ill = world.outbound_only().next().unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(20);
    for _ in 0..MESSAGES {
        load.send_waiting_since(&ill.site, &ill.name, &ill.dir, Some(long_ago))
            .unwrap();
    }
    awaited::or_fail("the queue", LIMIT, || ill.waiting().unwrap() == MESSAGES).unwrap();
    let mut fleet = Fleet::start(&world, &programs, &|_| Guarded::default()).unwrap();
    let operator = fleet.operator.clone();
    let file = folder.path().join("failing.toml");
    std::fs::write(&file, failing_policy()).unwrap();
    operator
        .ask(&["policy", "publish", file.to_str().unwrap()])
        .unwrap();
    let started = operator
        .ask(&["rollout", "start", POLICY, "-l", "site", "--yes"])
        .unwrap();
    let rollout = started["id"].as_str().unwrap();
    let shown = ended(&operator, rollout);
    let run = shown["runs"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(shown["runs"][0]["custody"]["held"], MESSAGES, "{shown:#}");
    let explained = operator.ask(&["rollout", "explain", rollout]).unwrap();
    let release = explained["waiting"].to_string();
    assert!(release.contains("mailmend custody release"), "{release}");
    assert_eq!(world.tell().unwrap().len(), MESSAGES);
    assert_eq!(truth::count(&world.tell().unwrap(), Fate::Held), MESSAGES);

    let order = operator
        .ask(&["custody", "release", &run, "--why", "the routes are new"])
        .unwrap();
    assert_eq!(order["over"], true, "{order:#}");
    assert!(
        order["outcome"].as_str().unwrap().contains("given back"),
        "{order:#}"
    );
    let again = operator.ask(&["run", "order", order["order"].as_str().unwrap()]);
    assert_eq!(again.unwrap()["state"], "taken");
    let told = world.tell().unwrap();
    assert_eq!(truth::count(&told, Fate::DeliveredOnce), MESSAGES);

    let ledger = operator.ask(&["run", "ledger", &run]).unwrap();
    assert_eq!(ledger["counts"]["gone-with-evidence"], MESSAGES);
    let history = ledger["entries"][0]["history"].as_array().unwrap();
    let states: Vec<&str> = history
        .iter()
        .map(|one| one["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["live", "held", "replaying", "gone-with-evidence"]);
    let audit = operator.ask(&["ledger", "audit", &ill.name]).unwrap();
    assert_eq!(audit["messages"], MESSAGES, "{audit:#}");
    assert_eq!(audit["disagreements"], Value::Array(Vec::new()));
    let nothing = operator.ask(&["custody", "release", &run, "--why", "once more"]);
    assert!(nothing.unwrap_err().whole().contains("holds nothing"));
    assert_eq!(fleet.stop(), Vec::<String>::new());
}
