//! A deterministic world in memory, for crash sweeps and for trying a policy.
//!
//! [`SimWorld`] is the machine; it survives the agent. [`SimWorld::host`] begins an agent's life on
//! it; [`SimWorld::kill_at`] ends that life at a chosen point, after which the world goes on as
//! time is given to it. The same seed and the same calls give the same world.
//!
//! Every call that changes something passes two points of the [`KillSwitch`], one before and one
//! after; a call that only reads passes one before; reading the clock passes none. `sleep` lets the
//! world work: it is the only way in which much time passes, each other call takes a millisecond.
//!
//! Differences from a real server, on purpose: what the server itself writes (logs, `queue.dat`,
//! new spool files) is durable at once; nobody sends inbound mail but the test; the tools are named by
//! `recalculate`, `submit`, `list-mts-out` or `imcsave` in their arguments, whatever the program.

mod control;
mod disk;
mod ims;
mod kill;
mod logs;
mod mail;
mod outage;
mod scanner;
mod view;
mod world;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailmend_policy::digest::Digest;

use self::world::{Failure, World};
use super::{HostErrorKind, RegistryValue, ServiceState, ToolOutput};

pub use self::control::ServiceFaults;
pub use self::kill::{KillSwitch, SimulatedKill, run_until_killed};
pub use self::mail::{Account, Balance, Harm};
pub use self::outage::Outage;
pub use self::view::SimHost;

/// How a simulated world begins and how fast it is. Times are in milliseconds of its own clock.
#[derive(Debug, Clone)]
pub struct SimSettings {
    /// Decides every name, text and chance.
    pub seed: u64,
    /// Whether the world begins with Q268494's symptom: nothing is delivered until the routing
    /// table is recalculated *and* the service started after that.
    pub stale_routes: bool,
    /// From taking a file to the next hop having it.
    pub send_ms: u64,
    /// Between each of: next hop has it, reply logged, tracked, file removed.
    pub log_ms: u64,
    /// How many messages of a queue may be on their way at once.
    pub connections: usize,
    /// How long a service takes to start.
    pub start_ms: u64,
    /// How long a service takes to stop, at least.
    pub stop_ms: u64,
    /// Whether the services start by themselves after a power loss.
    pub starts_at_boot: bool,
    /// Free bytes on the volume.
    pub free_bytes: u64,
    /// How many times faster than the wall clock the machine's uptime runs; all times above are in uptime.
    pub clock_factor: u32,
}

impl Default for SimSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            stale_routes: true,
            send_ms: 150,
            log_ms: 20,
            connections: 2,
            start_ms: 800,
            stop_ms: 500,
            starts_at_boot: true,
            free_bytes: 1 << 30,
            clock_factor: 1,
        }
    }
}

/// How an agent's life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Only the agent's process ends; the machine goes on.
    Process,
    /// The machine loses power and starts again two minutes later: services die, unsynced changes
    /// of names survive or do not, by the seed; uptime begins anew.
    Power,
}

/// A simulated machine. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct SimWorld {
    world: Arc<Mutex<World>>,
    kill: KillSwitch,
}

impl SimWorld {
    /// A machine on which every service runs and no mail waits.
    #[must_use]
    pub fn new(settings: SimSettings) -> Self {
        Self {
            world: Arc::new(Mutex::new(World::new(settings))),
            kill: KillSwitch::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        // Kills happen outside the lock; a panic inside is a test's own failure.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a new life of the agent: revives the switch; handles from before do nothing any more.
    #[must_use]
    pub fn host(&self) -> SimHost {
        let mut world = self.lock();
        world.agent += 1;
        self.kill.revive();
        SimHost::new(self.clone(), world.agent)
    }

    /// The switch, for the journal to pass its own points.
    #[must_use]
    pub fn kill_switch(&self) -> KillSwitch {
        self.kill.clone()
    }

    /// Kills the agent at its n-th point from now; 1 is the next one, 0 is never. Call it after
    /// [`Self::host`], which disarms.
    pub fn kill_at(&self, n: u64) {
        self.kill.arm(n);
    }

    /// Lets the n-th changing call on files from now fail, once. An `Io` failure of anything but a
    /// sync takes effect or not, by the seed.
    pub fn fail_at(&self, n: u64, kind: HostErrorKind) {
        let mut world = self.lock();
        let happens = world.rng.bool();
        world.failure = (n > 0).then_some((n, Failure { kind, happens }));
    }

    /// Lets the n-th call on files from now fail, once, those that only read included; reading a file is
    /// one more call after opening it, which fails half way. `happens`: whether a change that fails
    /// with `Io` takes effect all the same.
    pub fn fail_any_at(&self, n: u64, kind: HostErrorKind, happens: bool) {
        let failure = (n > 0).then_some((n, Failure { kind, happens }));
        self.lock().any_failure = failure;
    }

    /// Whether the call that [`Self::fail_any_at`] chose has not been reached yet.
    #[must_use]
    pub fn failure_is_due(&self) -> bool {
        self.lock().any_failure.is_some()
    }

    /// Ends the agent's life, if it has not ended, and does what the crash does to the machine.
    pub fn crash(&self, crash: Crash) {
        let mut world = self.lock();
        world.agent += 1;
        if crash == Crash::Power {
            world.lose_power();
        }
    }

    /// Every machine that a power loss can leave now, each once, started again as by
    /// [`Crash::Power`]: all subsets of the changes of names and file contents that were not synced
    /// (`disk/power.rs` says what the model assumes). This machine stays as it is.
    ///
    /// # Panics
    /// Where more than 16 changes are undecided.
    #[must_use]
    pub fn power_cuts(&self) -> Vec<Self> {
        let mut worlds = self.lock().power_cuts();
        worlds.iter_mut().for_each(|world| world.agent += 1);
        let machine = |world| Self {
            world: Arc::new(Mutex::new(world)),
            kill: KillSwitch::default(),
        };
        worlds.into_iter().map(machine).collect()
    }

    /// A copy of this machine as it is, which goes its own way. No agent lives on it.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut world = self.lock().clone();
        world.agent += 1;
        Self {
            world: Arc::new(Mutex::new(world)),
            kill: KillSwitch::default(),
        }
    }

    /// The same for machines that differ in nothing but their clock's reading: a look at a file takes a
    /// millisecond and changes nothing.
    #[must_use]
    pub fn likeness(&self) -> Digest {
        let alike = World {
            now_ms: 0,
            up_ms: 0,
            rest_ms: 0,
            elapsed_ms: 0,
            outage: Outage::default(),
            agent: 0,
            ..self.lock().clone()
        };
        Digest::of(format!("{alike:?}").as_bytes())
    }

    /// Lets the agent's process end when this much time has passed since the world began; `None`: never.
    pub fn dies_at(&self, elapsed: Option<Duration>) {
        self.lock().dies_ms = elapsed.map(|at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
    }

    /// All time since the world began, whatever its clocks say.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.lock().elapsed_ms)
    }

    /// Lets time pass without the agent.
    pub fn advance(&self, period: Duration) {
        let ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX / 4);
        self.lock().advance(ms);
    }

    /// Moves the wall clock; uptime does not notice.
    pub fn shift_wall_clock(&self, by_ms: i64) {
        self.lock().now_ms += by_ms;
    }

    /// Puts messages into Out as though the service had converted them just now; their spool names.
    pub fn add_outbound(&self, count: usize, bytes: usize) -> Vec<String> {
        let mut world = self.lock();
        (0..count)
            .map(|n| world.add(&format!("user{n}@next-hop.example"), bytes, Harm::Nothing))
            .collect()
    }

    /// Puts a message into Out of which the service dies; its spool name.
    pub fn add_poison(&self) -> String {
        self.add_bad_outbound(Harm::Crash)
    }

    /// Puts a message into Out that does this to the service; its spool name.
    pub fn add_bad_outbound(&self, harm: Harm) -> String {
        self.lock().add("poison@next-hop.example", 100, harm)
    }

    /// Puts messages into In as though they had been received just now; their spool names.
    pub fn add_inbound(&self, count: usize, bytes: usize) -> Vec<String> {
        (0..count)
            .map(|_| self.receive(bytes, Harm::Nothing))
            .collect()
    }

    /// Puts a message into In that does this to the service; its spool name.
    pub fn add_bad_inbound(&self, harm: Harm) -> String {
        self.receive(100, harm)
    }

    fn receive(&self, bytes: usize, harm: Harm) -> String {
        let mut world = self.lock();
        let number = world.receive(bytes, harm);
        world.messages[number].spool_name.clone()
    }

    /// Lets the service take this file, hold it open and get nowhere.
    pub fn hang_on(&self, spool_name: &str) {
        self.lock().hangs.insert(spool_name.to_owned());
    }

    /// Sets how a service misbehaves from now on; unknown names do nothing.
    pub fn set_faults(&self, service: &str, faults: ServiceFaults) {
        let mut world = self.lock();
        if let Some(index) = world.service(service) {
            world.services[index].faults = faults;
        }
    }

    /// Writes an event.
    pub fn write_event(&self, source: &str, id: u32, description: &str) {
        self.lock().event(source, id, description);
    }

    /// Makes the event log unreadable, or readable again.
    pub fn set_events_unreadable(&self, unreadable: bool) {
        self.lock().events_unreadable = unreadable;
    }

    /// Sets a registry value, or takes it away.
    pub fn set_registry(&self, key: &str, value: &str, content: Option<RegistryValue>) {
        let place = (key.to_lowercase(), value.to_lowercase());
        let mut world = self.lock();
        match content {
            Some(content) => world.registry.insert(place, content),
            None => world.registry.remove(&place),
        };
    }

    /// Lets a tool whose arguments hold `argument` answer this from now on, and do nothing else.
    pub fn set_tool_answer(&self, argument: &str, exit_code: i32, text: &str) {
        self.lock()
            .tool_answers
            .insert(argument.to_owned(), (exit_code, text.to_owned()));
    }

    /// The arguments of every tool that was run, in order.
    #[must_use]
    pub fn tool_calls(&self) -> Vec<Vec<String>> {
        self.lock().tool_calls.clone()
    }

    /// Starts or stops a service as a person at the server would.
    pub fn by_hand(&self, service: &str, start: bool) {
        let mut world = self.lock();
        if let Some(index) = world.service(service) {
            // A refusal is an answer to that person.
            let _ = if start {
                world.request_start(index)
            } else {
                world.request_stop(index)
            };
        }
    }

    /// Ends the process of a service as a fault of its own would.
    pub fn kill_service(&self, service: &str) {
        let mut world = self.lock();
        if let Some(index) = world.service(service) {
            world.process_ends(index, 0xC000_0005);
        }
    }

    /// Writes or replaces a file as the server or a person would, with this age.
    pub fn put_file(&self, path: &Path, bytes: &[u8], age: Duration) {
        let mut world = self.lock();
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let modified = world.now_ms.saturating_sub(age);
        world.disk.put(path, bytes, modified);
    }

    /// Puts a symbolic link at a path.
    pub fn put_link(&self, path: &Path) {
        self.lock().disk.put_link(path);
    }

    /// Makes a file look as old as that.
    pub fn set_age(&self, path: &Path, age: Duration) {
        let mut world = self.lock();
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let modified = world.now_ms.saturating_sub(age);
        world.disk.touch(path, modified);
    }

    /// Sets the free bytes on the volume.
    pub fn set_free_bytes(&self, free: u64) {
        self.lock().disk.free = free;
    }

    /// Where every message is.
    #[must_use]
    pub fn balance(&self) -> Balance {
        self.lock().balance()
    }

    /// Whether a service runs.
    #[must_use]
    pub fn is_running(&self, service: &str) -> bool {
        let world = self.lock();
        world
            .service(service)
            .is_some_and(|i| world.services[i].state == ServiceState::Running)
    }

    /// Whether the process of a service lives, whatever the manager says.
    #[must_use]
    pub fn has_process(&self, service: &str) -> bool {
        let world = self.lock();
        world
            .service(service)
            .is_some_and(|i| world.services[i].process.is_some())
    }

    /// How often a service has been started, the world's own start included.
    #[must_use]
    pub fn starts(&self, service: &str) -> u32 {
        let world = self.lock();
        world
            .service(service)
            .map_or(0, |i| world.services[i].starts)
    }

    /// How many files were sent whose bytes are no message that was ever submitted: half or
    /// altered ones. Anything but 0 is a fault of the agent.
    #[must_use]
    pub fn strangers_sent(&self) -> u64 {
        self.lock().strangers_sent
    }

    /// Whether its mail service has anything to do.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.lock().idles()
    }

    /// The milliseconds that have passed on the uptime clock since the machine started.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        self.lock().up_ms
    }
}

impl World {
    fn add(&mut self, to: &str, bytes: usize, harm: Harm) -> String {
        let number = self.submit(to, bytes, harm);
        self.convert(number);
        self.messages[number].spool_name.clone()
    }

    fn run_tool(&mut self, arguments: &[String]) -> ToolOutput {
        let answer = |code, text: &str| ToolOutput {
            exit_code: Some(code),
            text: text.to_owned(),
        };
        self.tool_calls.push(arguments.to_vec());
        let told = arguments
            .iter()
            .find_map(|argument| self.tool_answers.get(argument));
        if let Some((code, text)) = told {
            return answer(*code, text);
        }
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        if has("recalculate") {
            self.advance(1000);
            self.table_fresh = true;
            self.write_gwart();
            self.event(
                "MSExchangeSA",
                5000,
                "The routing table was recalculated. Result: success",
            );
            return answer(0, "recalculated\n");
        }
        if has("submit") {
            let to = arguments.iter().skip_while(|a| *a != "--to").nth(1);
            let to = to
                .map_or("probe@next-hop.example", String::as_str)
                .to_owned();
            let number = self.submit(&to, 200, Harm::Nothing);
            return answer(0, &format!("submitted {}\n", self.messages[number].mts_id));
        }
        if has("list-mts-out") {
            let mut lines = self.mts_out();
            let count = format!("{} item(s) listed.\n", lines.len());
            lines.push(&count);
            return answer(0, &lines.join("\n"));
        }
        if has("imcsave") {
            let place = arguments.iter().skip_while(|a| *a != "--place").nth(1);
            return answer(0, &self.save_mts_out(place.map_or("", String::as_str)));
        }
        answer(2, "no such tool\n")
    }
}

#[cfg(test)]
mod tests;
