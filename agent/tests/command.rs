//! The program `mailmend-agent` itself: what it prints, and how it ends.
#![allow(
    clippy::unwrap_used,
    reason = "the functions beside the tests are tests too"
)]

use std::fs;
use std::path::PathBuf;
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

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailmend-agent"));
        command
            .args(arguments)
            .env_clear()
            .env("MAILMEND_AGENT_CONFIG", self.path("agent.toml"));
        command
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code and standard error.
fn end(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), text(&output.stderr))
}

#[test]
fn each_value_of_the_configuration_is_shown_with_its_origin() {
    let server = Server::new();
    let output = server
        .command(&["config", "--show", "--name", "OTHER", "--output", "json"])
        .env("MAILMEND_AGENT_DATA", "/elsewhere")
        .output()
        .unwrap();
    assert_eq!(end(&output), (0, String::new()));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown[0]["value"], "OTHER");
    assert_eq!(shown[0]["origin"], "flag --name");
    assert_eq!(shown[1]["origin"], "file, line 2");
    assert_eq!(shown[2]["origin"], "environment MAILMEND_AGENT_DATA");
}

#[test]
fn a_faulty_configuration_shows_every_place_and_ends_with_2() {
    let server = Server::new();
    let file = server.path("agent.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("https", "http") + "x = 1\n").unwrap();
    let (code, told) = end(&server.call(&["config"]));
    assert_eq!(code, 2);
    assert!(
        told.contains("A001-config-faulty") && told.contains("agent.toml:2:14"),
        "{told}"
    );
    assert!(told.contains("agent.toml:10:1"), "{told}");
    assert!(!told.contains('\u{1b}'), "no colour where nobody sees it");
}

#[test]
fn usage_errors_end_with_2_and_help_ends_with_0() {
    let server = Server::new();
    assert_eq!(end(&server.call(&["frobnicate"])).0, 2);
    assert_eq!(end(&server.call(&["ledger", "--state", "lost"])).0, 2);
    assert_eq!(end(&server.call(&["config", "--config", "/nowhere"])).0, 2);
    let help = server.call(&["--help"]);
    assert_eq!(end(&help).0, 0);
    assert!(text(&help.stdout).contains("Exit codes: 0 success"));
}

#[test]
fn a_guard_that_others_could_change_ends_with_5() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::new();
    let good = server.call(&["guard", "check"]);
    assert_eq!(end(&good), (0, String::new()));
    assert!(text(&good.stdout).contains("MSExchangeIMC"));
    let guard = server.path("guard.toml");
    fs::set_permissions(&guard, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, told) = end(&server.call(&["guard", "check"]));
    assert_eq!(code, 5);
    assert!(
        told.contains("A005-guard-unsafe") && told.contains("chmod"),
        "{told}"
    );
}

#[test]
fn an_agent_without_a_good_guard_does_not_start() {
    let server = Server::new();
    fs::write(server.path("guard.toml"), "roots = [\"/\"]\n").unwrap();
    let (code, told) = end(&server.call(&["run"]));
    assert_eq!(code, 2);
    assert!(told.contains("A003-guard-faulty"), "{told}");
    assert!(!server.path("data").exists());
}

#[test]
fn journal_and_ledger_of_an_agent_that_never_ran_say_so() {
    let server = Server::new();
    for command in ["journal", "ledger"] {
        let (code, told) = end(&server.call(&[command]));
        assert_eq!(code, 1);
        assert!(told.contains("the agent has never run here"), "{told}");
    }
}

#[test]
fn a_check_tells_every_fault_at_once_and_changes_nothing() {
    let server = Server::new();
    let output = server.call(&["check", "--output", "json"]);
    assert_eq!(end(&output).0, 1);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let faults: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["good"] == false)
        .map(|check| check["what"].as_str().unwrap())
        .collect();
    let expected = [
        "certificate",
        "imcdata",
        "mtadata",
        "tracking log",
        "service MSExchangeIMC",
    ];
    assert_eq!(faults, expected);
    assert!(!server.path("data").exists());
}

#[test]
fn enrolling_with_an_unreadable_authority_or_no_controller_says_what_to_do() {
    let server = Server::new();
    let ca = server.path("ca.pem");
    let arguments = ["enrol", "--token", "x", "--ca", ca.to_str().unwrap()];
    let (code, told) = end(&server.call(&arguments));
    assert_eq!(code, 2);
    assert!(told.contains("A016-authority-unreadable"), "{told}");
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
    let (code, told) = end(&server.call(&arguments));
    assert_eq!(code, 6);
    assert!(told.contains("A025-controller-unreachable"), "{told}");
}

/// An agent at work, ended with the test.
struct Running {
    child: std::process::Child,
    log: std::io::Lines<std::io::BufReader<std::process::ChildStderr>>,
}

impl Running {
    fn start(server: &Server) -> Self {
        use std::io::BufRead;
        let mut child = server
            .command(&["run"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let log = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// Reads the log up to a line with this text; the end of the log is a failure.
    fn until(&mut self, text: &str) {
        let mut read = Vec::new();
        for line in self.log.by_ref() {
            let line = line.unwrap();
            if line.contains(text) {
                return;
            }
            read.push(line);
        }
        panic!("`{text}` is not in the log: {read:#?}");
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_agent_that_is_not_enrolled_works_on_and_says_so_until_it_is_told_to_end() {
    let server = Server::new();
    let mut agent = Running::start(&server);
    agent.until("recovered");
    agent.until("A020-not-enrolled");
    // The journal is made and readable beside the agent.
    assert_eq!(end(&server.call(&["journal"])), (0, String::new()));
    let ledger = server.call(&["ledger"]);
    assert!(text(&ledger.stdout).contains("nothing was ever taken into custody"));
    agent.terminate();
    agent.until("ended");
    assert_eq!(agent.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_agent_on_the_same_journal_is_refused() {
    let server = Server::new();
    let mut first = Running::start(&server);
    first.until("recovered");
    let (code, told) = end(&server.call(&["run"]));
    assert_eq!(code, 1);
    assert!(told.contains("A010-journal-in-use"), "{told}");
    // A killed agent leaves no lock behind.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let mut next = Running::start(&server);
    next.until("recovered");
}

#[test]
fn a_corrupt_journal_stops_the_agent_and_is_still_listed() {
    let server = Server::new();
    fs::create_dir(server.path("data")).unwrap();
    fs::write(server.path("data/journal.db"), "noise, not SQLite at all, for longer than a header of one hundred bytes is, so that it is read").unwrap();
    let (code, told) = end(&server.call(&["run"]));
    assert_eq!(code, 1);
    assert!(told.contains("A011") || told.contains("A013"), "{told}");
    let bytes = fs::read(server.path("data/journal.db")).unwrap();
    assert!(bytes.starts_with(b"noise"), "it is left as it is");
}

#[test]
fn no_crate_of_the_workspace_enables_the_switches_for_safety_mechanisms() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for member in ["", "policies", "proto", "agent", "controller", "tests"] {
        let manifest = fs::read_to_string(top.join(member).join("Cargo.toml")).unwrap();
        for line in manifest.lines().filter(|line| line.contains("ablation")) {
            let own = [
                "ablation = []",
                "name = \"ablation\"",
                "required-features = [\"ablation\"]",
            ];
            assert!(own.contains(&line), "`{member}` says `{line}`");
        }
    }
}

/// A journal with a duty that has ended and holds one message, whose file is gone.
fn with_a_lost_message(server: &Server) -> mailmend_agent::journal::Journal {
    use mailmend_policy::digest::Digest;
    use mailmend_proto::run::{BatchId, Custody, Ended, Entry, Event, RunId};
    fs::create_dir_all(server.path("data")).unwrap();
    let journal = mailmend_agent::journal::Journal::open(&server.path("data/journal.db")).unwrap();
    let batch = BatchId(uuid::Uuid::from_u128(2));
    let entry = Entry {
        index: 0,
        name: "AAAAAAAA".into(),
        file_id: 1,
        size: 5,
        modified_ms: 0,
        hash: Digest::of(b"bytes"),
        mts_id: String::new(),
        message_id: String::new(),
        custody: Custody::Live,
    };
    let events = vec![
        Event::DutyBegan {
            duty: "watchdog".into(),
            service: "MSExchangeIMC".parse().unwrap(),
            why: "it died".into(),
        },
        Event::BatchIntended {
            batch,
            step: None,
            queue: "outbound-awaiting-delivery".into(),
            source: server.path("exchsrvr/imcdata/Out").display().to_string(),
            held: server
                .path("exchsrvr/mailmend-held/2")
                .display()
                .to_string(),
            files: 1,
            bytes: 5,
            copied_from: None,
        },
        Event::BatchEntries {
            batch,
            entries: vec![entry],
        },
        Event::BatchHeld {
            batch,
            left: Vec::new(),
        },
        Event::Closed {
            how: Ended::Committed,
            detail: "up again".into(),
        },
    ];
    let run = RunId(uuid::Uuid::from_u128(0xabcd_ef12 << 96));
    journal.append(run, 1, events).unwrap();
    journal
}

#[test]
fn an_audit_on_the_server_tells_what_disagrees_and_ends_with_3() {
    let server = Server::new();
    let journal = with_a_lost_message(&server);
    // Beside a running agent: the journal is only read.
    let audit = server.call(&["ledger", "audit", "--output", "json"]);
    assert_eq!(end(&audit), (3, String::new()));
    let told: serde_json::Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(told["messages"], 1);
    let found = &told["disagreements"][0];
    assert_eq!(found["journal"], "held");
    assert!(found["disk"].as_str().unwrap().contains("gone"), "{told}");
    let audit = server.call(&["ledger", "audit", "--run", "abcdef"]);
    assert!(text(&audit.stdout).contains("1 messages compared, 1 disagreements"));
    assert_eq!(
        end(&server.call(&["ledger", "audit", "--run", "012345"])).0,
        2
    );
    drop(journal);
}

#[test]
fn a_release_on_the_server_needs_a_stopped_agent_and_leaves_alone_what_it_cannot_judge() {
    let server = Server::new();
    let journal = with_a_lost_message(&server);
    let release = ["release", "abcdef", "--why", "the next hop is back"];
    let (code, told) = end(&server.call(&release));
    assert_eq!(code, 5);
    assert!(
        told.contains("A010-journal-in-use") && told.contains("mailmend custody release abcdef"),
        "{told}"
    );
    let before = journal.head();
    drop(journal);
    // No service manager answers here: whether the service may be stopped cannot be told.
    let (code, told) = end(&server.call(&release));
    assert_eq!(code, 5, "{told}");
    assert!(told.contains("A073-release-refused"), "{told}");
    let journal = mailmend_agent::journal::Journal::read(&server.path("data/journal.db")).unwrap();
    assert_eq!(journal.head(), before, "nothing was written down");
    assert_eq!(end(&server.call(&["release", "012345", "--why", "x"])).0, 2);
}

/// A command and each of its subcommands, as one page each: `mailmend-agent-service-run.8`.
fn pages(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_shell_understands_its_completions_and_they_name_every_command() {
    let server = Server::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        // Without any configuration: it is asked when the package is made.
        let script = server
            .command(&["completions", shell])
            .env("MAILMEND_AGENT_CONFIG", "/nowhere")
            .output()
            .unwrap();
        assert_eq!(end(&script), (0, String::new()), "{shell}");
        let script = text(&script.stdout);
        for command in ["service", "ledger", "release", "guard", "uninstall"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
        if shell == "bash" {
            let file = server.path("completions");
            fs::write(&file, &script).unwrap();
            let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
            assert_eq!(end(&checked), (0, String::new()));
            // And it completes: `servi` is the beginning of one command.
            let asked = format!(
                "source {}; COMP_WORDS=(mailmend-agent servi); COMP_CWORD=1; _mailmend__agent mailmend-agent servi mailmend-agent; echo \"${{COMPREPLY[*]}}\"",
                file.display()
            );
            let answer = Command::new("bash").args(["-c", &asked]).output().unwrap();
            assert_eq!(text(&answer.stdout).trim(), "service");
        }
    }
    assert_eq!(end(&server.call(&["completions", "tcsh"])).0, 2);
}

#[test]
fn the_manual_has_a_page_for_each_command_with_its_options_and_examples() {
    let server = Server::new();
    let folder = server.path("a/man8");
    let made = server.call(&["man", "--out", &folder.display().to_string()]);
    assert_eq!(end(&made), (0, String::new()));
    let names = pages(&folder);
    for command in [
        "",
        "-run",
        "-service",
        "-service-install",
        "-service-uninstall",
        "-service-run",
        "-enrol",
        "-check",
        "-config",
        "-journal",
        "-ledger",
        "-ledger-audit",
        "-release",
        "-guard",
        "-guard-check",
        "-completions",
        "-man",
    ] {
        let page = fs::read_to_string(folder.join(format!("mailmend-agent{command}.8"))).unwrap();
        assert!(
            page.contains(".SH SYNOPSIS") && page.contains("\\-\\-guard"),
            "{command}"
        );
        assert!(
            page.contains("Example")
                || names
                    .iter()
                    .any(|name| name.starts_with(&format!("mailmend-agent{command}-"))),
            "{command}"
        );
    }
    assert_eq!(names.len(), 21, "{names:?}");
    let taken = server.path("agent.toml").display().to_string();
    let (code, told) = end(&server.call(&["man", "--out", &taken]));
    assert!(code == 1 && told.contains(&taken), "{code} {told}");
}

#[test]
fn a_log_filter_that_makes_no_sense_is_told_with_its_place() {
    let server = Server::new();
    let (code, told) = end(&server.call(&["run", "--log", "info,mailmend_agent=loud"]));
    assert_eq!(code, 2, "{told}");
    assert!(
        told.contains("A007-usage") && told.contains("--log"),
        "{told}"
    );
    assert!(
        told.contains("`mailmend_agent=loud` at character 6"),
        "{told}"
    );
    for variable in ["MAILMEND_AGENT_LOG", "MAILMEND_LOG"] {
        let ended = server
            .command(&["run"])
            .env(variable, "inof")
            .output()
            .unwrap();
        let (code, told) = end(&ended);
        assert_eq!(code, 2, "{told}");
        assert!(
            told.contains(variable) && told.contains("did you mean `info`?"),
            "{told}"
        );
    }
    let (code, told) = end(&server.call(&["run", "--log-format", "xml"]));
    assert!(code == 2 && told.contains("`text` or `json`"), "{told}");
    // The agent's own variable wins over the one of all programs, and a flag over both.
    let ended = server
        .command(&["run", "--guard", "/nowhere"])
        .env("MAILMEND_LOG", "inof")
        .env("MAILMEND_AGENT_LOG", "warn")
        .output()
        .unwrap();
    assert!(!end(&ended).1.contains("A007"), "{}", end(&ended).1);
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let server = Server::new();
    let mut child = server
        .command(&["run", "--log-format", "json"])
        .env("MAILMEND_LOG", "debug")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let log = child.stderr.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(log), &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(told["fields"]["message"].is_string(), "{line}");
    assert!(
        told["target"]
            .as_str()
            .unwrap()
            .starts_with("mailmend_agent"),
        "{line}"
    );
    assert!(told["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
}
