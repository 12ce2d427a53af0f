//! What every scenario plays on: a world, its users, its fleet, and an eye on interruptions.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tempfile::TempDir;

use super::Options;
use super::fleet::{Fleet, Guarded};
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::load::{self, Begins, Load, Submission};
use crate::outage::Outages;
use crate::programs::Programs;
use crate::server_dir::Direction;
use crate::spool::{SpoolMessage, SpoolName};
use crate::world::{Server, World, WorldSpec};
use crate::{awaited, outside, stop_signal, store};

/// How long things of the lab may take on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// Queues in which nothing has moved for so long rest.
pub(super) const STILL: Duration = Duration::from_secs(20);

/// A message that is not sent yet.
#[derive(Debug)]
pub(super) struct Draft {
    /// The index of its server.
    pub(super) server: usize,
    /// Whether it comes from outside, for mailboxes of the server.
    pub(super) inbound: bool,
    /// The name of its spool file, where it is outbound: one from outside gets it from the server.
    pub(super) name: SpoolName,
    /// The message.
    pub(super) message: SpoolMessage,
}

/// A world with its users and, once it is started, its fleet.
pub struct Stage<'a> {
    /// How its ward is played.
    pub(super) options: &'a Options,
    /// The index of the first site of its ward.
    first_site: usize,
    pub(super) say: &'a dyn Fn(&str),
    // The fleet ends before the world does, and the folder goes last.
    pub(super) fleet: Option<Fleet>,
    pub(super) world: World,
    pub(super) folder: PathBuf,
    load: Load,
    interrupted: Arc<AtomicBool>,
    _scratch: TempDir,
}

impl<'a> Stage<'a> {
    /// Builds the world of a scenario in a folder of its own.
    pub(super) fn build(
        options: &'a Options,
        spec: WorldSpec,
        programs: &Programs,
        say: &'a dyn Fn(&str),
    ) -> Result<Self, LabError> {
        let interrupted = stop_signal::install()?;
        let mut scratch = tempfile::Builder::new()
            .prefix("mailmend-lab-")
            .tempdir()
            .attempting(|| "make a folder for the world".to_owned())?;
        scratch.disable_cleanup(options.keep);
        let folder = scratch
            .path()
            .canonicalize()
            .attempting(|| format!("find `{}`", scratch.path().display()))?;
        let stays = if options.keep {
            "and stays there"
        } else {
            "until the end"
        };
        say(&format!("the world is in {}, {stays}", folder.display()));
        let world = World::build(&folder, spec, &programs.lab)?;
        let load = Load::new(options.seed, &world.truth_of_users())?;
        Ok(Self {
            options,
            first_site: 0,
            say,
            fleet: None,
            world,
            folder,
            load,
            interrupted,
            _scratch: scratch,
        })
    }

    /// Turns to other sites: `options.sites` of them, from that one on. What rooms do and what is counted is
    /// of these alone.
    pub(super) fn turn_to(&mut self, first_site: usize, options: &'a Options) {
        self.first_site = first_site;
        self.options = options;
    }

    /// The indexes of the servers of its ward.
    pub(super) fn server_indexes(&self) -> Range<usize> {
        let first = 2 * self.first_site;
        first..(first + 2 * self.options.sites).min(self.world.servers.len())
    }

    /// The servers of its ward.
    pub(super) fn servers(&self) -> &[Server] {
        &self.world.servers[self.server_indexes()]
    }

    /// The index of the server for both directions, Server A, of a site of its ward; Server B is the next.
    pub(super) fn both_way(&self, site: usize) -> usize {
        2 * (self.first_site + site)
    }

    /// Server A of each site of its ward.
    pub(super) fn both_ways(&self) -> impl Iterator<Item = &Server> {
        let both = |server: &&Server| server.direction == Direction::Both;
        self.servers().iter().filter(both)
    }

    /// Server B of each site of its ward.
    pub(super) fn outbound_only(&self) -> impl Iterator<Item = &Server> {
        let outbound = |server: &&Server| server.direction == Direction::Outbound;
        self.servers().iter().filter(outbound)
    }

    /// Starts the controller and the agents; `guard` is what differs in the guard file of each server.
    pub(super) fn start_fleet(
        &mut self,
        programs: &Programs,
        guard: &dyn Fn(&Server) -> Guarded,
    ) -> Result<(), LabError> {
        self.fleet = Some(Fleet::start(&self.world, programs, guard)?);
        self.chart()
    }

    /// The fleet, which must have been started.
    pub(super) fn fleet(&mut self) -> Result<&mut Fleet, LabError> {
        self.fleet.as_mut().ok_or_else(|| LabError::Refused {
            attempted: "ask the fleet".to_owned(),
            reason: "it has not been started".to_owned(),
        })
    }

    /// Writes `lab.json`.
    pub(super) fn chart(&self) -> Result<(), LabError> {
        let fleet = self.fleet.as_ref().map(Fleet::chart);
        self.world.chart(&fleet.unwrap_or_default())
    }

    /// A user sends a message through the server with this index; its file says that it has been waiting
    /// since then.
    pub(super) fn send(
        &mut self,
        server: usize,
        since: Option<SystemTime>,
    ) -> Result<(), LabError> {
        let server = &self.world.servers[server];
        let (site, name) = (&server.site, &server.name);
        self.load
            .send_waiting_since(site, name, &server.dir, since)
            .map(drop)
    }

    /// As [`Self::send`], for a message that is where it is said to begin; returns what the truth has of it.
    pub(super) fn send_to_begin(
        &mut self,
        server: usize,
        since: Option<SystemTime>,
        begins: Begins,
    ) -> Result<Submission, LabError> {
        let server = &self.world.servers[server];
        let (site, name) = (&server.site, &server.name);
        self.load
            .send_to_begin(site, name, &server.dir, since, begins)
    }

    /// Writes a message that is not sent yet.
    pub(super) fn draft(&mut self, server: usize, inbound: bool) -> Draft {
        let (name, message) = self.load.draft(&self.world.servers[server].name, inbound);
        Draft {
            server,
            inbound,
            name,
            message,
        }
    }

    /// Sends it: from outside over SMTP, or a user through the server's store.
    pub(super) fn send_draft(&mut self, draft: &Draft) -> Result<Submission, LabError> {
        let server = &self.world.servers[draft.server];
        let (site, name) = (&server.site, &server.name);
        if draft.inbound {
            let taken = outside::send(&server.dir, &draft.message)?;
            return self.load.note(site, name, &taken, &draft.message, true);
        }
        let noted = self
            .load
            .note(site, name, &draft.name, &draft.message, false)?;
        load::hand_to_ims(&server.dir, &draft.message)?;
        store::submit(&server.dir, &draft.name, &draft.message, None)?;
        Ok(noted)
    }

    /// A user has sent a message that waits in the database of the server's MTA, as its number `number`.
    pub(super) fn send_to_mta(&mut self, server: usize, number: usize) -> Result<(), LabError> {
        self.send_to_begin(server, None, Begins::InMta { number })
            .map(drop)
    }

    pub(super) fn say(&self, line: &str) {
        (self.say)(line);
    }

    pub(super) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub(super) fn check_interrupted(&self) -> Result<(), LabError> {
        if self.interrupted() {
            return Err(LabError::Refused {
                attempted: "finish the scenario".to_owned(),
                reason: "interrupted".to_owned(),
            });
        }
        Ok(())
    }

    /// Waits until every mail service of its ward runs; returns whether it does. What the lab keeps running, it keeps
    /// running meanwhile.
    pub(super) fn await_services(&mut self) -> Result<bool, LabError> {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            self.check_interrupted()?;
            self.fleet()?.keep()?;
            if self.servers().iter().all(Server::ims_runs) {
                return Ok(true);
            }
            awaited::until(Duration::from_millis(50), || self.interrupted());
        }
        Ok(false)
    }

    /// Waits until the queues of its ward are empty, or nothing has moved in them for so long.
    pub(super) fn await_rest(&mut self, still: Duration) -> Result<(), LabError> {
        let mut last = (usize::MAX, Instant::now());
        while last.0 > 0 && last.1.elapsed() < still {
            self.check_interrupted()?;
            self.fleet()?.keep()?;
            let waiting = self.waiting()?;
            if waiting != last.0 {
                last = (waiting, Instant::now());
            }
            awaited::until(Duration::from_millis(50), || self.interrupted());
        }
        Ok(())
    }

    /// How many messages wait in the queues of its ward.
    pub(super) fn waiting(&self) -> Result<usize, LabError> {
        self.servers().iter().map(Server::waiting).sum()
    }

    /// What the mail service of each server of its ward went through, as its service manager tells it.
    pub(super) fn outages(&self) -> Result<Vec<Outages>, LabError> {
        let now_ms = Timestamp::now().as_millisecond();
        let of = |server: &Server| {
            let history = server.services().history()?;
            Ok(Outages::of(&history, ims::SERVICE, now_ms))
        };
        self.servers().iter().map(of).collect()
    }
}
