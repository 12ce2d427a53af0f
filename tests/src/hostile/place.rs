//! A lab mail server, an agent with a narrow guard file, and a jungle around both.

mod administrator;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use administrator::administer;

use super::certificates::{enrol, now_ms};
use super::door::HostileController;
use super::eye::{Allowed, Eye};
use super::jungle::{self, Picture};
use super::offline::Offline;
use super::refused;
use crate::clock_factor::ClockFactor;
use crate::daemon::Daemon;
use crate::fault::{self, BadMessage, Effect, Faults};
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::load::{Begins, Load};
use crate::programs::Programs;
use crate::server_dir::ServerDir;
use crate::service_manager::Change;
use crate::world::{Server, SiteSpec, World, WorldSpec};

/// How much faster than life the clock runs: an hour of the guard's limits is three minutes, longer than a play.
pub const CLOCK: ClockFactor = ClockFactor(20);
/// How long an agent may take to end.
const END: Duration = Duration::from_secs(20);
/// How long the service may take to stop and start.
const START: Duration = Duration::from_secs(30);
/// The first messages of each queue.
const FIRST: u64 = 8;

/// The numbers of the guard file, by which the verdict counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Service starts within an hour.
    pub restarts: u32,
    /// Sections within an hour.
    pub sections: u32,
    /// Tool calls within an hour.
    pub tools: u32,
    /// Files that one action moves.
    pub files: u64,
    /// Bytes that one action moves.
    pub bytes: u64,
    /// Messages set aside on sight within an hour.
    pub aside_per_hour: u32,
    /// Messages set aside on sight at one time.
    pub aside: u64,
}

/// The numbers that every play is judged by.
pub const NARROW: Numbers = Numbers {
    restarts: 3,
    sections: 2,
    tools: 5,
    files: 20,
    bytes: 8 << 20,
    aside_per_hour: 3,
    aside: 5,
};

/// How wide the guard file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// As an administrator would write it.
    Narrow,
    /// So wide that the same input has effects that the verdict, which goes by the narrow one, has to tell.
    Wide,
    /// As the narrow one, and only policies that are signed with offline keys.
    Signed,
}

/// A place in which to play.
pub struct Place {
    /// The lab's world.
    pub world: World,
    /// Users and their mail.
    pub load: Load,
    /// The controller.
    pub controller: HostileController,
    /// The agent of the first server.
    pub agent: Daemon,
    /// The eye on it.
    pub eye: Eye,
    /// The folder of everything.
    pub folder: PathBuf,
    /// How wide its guard file is.
    pub width: Width,
    /// The offline keys, where its guard file asks for signed policies.
    pub offline: Option<Offline>,
    before: Before,
}

/// What there was before the controller said a word.
struct Before {
    picture: Picture,
    names: Vec<String>,
    history: usize,
    beside: Vec<Change>,
}

impl Place {
    /// Builds it in a folder that is there and empty; nobody has said anything yet.
    ///
    /// # Errors
    /// Where something does not start.
    pub fn build(
        folder: &Path,
        programs: &Programs,
        seed: u64,
        width: Width,
    ) -> Result<Self, LabError> {
        let whole = folder
            .canonicalize()
            .attempting(|| format!("find `{}`", folder.display()))?;
        let spec = WorldSpec {
            sites: vec![SiteSpec::well()],
            clock_factor: CLOCK,
            ..WorldSpec::default()
        };
        let in_world = whole.join("world");
        fs::create_dir(&in_world).attempting(|| format!("make `{}`", in_world.display()))?;
        let world = World::build(&in_world, spec, &programs.lab)?;
        let controller = HostileController::listen(&whole.join("stolen"))?;
        let server = server(&world)?;
        let mut load = Load::new(seed, &world.truth_of_users())?;
        stick(server, &mut load)?;
        for place in ["jungle", "exchsrvr-of-another"] {
            let place = whole.join(place);
            fs::create_dir(&place).attempting(|| format!("make `{}`", place.display()))?;
            jungle::plant(&place)?;
        }
        let beside = server.dir.root().join("beside");
        fs::create_dir(&beside).attempting(|| format!("make `{}`", beside.display()))?;
        jungle::plant(&beside)?;
        lead_out(&server.dir, &whole)?;
        fs::create_dir(whole.join("told")).attempting(|| "make a folder".to_owned())?;
        let offline = match width {
            Width::Signed => Some(Offline::new(1, now_ms())?),
            Width::Narrow | Width::Wide => None,
        };
        if let Some(offline) = &offline {
            let root = whole.join("tools").join(administrator::ROOT);
            fs::create_dir(whole.join("tools"))
                .and_then(|()| fs::write(&root, offline.root()))
                .attempting(|| format!("write `{}`", root.display()))?;
        }
        administer(&whole, server, programs, &controller, width)?;
        let data = server.dir.agent().join("data");
        enrol(&controller.authority, &data, &server.name)?;
        let launch = server.platform.agent(&server.dir, programs);
        let mut agent = Daemon::new(
            "the agent",
            Some((server.site.clone(), server.name.clone())),
            programs.lab.clone(),
            launch.program,
            vec![
                "run".to_owned(),
                "--config".to_owned(),
                server.dir.agent().join("agent.toml").display().to_string(),
            ],
            server.dir.agent().join("agent.log"),
        );
        let eye = Eye::open(Allowed {
            port: controller.port,
            // A tool is a script that becomes the lab's own program.
            programs: vec![
                whole.join("tools/submit-test-mail").display().to_string(),
                whole
                    .join("tools/recalculate-routing")
                    .display()
                    .to_string(),
                format!("{} tool submit", programs.lab.display()),
                format!("{} tool recalculate", programs.lab.display()),
            ],
        });
        let before = Before {
            picture: Picture::of(&canaries(&whole, server))?,
            names: names(server.dir.root())?,
            history: server.services().history()?.len(),
            beside: beside_history(&world)?,
        };
        agent.start()?;
        eye.follow(agent.pid());
        Ok(Self {
            world,
            load,
            controller,
            agent,
            eye,
            folder: whole,
            width,
            offline,
            before,
        })
    }

    /// The server whose agent is driven.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.world.servers[0]
    }

    /// What the service manager saw since the beginning.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn history(&self) -> Result<Vec<Change>, LabError> {
        let history = self.server().services().history()?;
        Ok(history.into_iter().skip(self.before.history).collect())
    }

    /// What came, went or changed outside the guarded root, in words.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub fn differences(&self) -> Result<Vec<String>, LabError> {
        let now = Picture::of(&canaries(&self.folder, self.server()))?;
        let mut told = self.before.picture.differences(&now);
        let is = names(self.server().dir.root())?;
        for name in is.iter().filter(|name| !self.before.names.contains(name)) {
            // What the lab's own processes make in the course of things.
            if !["ims-starts", "counters", "smtp-port", "mta.sock"].contains(&name.as_str()) {
                told.push(format!("`{name}` was made beside the guarded root"));
            }
        }
        for name in self.before.names.iter().filter(|name| !is.contains(name)) {
            told.push(format!("`{name}` beside the guarded root is gone"));
        }
        let beside = beside_history(&self.world)?;
        if beside != self.before.beside {
            told.push("a service of the server beside it was touched".to_owned());
        }
        Ok(told)
    }

    /// The calls of tools, each with its arguments.
    #[must_use]
    pub fn calls(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.folder.join("told/tools")).unwrap_or_default();
        text.lines()
            .map(|line| line.split('\u{1f}').map(str::to_owned).collect())
            .collect()
    }

    /// Whether the program ran that is in no guard file.
    #[must_use]
    pub fn canary_ran(&self) -> bool {
        self.folder.join("told/forbidden").exists()
    }

    /// What the agent has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.agent.output()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ends the agent in order and starts it again: how long it waits between two sessions begins anew. Whether it ended
    /// by itself.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn begin_anew(&mut self) -> Result<bool, LabError> {
        self.eye.follow(None);
        let orderly = self.agent.stop(END);
        // It may have dialled again before it was stopped: nobody would answer in that session.
        self.controller.forget_sessions();
        self.agent.start()?;
        self.eye.follow(self.agent.pid());
        Ok(orderly)
    }

    /// Starts the agent again where it ended by itself, and looks at the new one.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn keep(&mut self) -> Result<(), LabError> {
        if self.agent.keep()? {
            self.eye.follow(self.agent.pid());
        }
        Ok(())
    }

    /// Ends the agent. Whether it did so by itself.
    pub fn end(&mut self) -> bool {
        self.eye.follow(None);
        self.agent.stop(END)
    }

    /// Puts messages into both queues of the stopped or running server, as if they had waited for a while.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn more_mail(&mut self, count: usize) -> Result<(), LabError> {
        let server = &self.world.servers[0];
        let since = Some(SystemTime::now() - Duration::from_secs(10));
        for number in 0..count {
            let begins = if number % 2 == 0 {
                Begins::Sent
            } else {
                Begins::Received
            };
            self.load
                .send_to_begin(&server.site, &server.name, &server.dir, since, begins)?;
        }
        Ok(())
    }
}

/// Has mail in both queues that stays there, behind a message that sticks: there is always something to take.
fn stick(server: &Server, load: &mut Load) -> Result<(), LabError> {
    server.services().stop(ims::SERVICE, START)?;
    let mut faults = Faults::default();
    for (begins, place) in [
        (Begins::Converted, fault::Place::Out),
        (Begins::Received, fault::Place::In),
    ] {
        for number in 0..FIRST {
            let since = SystemTime::now() - Duration::from_secs(120 - number);
            let sent =
                load.send_to_begin(&server.site, &server.name, &server.dir, Some(since), begins)?;
            if number == 0 {
                let bad = BadMessage {
                    place,
                    effect: Effect::Stick { event: 4182 },
                    named: true,
                };
                faults.messages.insert(sent.body_hash, bad);
            }
        }
    }
    faults.write(&server.dir)?;
    server.services().start(ims::SERVICE, START)
}

fn server(world: &World) -> Result<&Server, LabError> {
    let none = || refused("find the server", "the world has none");
    world.servers.first().ok_or_else(none)
}

/// Links in the guarded root that lead out of it, as an attacker on the machine would leave them.
fn lead_out(server: &ServerDir, folder: &Path) -> Result<(), LabError> {
    let jungle = folder.join("jungle");
    for (place, target) in [
        (server.outbound().join("LINKOUT1"), jungle.join("CANARY01")),
        (server.inbound().join("LINKIN01"), jungle.join("CANARY02")),
        (server.outbound().join("LINKOUT2"), jungle.join("Out")),
        (server.imcdata().join("Aside"), jungle.clone()),
        (server.exchsrvr().join("Elsewhere"), jungle.join("Out")),
    ] {
        std::os::unix::fs::symlink(&target, &place)
            .attempting(|| format!("link `{}`", place.display()))?;
    }
    Ok(())
}

/// What must stay as it is, whatever is said.
fn canaries(folder: &Path, server: &Server) -> Vec<PathBuf> {
    vec![
        folder.join("jungle"),
        folder.join("exchsrvr-of-another"),
        folder.join("tools"),
        folder.join("stolen"),
        server.dir.root().join("beside"),
        server.dir.agent().join("agent.toml"),
        server.dir.agent().join("guard.toml"),
        server.dir.registry(),
        server.dir.config_file(),
    ]
}

/// The names in a folder.
fn names(folder: &Path) -> Result<Vec<String>, LabError> {
    let attempted = || format!("list `{}`", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).attempting(attempted)? {
        let name = entry.attempting(attempted)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn beside_history(world: &World) -> Result<Vec<Change>, LabError> {
    let mut all = Vec::new();
    for server in world.servers.iter().skip(1) {
        all.extend(server.services().history()?);
    }
    Ok(all)
}
