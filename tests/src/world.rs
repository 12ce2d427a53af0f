//! The world: sites of servers, with their processes and peers, in one folder.
//!
//! ```text
//! truth/submitted.jsonl, truth/peer-SITE.jsonl   what users sent and what a site's peer took: the lab's alone
//! sites/SITE/directory.json                 the site's routes as they should be
//! sites/SITE/SERVER/                        one server ([`ServerDir`])
//! lab.json                                  every process's role, pid, ports and folders
//! ```

mod chart;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use chart::{Chart, ChartedProcess};

use crate::clock_factor::ClockFactor;
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::load::{self, Submission};
use crate::mta::{self, database};
use crate::peer::{self, Delivery};
use crate::platform::Platform;
use crate::registry::Registry;
use crate::routing::RoutingTable;
use crate::server_dir::{self, Direction, ServerConfig, ServerDir, spooled};
use crate::service_manager::{ManagerClient, Op, State};
use crate::tether::Tethered;
use crate::truth::{self, OnDisk, Told};

/// How long a process of the lab may take to come up. Long, because machines may be busy; it ends a
/// hang, not a slow start.
const START: Duration = Duration::from_secs(60);

/// What a world is to be.
#[derive(Debug, Clone)]
pub struct WorldSpec {
    /// Its sites, each of two servers.
    pub sites: Vec<SiteSpec>,
    /// How many sites hand their mail to the same next hop, from 1.
    pub sites_per_peer: usize,
    /// How much faster than life the clock runs.
    pub clock_factor: ClockFactor,
    /// How many connections each IMS opens at once.
    pub connections: usize,
    /// How long a peer waits between recording a message and saying so.
    pub peer_latency: Duration,
    /// What every server runs on.
    pub platform: Platform,
}

/// What the servers of a site are to be.
#[derive(Debug, Clone)]
pub struct SiteSpec {
    /// Whether every IMS keeps archival copies.
    pub archive: bool,
    /// Whether the routing of the outbound-only server is stale (Q268494): the peer moved, the directory
    /// knows, the server does not, and its IMS loads routing at start only.
    pub stale_outbound: bool,
    /// Whether every recalculation of routing says that it succeeded and changes nothing (Q182798).
    pub recalculates_falsely: bool,
    /// The build of Exchange.
    pub build: String,
}

impl Default for WorldSpec {
    fn default() -> Self {
        Self {
            sites: vec![SiteSpec::default()],
            sites_per_peer: 1,
            clock_factor: ClockFactor(60),
            connections: 4,
            peer_latency: Duration::from_millis(2),
            platform: Platform::Linux,
        }
    }
}

impl Default for SiteSpec {
    fn default() -> Self {
        Self {
            archive: true,
            stale_outbound: true,
            recalculates_falsely: false,
            build: server_dir::usual_build(),
        }
    }
}

impl SiteSpec {
    /// A site in which nothing is wrong.
    #[must_use]
    pub fn well() -> Self {
        Self {
            stale_outbound: false,
            ..Self::default()
        }
    }
}

/// A server of the world.
#[derive(Debug)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Which way its IMS carries mail.
    pub direction: Direction,
    /// For which address spaces it is an outbound path, as its agent is told it.
    pub address_spaces: String,
    /// Its folder.
    pub dir: ServerDir,
    /// What it runs on.
    pub platform: Platform,
    manager: Tethered,
}

impl Server {
    /// The client of its service manager.
    #[must_use]
    pub fn services(&self) -> ManagerClient {
        ManagerClient::new(&self.dir)
    }

    /// The process of its IMS, while there is one.
    #[must_use]
    pub fn ims_pid(&self) -> Option<u32> {
        self.services().ask(Op::Query, ims::SERVICE).ok()?.pid
    }

    /// Whether its IMS runs.
    #[must_use]
    pub fn ims_runs(&self) -> bool {
        let answer = self.services().ask(Op::Query, ims::SERVICE);
        answer.is_ok_and(|answer| answer.state == Some(State::Running))
    }

    /// How many messages wait: in the MTA, in MTS-OUT, in `Out`, and in `In`.
    ///
    /// # Errors
    /// Where a folder cannot be read.
    pub fn waiting(&self) -> Result<usize, LabError> {
        let folders = [self.dir.mts_out(), self.dir.outbound(), self.dir.inbound()];
        let waiting = |folder: &PathBuf| spooled(folder).map(|files| files.len());
        let spooled: usize = folders.iter().map(waiting).sum::<Result<_, _>>()?;
        Ok(spooled + database::waiting(&self.dir)?)
    }
}

/// A site of the world.
#[derive(Debug)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// The routes as they should be.
    pub directory: PathBuf,
    /// Where its peer takes mail.
    pub peer_address: String,
}

/// A next hop of one site or several.
#[derive(Debug)]
pub struct Peer {
    /// The site after which it is named: the first of those that it serves.
    pub name: String,
    /// Where it takes mail.
    pub address: String,
    process: Tethered,
}

/// The world; its processes end when it is dropped.
#[derive(Debug)]
pub struct World {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is.
    pub spec: WorldSpec,
    /// The servers, site by site: first the one for both directions, then the outbound-only one.
    pub servers: Vec<Server>,
    /// The sites.
    pub sites: Vec<Site>,
    /// The next hops.
    pub peers: Vec<Peer>,
    program: PathBuf,
}

const SITE_NAMES: [&str; 8] = [
    "oslo",
    "bergen",
    "trondheim",
    "stavanger",
    "tromso",
    "bodo",
    "alta",
    "hamar",
];

impl World {
    /// Builds a world in a folder that is there and empty, and starts it. `program` is `mailmend-lab`.
    ///
    /// # Errors
    /// Where something does not start. What was started is then ended.
    pub fn build(folder: &Path, spec: WorldSpec, program: &Path) -> Result<Self, LabError> {
        let mut world = Self {
            folder: folder.to_owned(),
            spec,
            servers: Vec::new(),
            sites: Vec::new(),
            peers: Vec::new(),
            program: program.to_owned(),
        };
        make_folder(&folder.join("truth"))?;
        for (index, site) in world.spec.sites.clone().iter().enumerate() {
            let name = match SITE_NAMES.get(index) {
                Some(name) => (*name).to_owned(),
                None => format!("site-{index}"),
            };
            world.add_site(&name, site)?;
        }
        world.chart(&[])?;
        Ok(world)
    }

    fn add_site(&mut self, name: &str, spec: &SiteSpec) -> Result<(), LabError> {
        let folder = self.folder.join("sites").join(name);
        make_folder(&folder)?;
        if self
            .sites
            .len()
            .is_multiple_of(self.spec.sites_per_peer.max(1))
        {
            let peer = self.start_peer(name, &folder.join("peer.log"))?;
            self.peers.push(peer);
        }
        let peer = self.peers.last();
        let site = Site {
            name: name.to_owned(),
            directory: folder.join("directory.json"),
            peer_address: peer.map(|peer| peer.address.clone()).unwrap_or_default(),
        };
        let right = RoutingTable::everything_to(&site.peer_address);
        right.write_directory(&site.directory)?;
        // Nothing listens at that address: the peer of this port listens at 127.0.0.1 only.
        let port = site.peer_address.rsplit(':').next().unwrap_or_default();
        let stale = RoutingTable::everything_to(&format!("127.0.0.9:{port}"));
        self.sites.push(site);
        let outbound_routes = if spec.stale_outbound { &stale } else { &right };
        self.add_server(name, "a", Direction::Both, &right, spec)?;
        self.add_server(name, "b", Direction::Outbound, outbound_routes, spec)
    }

    fn start_peer(&self, name: &str, output: &Path) -> Result<Peer, LabError> {
        let mut command = Command::new(&self.program);
        command
            .arg("peer")
            .arg("--truth")
            .arg(self.truth_of_peer(name))
            .arg("--latency-ms")
            .arg(self.spec.peer_latency.as_millis().to_string());
        let (process, port) =
            Tethered::start_ready(&format!("the peer of {name}"), command, output, START)?;
        Ok(Peer {
            name: name.to_owned(),
            address: format!("127.0.0.1:{port}"),
            process,
        })
    }

    fn add_server(
        &mut self,
        site: &str,
        letter: &str,
        direction: Direction,
        replica: &RoutingTable,
        spec: &SiteSpec,
    ) -> Result<(), LabError> {
        let name = format!("{site}-{letter}");
        let folder = self.folder.join("sites").join(site);
        let dir = ServerDir::new(folder.join(&name));
        let platform = self.spec.platform.clone();
        dir.lay_out()?;
        dir.write_config(&ServerConfig {
            name: name.clone(),
            site: site.to_owned(),
            directory: platform.written(&folder.join("directory.json")).into(),
            direction,
            clock_factor: self.spec.clock_factor,
            connections: self.spec.connections,
            archive: spec.archive,
            recalculates_falsely: spec.recalculates_falsely,
            build: spec.build.clone(),
        })?;
        let stale = spec.stale_outbound && direction == Direction::Outbound;
        let route_interval = if stale { 0 } else { 15 };
        let written = |path: &Path| platform.written(path);
        let registry = Registry::as_set_up_where(&dir, route_interval, &written);
        std::fs::write(dir.registry(), registry.text())
            .attempting(|| format!("write `{}`", dir.registry().display()))?;
        replica.write_directory(&dir.replica())?;
        platform.set_up(&dir, &self.program)?;
        let command = platform.service_manager(&dir, &self.program);
        let what = format!("the service manager of {name}");
        let (manager, _) = Tethered::start_ready(&what, command, &dir.output(), START)?;
        let server = Server {
            name,
            site: site.to_owned(),
            direction,
            address_spaces: replica.fact(),
            dir,
            platform,
            manager,
        };
        server.services().start(ims::SERVICE, START)?;
        if stale {
            // The table's file is newer than what the IMS has loaded, and as wrong.
            mta::request_writing(&server.dir)?;
        }
        self.servers.push(server);
        Ok(())
    }

    /// The servers whose IMS only sends: Server B of each site.
    pub fn outbound_only(&self) -> impl Iterator<Item = &Server> {
        self.servers
            .iter()
            .filter(|server| server.direction == Direction::Outbound)
    }

    /// The file in which users' messages are noted.
    #[must_use]
    pub fn truth_of_users(&self) -> PathBuf {
        self.folder.join("truth/submitted.jsonl")
    }

    fn truth_of_peer(&self, site: &str) -> PathBuf {
        self.folder.join("truth").join(format!("peer-{site}.jsonl"))
    }

    /// What users have sent so far.
    ///
    /// # Errors
    /// Where the truth cannot be read.
    pub fn submissions(&self) -> Result<Vec<Submission>, LabError> {
        load::submissions(&self.truth_of_users())
    }

    /// What all peers have taken so far.
    ///
    /// # Errors
    /// Where the truth cannot be read.
    pub fn deliveries(&self) -> Result<Vec<Delivery>, LabError> {
        let mut all = Vec::new();
        for peer in &self.peers {
            all.extend(peer::deliveries(&self.truth_of_peer(&peer.name))?);
        }
        Ok(all)
    }

    /// What became of every message so far. While mail moves, a message may be between two looks: tell
    /// the end only when everything rests.
    ///
    /// # Errors
    /// Where truth or disk cannot be read.
    pub fn tell(&self) -> Result<Vec<Told>, LabError> {
        let submissions = self.submissions()?;
        // The disk first: what leaves it meanwhile is then found delivered.
        let mut disk = OnDisk::default();
        for server in &self.servers {
            disk.look(&server.dir)?;
        }
        Ok(truth::tell(&submissions, &self.deliveries()?, &disk))
    }

    /// Writes `lab.json`: every process of the world, and `others`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn chart(&self, others: &[ChartedProcess]) -> Result<(), LabError> {
        Chart::of(self, others).write(&self.folder.join("lab.json"))
    }

    /// Ends every process, service managers first, which stop their services. Returns whether all of
    /// them ended by themselves.
    pub fn stop(&mut self) -> bool {
        let mut orderly = true;
        for server in &mut self.servers {
            orderly &= server.manager.stop(Duration::from_secs(30));
        }
        for peer in &mut self.peers {
            peer.process.kill();
        }
        orderly
    }
}

fn make_folder(folder: &Path) -> Result<(), LabError> {
    std::fs::create_dir_all(folder).attempting(|| format!("make the folder `{}`", folder.display()))
}
