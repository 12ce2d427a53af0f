//! The text of the systemd unit: what the agent needs, and nothing else.
//!
//! The unit is written from the configuration and the guard file, since they say what the agent writes
//! to: everything else is read-only to it, and to every tool that it runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The first line, by which a unit is known as ours.
pub(super) const MARK: &str = "# Written by `mailmend-agent service install`.";

/// systemd makes a folder below it for the account of the unit.
const STATE: &str = "/var/lib";

/// What a unit is written from.
#[derive(Debug, Clone)]
pub(super) struct Unit<'a> {
    /// The server's name.
    pub(super) server: &'a str,
    /// The program and its arguments.
    pub(super) command: &'a [String],
    /// The configuration file and the guard file.
    pub(super) written_from: [&'a Path; 2],
    /// The data folder.
    pub(super) data: &'a Path,
    /// What the guard allows the agent to change, the held folder with it.
    pub(super) changes: &'a [PathBuf],
    /// The account; none: root, with the few capabilities that another's mail takes.
    pub(super) account: Option<&'a str>,
}

/// A file that systemd does not take as it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be written in a unit: it has a line break or is no UTF-8 text", .0.display())]
pub(super) struct Unwritable(PathBuf);

impl Unit<'_> {
    /// The unit's text.
    ///
    /// # Errors
    /// Where a path has characters that a unit cannot have.
    pub(super) fn text(&self) -> Result<String, Unwritable> {
        let mut writes = in_one_piece(self.changes);
        let state = self.data.strip_prefix(STATE).ok();
        let state = state.and_then(Path::to_str).filter(|below| simple(below));
        if state.is_none() && !writes.iter().any(|write| self.data.starts_with(write)) {
            writes.push(self.data);
        }
        let all: Vec<&Path> = writes.iter().copied().chain([self.data]).collect();
        let mut text = format!(
            "{MARK}\n# It follows from `{}` and\n# `{}`: install it again when one of them has changed.\n",
            plain(self.written_from[0])?,
            plain(self.written_from[1])?
        );
        let mut line = |words: &str| {
            text.push_str(words);
            text.push('\n');
        };
        line("\n[Unit]");
        line(&format!("Description=mailmend agent of {}", self.server));
        line("Wants=network-online.target");
        line("After=network-online.target");
        line(
            "# An agent that is not there brings no mail service up: it is started again for ever.",
        );
        line("StartLimitIntervalSec=0");
        line("\n[Service]");
        line("Type=notify");
        line("NotifyAccess=main");
        let words: Vec<String> = self.command.iter().map(|word| quoted(word, true)).collect();
        line(&format!("ExecStart={}", words.join(" ")));
        line("Restart=always");
        line("RestartSec=10s");
        line("# A long journal is read before the agent says that it is there.");
        line("TimeoutStartSec=5min");
        line(
            "# A stop brings mail service up first. While a section is open, the agent asks for more time.",
        );
        line("TimeoutStopSec=100s");
        line("KillMode=mixed");
        line("# A tool that eats all memory ends alone.");
        line("OOMPolicy=continue");
        if let Some(account) = self.account {
            line(&format!("User={account}"));
            line("CapabilityBoundingSet=");
        } else {
            line(
                "# Others' mail is moved and named twice, others' processes are looked at and ended.",
            );
            line(
                "CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_SYS_PTRACE",
            );
        }
        line("AmbientCapabilities=");
        line("NoNewPrivileges=yes");
        line("UMask=0077");
        line("\n# Files: all is read-only but what the guard file lets the agent change.");
        line("ProtectSystem=strict");
        if let Some(state) = state {
            line(&format!("StateDirectory={state}"));
            line("StateDirectoryMode=0700");
        }
        for path in &writes {
            line(&format!("ReadWritePaths={}", quoted(plain(path)?, false)));
        }
        let below = |folders: &[&str]| {
            let inside = |path: &&&Path| folders.iter().any(|folder| path.starts_with(folder));
            all.iter().find(inside).copied()
        };
        match below(&["/tmp", "/var/tmp"]) {
            None => line("PrivateTmp=yes"),
            Some(path) => line(&format!("# Not PrivateTmp: `{}` is there.", plain(path)?)),
        }
        match below(&["/home", "/root", "/run/user"]) {
            None => line("ProtectHome=yes"),
            Some(path) => {
                line(&format!("# `{}` is there.", plain(path)?));
                line("ProtectHome=read-only");
            }
        }
        for setting in SANDBOX {
            line(setting);
        }
        line("\n[Install]");
        line("WantedBy=multi-user.target");
        Ok(text)
    }
}

/// The same folders, as few as hold them all. systemd mounts each by itself, and no file moves from one mount
/// to another, on one volume neither: what the agent moves between has to be in one. Folders that have
/// nothing but `/` in common stay apart.
fn in_one_piece(folders: &[PathBuf]) -> Vec<&Path> {
    let mut pieces: Vec<&Path> = Vec::new();
    for folder in folders {
        let mut whole = folder.as_path();
        // One that grows may reach others that it had nothing in common with before.
        while let Some((at, shared)) = pieces.iter().enumerate().find_map(|(at, piece)| {
            let shared = piece.ancestors().find(|above| whole.starts_with(above))?;
            shared.parent().map(|_| (at, shared))
        }) {
            pieces.swap_remove(at);
            whole = shared;
        }
        pieces.push(whole);
    }
    pieces.sort_unstable();
    pieces
}

/// What no agent needs.
const SANDBOX: [&str; 20] = [
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RemoveIPC=yes",
    "",
    "# Calls: the network to the controller, the socket of the service manager, and no more.",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
];

fn plain(path: &Path) -> Result<&str, Unwritable> {
    path.to_str()
        .filter(|text| !text.contains(char::is_control))
        .ok_or_else(|| Unwritable(path.to_path_buf()))
}

/// Whether a path needs no quotes and is no list.
fn simple(path: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    !path.is_empty() && path.chars().all(letter)
}

/// A word in double quotes, as systemd takes words apart.
fn quoted(word: &str, command: bool) -> String {
    let mut text = String::from('"');
    text.push_str(&escaped(word, command));
    text.push('"');
    text
}

/// What systemd would take for more than itself: specifiers everywhere, variables in a command.
fn escaped(word: &str, command: bool) -> String {
    let mut text = String::new();
    for letter in word.chars() {
        match letter {
            '"' | '\\' => {
                let _ = write!(text, "\\{letter}");
            }
            '%' => text.push_str("%%"),
            '$' if command => text.push_str("$$"),
            _ => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(data: &str, root: &str, account: Option<&str>) -> String {
        let command = ["/usr/bin/mailmend-agent", "service", "run"].map(str::to_owned);
        Unit {
            server: "OSLO-B",
            command: &command,
            written_from: [
                Path::new("/etc/mailmend/agent.toml"),
                Path::new("/etc/mailmend/guard.toml"),
            ],
            data: Path::new(data),
            changes: &[PathBuf::from(root)],
            account,
        }
        .text()
        .unwrap()
    }

    #[test]
    fn only_what_the_guard_names_can_be_written_to() {
        let text = unit("/var/lib/mailmend/agent", "/srv/exchsrvr", None);
        let writes: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("ReadWritePaths") || line.starts_with("State"))
            .collect();
        assert_eq!(
            writes,
            [
                "StateDirectory=mailmend/agent",
                "StateDirectoryMode=0700",
                "ReadWritePaths=\"/srv/exchsrvr\""
            ]
        );
        let text = unit("/data/agent", "/srv/exchsrvr", None);
        assert!(text.contains("ReadWritePaths=\"/data/agent\"\n"));
        assert!(!text.contains("StateDirectory"));
    }

    #[test]
    fn folders_between_which_mail_moves_are_mounted_in_one_piece() {
        let folders = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (given, pieces) in [
            (&["/srv/exchsrvr"][..], &["/srv/exchsrvr"][..]),
            (
                &["/srv/exchsrvr/imcdata", "/srv/exchsrvr/held"],
                &["/srv/exchsrvr"],
            ),
            (&["/srv/exchsrvr", "/srv/exchsrvr/held"], &["/srv/exchsrvr"]),
            (&["/a/x", "/b/y"], &["/a/x", "/b/y"]),
            (&["/a/x/1", "/b/y", "/a/x/2", "/a/z"], &["/a", "/b/y"]),
        ] {
            let given = folders(given);
            assert_eq!(in_one_piece(&given), folders(pieces));
        }
    }

    #[test]
    fn folders_below_tmp_and_home_stay_reachable_and_others_hide_both() {
        let text = unit("/var/lib/mailmend/agent", "/srv/exchsrvr", None);
        assert!(text.contains("\nPrivateTmp=yes\n") && text.contains("\nProtectHome=yes\n"));
        let text = unit("/var/tmp/agent", "/home/mail/exchsrvr", None);
        assert!(!text.contains("\nPrivateTmp="));
        assert!(text.contains("\nProtectHome=read-only\n"));
    }

    #[test]
    fn an_account_of_its_own_needs_no_capability() {
        let text = unit("/var/lib/mailmend/agent", "/srv/exchsrvr", Some("exchange"));
        assert!(text.contains("\nUser=exchange\nCapabilityBoundingSet=\n"));
    }

    #[test]
    fn no_character_of_a_path_means_something_else_to_systemd() {
        let text = unit("/var/lib/100% m\"x", r"/srv/a b\c$HOME%h", None);
        assert!(
            text.contains(r#"ReadWritePaths="/srv/a b\\c$HOME%%h""#),
            "{text}"
        );
        assert!(
            text.contains(r#"ReadWritePaths="/var/lib/100%% m\"x""#),
            "{text}"
        );
        assert_eq!(quoted("a$b", true), "\"a$$b\"");
        let command = ["x".to_owned()];
        let broken = Unit {
            server: "A",
            command: &command,
            written_from: [Path::new("/a"), Path::new("/b")],
            data: Path::new("/c\nExecStartPre=/bin/evil"),
            changes: &[],
            account: None,
        };
        assert!(broken.text().is_err());
    }
}
