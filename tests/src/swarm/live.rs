//! Real agents, as many as the machine bears: processes of `mailmend-agent` with journals, guards and identities of their
//! own, each on a server of files alone, against the real controller.
//!
//! Their policy looks at a file in five steps and changes nothing: what is measured is what lies between the steps.
//!
//! Beside it, in the same run and before it, the bare server with as many agents of the swarm: it speaks no more of the
//! protocol than they do, so that real agents would have nothing to do with it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mailmend::clock::Clock;
use mailmend::enrol::Authority;
use mailmend::server::agents::Authority as _;
use mailmend::store::{NewToken, Store};
use mailmend::trust::Named;
use mailmend_agent::identity;
use mailmend_policy::name::ServerName;
use serde::Serialize;

use super::asker::Asker;
use super::inventory::{DATABASE, Inventory};
use super::process::{Kind, Process, Used};
use super::stored::Stored;
use super::{Cost, Figures, Measuring, REST, Swarm, cost, ended, until};
use crate::lab_error::{Attempting, LabError};
use crate::programs::Programs;
use crate::registry::Registry;
use crate::server_dir::ServerDir;
use crate::tether::{PARENT, Tethered};
use crate::whole_file;

/// The policy's name.
const POLICY: &str = "live";
/// The steps of its plan, with the detection.
const STEPS: usize = 5;
/// What the controller logs of each connection, and how it says that a session was resumed.
const LOG: &str = "warn,mailmend::server::accept=debug";
const RESUMED: &str = "resumed=true";
const FULL: &str = "resumed=false";
/// How often the controller is asked who is connected.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// At most so many real agents: each is a process.
const MOST: usize = 500;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// How many agents.
    pub agents: usize,
    /// From the first process to the last session.
    pub connect: Cost,
    /// A policy to all, and all answers stored.
    pub push: Cost,
    /// A rollout of five steps on each, in two waves.
    pub rollout: Cost,
    /// All back after a kill, from when the controller listens.
    pub storm: Cost,
    /// How long it took until it listened again.
    pub restart_seconds: f64,
    /// Of the storm's handshakes: with a ticket, and without.
    pub resumed: usize,
    /// See `resumed`.
    pub full: usize,
    /// Runs that succeeded.
    pub succeeded: usize,
    /// Steps whose end is stored.
    pub steps: usize,
    /// Memory of the controller at the end, bytes.
    pub end_bytes: u64,
    /// The bare server with as many agents of the swarm.
    pub bare: Option<Figures>,
}

impl Outcome {
    /// Whether nothing is missing, and the sessions were resumed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.succeeded == self.agents
            && self.steps == self.agents * STEPS
            && self.resumed * 20 >= (self.resumed + self.full) * 19
    }

    /// A table of 80 columns.
    #[must_use]
    pub fn table(&self) -> String {
        let line = |what: &str, cost: &Cost, bare: fn(&Figures) -> &Cost| {
            let bare = self.bare.as_ref().map(bare).map_or_else(
                || format!("{:>10} {:>10}", "-", "-"),
                |bare| format!("{:>8.2} s {:>8.2} s", bare.seconds, bare.cpu),
            );
            let Cost { seconds, cpu } = cost;
            format!("{what:<34} {seconds:>8.2} s {cpu:>8.2} s {bare}\n")
        };
        let one = |what: &str, found: String| format!("{what:<34} {found:>10}\n");
        let head = format!("{} real agents", self.agents);
        [
            format!(
                "{head:<34} {:>10} {:>10} {:>10} {:>10}\n",
                "time", "processor", "bare", "processor"
            ),
            line("start and connect all", &self.connect, |bare| &bare.cold),
            line("push a policy, all answered", &self.push, |bare| &bare.push),
            line("rollout of five steps, two waves", &self.rollout, |bare| {
                &bare.rollout
            }),
            line("storm: all back after a kill", &self.storm, |bare| {
                &bare.storm
            }),
            one(
                "listening again after the kill",
                format!("{:.2} s", self.restart_seconds),
            ),
            one(
                "sessions resumed in the storm",
                format!("{} of {}", self.resumed, self.resumed + self.full),
            ),
            one(
                "runs that succeeded",
                format!("{} of {}", self.succeeded, self.agents),
            ),
            one(
                "steps stored",
                format!("{} of {}", self.steps, self.agents * STEPS),
            ),
        ]
        .concat()
    }
}

fn failed(why: impl std::fmt::Display) -> LabError {
    LabError::Refused {
        attempted: "enrol real agents".to_owned(),
        reason: why.to_string(),
    }
}

/// Measures.
///
/// # Errors
/// Where the lab fails, or the agents do not get there within the patience.
pub fn run(swarm: &Swarm, programs: &Programs, say: &dyn Fn(&str)) -> Result<Outcome, LabError> {
    let count = swarm.agents;
    if count > MOST {
        return Err(failed(format!(
            "{count} processes are too many; at most {MOST}"
        )));
    }
    let mut folder = tempfile::Builder::new()
        .prefix("mailmend-live-")
        .tempdir()
        .attempting(|| "make a folder".to_owned())?;
    let path = folder.path().to_owned();
    folder.disable_cleanup(swarm.keep);
    let bare = if swarm.bare {
        let data = path.join("bare");
        let inventory = Inventory::make(&data, count)?;
        let swarm = Swarm {
            slow: 0,
            ..swarm.clone()
        };
        let mut bare = Measuring::begin(&swarm, Kind::Bare, programs, &path, &data, &inventory)?;
        Some(bare.all(say, "bare")?)
    } else {
        None
    };
    let data = path.join("controller");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    say(&format!("enrolling {count} agents"));
    let names = runtime.block_on(enrolled(&path, &data, count))?;
    let mut server = Process::start(Kind::Controller, programs, &path, &data)?.with_log(LOG);
    // The first start was for the identity of the operator: now with the log.
    server.kill();
    server.again()?;
    let mut asker = Asker::new(server.address(), &data)?;
    let stored = Stored::open(&data)?;
    let (before, begun) = (server.used()?, Instant::now());
    let mut agents = Vec::new();
    for name in &names {
        let folder = path.join(name.as_str());
        agents.push(started(&folder, name, programs, server.address())?);
    }
    connected(&mut asker, count, swarm.patience)?;
    let connect = cost(before, begun, &server)?;
    say(&format!("connected after {:.2} s", connect.seconds));

    asker.publish(&text())?;
    let (before, begun) = (server.used()?, Instant::now());
    asker.bind(POLICY, "")?;
    until("all answers", swarm.patience, || {
        Ok(stored.answers(1)? >= count)
    })?;
    let push = cost(before, begun, &server)?;
    say(&format!("pushed after {:.2} s", push.seconds));

    let (before, begun) = (server.used()?, Instant::now());
    let at_once = u32::try_from(count).unwrap_or(1);
    let id = asker.rollout(POLICY, "\"10%\", \"100%\"", at_once)?;
    ended(&stored, &id, swarm.patience)?;
    let rollout = cost(before, begun, &server)?;
    say(&format!("rolled out after {:.2} s", rollout.seconds));

    server.kill();
    let log = path.join("controller.log");
    let former = said(&log)?.len();
    // Until they have noticed: nobody may count that was not away.
    std::thread::sleep(REST);
    let restart = server.again()?;
    let begun = Instant::now();
    connected(&mut asker, count, swarm.patience)?;
    let storm = cost(Used::default(), begun, &server)?;
    say(&format!("all back after {:.2} s", storm.seconds));
    let log = said(&log)?;
    let lines = || log.get(former..).unwrap_or_default().lines();
    let of_agents = || lines().filter(|line| line.contains("agent-"));
    let outcome = Outcome {
        agents: count,
        connect,
        push,
        rollout,
        storm,
        restart_seconds: restart.as_secs_f64(),
        resumed: of_agents().filter(|line| line.contains(RESUMED)).count(),
        full: of_agents().filter(|line| line.contains(FULL)).count(),
        succeeded: stored.succeeded(&id)?,
        steps: stored.records("step-finished")?,
        end_bytes: server.used()?.rss,
        bare,
    };
    drop(agents);
    Ok(outcome)
}

fn said(log: &Path) -> Result<String, LabError> {
    std::fs::read_to_string(log).attempting(|| format!("read `{}`", log.display()))
}

fn connected(asker: &mut Asker, count: usize, patience: Duration) -> Result<(), LabError> {
    until("all agents to connect", patience, || {
        // Asking is not free for the controller, whose processor time is measured.
        std::thread::sleep(ASKED_EVERY);
        // The controller may be coming up.
        Ok(asker.connected().is_ok_and(|connected| connected == count))
    })
}

/// Gives each agent an identity in its data folder, and a line in the controller's inventory.
async fn enrolled(path: &Path, data: &Path, count: usize) -> Result<Vec<ServerName>, LabError> {
    let now_ms = Clock::system().now_ms();
    mailmend::enrol::prepare_folder(data, now_ms).map_err(failed)?;
    let store = Store::open(&data.join(DATABASE)).await.map_err(failed)?;
    let authority = Authority::open_or_create(data, now_ms).map_err(failed)?;
    let mut names = Vec::new();
    for number in 0..count {
        let name: ServerName = format!("agent-{number:05}").parse().map_err(failed)?;
        let own = path.join(name.as_str()).join("data");
        identity::make_data_folder(&own).map_err(failed)?;
        let key = identity::own_key(&own).map_err(failed)?;
        let request = identity::request(&own, &name, &key).map_err(failed)?;
        let whom = Named::Agent(name.clone());
        let made = authority.certify(&whom, &request, now_ms).map_err(failed)?;
        let token = NewToken {
            hash: authority.token_hash(&format!("live {number}")),
            agent: name.clone(),
            site: format!("site-{number:05}").parse().map_err(failed)?,
            labels: Default::default(),
            created_ms: now_ms,
            by: "lab".to_owned(),
            expires_ms: now_ms + 600_000,
        };
        store.create_token(&token).await.map_err(failed)?;
        let taken = store.take_token(&token.hash, &name, &made.noted, now_ms);
        taken
            .await
            .map_err(failed)?
            .map_err(|why| failed(format!("{why:?}")))?;
        let certificate = &made.certificate.certificate_pem;
        identity::store(&own, &name, certificate, authority.ca_pem()).map_err(failed)?;
        names.push(name);
    }
    store.close().await;
    Ok(names)
}

/// Starts one agent on a server of files alone.
fn started(
    folder: &Path,
    name: &ServerName,
    programs: &Programs,
    address: std::net::SocketAddr,
) -> Result<Tethered, LabError> {
    let server = ServerDir::new(folder);
    let stands = server.imcdata().join("stands");
    std::fs::create_dir_all(server.imcdata())
        .and_then(|()| std::fs::write(&stands, "it stands"))
        .attempting(|| format!("write `{}`", stands.display()))?;
    let registry = Registry::as_set_up(&server, 0).text();
    whole_file::write(&server.registry(), registry.as_bytes())?;
    let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    let guard = folder.join("guard.toml");
    let allowed = format!(
        "roots = [{}]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n",
        quoted(&server.exchsrvr())
    );
    whole_file::write(&guard, allowed.as_bytes())?;
    let config = folder.join("agent.toml");
    let text = format!(
        "name = \"{name}\"\ncontroller = \"https://{address}\"\ndata = {}\nguard = {}\n[host]\nprovider = \"unix\"\n\
         service_socket = {}\nregistry_file = {}\nevents_file = {}\n[facts]\n\"ims.direction\" = \"both\"\n\
         \"exchange.version\" = \"5.5.2653.13\"\n",
        quoted(&folder.join("data")),
        quoted(&guard),
        quoted(&server.manager_socket()),
        quoted(&server.registry()),
        quoted(&server.events()),
    );
    whole_file::write(&config, text.as_bytes())?;
    let mut command = Command::new(&programs.lab);
    command
        .args(["tether", "--"])
        .arg(&programs.agent)
        .args(["run", "--log", "warn", "--config"])
        .arg(&config)
        .env(PARENT, std::process::id().to_string())
        .stdout(Stdio::null());
    let what = format!("the agent {name}");
    Tethered::start(&what, command, &folder.join("agent.log"))
}

fn text() -> String {
    let mut text = String::from(
        r#"schema = "mailmend/v1"
name = "live"
version = 1
title = "Five steps that look at a file and change nothing"

[source]
article = "Q268494"

[applies_to]
product = "exchange"
versions = ">=4.0, <5.6"

[roles]
mail = { select = "ims.direction", bind = "each" }

[limits]
max_outage = "10m"
max_restarts = 4
max_files = 10

[detect]
on = "mail"
all = [{ file = "${imcdata}/stands", exists = true }]
"#,
    );
    // The detection is the first.
    for step in 2..=STEPS {
        text += &format!(
            "\n[[step]]\nid = \"look-{step}\"\non = \"mail\"\naction = \"check\"\n\
             all = [{{ file = \"${{imcdata}}/stands\", exists = true }}]\n"
        );
    }
    while text.len() < super::POLICY_BYTES {
        text += "# So long as a policy that says why each step is there.\n";
    }
    text
}
