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
//! new spool files) is durable at once; inbound mail is not simulated; the tools are named by
//! `recalculate` or `submit` in their arguments, whatever the program.

mod control;
mod disk;
mod ims;
mod kill;
mod logs;
mod mail;
mod world;

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailmend_policy::condition::PathRoot;
use mailmend_policy::name::ServiceName;

use self::world::{IMCDATA, MTADATA, TRACKING, World};
use super::{
    Clock, Effect, EventRecord, Events, FileInfo, Host, HostError, HostErrorKind, ProcessIdentity,
    Registry, RegistryValue, ServiceState, ServiceStatus, Services, Spool, ToolOutput, Tools,
    Uptime,
};

pub use self::control::ServiceFaults;
pub use self::kill::{KillSwitch, SimulatedKill, run_until_killed};
pub use self::mail::{Account, Balance};

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
    /// How many messages may be on their way at once.
    pub connections: usize,
    /// How long a service takes to start.
    pub start_ms: u64,
    /// How long a service takes to stop, at least.
    pub stop_ms: u64,
    /// Whether the services start by themselves after a power loss.
    pub starts_at_boot: bool,
    /// Free bytes on the volume.
    pub free_bytes: u64,
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
        SimHost {
            world: self.clone(),
            agent: world.agent,
        }
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
        self.lock().failure = (n > 0).then_some((n, kind));
    }

    /// Ends the agent's life, if it has not ended, and does what the crash does to the machine.
    pub fn crash(&self, crash: Crash) {
        let mut world = self.lock();
        world.agent += 1;
        if crash == Crash::Power {
            world.lose_power();
        }
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
            .map(|n| world.add(&format!("user{n}@next-hop.example"), bytes, false))
            .collect()
    }

    /// Puts a message into Out of which the service dies; its spool name.
    pub fn add_poison(&self) -> String {
        self.lock().add("poison@next-hop.example", 100, true)
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

    /// The milliseconds that have passed on the uptime clock since the machine started.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        self.lock().up_ms
    }
}

impl World {
    fn add(&mut self, to: &str, bytes: usize, poison: bool) -> String {
        let number = self.submit(to, bytes, poison);
        self.convert(number);
        self.messages[number].spool_name.clone()
    }

    fn run_tool(&mut self, arguments: &[String]) -> ToolOutput {
        let answer = |code, text: &str| ToolOutput {
            exit_code: Some(code),
            text: text.to_owned(),
        };
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
            let number = self.submit(&to, 200, false);
            return answer(0, &format!("submitted {}\n", self.messages[number].mts_id));
        }
        answer(2, "no such tool\n")
    }
}

/// An agent's view of a [`SimWorld`], for one life.
#[derive(Debug)]
pub struct SimHost {
    world: SimWorld,
    agent: u64,
}

type Refusal = (HostErrorKind, &'static str);

impl SimHost {
    /// Whether this life goes on. A thread of a dead agent ends here, unless it is ending already.
    fn alive(&self, attempted: &str) -> Result<MutexGuard<'_, World>, HostError> {
        let world = self.world.lock();
        if world.agent == self.agent && !self.world.kill.is_dead() {
            return Ok(world);
        }
        drop(world);
        self.world.kill.point("after death");
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(SimulatedKill {
                point: 0,
                what: "after death",
            }));
        }
        Err(HostError::unchanged(
            HostErrorKind::Io,
            attempted,
            "the agent is dead",
        ))
    }

    fn read<T>(
        &self,
        before: &'static str,
        attempted: impl FnOnce() -> String,
        act: impl FnOnce(&mut World) -> Result<T, Refusal>,
    ) -> Result<T, HostError> {
        self.world.kill.point(before);
        let mut world = self.alive(before)?;
        world.advance(1);
        act(&mut world).map_err(|(kind, reason)| HostError::unchanged(kind, attempted(), reason))
    }

    fn change<T>(
        &self,
        points: (&'static str, &'static str),
        attempted: impl FnOnce() -> String,
        act: impl FnOnce(&mut World) -> Result<T, Refusal>,
    ) -> Result<T, HostError> {
        let result = self.read(points.0, attempted, act);
        self.world.kill.point(points.1);
        result
    }

    /// A changing call on files: it may be the one that was chosen to fail.
    fn file_change(
        &self,
        points: (&'static str, &'static str),
        attempted: impl FnOnce() -> String,
        act: impl FnOnce(&mut World) -> Result<(), Refusal>,
    ) -> Result<(), HostError> {
        let mut effect = Effect::None;
        let result = self.change(points, attempted, |world| {
            let Some(kind) = world.fails_now() else {
                return act(world);
            };
            if kind == HostErrorKind::Io {
                effect = Effect::Unknown;
                if world.rng.bool() {
                    // It happened, and nobody will know.
                    let _ = act(world);
                }
            }
            Err((kind, "injected"))
        });
        result.map_err(|error| HostError { effect, ..error })
    }

    fn service<T>(
        &self,
        points: (&'static str, Option<&'static str>),
        service: &ServiceName,
        act: impl FnOnce(&mut World, usize) -> Result<T, u32>,
    ) -> Result<T, HostError> {
        let attempted = || format!("{} `{service}`", points.0);
        let mut code = 0;
        let result = self.read(points.0, attempted, |world| {
            let found = world.service(service.as_str()).ok_or(1060);
            found
                .and_then(|index| act(world, index))
                .map_err(|refused| {
                    code = refused;
                    (
                        HostErrorKind::Service(refused),
                        "the service manager refused",
                    )
                })
        });
        if let Some(after) = points.1 {
            self.world.kill.point(after);
        }
        result
    }
}

impl Host for SimHost {
    fn services(&self) -> &dyn Services {
        self
    }
    fn spool(&self) -> &dyn Spool {
        self
    }
    fn registry(&self) -> &dyn Registry {
        self
    }
    fn events(&self) -> &dyn Events {
        self
    }
    fn tools(&self) -> &dyn Tools {
        self
    }
    fn clock(&self) -> &dyn Clock {
        self
    }

    fn root(&self, root: PathRoot) -> Result<PathBuf, HostError> {
        let (service, value, standard) = match root {
            PathRoot::Imcdata | PathRoot::Exchsrvr => ("MSExchangeIMC", "RootDir", IMCDATA),
            PathRoot::Mtadata => ("MSExchangeMTA", "MTA database path", MTADATA),
            PathRoot::Trackinglog => ("MSExchangeSA", "Log Directory", TRACKING),
        };
        let key = format!(r"SYSTEM\CurrentControlSet\Services\{service}\Parameters");
        let Some(RegistryValue::Text(path)) = Registry::read(self, &key, value)? else {
            return Err(HostError::unchanged(
                HostErrorKind::NotFound,
                format!("find the folder that `{key}\\{value}` names (usually `{standard}`)"),
                "the registry has no such text",
            ));
        };
        let path = PathBuf::from(path);
        Ok(match root {
            PathRoot::Exchsrvr => path
                .parent()
                .map_or_else(|| path.clone(), Path::to_path_buf),
            PathRoot::Imcdata | PathRoot::Mtadata | PathRoot::Trackinglog => path,
        })
    }
}

impl Services for SimHost {
    fn query(&self, service: &ServiceName) -> Result<ServiceStatus, HostError> {
        self.service(("query the service", None), service, |world, index| {
            Ok(world.status(index))
        })
    }

    fn request_stop(&self, service: &ServiceName) -> Result<(), HostError> {
        let points = ("stop the service", Some("stopped the service"));
        self.service(points, service, World::request_stop)
    }

    fn request_start(&self, service: &ServiceName) -> Result<(), HostError> {
        let points = ("start the service", Some("started the service"));
        self.service(points, service, World::request_start)
    }

    fn end_process(&self, process: &ProcessIdentity) -> Result<(), HostError> {
        let attempted = || format!("end the process {}", process.pid);
        self.change(
            ("end the process", "ended the process"),
            attempted,
            |world| {
                let index = world
                    .process(process)
                    .ok_or((HostErrorKind::NotFound, "no such process is left"))?;
                world.process_ends(index, 1);
                Ok(())
            },
        )
    }

    fn process_alive(&self, process: &ProcessIdentity) -> Result<bool, HostError> {
        let attempted = || format!("look at the process {}", process.pid);
        self.read("look at the process", attempted, |world| {
            Ok(world.process(process).is_some())
        })
    }

    fn running_dependents(&self, service: &ServiceName) -> Result<Vec<ServiceName>, HostError> {
        self.service(
            ("query the dependents of", None),
            service,
            |world, index| {
                Ok(world
                    .dependents(index)
                    .iter()
                    .filter_map(|name| name.parse().ok())
                    .collect())
            },
        )
    }
}

impl Spool for SimHost {
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError> {
        let attempted = || format!("list the folder `{}`", folder.display());
        self.read("list a folder", attempted, |world| world.disk.list(folder))
    }

    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError> {
        let attempted = || format!("look at `{}`", path.display());
        self.read("look at a file", attempted, |world| world.disk.look(path))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError> {
        let attempted = || format!("open `{}`", path.display());
        let (_, content) = self.read("open a file", attempted, |world| world.disk.file(path))?;
        Ok(Box::new(Cursor::new(content)))
    }

    fn probe_exclusive(&self, path: &Path) -> Result<(), HostError> {
        let attempted = || format!("open `{}` exclusively", path.display());
        self.read("open a file exclusively", attempted, |world| {
            world.disk.file(path)?;
            if world.ims_holds(path) {
                return Err((HostErrorKind::Locked, "another process has it open"));
            }
            Ok(())
        })
    }

    fn move_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let attempted = || format!("move `{}` to `{}`", from.display(), to.display());
        let points = ("move a file", "moved a file");
        self.file_change(points, attempted, |world| world.disk.move_new(from, to))
    }

    fn link_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let attempted = || format!("link `{}` as `{}`", from.display(), to.display());
        let points = ("link a file", "linked a file");
        self.file_change(points, attempted, |world| world.disk.link_new(from, to))
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let attempted = || format!("write `{}` ({} bytes)", path.display(), bytes.len());
        let temporary = path.with_file_name(format!(".mailmend-{}", self.world.kill.passed()));
        let now = |world: &World| world.now_ms;
        let points = ("write a new file", "wrote a temporary file");
        self.file_change(points, attempted, |world| {
            if world.disk.look(path)?.is_some() {
                return Err((HostErrorKind::Exists, "something of that name is there"));
            }
            let at = now(world);
            world.disk.create(&temporary, bytes, at, false)
        })?;
        self.change(
            ("place a new file", "placed a new file"),
            attempted,
            |world| {
                let at = now(world);
                world.disk.remove(&temporary)?;
                world.disk.create(path, bytes, at, true)
            },
        )
    }

    fn make_folder(&self, folder: &Path) -> Result<(), HostError> {
        let attempted = || format!("make the folder `{}`", folder.display());
        let steps: Vec<&Path> = folder.ancestors().collect();
        for step in steps.into_iter().rev().skip(1) {
            let there = self.read("look at a folder", attempted, |world| world.disk.look(step))?;
            if there.is_none() {
                let points = ("make a folder", "made a folder");
                self.file_change(points, attempted, |world| world.disk.make_one(step, None))?;
            } else if step != folder {
                continue;
            }
            if let Some(parent) = step.parent() {
                self.sync_folder(parent)?;
            }
        }
        self.read("look at a folder", attempted, |world| {
            world.disk.list(folder).map(drop)
        })
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), HostError> {
        let attempted = || format!("sync the folder `{}`", folder.display());
        let points = ("sync a folder", "synced a folder");
        self.file_change(points, attempted, |world| world.disk.sync(folder))
            .map_err(|error| HostError {
                effect: Effect::Unknown,
                ..error
            })
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        let attempted = || format!("remove `{}`", path.display());
        let points = ("remove a file", "removed a file");
        self.file_change(points, attempted, |world| world.disk.remove(path))
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, HostError> {
        let attempted = || format!("read the free space at `{}`", path.display());
        self.read("read the free space", attempted, |world| {
            world.disk.volume_of(path)?;
            Ok(world.disk.free)
        })
    }

    fn same_volume(&self, a: &Path, b: &Path) -> Result<bool, HostError> {
        let attempted = || {
            format!(
                "find the volumes of `{}` and `{}`",
                a.display(),
                b.display()
            )
        };
        self.read("find a volume", attempted, |world| {
            Ok(world.disk.volume_of(a)? == world.disk.volume_of(b)?)
        })
    }
}

impl Registry for SimHost {
    fn read(&self, key: &str, value: &str) -> Result<Option<RegistryValue>, HostError> {
        let attempted = || format!("read `{key}\\{value}`");
        let place = (key.to_lowercase(), value.to_lowercase());
        SimHost::read(self, "read the registry", attempted, |world| {
            Ok(world.registry.get(&place).cloned())
        })
    }
}

impl Events for SimHost {
    fn read(&self, source: &str, since_ms: i64) -> Result<Vec<EventRecord>, HostError> {
        let attempted = || format!("read the events of `{source}`");
        SimHost::read(self, "read the event log", attempted, |world| {
            if world.events_unreadable {
                return Err((HostErrorKind::Io, "the event log cannot be read"));
            }
            let mut events = world.events.clone();
            events.retain(|e| e.at_ms >= since_ms && e.source.eq_ignore_ascii_case(source));
            events.sort_by_key(|event| event.at_ms);
            Ok(events)
        })
    }
}

impl Tools for SimHost {
    fn run(
        &self,
        program: &Path,
        arguments: &[String],
        limit: Duration,
    ) -> Result<ToolOutput, HostError> {
        let attempted = || format!("run `{}` for at most {limit:?}", program.display());
        self.change(("run a tool", "ran a tool"), attempted, |world| {
            Ok(world.run_tool(arguments))
        })
    }
}

impl Clock for SimHost {
    fn wall_ms(&self) -> i64 {
        self.world.lock().now_ms
    }

    fn uptime(&self) -> Uptime {
        let world = self.world.lock();
        Uptime {
            boot: format!("boot-{}", world.boot),
            since_boot: Duration::from_millis(world.up_ms),
        }
    }

    fn sleep(&self, period: Duration) {
        self.world.kill.point("wait");
        if let Ok(mut world) = self.alive("wait") {
            // At least a little, so that a loop that waits for nothing still lets time pass.
            let ms = u64::try_from(period.as_millis())
                .unwrap_or(u64::MAX / 4)
                .max(1);
            world.advance(ms);
        }
        self.world.kill.point("waited");
    }
}

#[cfg(test)]
mod tests;
