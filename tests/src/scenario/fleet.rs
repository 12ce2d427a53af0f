//! The controller and one agent for each server, as real processes.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::operator::{Operator, rows};
use super::signing::Signing;
use crate::awaited;
use crate::clock_factor::ClockFactor;
use crate::daemon::Daemon;
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::programs::Programs;
use crate::tether::Tethered;
use crate::whole_file;
use crate::world::{ChartedProcess, Server, World};

/// How long a process may take to come up on a busy machine.
const START: Duration = Duration::from_secs(60);
/// How many agents are started at once: of a large fleet all at once would starve each other.
const AGENTS_AT_ONCE: usize = 8;
const STOP: Duration = Duration::from_secs(10);
/// How long an agent stays away that is killed until somebody starts it again: longer than any test.
const UNTIL_TOLD: Duration = Duration::from_secs(86_400);
/// The controller listens at a loopback address of its own: no outgoing connection of this machine gets
/// a port there, so a killed controller finds its port free when it comes back.
const LISTEN: &str = "127.0.0.7:0";

/// What differs in the guard files of a scenario.
#[derive(Debug, Clone)]
pub struct Guarded {
    /// Whether an IMS that died is started again without being asked.
    pub watchdog: bool,
    /// More tools, by name, in TOML.
    pub tools: BTreeMap<String, String>,
    /// The root that signed policies lead to, which a fleet puts here; none: unsigned policies are taken.
    pub root: Option<PathBuf>,
}

impl Default for Guarded {
    fn default() -> Self {
        Self {
            watchdog: true,
            tools: BTreeMap::new(),
            root: None,
        }
    }
}

/// A controller and its agents.
#[derive(Debug)]
pub struct Fleet {
    /// Who asks the controller.
    pub operator: Operator,
    /// Who signs policies.
    pub signing: Signing,
    pub(super) controller: Daemon,
    /// In the order of the world's servers.
    pub(super) agents: Vec<Daemon>,
    data: PathBuf,
    address: String,
}

impl Fleet {
    /// Starts a controller, enrols an agent for each server of the world, and starts them. `guard` is
    /// what differs in the guard file of each server.
    ///
    /// # Errors
    /// Where one of them does not start or connect.
    pub fn start(
        world: &World,
        programs: &Programs,
        guard: &dyn Fn(&Server) -> Guarded,
    ) -> Result<Self, LabError> {
        let folder = world.folder.join("controller");
        std::fs::create_dir_all(&folder)
            .attempting(|| format!("make the folder `{}`", folder.display()))?;
        let data = folder.join("data");
        let ready = folder.join("ready");
        let address = free_address()?;
        let arguments = vec![
            "serve".to_owned(),
            "--listen".to_owned(),
            address.clone(),
            "--data".to_owned(),
            data.display().to_string(),
            "--ready-file".to_owned(),
            ready.display().to_string(),
        ];
        let log = folder.join("controller.log");
        let mut controller = Daemon::new(
            "the controller",
            None,
            programs.lab.clone(),
            programs.mailmend.clone(),
            arguments,
            log.clone(),
        );
        controller.start()?;
        awaited::or_fail("the controller", START, || {
            ready.exists() || !controller.runs()
        })?;
        if !ready.exists() {
            return Err(LabError::Refused {
                attempted: "start the controller".to_owned(),
                reason: controller.said(),
            });
        }
        let operator = Operator::new(programs, &address, &data, folder.join("operator.log"));
        operator.ask(&["agent", "list"])?;
        let signing = Signing::begin(&operator, folder.join("keys"))?;
        let mut fleet = Self {
            operator: operator.signed_by(signing.clone()),
            signing,
            controller,
            agents: Vec::new(),
            data,
            address: address.clone(),
        };
        for server in &world.servers {
            let agent = fleet.enrol(world, server, programs, &guard(server))?;
            fleet.agents.push(agent);
        }
        let all = fleet.agents.len();
        for first in (0..all).step_by(AGENTS_AT_ONCE) {
            let group = first..(first + AGENTS_AT_ONCE).min(all);
            for agent in &mut fleet.agents[group.clone()] {
                agent.start()?;
            }
            fleet.await_connected(group.end)?;
        }
        Ok(fleet)
    }

    fn enrol(
        &self,
        world: &World,
        server: &Server,
        programs: &Programs,
        guard: &Guarded,
    ) -> Result<Daemon, LabError> {
        let folder = server.dir.agent();
        let factor = world.spec.clock_factor;
        let root = folder.join("root.toml");
        let text =
            std::fs::read(self.signing.root()).attempting(|| "read the first root".to_owned())?;
        whole_file::write(&root, &text)?;
        let guard = Guarded {
            root: Some(root),
            ..guard.clone()
        };
        let config = administer(server, programs, factor, &self.address, &guard)?;
        let authority = folder.join("ca.pem");
        let ca = authority.display().to_string();
        let answer = self.operator.ask(&[
            "agent",
            "token",
            &server.name,
            "--site",
            &server.site,
            "--ca",
            &ca,
        ])?;
        let token = answer["token"]
            .as_str()
            .ok_or_else(|| LabError::Malformed {
                what: "the answer of `mailmend agent token`".to_owned(),
                reason: "it has no `token`".to_owned(),
            })?;
        let output = folder.join("agent.log");
        let launch = server.platform.agent(&server.dir, programs);
        let mut command = Command::new(&programs.lab);
        command
            .args(["tether", "--"])
            .arg(&launch.program)
            .args(&launch.arguments)
            .envs(launch.environment.iter().cloned())
            .arg("enrol")
            .arg("--config")
            .arg(server.platform.written(&config))
            .arg("--token")
            .arg(token)
            .arg("--ca")
            .arg(server.platform.written(&authority))
            .stdout(Stdio::null());
        let what = format!("enrol {}", server.name);
        let mut enrolment = Tethered::start(&what, command, &output)?;
        let code = enrolment.wait(START)?;
        if code != Some(0) {
            let said = std::fs::read_to_string(&output).unwrap_or_default();
            return Err(LabError::Refused {
                attempted: what,
                reason: said,
            });
        }
        let mut arguments = launch.arguments;
        arguments.extend([
            "run".to_owned(),
            "--config".to_owned(),
            server.platform.written(&config),
        ]);
        let agent = Daemon::new(
            &format!("the agent of {}", server.name),
            Some((server.site.clone(), server.name.clone())),
            programs.lab.clone(),
            launch.program,
            arguments,
            output,
        );
        Ok(agent.with_environment(launch.environment))
    }

    /// Waits until so many agents are connected.
    fn await_connected(&mut self, count: usize) -> Result<(), LabError> {
        let mut last = Value::Null;
        let operator = self.operator.clone();
        let found = awaited::or_fail("the agents to connect", START, || {
            last = operator.ask(&["agent", "list"]).unwrap_or_default();
            rows(&last)
                .iter()
                .filter(|agent| agent["connected"] == true)
                .count()
                == count
        });
        found.map(drop).map_err(|error| LabError::Refused {
            attempted: "have every agent connected".to_owned(),
            reason: format!("{}; the controller lists {last}", error.whole()),
        })
    }

    /// Waits until the controller has stored all that every agent has journaled.
    ///
    /// # Errors
    /// Where it has not within `limit`, with what it lists.
    pub(super) fn await_reports(&mut self, limit: Duration) -> Result<(), LabError> {
        let mut last = Value::Null;
        let mut settled = || {
            self.keep()?;
            last = self.ask(&["agent", "list"])?;
            let agents = rows(&last);
            let reported = |agent: &Value| {
                agent["connected"] == true && agent["journal_head"] == agent["journal_acknowledged"]
            };
            Ok::<bool, LabError>(agents.len() == self.agents.len() && agents.iter().all(reported))
        };
        let mut failed = None;
        let in_time = awaited::until(limit, || {
            settled().unwrap_or_else(|error| {
                failed = Some(error);
                true
            })
        });
        match (failed, in_time) {
            (Some(error), _) => Err(error),
            (None, Some(_)) => Ok(()),
            (None, None) => Err(LabError::TimedOut {
                awaited: format!("all reports; the controller lists {last}"),
                waited: limit,
            }),
        }
    }

    /// Asks the controller as an operator would, and keeps the fleet running until it answers.
    pub(super) fn ask(&mut self, arguments: &[&str]) -> Result<Value, LabError> {
        let operator = self.operator.clone();
        operator.ask_keeping(arguments, &mut || self.keep().map(drop))
    }

    /// Starts what is down and due. Returns whether a process changed.
    pub(super) fn keep(&mut self) -> Result<bool, LabError> {
        let mut changed = self.controller.keep()?;
        for agent in &mut self.agents {
            changed |= agent.keep()?;
        }
        Ok(changed)
    }

    /// Kills the agent of a server, as a crash does; it stays away until [`Self::start_agent`]. Returns whether
    /// it ran.
    pub fn kill_agent(&mut self, server: &str) -> bool {
        self.agent(server)
            .is_some_and(|agent| agent.kill(UNTIL_TOLD))
    }

    /// Starts the agent of a server again.
    ///
    /// # Errors
    /// Where there is no such agent or it cannot be started.
    pub fn start_agent(&mut self, server: &str) -> Result<(), LabError> {
        let agent = self.agent(server).ok_or_else(|| LabError::Refused {
            attempted: format!("start the agent of `{server}`"),
            reason: "there is none".to_owned(),
        })?;
        agent.start()
    }

    fn agent(&mut self, server: &str) -> Option<&mut Daemon> {
        let of = |agent: &&mut Daemon| agent.of.as_ref().is_some_and(|(_, of)| of == server);
        self.agents.iter_mut().find(of)
    }

    /// What ended although nobody had killed it, with how often.
    pub(super) fn ended_by_themselves(&self) -> Vec<(String, usize)> {
        let all = self.agents.iter().chain([&self.controller]);
        let ended = all.filter(|daemon| daemon.ended_by_itself > 0);
        ended
            .map(|daemon| (daemon.what.clone(), daemon.ended_by_itself))
            .collect()
    }

    /// Ends every agent and the controller. Returns what did not end by itself.
    #[must_use]
    pub fn stop(&mut self) -> Vec<String> {
        let mut stubborn = Vec::new();
        for daemon in self.agents.iter_mut().chain([&mut self.controller]) {
            if !daemon.stop(STOP) {
                stubborn.push(daemon.what.clone());
            }
        }
        stubborn
    }

    /// The fleet's part of `lab.json`.
    pub(super) fn chart(&self) -> Vec<ChartedProcess> {
        let charted =
            |role: &str, daemon: &Daemon, address: Option<&str>, folder: PathBuf| ChartedProcess {
                role: role.to_owned(),
                site: daemon.of.as_ref().map(|(site, _)| site.clone()),
                server: daemon.of.as_ref().map(|(_, server)| server.clone()),
                pid: daemon.pid(),
                ports: address.and_then(port).into_iter().collect(),
                address: address.map(str::to_owned),
                directories: BTreeMap::from([
                    ("data".to_owned(), folder),
                    ("output".to_owned(), daemon.output().clone()),
                ]),
            };
        let mut all = vec![charted(
            "controller",
            &self.controller,
            Some(&self.address),
            self.data.clone(),
        )];
        for agent in &self.agents {
            let folder = agent
                .output()
                .parent()
                .unwrap_or(Path::new(""))
                .join("data");
            all.push(charted("agent", agent, None, folder));
        }
        all
    }
}

/// Writes what an administrator would write for the agent of a server; returns the agent's configuration.
pub(super) fn administer(
    server: &Server,
    programs: &Programs,
    clock_factor: ClockFactor,
    address: &str,
    guard: &Guarded,
) -> Result<PathBuf, LabError> {
    let folder = server.dir.agent();
    whole_file::write(
        &folder.join("guard.toml"),
        guard_file(server, programs, guard).as_bytes(),
    )?;
    let config = folder.join("agent.toml");
    whole_file::write(
        &config,
        agent_file(server, clock_factor.0, address).as_bytes(),
    )?;
    Ok(config)
}

/// The port of an address.
fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

fn free_address() -> Result<String, LabError> {
    let attempted = || "find a free port".to_owned();
    let listener = TcpListener::bind(LISTEN).attempting(attempted)?;
    Ok(listener.local_addr().attempting(attempted)?.to_string())
}

/// What an administrator would write for the agent of a server.
fn agent_file(server: &Server, clock_factor: u32, address: &str) -> String {
    let dir = &server.dir;
    let path = |path: &Path| quoted(&server.platform.written(path));
    format!(
        r#"name = {name}
controller = {controller}
data = {data}
guard = {guard}

{host}
[facts]
"ims.direction" = {direction}
"ims.address-spaces" = {spaces}
"#,
        name = quoted(&server.name),
        controller = quoted(&format!("https://{address}")),
        data = path(&dir.agent().join("data")),
        guard = path(&dir.agent().join("guard.toml")),
        host = server.platform.host(dir, clock_factor),
        direction = quoted(server.direction.fact()),
        spaces = quoted(&server.address_spaces),
    )
}

/// What an administrator would allow the agent of a server. The limits by the hour leave room for an
/// hour of life that passes in a minute.
fn guard_file(server: &Server, programs: &Programs, guard: &Guarded) -> String {
    let dir = &server.dir;
    let path = |path: &Path| quoted(&server.platform.written(path));
    format!(
        r#"{policies}
roots = [{root}]
services = [{service}, {mta}]

[limits]
restarts_per_hour = 200
sections_per_hour = 200
tools_per_hour = 1000

[watchdog]
services = [{watched}]

[tools.recalculate-routing]
program = {lab}
arguments = ["tool", "recalculate", "--server-dir", {server_dir}]
verdicts = {{ requested = "routing recalculation requested" }}

[tools.submit-test-mail]
program = {lab}
arguments = ["tool", "submit", "--server-dir", {server_dir}]
flags = {{ to = {{ flag = "--to", pattern = "address" }} }}
verdicts = {{ submitted = "submitted" }}
{more}"#,
        policies = guard.root.as_ref().map_or_else(
            || "policies = \"unsigned\"".to_owned(),
            |root| format!("policies = \"signed\"\ntrust_root = {}", path(root)),
        ),
        root = path(&dir.exchsrvr()),
        service = quoted(ims::SERVICE),
        mta = quoted(ims::MTA),
        watched = if guard.watchdog {
            quoted(ims::SERVICE)
        } else {
            String::new()
        },
        more = guard.tools.values().map(String::as_str).collect::<String>(),
        lab = quoted(&server.platform.lab(programs)),
        server_dir = path(dir.root()),
    )
}

/// A tool of the lab, by name, as a guard file defines it; `tail` is TOML that follows, such as verdicts and
/// flags.
pub fn guarded_tool(
    name: &str,
    subcommand: &str,
    server: &Server,
    programs: &Programs,
    tail: &str,
) -> (String, String) {
    let text = format!(
        "\n[tools.{name}]\nprogram = {}\narguments = [\"tool\", {}, \"--server-dir\", {}]\n{tail}\n",
        quoted(&server.platform.lab(programs)),
        quoted(subcommand),
        quoted(&server.platform.written(server.dir.root())),
    );
    (name.to_owned(), text)
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
