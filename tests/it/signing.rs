//! Signed policies, with real processes and the commands that people use: what is not signed is refused by the
//! controller, and by the agent where the controller was made to ask all the same; keys rotate; old documents are
//! refused, also after a restart.

use std::path::Path;
use std::time::{Duration, SystemTime};

use mailmend_lab::awaited;
use mailmend_lab::ims::SERVICE;
use mailmend_lab::load::Load;
use mailmend_lab::programs::Programs;
use mailmend_lab::scenario::fleet::{Fleet, Guarded};
use mailmend_lab::scenario::operator::Operator;
use mailmend_lab::service_manager::State;
use mailmend_lab::truth::{self, Fate};
use mailmend_lab::world::{Server, World, WorldSpec};
use serde_json::Value;

use crate::lab_run::programs;

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");
const POLICY: &str = "stuck-outbound-routing";
const MESSAGES: usize = 6;
const LIMIT: Duration = Duration::from_secs(90);
/// Before everything else of the policy.
const ASKS: &str = r#"[[step]]
id = "ask-first"
on = "outbound"
action = "human.task"
ask = "May the mail of this site be mended now?"
answers = ["yes", "no"]
accept = ["yes"]
timeout = "1d"
why = "somebody has to agree"
"#;
/// What the command line ends with where something is refused.
const REFUSED: i32 = 5;

struct Room {
    // The fleet ends before the world does.
    fleet: Fleet,
    operator: Operator,
    world: World,
}

impl Room {
    /// A site with mail that waits on its Server B; nothing is published.
    fn new(folder: &Path) -> Self {
        programs();
        let programs = Programs::built_beside(LAB.as_ref()).unwrap();
        let world = World::build(folder, WorldSpec::default(), LAB.as_ref()).unwrap();
        let mut load = Load::new(7, &world.truth_of_users()).unwrap();
        let ill = world.outbound_only().next().unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(20);
        for _ in 0..MESSAGES {
            load.send_waiting_since(&ill.site, &ill.name, &ill.dir, Some(long_ago))
                .unwrap();
        }
        let fleet = Fleet::start(&world, &programs, &|_| Guarded::default()).unwrap();
        Self {
            operator: fleet.operator.unsigned(),
            fleet,
            world,
        }
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        self.operator.ask(arguments).unwrap()
    }

    /// Asks for something that must be refused, and returns what is said.
    fn refused(&self, arguments: &[&str]) -> String {
        let (code, _, said) = self.operator.ended(arguments).unwrap();
        assert_eq!(code, Some(REFUSED), "{arguments:?}: {said}");
        said
    }

    fn start<'a>(&self, policy: &'a str) -> [&'a str; 6] {
        ["rollout", "start", policy, "-l", "site", "--yes"]
    }

    /// Starts a rollout and waits until it is in one of these states.
    fn until(&self, rollout: &str, states: &[&str]) -> Value {
        let mut last = Value::Null;
        let found = awaited::or_fail("the rollout", LIMIT, || {
            last = self.ask(&["rollout", "show", rollout]);
            states.contains(&last["state"].as_str().unwrap())
        });
        let waits = || self.ask(&["rollout", "explain", rollout]);
        assert!(found.is_ok(), "{last:#}\nit waits: {:#}", waits());
        last
    }

    /// The versions that an agent holds: root, catalogue, timestamp.
    fn held(&self, server: &str) -> [u64; 3] {
        let trust = self.operator.ended(&["trust", "show"]).unwrap().1;
        let agents = trust["agents"].as_array().unwrap();
        let agent = agents.iter().find(|one| one["agent"] == server).unwrap();
        assert_eq!(agent["policies"], "signed", "{agent}");
        ["root", "catalogue", "timestamp"].map(|kind| agent[kind].as_u64().unwrap())
    }

    fn until_all_hold(&self, versions: [u64; 3]) {
        let mut last = Vec::new();
        let found = awaited::or_fail("what is signed to be followed", LIMIT, || {
            let all = self.world.servers.iter();
            last = all.map(|server| self.held(&server.name)).collect();
            last.iter().all(|held| *held == versions)
        });
        assert!(found.is_ok(), "{last:?}");
    }

    fn b(&self) -> &Server {
        self.world.outbound_only().next().unwrap()
    }

    fn assert_untouched(&self) {
        for server in &self.world.servers {
            let history = server.services().history().unwrap();
            let own = history.iter().filter(|change| change.service == SERVICE);
            let states: Vec<State> = own.map(|change| change.state).collect();
            assert_eq!(states, [State::Starting, State::Running], "{}", server.name);
        }
        assert_eq!(self.count(Fate::Waiting), MESSAGES);
    }

    fn count(&self, fate: Fate) -> usize {
        truth::count(&self.world.tell().unwrap(), fate)
    }
}

fn id(rollout: &Value) -> String {
    rollout["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_nobody_signed_is_refused_by_the_controller_and_by_every_agent_whatever_the_controller_asks()
{
    let folder = tempfile::tempdir().unwrap();
    let mut room = Room::new(folder.path());
    room.ask(&["policy", "publish", "--shipped", POLICY]);
    let said = room.refused(&room.start(POLICY));
    assert!(said.contains("C172-trust-missing"), "{said}");

    // A catalogue that does not list it.
    let signing = room.fleet.signing.clone();
    signing
        .catalogue(&room.operator, &["--shipped", "silent-loss"], &[])
        .unwrap();
    signing.timestamp(&room.operator, "7d").unwrap();
    signing.publish(&room.operator).unwrap();
    room.until_all_hold([1, 1, 1]);
    let said = room.refused(&room.start(POLICY));
    assert!(said.contains("C171-policy-unsigned"), "{said}");

    // Somebody has the controller's store, and makes it believe that no agent asks for signatures.
    let store = folder.path().join("controller/data/controller.db");
    let altered = rusqlite::Connection::open(&store).unwrap();
    let told = "UPDATE trust_held SET signed = 0";
    assert_eq!(altered.execute(told, []).unwrap(), room.world.servers.len());
    drop(altered);
    let rollout = id(&room.ask(&room.start(POLICY)));
    let shown = room.until(&rollout, &["failed", "halted", "aborted"]);
    assert!(
        shown.to_string().contains("A160-policy-unsigned"),
        "{shown:#}"
    );
    room.assert_untouched();
    assert_eq!(room.fleet.stop(), Vec::<String>::new());
}

#[test]
fn keys_rotate_old_documents_are_refused_and_a_run_under_way_outlives_its_signatures() {
    let folder = tempfile::tempdir().unwrap();
    let mut room = Room::new(folder.path());
    let signing = room.fleet.signing.clone();
    let signed = room.fleet.operator.clone();
    // A person is asked first, so that the run is under way for as long as that person takes.
    let shipped = mailmend_policy::library::find(POLICY).unwrap();
    let text = String::from_utf8(shipped.bytes().to_vec()).unwrap();
    let asking = text.replacen("[[step]]", &format!("{ASKS}\n[[step]]"), 1);
    let file = folder.path().join("asking.toml");
    std::fs::write(&file, asking).unwrap();
    signed
        .ask(&["policy", "publish", file.to_str().unwrap()])
        .unwrap();
    room.until_all_hold([1, 1, 1]);

    // Root 2 takes Ben's key out and Dora's in: signed by enough of both.
    let dora = format!("dora={}", signing.key(&room.operator, "dora").unwrap());
    let (first, second) = (signing.file("root", 1), signing.file("root", 2));
    let next = [
        "trust", "root", "--from", &first, "--out", &second, "--life", "365d",
    ];
    room.ask(&[&next[..], &["--remove", "ben", "--root-key", &dora]].concat());
    signing
        .sign(&room.operator, "root", 2, &["anna", "ben"])
        .unwrap();
    let said = room.refused(&["trust", "publish", &second]);
    assert!(said.contains("signed by 1 keys of the new root"), "{said}");
    signing.sign(&room.operator, "root", 2, &["dora"]).unwrap();

    signing.timestamp(&room.operator, "7d").unwrap();
    signing.publish(&room.operator).unwrap();
    room.until_all_hold([2, 1, 2]);

    // A run is under way, and waits for a person, when the timestamp expires.
    let rollout = id(&room.ask(&room.start(POLICY)));
    let run = room.ask(&["rollout", "show", &rollout])["runs"][0]["id"].clone();
    let run = run.as_str().unwrap();
    awaited::or_fail("the run to ask", LIMIT, || {
        let shown = room.ask(&["run", "show", run]);
        let steps = shown["steps"].as_array().unwrap();
        steps.iter().any(|step| step["asks"].is_object())
    })
    .unwrap();
    signing.timestamp(&room.operator, "3s").unwrap();
    signing.publish(&room.operator).unwrap();
    awaited::or_fail("the timestamp to expire", LIMIT, || {
        let (code, trust, _) = room.operator.ended(&["trust", "show"]).unwrap();
        let stale = trust["stale"].as_str().unwrap_or_default();
        code == Some(3) && stale.contains("timestamp 3 expired")
    })
    .unwrap();
    let shown = room.ask(&["rollout", "show", &rollout]);
    assert_eq!(shown["state"], "running", "{shown:#}");
    room.assert_untouched();
    let answer = ["run", "answer", run, "--step", "ask-first"];
    room.ask(&[&answer[..], &["--answer", "yes", "--no-wait"]].concat());
    room.until(&rollout, &["succeeded"]);
    assert_eq!(room.count(Fate::DeliveredOnce), MESSAGES);
    let said = room.refused(&room.start(POLICY));
    assert!(said.contains("C173-trust-expired"), "{said}");

    // An older store is put back: the controller offers what it had, and the agents keep what they know.
    let store = folder.path().join("controller/data/controller.db");
    let altered = rusqlite::Connection::open(&store).unwrap();
    let root: Vec<u8> = std::fs::read(signing.root()).unwrap();
    let mut old = mailmend_trust::Trusted::pin(&root).unwrap();
    let read = |kind: &str| {
        let text = std::fs::read(signing.file(kind, 1)).unwrap();
        let lines = std::fs::read_to_string(format!("{}.sig", signing.file(kind, 1))).unwrap();
        let signatures = mailmend_trust::Signature::read_all(&lines).unwrap();
        Some(mailmend_trust::Signed { text, signatures })
    };
    let offer = mailmend_trust::Offer {
        roots: Vec::new(),
        timestamp: read("timestamp"),
        catalogue: read("catalogue"),
    };
    let step = old.offered(&offer, jiff::Timestamp::now().as_millisecond());
    assert_eq!(step.refused, None);
    old = step.state;
    let put_back = "UPDATE trust_state SET state = ?1, generation = generation + 1";
    altered.execute(put_back, [old.write().unwrap()]).unwrap();
    altered
        .execute("DELETE FROM trust_roots WHERE version = 2", [])
        .unwrap();
    drop(altered);
    let name = room.b().name.clone();
    assert!(room.fleet.kill_agent(&name));
    room.fleet.start_agent(&name).unwrap();
    awaited::or_fail("the agent to refuse it", LIMIT, || {
        let trust = room.operator.ended(&["trust", "show"]).unwrap().1;
        let agents = trust["agents"].as_array().unwrap();
        let agent = agents
            .iter()
            .find(|one| one["agent"] == name.as_str())
            .unwrap();
        // It has expired and it was offered an older one; the first is what it begins nothing for.
        agent["code"] == "A161-trust-expired" && agent["root"] == 2 && agent["timestamp"] == 3
    })
    .unwrap();
    let log = std::fs::read_to_string(room.b().dir.agent().join("agent.log")).unwrap();
    assert!(log.contains("A163-trust-refused"), "{log}");
    assert_eq!(room.held(&name), [2, 1, 3]);
    assert_eq!(room.fleet.stop(), Vec::<String>::new());
}
