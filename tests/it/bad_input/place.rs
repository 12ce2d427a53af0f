//! A controller and an agent with folders of their own, to be given bad input.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use mailmend::enrol::Authority;
use mailmend::trust::Named;
use mailmend_agent::identity;
use mailmend_lab::awaited;
use mailmend_lab::programs::Programs;
use mailmend_lab::tether::Tethered;
use mailmend_policy::name::ServerName;

use super::ended::{Ended, run};

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");
const LIMIT: Duration = Duration::from_secs(60);
/// The agent's name.
pub(super) const SERVER: &str = "SRVB";

pub(super) fn programs() -> &'static Programs {
    static FOUND: OnceLock<Programs> = OnceLock::new();
    FOUND.get_or_init(|| Programs::built_beside(Path::new(LAB)).unwrap())
}

/// A program with nothing of this machine's settings.
pub(super) fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    settle(&mut command);
    command
}

/// Takes the machine's settings away from a program.
pub(super) fn settle(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("XDG_CONFIG_HOME", "/nonexistent");
}

/// This machine's time, milliseconds since 1970 UTC.
pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A folder with an agent's configuration and guard file, and room for a controller.
pub(super) struct Place {
    folder: tempfile::TempDir,
    /// The agent's data folder, which may be on a volume of its own.
    pub(super) agent_data: PathBuf,
    /// The controller's.
    pub(super) controller_data: PathBuf,
    address: String,
    controller: Option<Tethered>,
}

impl Place {
    /// With no controller.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Another account may look in, for the tests in which there is one.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir_all(folder.path().join("exchsrvr/imcdata/Out")).unwrap();
        let mut place = Self {
            agent_data: folder.path().join("agent"),
            controller_data: folder.path().join("controller"),
            address: "127.0.0.1:1".into(),
            controller: None,
            folder,
        };
        place.configure();
        place
    }

    /// With a controller that listens.
    pub(super) fn served() -> Self {
        let mut place = Self::new();
        place.serve();
        place
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// Puts a file into the folder.
    pub(super) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes the agent's configuration and guard file as they should be.
    pub(super) fn configure(&mut self) {
        let at = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "name = \"{SERVER}\"\ncontroller = \"https://{}\"\ndata = \"{}\"\nguard = \"{}\"\n\
             [host]\nprovider = \"unix\"\nservice_socket = \"{}\"\nregistry_file = \"{}\"\nevents_file = \"{}\"\n",
            self.address,
            self.agent_data.display(),
            at("guard.toml"),
            at("socket"),
            at("registry.toml"),
            at("events.log"),
        );
        let guard = format!(
            "roots = [\"{}\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n",
            at("exchsrvr")
        );
        self.file("agent.toml", config);
        self.file("guard.toml", guard);
    }

    /// Starts the controller and waits until it listens.
    pub(super) fn serve(&mut self) {
        let ready = self.path("ready");
        let mut command = bare(&programs().lab);
        command
            .args(["tether", "--"])
            .arg(&programs().mailmend)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&self.controller_data)
            .arg("--ready-file")
            .arg(&ready);
        let log = self.path("controller.log");
        let mut controller = Tethered::start("the controller", command, &log).unwrap();
        awaited::or_fail("the controller", LIMIT, || {
            ready.exists() || !controller.runs()
        })
        .unwrap();
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let address = std::fs::read_to_string(&ready).unwrap_or_else(|why| panic!("{why}: {said}"));
        self.address = address.trim().to_owned();
        self.controller = Some(controller);
        self.configure();
    }

    /// Ends the controller, in order.
    pub(super) fn close(&mut self) {
        let mut controller = self.controller.take().unwrap();
        assert!(
            controller.stop(LIMIT),
            "the controller did not end by itself"
        );
    }

    /// Whether the controller that was started is still there.
    pub(super) fn is_served(&mut self) -> bool {
        self.controller.as_mut().is_some_and(Tethered::runs)
    }

    /// The address at which the controller listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// `mailmend serve` at a free port, which is expected to refuse.
    pub(super) fn serving(&self) -> Ended {
        let mut command = bare(&programs().mailmend);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&self.controller_data);
        run(&mut command)
    }

    /// `mailmend`, as the operator of the controller.
    pub(super) fn operator(&self, arguments: &[&str]) -> Ended {
        run(self.operator_command(&programs().mailmend).args(arguments))
    }

    /// `program` with the operator's settings.
    pub(super) fn operator_command(&self, program: &Path) -> Command {
        let mut command = bare(program);
        command
            .env("MAILMEND_CONTROLLER", format!("https://{}", self.address))
            .env("MAILMEND_IDENTITY", self.controller_data.join("operator"));
        command
    }

    /// `mailmend-agent` with the configuration of this place.
    pub(super) fn agent(&self, arguments: &[&str]) -> Ended {
        run(self.agent_command(&programs().agent).args(arguments))
    }

    /// `program` with the agent's settings.
    pub(super) fn agent_command(&self, program: &Path) -> Command {
        let mut command = bare(program);
        command.env("MAILMEND_AGENT_CONFIG", self.path("agent.toml"));
        command
    }

    /// A token for the agent of a server.
    pub(super) fn token(&self, server: &str) -> String {
        let said = self.operator(&["agent", "token", server, "--site", "oslo", "-o", "json"]);
        let answer: serde_json::Value = serde_json::from_str(said.succeeded()).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// Enrols the agent with a token.
    pub(super) fn enrol(&self, token: &str, more: &[&str]) -> Ended {
        let ca = self.controller_data.join("ca.pem");
        let ca = ca.to_str().unwrap();
        self.agent(&[&["enrol", "--token", token, "--ca", ca], more].concat())
    }

    /// Gives the agent a certificate of an authority, as if it had enrolled there.
    pub(super) fn certify(&self, authority: &Path, name: &str, from_ms: i64, validity: Duration) {
        let server: ServerName = name.parse().unwrap();
        let authority = Authority::open_or_create(authority, now_ms()).unwrap();
        identity::make_data_folder(&self.agent_data).unwrap();
        let key = identity::own_key(&self.agent_data).unwrap();
        let request = identity::request(&self.agent_data, &server, &key).unwrap();
        let issued = authority
            .issue(&Named::Agent(server.clone()), &request, from_ms, validity)
            .unwrap();
        let pem = &issued.certificate_pem;
        identity::store(&self.agent_data, &server, pem, authority.ca_pem()).unwrap();
    }

    /// Starts the agent and waits until its log has this text; it has to be at work then, and to end
    /// in order.
    #[track_caller]
    pub(super) fn works_and_says(&self, text: &str) {
        self.works_with(&[], text);
    }

    /// As [`Self::works_and_says`], with more environment.
    #[track_caller]
    pub(super) fn works_with(&self, environment: &[(String, String)], text: &str) {
        let log = self.path("agent.log");
        // An earlier agent has said something too.
        drop(std::fs::remove_file(&log));
        let mut command = self.agent_command(&programs().lab);
        command
            .args(["tether", "--"])
            .arg(&programs().agent)
            .arg("run")
            .envs(environment.iter().cloned());
        let mut agent = Tethered::start("the agent", command, &log).unwrap();
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        let told = awaited::until(LIMIT, || read().contains(text) || !agent.runs());
        assert!(told.is_some() && agent.runs(), "no `{text}`: {}", read());
        assert!(read().contains("recovered"), "{}", read());
        assert!(agent.stop(LIMIT), "it did not end in order: {}", read());
    }
}

/// What is below a folder: each file with its mode and content, each folder with its mode. Locks and
/// SQLite's shared memory hold nothing.
pub(super) fn all_of(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = std::fs::symlink_metadata(&path).unwrap();
            let name = path.to_string_lossy().into_owned();
            if found.is_dir() {
                folders.push(path.clone());
                all.insert(path, (found.mode(), Vec::new()));
            } else if !name.ends_with(".lock")
                && !name.ends_with("-shm")
                && !empty_wal(&name, &found)
            {
                let bytes = std::fs::read(&path).unwrap();
                all.insert(path, (found.mode(), bytes));
            }
        }
    }
    all
}

fn empty_wal(name: &str, found: &std::fs::Metadata) -> bool {
    name.ends_with("-wal") && found.len() == 0
}

/// Asserts that what is below a folder is as it was.
#[track_caller]
pub(super) fn untouched(folder: &Path, before: &BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    let after = all_of(folder);
    let names = |all: &BTreeMap<PathBuf, (u32, Vec<u8>)>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(&after), "files came or went");
    for (path, was) in before {
        assert!(was == &after[path], "`{}` was changed", path.display());
    }
}
