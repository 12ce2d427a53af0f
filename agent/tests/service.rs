//! `mailmend-agent service` on Linux: the unit that it writes, what systemd says to it, and how the agent
//! tells systemd how it is.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "the functions beside the tests are tests too"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A server's configuration in a folder of its own.
struct Server {
    folder: tempfile::TempDir,
}

impl Server {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Self { folder };
        fs::create_dir_all(server.path("exchsrvr/imcdata/Out")).unwrap();
        fs::create_dir_all(server.path("units")).unwrap();
        let at = |name: &str| server.path(name).display().to_string();
        let config = format!(
            "name = \"SRVB\"\ncontroller = \"https://127.0.0.1:1\"\ndata = \"{}\"\nguard = \"{}\"\n[host]\nprovider = \"unix\"\nservice_socket = \"{}\"\nregistry_file = \"{}\"\nevents_file = \"{}\"\n",
            at("data"),
            at("guard.toml"),
            at("socket"),
            at("registry.toml"),
            at("events.log")
        );
        fs::write(server.path("agent.toml"), config).unwrap();
        let guard = format!(
            "roots = [\"{}\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n",
            at("exchsrvr")
        );
        fs::write(server.path("guard.toml"), guard).unwrap();
        server
    }

    /// A path below the folder, without links in it.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn unit(&self) -> PathBuf {
        self.path("units/mailmend-agent.service")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailmend-agent"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("MAILMEND_AGENT_CONFIG", self.path("agent.toml"));
        command
    }

    /// `service WHAT` on units in this folder; its answer as JSON.
    fn service(&self, what: &[&str]) -> (i32, serde_json::Value, String) {
        let mut command = self.command(&["service"]);
        command.args(what).args(["--output", "json", "--units"]);
        let output = command.arg(self.path("units")).output().unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let told = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), answer, told)
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_dry_run_prints_the_unit_and_writes_nothing() {
    let server = Server::new();
    let printed = text(
        &server
            .command(&["service", "install", "--dry-run"])
            .output()
            .unwrap(),
    );
    for line in [
        "Type=notify",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "KillMode=mixed",
        "MemoryDenyWriteExecute=yes",
        "Restart=always",
        "StartLimitIntervalSec=0",
    ] {
        assert!(
            printed.lines().any(|found| found == line),
            "{line}: {printed}"
        );
    }
    let writes = format!("ReadWritePaths=\"{}\"", server.path("exchsrvr").display());
    assert!(printed.lines().any(|line| line == writes), "{printed}");
    // What came from the environment now, shall hold there too.
    let command = format!(
        "ExecStart=\"{}\" \"service\" \"run\" \"--config\" \"{}\" \"--name\" \"OTHER\"",
        env!("CARGO_BIN_EXE_mailmend-agent"),
        server.path("agent.toml").display()
    );
    let mut other = server.command(&["service", "install", "--dry-run"]);
    let printed = text(&other.env("MAILMEND_AGENT_NAME", "OTHER").output().unwrap());
    assert!(printed.lines().any(|line| line == command), "{printed}");
    assert_eq!(fs::read_dir(server.path("units")).unwrap().count(), 0);
    assert!(!server.path("data").exists());
}

#[test]
fn installing_twice_changes_nothing_and_a_changed_guard_file_changes_the_unit() {
    let server = Server::new();
    let outcome = |what: &[&str]| {
        let (code, answer, told) = server.service(what);
        assert_eq!((code, told.as_str()), (0, ""), "{answer}");
        answer["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!(outcome(&["uninstall"]), "not-installed");
    assert_eq!(outcome(&["install"]), "installed");
    let first = fs::read(server.unit()).unwrap();
    assert_eq!(outcome(&["install"]), "unchanged");
    assert_eq!(fs::read(server.unit()).unwrap(), first);
    fs::create_dir(server.path("more")).unwrap();
    let guard = fs::read_to_string(server.path("guard.toml")).unwrap();
    let more = format!("\", \"{}\"]", server.path("more").display());
    fs::write(server.path("guard.toml"), guard.replacen("\"]", &more, 1)).unwrap();
    assert_eq!(outcome(&["install"]), "updated");
    let unit = fs::read_to_string(server.unit()).unwrap();
    // In one piece: no file moves from one mount to another.
    let whole = server.path("more");
    let writes = format!("ReadWritePaths=\"{}\"", whole.parent().unwrap().display());
    assert!(unit.contains(&writes), "{unit}");
    let (_, answer, _) = server.service(&["uninstall"]);
    assert_eq!(answer["outcome"], "removed");
    let notes = answer["notes"].to_string();
    let data = server.path("data").display().to_string();
    assert!(
        notes.contains("held mail") && notes.contains(&data),
        "{notes}"
    );
    assert!(!server.unit().exists());
    assert!(server.path("guard.toml").exists() && server.path("agent.toml").exists());
}

#[test]
fn a_unit_of_somebody_else_and_a_faulty_guard_file_are_refused_and_left_as_they_are() {
    let server = Server::new();
    fs::write(server.unit(), "[Service]\nExecStart=/bin/true\n").unwrap();
    for what in ["install", "uninstall"] {
        let (code, _, told) = server.service(&[what]);
        assert_eq!(code, 5);
        assert!(told.contains("A130-service-foreign"), "{told}");
    }
    let unit = fs::read_to_string(server.unit()).unwrap();
    assert_eq!(unit, "[Service]\nExecStart=/bin/true\n");
    fs::remove_file(server.unit()).unwrap();
    fs::write(server.path("guard.toml"), "roots = [\"/\"]\n").unwrap();
    let (code, _, told) = server.service(&["install"]);
    assert_eq!(code, 2);
    assert!(told.contains("A003-guard-faulty"), "{told}");
    assert!(!server.unit().exists());
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[test]
fn systemd_takes_the_unit_and_finds_little_that_it_leaves_open() {
    if !on_path("systemd-analyze") {
        eprintln!("LEFT OUT: systemd-analyze is not installed");
        return;
    }
    let server = Server::new();
    let (code, ..) = server.service(&["install"]);
    assert_eq!(code, 0);
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(arguments).arg(server.unit()).output().unwrap();
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.success(), told)
    };
    let (good, told) = analyze(&["verify", "--man=no", "--recursive-errors=no"]);
    assert!(good && told.is_empty(), "{told}");
    // In tenths, from 0 (closed) to 100. This one lies in /tmp, so it has no /tmp of its own.
    let (good, told) = analyze(&["security", "--no-pager", "--offline=true", "--threshold=30"]);
    assert!(good, "{told}");
}

/// Kernel calls of a running agent and of a tool that it runs are all among those that the unit allows.
#[test]
fn the_unit_allows_every_call_that_an_agent_at_work_makes() {
    if !on_path("systemd-analyze") || !on_path("strace") {
        eprintln!("LEFT OUT: systemd-analyze or strace is not installed");
        return;
    }
    let server = Server::new();
    let trace = server.path("trace");
    let agent = server.command(&["run"]);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .arg(agent.get_program())
        .args(agent.get_args())
        .env("MAILMEND_AGENT_CONFIG", server.path("agent.toml"))
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    let seen = lines.any(|line| line.unwrap().contains("A020-not-enrolled"));
    assert!(seen, "the agent came to its work");
    let first = fs::read_to_string(&trace).unwrap();
    let pid: i32 = first.split(' ').next().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    // It may still write there.
    let rest: Vec<_> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");

    let allowed = calls_of("@system-service");
    let refused: Vec<_> = ["@privileged", "@resources"]
        .into_iter()
        .flat_map(calls_of)
        .collect();
    let trace = fs::read_to_string(&trace).unwrap();
    let mut made: Vec<&str> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name)
        .filter(|name| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    made.sort_unstable();
    made.dedup();
    assert!(made.len() > 30, "{made:?}");
    let outside: Vec<_> = made
        .into_iter()
        .filter(|call| {
            let call = (*call).to_owned();
            !allowed.contains(&call) || refused.contains(&call)
        })
        // As root SQLite offers its files to the folder's owner and takes no for an answer.
        .filter(|call| !matches!(*call, "fchown" | "geteuid"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

/// The calls of a set as systemd knows it, those of the sets within it too.
fn calls_of(set: &str) -> Vec<String> {
    let output = Command::new("systemd-analyze")
        .args(["--no-pager", "syscall-filter", set])
        .output()
        .unwrap();
    let text = text(&output);
    let mut calls = Vec::new();
    for name in text.lines().skip(1).map(str::trim) {
        if name.starts_with('@') {
            calls.extend(calls_of(name));
        } else if !name.is_empty() && !name.starts_with('#') {
            calls.push(name.to_owned());
        }
    }
    calls
}

#[test]
fn systemd_is_told_that_the_agent_is_there_what_it_does_and_that_it_ends() {
    let server = Server::new();
    let socket = UnixDatagram::bind(server.path("notify")).unwrap();
    let limit = std::time::Duration::from_secs(60);
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut told = Vec::new();
    let mut until = |wanted: &str| {
        while !told.iter().any(|line: &String| line.contains(wanted)) {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).unwrap();
            told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        told.clone()
    };
    let mut agent = server
        .command(&["service", "run"])
        .env("NOTIFY_SOCKET", server.path("notify"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let so_far = until("at work for");
    assert_eq!(so_far[0], "READY=1\n");
    assert!(!so_far.iter().any(|line| line.contains("STOPPING")));
    let pid = rustix::process::Pid::from_child(&agent);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let so_far = until("STOPPING=1");
    assert!(
        so_far
            .iter()
            .any(|line| line.contains("EXTEND_TIMEOUT_USEC=30000000")),
        "{so_far:?}"
    );
    assert_eq!(agent.wait().unwrap().code(), Some(0));
}

#[test]
fn the_help_of_every_command_of_a_service_has_examples() {
    let server = Server::new();
    for what in ["install", "uninstall"] {
        let help = text(
            &server
                .command(&["service", what, "--help"])
                .output()
                .unwrap(),
        );
        assert!(help.contains("Example"), "{help}");
    }
    assert!(Path::new(env!("CARGO_BIN_EXE_mailmend-agent")).is_file());
}
