//! An agent's view of the simulated world: the host's traits, with a point to die at around each call.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::Duration;

use mailmend_policy::condition::{PathRoot, Queue};
use mailmend_policy::name::ServiceName;

use super::world::{IMCDATA, MTADATA, TRACKING, World};
use super::{SimWorld, SimulatedKill};
use crate::evidence::bookmark::Bookmarks;
use crate::host::{
    Clock, Counters, Effect, EventRecord, Events, FileInfo, Host, HostError, HostErrorKind,
    LogFile, ProcessIdentity, Registry, RegistryValue, ServiceStatus, Services, Spool, ToolOutput,
    Tools, Uptime,
};

/// An agent's view of a [`SimWorld`], for one life.
#[derive(Debug)]
pub struct SimHost {
    world: SimWorld,
    agent: u64,
    bookmarks: Bookmarks,
}

type Refusal = (HostErrorKind, &'static str);

impl SimHost {
    pub(super) fn new(world: SimWorld, agent: u64) -> Self {
        Self {
            world,
            agent,
            bookmarks: Bookmarks::default(),
        }
    }

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
        if world.dies_ms.is_some_and(|at| world.elapsed_ms >= at) {
            drop(world);
            self.world.kill.end("its time had come");
            world = self.alive(before)?;
        }
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

    /// A reading call on files: it may be the one that was chosen to fail.
    fn file_read<T>(
        &self,
        before: &'static str,
        attempted: impl FnOnce() -> String,
        act: impl FnOnce(&mut World) -> Result<T, Refusal>,
    ) -> Result<T, HostError> {
        self.read(before, attempted, |world| match world.any_fails_now() {
            Some(failure) => Err((failure.kind, "injected")),
            None => act(world),
        })
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
            let Some(failure) = world.any_fails_now().or_else(|| world.fails_now()) else {
                return act(world);
            };
            if failure.kind == HostErrorKind::Io {
                effect = Effect::Unknown;
                if failure.happens {
                    // It happened, and nobody will know.
                    let _ = act(world);
                }
            }
            Err((failure.kind, "injected"))
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

impl Counters for SimHost {
    fn queued(&self, queue: Queue) -> Result<u64, HostError> {
        let attempted = || format!("read the counter of `{}`", queue.name());
        self.read("read a counter", attempted, |world| {
            if world.ims.pid.is_none() {
                return Err((HostErrorKind::NotFound, "the service does not run"));
            }
            Ok(match queue {
                Queue::OutboundAwaitingConversion => world.mts_out().len() as u64,
                _ => 0,
            })
        })
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
    fn bookmarks(&self) -> Option<&Bookmarks> {
        Some(&self.bookmarks)
    }
    fn counters(&self) -> &dyn Counters {
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
                world.end_process(index);
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

/// A file of which half can be read, and then the disk fails.
struct HalfRead(Cursor<Vec<u8>>);

impl Read for HalfRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("injected")),
            read => Ok(read),
        }
    }
}

impl Seek for HalfRead {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

impl Spool for SimHost {
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError> {
        let attempted = || format!("list the folder `{}`", folder.display());
        self.file_read("list a folder", attempted, |world| world.disk.list(folder))
    }

    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError> {
        let attempted = || format!("look at `{}`", path.display());
        self.file_read("look at a file", attempted, |world| world.disk.look(path))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError> {
        let attempted = || format!("open `{}`", path.display());
        let mut failing = None;
        let (_, content) = self.file_read("open a file", attempted, |world| {
            let file = world.disk.file(path)?;
            failing = world.any_fails_now();
            Ok(file)
        })?;
        if failing.is_some() {
            return Ok(Box::new(HalfRead(Cursor::new(
                content[..content.len() / 2].into(),
            ))));
        }
        Ok(Box::new(Cursor::new(content)))
    }

    fn open_log(&self, path: &Path) -> Result<(FileInfo, Box<dyn LogFile>), HostError> {
        let attempted = || format!("open `{}`", path.display());
        let mut failing = None;
        let (info, content) = self.file_read("open a file", attempted, |world| {
            let (_, content) = world.disk.file(path)?;
            let info = world.disk.look(path)?;
            let info = info.ok_or((HostErrorKind::NotFound, "there is no such file"))?;
            failing = world.any_fails_now();
            Ok((info, content))
        })?;
        if failing.is_some() {
            let half = content[..content.len() / 2].into();
            return Ok((info, Box::new(HalfRead(Cursor::new(half)))));
        }
        Ok((info, Box::new(Cursor::new(content))))
    }

    fn probe_exclusive(&self, path: &Path) -> Result<(), HostError> {
        let attempted = || format!("open `{}` exclusively", path.display());
        self.file_read("open a file exclusively", attempted, |world| {
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

    fn move_unused(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let attempted = || format!("move `{}` to `{}`", from.display(), to.display());
        let points = ("move a file", "moved a file");
        self.file_change(points, attempted, |world| {
            if world.ims_holds(from) {
                return Err((HostErrorKind::Locked, "another process has it open"));
            }
            world.disk.move_new(from, to)
        })
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
            let there =
                self.file_read("look at a folder", attempted, |world| world.disk.look(step))?;
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
        self.file_read("look at a folder", attempted, |world| {
            world.disk.list(folder).map(drop)
        })
    }

    fn make_folder_like(&self, folder: &Path, _: &Path) -> Result<(), HostError> {
        // Folders of this world have neither owner nor mode.
        self.make_folder(folder)
    }

    fn exchange_folders(&self, a: &Path, b: &Path) -> Result<(), HostError> {
        let attempted = || format!("exchange `{}` and `{}`", a.display(), b.display());
        let points = ("exchange two folders", "exchanged two folders");
        self.file_change(points, attempted, |world| world.disk.exchange_folders(a, b))
    }

    fn move_folder_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let attempted = || format!("move `{}` to `{}`", from.display(), to.display());
        let points = ("move a folder", "moved a folder");
        self.file_change(points, attempted, |world| {
            world.disk.move_folder_new(from, to)
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
        self.file_read("read the free space", attempted, |world| {
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
        self.file_read("find a volume", attempted, |world| {
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

    fn unique(&self) -> uuid::Uuid {
        let mut world = self.world.lock();
        world.ids += 1;
        let (seed, number) = (world.settings.seed, world.ids);
        uuid::Uuid::from_u64_pair(0x51B0_0000_0000_7000 | (seed >> 48), (seed << 16) ^ number)
    }

    fn sleep(&self, period: Duration) {
        self.world.kill.point("wait");
        if let Ok(mut world) = self.alive("wait") {
            // At least a little, so that a loop that waits for nothing still lets time pass.
            let ms = u64::try_from(period.as_millis())
                .unwrap_or(u64::MAX / 4)
                .max(1);
            // Whoever is killed while waiting does not wait to the end.
            let left = world.dies_ms.map(|at| at.saturating_sub(world.elapsed_ms));
            world.advance(left.map_or(ms, |left| left.min(ms)));
            if left.is_some_and(|left| left <= ms) {
                drop(world);
                self.world.kill.end("its time had come");
            }
        }
        self.world.kill.point("waited");
    }

    fn pace(&self) -> f64 {
        self.world.lock().settings.clock_factor.max(1).into()
    }
}
