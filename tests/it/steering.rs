//! A fleet of three sites and its operator, with real processes: waves that are approved, failed runs that are
//! tried again, a policy that is recalled while it is carried out, and a doctor who names an agent that stays away.
//! Whether a server was touched is asked of its service manager, never of its agent.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mailmend_lab::awaited;
use mailmend_lab::clock_factor::ClockFactor;
use mailmend_lab::ims::SERVICE;
use mailmend_lab::load::Load;
use mailmend_lab::programs::Programs;
use mailmend_lab::scenario::fleet::{Fleet, Guarded};
use mailmend_lab::scenario::operator::Operator;
use mailmend_lab::service_manager::State;
use mailmend_lab::truth::{self, Fate};
use mailmend_lab::world::{Server, SiteSpec, World, WorldSpec};
use serde_json::Value;

use crate::lab_run::programs;

mod approved;
mod doctor;
mod recalled;
mod simulated;

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");
const POLICY: &str = "stuck-outbound-routing";
const SITES: usize = 3;
/// Of each site.
const MESSAGES: usize = 6;
/// For anything that the fleet does by itself, on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);
/// What the command line ends with where something is refused.
const REFUSED: i32 = 5;

/// Three sites of two servers, with a controller and all agents.
struct Room {
    // The fleet ends before the world does.
    fleet: Fleet,
    operator: Operator,
    /// Another person: nobody approves their own change.
    approver: Operator,
    world: World,
}

impl Room {
    fn bring_up(folder: &Path, clock_factor: ClockFactor, site: SiteSpec) -> Self {
        programs();
        let programs = Programs::built_beside(LAB.as_ref()).unwrap();
        let spec = WorldSpec {
            sites: vec![site; SITES],
            clock_factor,
            ..WorldSpec::default()
        };
        let world = World::build(folder, spec, LAB.as_ref()).unwrap();
        let fleet = Fleet::start(&world, &programs, &|_| Guarded::default()).unwrap();
        Self {
            approver: fleet.operator.colleague("ben", "approver").unwrap(),
            operator: fleet.operator.clone(),
            fleet,
            world,
        }
    }

    /// The same with mail that waits on every Server B for the reason of Q268494, and its policy published.
    fn with_stuck_mail(folder: &Path) -> Self {
        let room = Self::bring_up(folder, ClockFactor(60), SiteSpec::default());
        let mut load = Load::new(11, &room.world.truth_of_users()).unwrap();
        // A quarter of an hour of life is 15 seconds here.
        let long_ago = SystemTime::now() - Duration::from_secs(20);
        for server in room.world.outbound_only() {
            for _ in 0..MESSAGES {
                load.send_waiting_since(&server.site, &server.name, &server.dir, Some(long_ago))
                    .unwrap();
            }
        }
        room.ask(&["policy", "publish", "--shipped", POLICY]);
        room
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

    /// The servers of a site, A before B. Sites are counted as waves take them: by name.
    fn servers(&self, site: usize) -> [&Server; 2] {
        let mut servers: Vec<&Server> = self.world.servers.iter().collect();
        servers.sort_by_key(|server| (&server.site, &server.name));
        [servers[2 * site], servers[2 * site + 1]]
    }

    /// Server A of a site, which sends and receives.
    fn a(&self, site: usize) -> &Server {
        self.servers(site)[0]
    }

    /// Server B of a site, which only sends.
    fn b(&self, site: usize) -> &Server {
        self.servers(site)[1]
    }

    /// Starts a rollout over all sites; returns its id.
    fn start(&self, policy: &str, strategy: &[&str]) -> String {
        let start = ["rollout", "start", policy, "-l", "site", "--yes"];
        id(&self.ask(&[&start[..], strategy].concat()))
    }

    /// Waits until a rollout is as it should be, and returns it.
    fn until(&self, rollout: &str, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = awaited::or_fail(what, LIMIT, || {
            last = self.ask(&["rollout", "show", rollout]);
            seen(&last)
        });
        let waits = || self.ask(&["rollout", "explain", rollout]);
        assert!(found.is_ok(), "{what}: {last:#}\nit waits: {:#}", waits());
        last
    }

    fn until_state(&self, rollout: &str, state: &str) -> Value {
        self.until(rollout, state, |shown| shown["state"] == state)
    }

    /// What a rollout waits for, by kind.
    fn waits_for(&self, rollout: &str, kind: &str) -> Option<Value> {
        let explained = self.ask(&["rollout", "explain", rollout]);
        let all = explained["waiting"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["kind"] == kind)
    }

    /// Waits until a rollout asks a person before a wave.
    fn until_asked(&self, rollout: &str, wave: u64) -> Value {
        let what = format!("wave {wave} to wait for a person");
        let begins = format!("wave {wave} is approved");
        let asks = |_: &Value| {
            let waits = self.waits_for(rollout, "approval").unwrap_or_default();
            let predicate = waits["predicate"].as_str().unwrap_or_default();
            predicate.starts_with(&begins)
        };
        self.until(rollout, &what, asks);
        // What was shown just before the rollout asked may be older than that.
        self.ask(&["rollout", "show", rollout])
    }

    /// Approves a wave exactly as it is shown.
    fn approve(&self, shown: &Value, wave: usize) {
        let digest = shown["waves"][wave - 1]["digest"].as_str().unwrap();
        let (rollout, number) = (id(shown), wave.to_string());
        let approve = ["rollout", "approve", &rollout, "--wave", &number];
        let approve = [&approve[..], &["--digest", digest]].concat();
        let said = self.refused(&approve);
        assert!(said.contains("C151-own-change"), "{said}");
        self.approver.ask(&approve).unwrap();
    }

    /// Asserts that nothing was done to the mail services of these sites, by their managers' own history.
    fn assert_untouched(&self, sites: Range<usize>) {
        for server in sites.flat_map(|site| self.servers(site)) {
            let history = server.services().history().unwrap();
            let own = history.iter().filter(|change| change.service == SERVICE);
            let states: Vec<State> = own.map(|change| change.state).collect();
            assert_eq!(states, [State::Starting, State::Running], "{}", server.name);
        }
    }

    /// Waits until the mail service of a server was asked to stop.
    fn until_stopping(&self, server: &Server) {
        awaited::or_fail("its service to be stopped", LIMIT, || was_stopped(server)).unwrap();
    }

    fn assert_all_run(&self) {
        for server in &self.world.servers {
            assert!(server.ims_runs(), "{}", server.name);
        }
    }

    /// How many messages of each fate there are.
    fn count(&self, fate: Fate) -> usize {
        truth::count(&self.world.tell().unwrap(), fate)
    }

    fn end(mut self) {
        assert_eq!(self.fleet.stop(), Vec::<String>::new());
    }
}

fn was_stopped(server: &Server) -> bool {
    let history = server.services().history().unwrap();
    let stops = |state| state == State::Stopping || state == State::Stopped;
    history
        .iter()
        .any(|change| change.service == SERVICE && stops(change.state))
}

fn id(rollout: &Value) -> String {
    rollout["id"].as_str().unwrap().to_owned()
}

/// How the run of a site stands.
fn phase<'r>(rollout: &'r Value, site: &str) -> &'r str {
    let runs = rollout["runs"].as_array().unwrap();
    let run = runs.iter().find(|run| run["site"] == site);
    run.and_then(|run| run["phase"].as_str())
        .unwrap_or_default()
}
