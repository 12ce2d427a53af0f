//! The built `mailmend`, as a person or a script runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn mailmend() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailmend"));
    let kept: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| name == "PATH")
        .collect();
    // No configuration of the machine that runs the tests.
    command
        .env_clear()
        .envs(kept)
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    mailmend().args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("not killed")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn shipped(folder: &Path) -> String {
    let text = run(&["policy", "show", "--shipped", "stuck-outbound-routing"]);
    assert_eq!(code(&text), 0, "{}", stderr(&text));
    let path = folder.join("good.toml");
    std::fs::write(&path, &text.stdout).unwrap();
    path.display().to_string()
}

fn broken(folder: &Path) -> String {
    let path = folder.join("bad.toml");
    std::fs::write(
        &path,
        "schema = \"mailmend/v1\"\nname = \"Bad Name\"\ncolour = 3\n",
    )
    .unwrap();
    path.display().to_string()
}

#[test]
fn usage_errors_end_with_two_and_nothing_on_stdout() {
    for arguments in [
        &[][..],
        &["rollout"],
        &["rolout", "list"],
        &["rollout", "show"],
        &["rollout", "show", "abc"],
        &["rollout", "plan", "stuck-outbound-routing"],
        &["rollout", "start", "p", "-l", "site", "--approve", "short"],
        &[
            "rollout",
            "start",
            "p",
            "-l",
            "site",
            "--yes",
            "--approve",
            "0123456789ab",
        ],
        &["rollout", "start", "p", "-l", "site", "--timeout", "5m"],
        &["rollout", "watch", "0198c5", "--timeout", "5"],
        &["agent", "token", "SRV-B"],
        &[
            "agent", "token", "SRV-B", "--site", "oslo", "--label", "novalue",
        ],
        &["ledger", "list", "--state", "lost"],
        &["policy", "check"],
        &["policy", "check", "/no/such/file.toml"],
        &["config", "--color", "sometimes"],
        &["config", "-o", "yaml"],
        &["config", "--log", "mailmend=loud"],
        &["serve", "--listen", "nowhere"],
        &["agent", "list", "--controller", "http://127.0.0.1:1"],
        &["agent", "list", "--controller", "https://127.0.0.1"],
    ] {
        let ended = run(arguments);
        assert_eq!(code(&ended), 2, "{arguments:?}: {}", stderr(&ended));
        assert!(stdout(&ended).is_empty(), "{arguments:?}");
        let said = stderr(&ended);
        assert!(said.starts_with("error[C0"), "{arguments:?}: {said}");
        assert!(!said.contains('\u{1b}'), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["--version"],
        &["rollout", "start", "--help"],
    ] {
        let ended = run(arguments);
        assert_eq!(code(&ended), 0, "{arguments:?}");
        assert!(
            !stdout(&ended).is_empty() && stderr(&ended).is_empty(),
            "{arguments:?}"
        );
    }
    let help = stdout(&run(&["rollout", "watch", "--help"]));
    assert!(
        help.contains("Exit codes:") && help.contains("7  timed out"),
        "{help}"
    );
}

#[test]
fn an_unreachable_controller_ends_with_six_and_says_who_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let authority = mailmend::enrol::Authority::open_or_create(folder.path(), now_ms()).unwrap();
    let identity = authority.operator_folder(now_ms()).unwrap();
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let identity = identity.display().to_string();
    let ended = run(&[
        "agent",
        "list",
        "--controller",
        &address,
        "--identity",
        &identity,
    ]);
    let said = stderr(&ended);
    assert_eq!(code(&ended), 6, "{said}");
    assert!(
        said.starts_with("error[C020-unreachable]: could not list agents at https://127.0.0.1:"),
        "{said}"
    );
    assert!(said.contains("\nhelp: "), "{said}");
}

fn now_ms() -> i64 {
    mailmend::clock::Clock::system().now_ms()
}

#[test]
fn a_missing_identity_ends_with_six_and_names_the_file() {
    let ended = run(&["agent", "list", "--identity", "/no/such/folder"]);
    assert_eq!(code(&ended), 6);
    let said = stderr(&ended);
    assert!(
        said.starts_with("error[C023-identity]") && said.contains("/no/such/folder/operator.pem"),
        "{said}"
    );
}

#[test]
fn a_good_policy_is_accepted_and_a_bad_one_shown_with_a_caret_under_each_place() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (shipped(folder.path()), broken(folder.path()));
    let ended = run(&["policy", "check", &good]);
    assert_eq!((code(&ended), stderr(&ended)), (0, String::new()));
    assert!(stdout(&ended).contains("ok: stuck-outbound-routing version 1"));
    let ended = run(&["policy", "check", &good, &bad]);
    assert_eq!(code(&ended), 2);
    let said = stdout(&ended);
    for part in [
        "P012-unknown-key",
        "bad.toml:3:",
        "colour = 3",
        "refused:",
        "ok:",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_check_in_json_lists_every_file_and_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (shipped(folder.path()), broken(folder.path()));
    let ended = run(&["policy", "check", "-o", "json", &good, &bad]);
    assert_eq!((code(&ended), stderr(&ended)), (2, String::new()));
    let value: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(value["files"][0]["ok"], true);
    assert_eq!(
        value["files"][0]["policy"]["name"],
        "stuck-outbound-routing"
    );
    assert_eq!(value["files"][1]["ok"], false);
    assert!(value["files"][1]["policy"].is_null());
    let faults = value["files"][1]["faults"].as_array().unwrap();
    let unknown = faults
        .iter()
        .find(|fault| fault["code"] == "P012-unknown-key")
        .unwrap();
    assert_eq!(
        (&unknown["line"], &unknown["column"]),
        (&3.into(), &1.into())
    );
}

#[test]
fn a_policy_is_read_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::File::open(shipped(folder.path())).unwrap();
    let ended = mailmend()
        .args(["policy", "check", "-"])
        .stdin(good)
        .output()
        .unwrap();
    assert_eq!(code(&ended), 0);
    assert!(
        stdout(&ended).starts_with("<stdin>: ok"),
        "{}",
        stdout(&ended)
    );
}

#[test]
fn nothing_is_published_when_one_policy_has_faults() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (shipped(folder.path()), broken(folder.path()));
    // No controller is there to be asked: the faults come first.
    let ended = run(&["policy", "publish", &good, &bad]);
    assert_eq!(code(&ended), 2);
    assert!(stdout(&ended).is_empty());
    let said = stderr(&ended);
    assert!(
        said.contains("bad.toml:3:") && said.contains("error[C032-policy-refused]"),
        "{said}"
    );
}

#[test]
fn colour_is_used_when_asked_for_and_never_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let good = shipped(folder.path());
    let painted = |command: &mut Command| {
        stdout(&command.args(["policy", "check", &good]).output().unwrap()).contains('\u{1b}')
    };
    assert!(!painted(&mut mailmend()), "stdout is no terminal");
    assert!(painted(mailmend().args(["--color", "always"])));
    assert!(painted(mailmend().env("MAILMEND_COLOR", "always")));
    assert!(
        painted(mailmend().env("NO_COLOR", "1").args(["--color", "always"])),
        "a flag wins"
    );
    assert!(!painted(
        mailmend()
            .env("MAILMEND_COLOR", "always")
            .args(["--color", "never"])
    ));
    let ended = mailmend()
        .env("NO_COLOR", "1")
        .args(["rollout"])
        .output()
        .unwrap();
    assert!(!stderr(&ended).contains('\u{1b}'));
}

#[test]
fn the_settings_tell_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("mailmend")).unwrap();
    let file = folder.path().join("mailmend/config.toml");
    std::fs::write(
        &file,
        "controller = \"https://one:1\"\nidentity = \"/two\"\n",
    )
    .unwrap();
    let mut command = mailmend();
    command
        .env("XDG_CONFIG_HOME", folder.path())
        .env("MAILMEND_CONTROLLER", "https://three:3");
    let ended = command.args(["config", "-o", "json"]).output().unwrap();
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    let value: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let settings = value["settings"].as_array().unwrap();
    let find = |name: &str| {
        settings
            .iter()
            .find(|setting| setting["name"] == name)
            .unwrap()
    };
    assert_eq!(find("controller")["value"], "https://three:3");
    assert_eq!(
        find("controller")["origin"],
        "environment MAILMEND_CONTROLLER"
    );
    assert_eq!(
        find("identity")["origin"],
        format!("file {}", file.display())
    );
    assert_eq!(find("output")["origin"], "flag --output");
    assert_eq!(find("data")["origin"], "default");

    std::fs::write(&file, "controler = \"x\"\n").unwrap();
    let ended = mailmend()
        .env("XDG_CONFIG_HOME", folder.path())
        .arg("config")
        .output()
        .unwrap();
    assert_eq!(code(&ended), 2);
    let said = stderr(&ended);
    assert!(
        said.starts_with("error[C033-configuration]") && said.contains("line 1"),
        "{said}"
    );
}

#[test]
fn the_schema_is_json() {
    let ended = run(&["policy", "schema"]);
    assert_eq!(code(&ended), 0);
    let schema: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(schema["type"], "object");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = mailmend()
        .args(["policy", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((code(&ended), stderr(&ended)), (0, String::new()));
}

/// Every command that the help names, such as `rollout start`, with those that only group others.
fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut at = 0;
    while at < found.len() {
        let path: Vec<String> = found[at].clone();
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = stdout(&run(&arguments));
        let listed = help
            .split_once("Commands:\n")
            .map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
        for line in listed.lines() {
            // Two blanks begin a command's line; the lines of a long text are indented further.
            let name = line.strip_prefix("  ").unwrap_or("");
            if name.starts_with(|c: char| c.is_ascii_lowercase()) {
                let name = name.split_whitespace().next().unwrap();
                if name != "help" {
                    found.push([path.clone(), vec![name.to_owned()]].concat());
                }
            }
        }
        at += 1;
    }
    found
}

#[test]
fn the_manual_names_every_command_and_gives_an_example_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("share/man/man1");
    let made = run(&["man", "--out", &out.display().to_string()]);
    assert_eq!((code(&made), stderr(&made).as_str()), (0, ""));
    let commands = commands();
    assert!(commands.len() > 30, "{commands:?}");
    for path in &commands {
        let name = [vec!["mailmend".to_owned()], path.clone()]
            .concat()
            .join("-");
        let page = std::fs::read_to_string(out.join(format!("{name}.1"))).expect(&name);
        assert!(
            page.contains(".SH NAME") && page.contains("\\-\\-controller"),
            "{name}"
        );
        let children = commands
            .iter()
            .filter(|other| other.len() == path.len() + 1 && other.starts_with(path));
        let mut leaf = true;
        for child in children {
            leaf = false;
            let child = [vec!["mailmend".to_owned()], child.clone()]
                .concat()
                .join("-")
                .replace('-', "\\-");
            assert!(page.contains(&child), "{name} does not name {child}");
        }
        assert!(!leaf || page.contains("Examples:"), "{name}");
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), commands.len());
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ended = run(&["man", "--out", &file.display().to_string()]);
    assert_eq!(code(&ended), 1);
    let said = stderr(&ended);
    assert!(
        said.contains("C040-output") && said.contains(&file.display().to_string()),
        "{said}"
    );
}

#[test]
fn each_shell_has_a_script_that_completes() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        // A broken configuration keeps nobody from it.
        let script = mailmend()
            .args(["completions", shell])
            .env("MAILMEND_COLOR", "sometimes")
            .output()
            .unwrap();
        assert_eq!((code(&script), stderr(&script).as_str()), (0, ""));
        let script = stdout(&script);
        for word in ["rollout", "explain", "max-failed", "doctor"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("script");
            std::fs::write(&file, &script).unwrap();
            let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
            assert_eq!((code(&checked), stderr(&checked).as_str()), (0, ""));
            let asked = format!(
                "source {}; COMP_WORDS=(mailmend rollout expl); COMP_CWORD=2; _mailmend mailmend expl rollout; echo \"${{COMPREPLY[*]}}\"",
                file.display()
            );
            let answer = Command::new("bash").args(["-c", &asked]).output().unwrap();
            assert_eq!(stdout(&answer).trim(), "explain");
        }
    }
    assert_eq!(code(&run(&["completions", "tcsh"])), 2);
}

#[test]
fn a_log_filter_that_makes_no_sense_is_told_with_its_place_and_origin() {
    let ended = run(&["config", "--log", "warn,mailmend=loud"]);
    let said = stderr(&ended);
    assert_eq!(code(&ended), 2, "{said}");
    assert!(
        said.contains("C033-configuration") && said.contains("flag --log"),
        "{said}"
    );
    assert!(said.contains("`mailmend=loud` at character 6"), "{said}");
    let ended = mailmend()
        .args(["config"])
        .env("MAILMEND_LOG", "inof")
        .output()
        .unwrap();
    let said = stderr(&ended);
    assert_eq!(code(&ended), 2, "{said}");
    assert!(said.contains("environment MAILMEND_LOG"), "{said}");
    assert!(said.contains("did you mean `info`?"), "{said}");
    let ended = run(&["config", "--log-format", "xml"]);
    assert_eq!(code(&ended), 2);
    assert!(
        stderr(&ended).contains("`text` or `json`"),
        "{}",
        stderr(&ended)
    );
}
