//! Files and folders that the account may not read. Permissions do not bind root, so root tries it as
//! another account.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ended::run;
use super::place::{Place, all_of, programs, untouched};

const NOBODY: &str = "65534";

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// `command` as an account that is not root's, with a copy of its program that this account may run.
/// `None`, said loudly, where that is not possible.
fn as_somebody(place: &Place, command: &Command) -> Option<Command> {
    if !is_root() {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args());
        same.env_clear();
        same.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        return Some(same);
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!(
            "LEFT OUT: `setpriv` is missing, permissions do not bind root: apt-get install util-linux"
        );
        return None;
    }
    let program = Path::new(command.get_program());
    let copy = place.path("bin").join(program.file_name().unwrap());
    if !copy.exists() {
        std::fs::create_dir_all(place.path("bin")).unwrap();
        std::fs::copy(program, &copy).unwrap();
    }
    let mut other = Command::new("setpriv");
    other
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .arg(copy)
        .args(command.get_args())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    Some(other)
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Closed for everybody while it lives, so that even a failing test can be cleaned up.
struct Closed {
    path: PathBuf,
    was: u32,
}

impl Closed {
    fn new(path: &Path) -> Self {
        let was = std::fs::metadata(path).unwrap().permissions().mode();
        mode(path, 0);
        Self {
            path: path.to_owned(),
            was,
        }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        mode(&self.path, self.was);
    }
}

#[test]
fn an_agent_that_may_not_read_its_files_says_which() {
    let place = Place::new();
    let mut agent = place.agent_command(&programs().agent);
    agent.arg("run");
    let Some(mut agent) = as_somebody(&place, &agent) else {
        return;
    };
    std::fs::create_dir_all(&place.agent_data).unwrap();
    std::fs::write(place.agent_data.join("journal.db"), "").unwrap();
    let before = all_of(&place.agent_data);
    for (file, exit, code) in [
        ("agent.toml", 2, "A002-config-unreadable"),
        ("guard.toml", 2, "A004-guard-unreadable"),
    ] {
        let closed = Closed::new(&place.path(file));
        let ended = run(&mut agent);
        let said = ended.refused(exit, code);
        assert!(
            said.contains(file) && said.contains("Permission denied"),
            "{said}"
        );
        drop(closed);
    }
    let closed = Closed::new(&place.agent_data);
    let ended = run(&mut agent);
    let said = ended.refused(1, "A013-journal-unusable");
    assert!(said.contains(place.agent_data.to_str().unwrap()), "{said}");
    drop(closed);
    untouched(&place.agent_data, &before);
}

#[test]
fn a_controller_that_may_not_read_its_folder_says_so_and_makes_none_elsewhere() {
    let mut place = Place::served();
    place.close();
    let before = all_of(&place.controller_data);
    let mut serve = place.operator_command(&programs().mailmend);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    serve.arg(&place.controller_data);
    let Some(mut serve) = as_somebody(&place, &serve) else {
        return;
    };
    let closed = Closed::new(&place.controller_data);
    let ended = run(&mut serve);
    let said = ended.refused(1, "C105-store-file");
    assert!(
        said.contains(place.controller_data.to_str().unwrap()),
        "{said}"
    );
    drop(closed);
    untouched(&place.controller_data, &before);
}

#[test]
fn an_operator_who_may_not_read_the_identity_or_the_policy_says_which() {
    let place = Place::served();
    let policy = place.file("policy.toml", "schema = \"mailmend/v1\"\n");
    let name = policy.display().to_string();
    for (arguments, closed, exit, code) in [
        (
            vec!["policy", "check", &name],
            policy.clone(),
            2,
            "C031-file",
        ),
        (
            vec!["agent", "list"],
            place.controller_data.join("operator"),
            6,
            "C023-identity",
        ),
    ] {
        let mut command = place.operator_command(&programs().mailmend);
        command.args(arguments);
        let Some(mut command) = as_somebody(&place, &command) else {
            return;
        };
        let closed = Closed::new(&closed);
        let ended = run(&mut command);
        assert!(ended.refused(exit, code).contains("Permission denied"));
        drop(closed);
    }
}
