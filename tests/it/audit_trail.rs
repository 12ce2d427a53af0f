//! The audit trail with real processes: a rollout over a site, and then everything that was exported is verified by
//! files alone, with every agent's journal. What is changed behind the controller's back is found.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use mailmend_lab::awaited;
use mailmend_lab::load::Load;
use mailmend_lab::programs::Programs;
use mailmend_lab::scenario::fleet::{Fleet, Guarded};
use mailmend_lab::scenario::operator::Operator;
use mailmend_lab::world::{World, WorldSpec};
use serde_json::Value;

use crate::lab_run::programs;

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");
const POLICY: &str = "stuck-outbound-routing";
const LIMIT: Duration = Duration::from_secs(90);
const MESSAGES: usize = 4;
/// What the command line ends with where something was found.
const FOUND: i32 = 3;

/// Exports the journal of every agent, which goes on meanwhile.
fn journals(world: &World, programs: &Programs) -> Vec<PathBuf> {
    let export = |folder: PathBuf, name: &str| {
        let file = world.folder.join(format!("{name}.jsonl"));
        let output = Command::new(&programs.agent)
            .args(["journal", "export"])
            .arg(&file)
            .arg("--config")
            .arg(folder.join("agent.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        file
    };
    let servers = world.servers.iter();
    servers
        .map(|server| export(server.dir.agent(), &server.name))
        .collect()
}

/// Verifies a trail with journals; the exit code and what was told.
fn verified(operator: &Operator, trail: &Path, journals: &[PathBuf]) -> (Option<i32>, Value) {
    let mut arguments = vec!["audit", "verify", trail.to_str().unwrap()];
    for journal in journals {
        arguments.extend(["--journal", journal.to_str().unwrap()]);
    }
    let (code, verdict, said) = operator.ended(&arguments).unwrap();
    assert_ne!(verdict, Value::Null, "{said}");
    (code, verdict)
}

fn export(operator: &Operator, file: &Path) -> String {
    let told = operator
        .ask(&["audit", "export", file.to_str().unwrap()])
        .unwrap();
    told["head"].as_str().unwrap().to_owned()
}

/// Does something to the controller's store that the controller knows nothing of.
fn behind(world: &World, sql: &str) {
    let store = world.folder.join("controller/data/controller.db");
    let database = rusqlite::Connection::open(store).unwrap();
    database.execute_batch(sql).unwrap();
}

#[test]
fn a_rollout_is_verified_by_files_alone_and_what_is_changed_behind_the_controller_is_found() {
    programs();
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs::built_beside(LAB.as_ref()).unwrap();
    let world = World::build(folder.path(), WorldSpec::default(), LAB.as_ref()).unwrap();
    let mut load = Load::new(5, &world.truth_of_users()).unwrap();
    let ill = world.outbound_only().next().unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(20);
    for _ in 0..MESSAGES {
        load.send_waiting_since(&ill.site, &ill.name, &ill.dir, Some(long_ago))
            .unwrap();
    }
    awaited::or_fail("the queue", LIMIT, || ill.waiting().unwrap() == MESSAGES).unwrap();
    let mut fleet = Fleet::start(&world, &programs, &|_| Guarded::default()).unwrap();
    let operator = fleet.operator.clone();
    operator
        .ask(&["policy", "publish", "--shipped", POLICY])
        .unwrap();
    let started = operator
        .ask(&["rollout", "start", POLICY, "-l", "site", "--yes"])
        .unwrap();
    let rollout = started["id"].as_str().unwrap();
    let mut last = Value::Null;
    let over = awaited::or_fail("the rollout to end", LIMIT, || {
        last = operator.ask(&["rollout", "show", rollout]).unwrap();
        last["state"] == "succeeded"
    });
    assert!(over.is_ok(), "{last:#}");

    // Whoever cuts the end off has a whole trail, which agents contradict once they have noted its head after their
    // runs had closed.
    let (trail, cut) = (
        folder.path().join("trail.jsonl"),
        folder.path().join("cut.jsonl"),
    );
    export(&operator, &trail);
    let text = std::fs::read_to_string(&trail).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&cut, lines[..12].join("\n") + "\n").unwrap();
    let (code, verdict) = verified(&operator, &cut, &[]);
    assert_eq!(code, Some(0), "by itself it is whole: {verdict:#}");
    let mut exported = Vec::new();
    awaited::or_fail("agents to witness the end", LIMIT, || {
        exported = journals(&world, &programs);
        let (code, verdict) = verified(&operator, &cut, &exported);
        let found = verdict["found"].as_array().unwrap();
        let by_witness = |one: &Value| {
            one["what"]
                .as_str()
                .unwrap()
                .contains("of its journal) saw it")
        };
        code == Some(FOUND) && found.iter().any(by_witness)
    })
    .unwrap();
    // After the journals: what they saw is in it.
    let head = export(&operator, &trail);
    let (code, verdict) = verified(&operator, &trail, &exported);
    assert_eq!(code, Some(0), "{verdict:#}");
    assert_eq!(verdict["found"], Value::Array(Vec::new()));
    assert_eq!(
        verdict["journals"].as_array().unwrap().len(),
        exported.len()
    );

    // As it stood before anything was assigned, in the middle, and at its end.
    let now = operator.ask(&["rollout", "show", rollout]).unwrap();
    let at_end = ["rollout", "show", rollout, "--at", "2100-01-01T00:00:00Z"];
    assert_eq!(operator.ask(&at_end).unwrap()["runs"], now["runs"]);
    let entries = operator
        .ask(&["audit", "list", "--target", rollout, "--limit", "1000"])
        .unwrap();
    let entries = entries["entries"].as_array().unwrap();
    let first = entries[0]["at"].as_str().unwrap();
    let then = operator
        .ask(&["rollout", "show", rollout, "--at", first])
        .unwrap();
    assert_eq!(then["state"], "running");
    assert_eq!(then["ended"], Value::Null);
    let before = ["rollout", "show", rollout, "--at", "2001-01-01T00:00:00Z"];
    let (code, _, said) = operator.ended(&before).unwrap();
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("C161-not-in-the-trail"), "{said}");

    // The store refuses; with its triggers gone the live trail and the next export are found out.
    behind(
        &world,
        "DROP TRIGGER audit_is_never_changed; UPDATE audit SET actor = 'eve' WHERE kind = 'publish-policy'",
    );
    let (code, verdict, said) = operator.ended(&["audit", "verify"]).unwrap();
    assert_eq!(code, Some(FOUND), "{said}");
    assert!(
        verdict["found"][0]["means"]
            .as_str()
            .unwrap()
            .contains("changed")
    );
    let forged = folder.path().join("forged.jsonl");
    export(&operator, &forged);
    let (code, verdict) = verified(&operator, &forged, &[]);
    assert_eq!(code, Some(FOUND), "{verdict:#}");
    let data = world.folder.join("controller/data");
    let data = ["audit", "verify", "--data", data.to_str().unwrap()];
    let (code, verdict, said) = operator.ended(&data).unwrap();
    assert_eq!(code, Some(FOUND), "{said}");
    assert!(verdict["entries"].as_u64().unwrap() > 0);

    let cut = ["audit", "verify", cut.to_str().unwrap(), "--head", &head];
    assert_eq!(operator.ended(&cut).unwrap().0, Some(FOUND));
    assert_eq!(fleet.stop(), Vec::<String>::new());
}
