//! `service`: the agent as a service of its machine.

#[cfg(windows)]
mod scm;
#[cfg(unix)]
mod systemd;
#[cfg(unix)]
mod unit;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mailmend_agent::config::{Config, Origin, Setting};
use mailmend_agent::guard::Guard;
use serde::Serialize;

use super::failure::Failure;
use super::table::{json, say};
use super::{Common, Output};

#[cfg(windows)]
use scm as machine;
#[cfg(unix)]
use systemd as machine;

/// The name of the service.
const SERVICE: &str = "mailmend-agent";

#[cfg(unix)]
const INSTALL: &str = "\
Examples:
  mailmend-agent service install --dry-run     print the unit, change nothing
  mailmend-agent service install --start       write it, start it, and start it with the machine
  mailmend-agent service install --account exchange
                                               as the account that owns the spool: no capability is needed

The unit follows from the configuration and the guard file: the agent can write to its data folder and
to what the guard file names, and to nothing else. Install it again when one of them has changed; that
does not end a running agent (`systemctl restart` does, in order).

With `--output json` the answer is one object; `outcome` is installed, updated or unchanged.
Exit codes: 0 it is as asked, 1 systemd refuses, 2 faulty configuration or guard file, 5 the unit is not
ours or this account may not.";

#[cfg(windows)]
const INSTALL: &str = r#"Examples:
  mailmend-agent service install --dry-run     say what would be set, change nothing
  mailmend-agent service install --start       set it up, start it, and start it with Windows
  mailmend-agent service install --account "NT SERVICE\mailmend-agent"
                                               as an account that may do only what you grant it: the answer
                                               lists what has to be granted

It starts by itself soon after Windows has, is started again 10 s, 30 s and then each minute after it has
ended by itself, and brings mail service up before Windows goes down. Install it again when the program, the
configuration's place or the account has changed; a running agent goes on until it is restarted.

With `--output json` the answer is one object; `outcome` is installed, updated or unchanged.
Exit codes: 0 it is as asked, 1 Windows refuses, 2 faulty configuration or guard file, 5 the service is
not ours or this account may not."#;

const UNINSTALL: &str = "\
Example:
  mailmend-agent service uninstall

The agent is stopped in order: mail service is brought up first. Configuration, journal, certificate and
held mail stay where they are, and the answer says where that is. Uninstalling what is not installed is
no failure: `outcome` is not-installed, the exit code 0.";

#[derive(Subcommand)]
pub(super) enum ServiceCommand {
    /// Set the agent up as a service that starts with the machine; repeating it changes what differs
    #[command(after_help = INSTALL)]
    Install(Install),
    /// Stop the service and take it away; configuration, journal and held mail stay
    #[command(after_help = UNINSTALL)]
    Uninstall(Named),
    /// Work, as the machine's service manager starts it; a person starts `mailmend-agent run`
    #[command(after_help = "\
Example, as the unit that `service install` writes has it:
  mailmend-agent service run --config /etc/mailmend/agent.toml")]
    Run(Run),
}

/// Which service.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// The service's name, where one machine has several agents
    #[arg(long, value_name = "NAME", default_value = SERVICE, value_parser = service_name)]
    service: String,
    /// Where systemd's units are
    #[cfg(unix)]
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    units: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct Install {
    #[command(flatten)]
    named: Named,
    /// Print what would be set up, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Start it now
    #[arg(long, conflicts_with = "dry_run")]
    start: bool,
    /// The account that it runs as
    #[cfg_attr(unix, doc = "[default: root with few capabilities]")]
    #[cfg_attr(
        windows,
        doc = "[default: LocalSystem, or as it is]; a password is read from MAILMEND_AGENT_PASSWORD"
    )]
    #[arg(long, value_name = "ACCOUNT", value_parser = account)]
    account: Option<String>,
    /// The folder of its log, at most 64 MiB
    #[cfg(windows)]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Run {
    /// The service's name
    #[cfg(windows)]
    #[arg(long, value_name = "NAME", default_value = SERVICE, value_parser = service_name)]
    service: String,
    /// The folder of its log
    #[cfg(windows)]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

pub(super) fn service(common: &Common, command: ServiceCommand) -> Result<(), Failure> {
    match command {
        ServiceCommand::Install(install) => {
            let config = common.load()?;
            machine::install(common, &config, &install)
        }
        ServiceCommand::Uninstall(named) => machine::uninstall(common, &named),
        ServiceCommand::Run(run) => machine::run(common, &run),
    }
}

/// What became of an installation or its removal.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    service: &'a str,
    outcome: Outcome,
    /// The unit's file, or the service's entry in the registry.
    entry: String,
    /// Whether it was started now.
    started: bool,
    /// What a person has to do or to know, each in one line.
    notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Installed,
    Updated,
    Unchanged,
    Removed,
    NotInstalled,
}

impl Answer<'_> {
    fn tell(&self, output: Output) -> Result<(), Failure> {
        if output == Output::Json {
            return json(self);
        }
        let (name, entry) = (self.service, &self.entry);
        say(&match self.outcome {
            Outcome::Installed => format!("installed: `{name}` ({entry})"),
            Outcome::Updated => format!("updated: `{name}` was there and differed ({entry})"),
            Outcome::Unchanged => format!("unchanged: `{name}` was there already ({entry})"),
            Outcome::Removed => format!("removed: `{name}` ({entry})"),
            Outcome::NotInstalled => format!("not installed: there is no `{name}` ({entry})"),
        })?;
        for note in &self.notes {
            say(&format!("  {note}"))?;
        }
        Ok(())
    }
}

/// What stays on the disk when the service is taken away.
fn what_stays(common: &Common) -> Vec<String> {
    let Ok(config) = common.load() else {
        return vec![
            "nothing else was touched: configuration, journal and held mail are where they were"
                .into(),
        ];
    };
    let mut notes = vec![format!(
        "stays: journal, key and certificate in `{}`",
        config.data.value.display()
    )];
    notes.push(format!(
        "stays: `{}` and `{}`",
        config.file.display(),
        config.guard.value.display()
    ));
    let held = Guard::read(&config.guard.value)
        .ok()
        .and_then(|guard| guard.hold_folder().map(Path::to_path_buf));
    notes.push(match held {
        Some(held) => format!("stays: held mail in `{}`", held.display()),
        None => "stays: held mail, in `mailmend-held` beside Imcdata".into(),
    });
    notes.push(
        "`mailmend-agent ledger` lists it, `mailmend-agent release RUN` gives it back".into(),
    );
    notes
}

/// The program and its arguments as a service manager has to call them: where the configuration is, and
/// what wins over it now, shall win there too.
fn command(common: &Common, config: &Config) -> Result<Vec<String>, Failure> {
    let program = std::env::current_exe()
        .map_err(|why| Failure::failed(format!("could not find this program's own file: {why}")))?;
    let mut words = vec![utf8(&program)?, "service".into(), "run".into()];
    let file = std::path::absolute(&config.file).unwrap_or_else(|_| config.file.clone());
    words.extend(["--config".into(), utf8(&file)?]);
    words.extend(over("--name", &config.name, ToString::to_string));
    words.extend(over("--controller", &config.controller, Clone::clone));
    words.extend(over("--data", &config.data, |path| {
        path.display().to_string()
    }));
    words.extend(over("--guard", &config.guard, |path| {
        path.display().to_string()
    }));
    common.logged()?;
    let log = common.log_words().value;
    if log != "info" {
        words.extend(["--log".into(), log]);
    }
    let format = common.log_format_words().value;
    if format != "text" {
        words.extend(["--log-format".into(), format]);
    }
    common.collector()?;
    let collector = common.collector_words().value;
    if collector != "off" {
        words.extend(["--otlp-endpoint".into(), collector]);
    }
    Ok(words)
}

/// A value that the file does not have, as a flag. The usual places too on Windows: they follow from its
/// environment, and a service may have another one than whoever installs it.
fn over<T>(flag: &str, setting: &Setting<T>, text: impl Fn(&T) -> String) -> Vec<String> {
    let said = match setting.origin {
        Origin::Flag(_) | Origin::Environment(_) => true,
        Origin::File(_) => false,
        Origin::Default => cfg!(windows),
    };
    if !said {
        return Vec::new();
    }
    vec![flag.to_owned(), text(&setting.value)]
}

fn utf8(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!(
            "`{}` is no UTF-8 text; a service's command has to be",
            path.display()
        ))
    })
}

fn service_name(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty()
        || text.len() > 80
        || !text.chars().all(letter)
        || text.starts_with(['-', '.'])
    {
        return Err(
            "write 1 to 80 letters, digits, `-`, `_` and `.`, such as `mailmend-agent-oslo-b`"
                .into(),
        );
    }
    Ok(text.to_owned())
}

fn account(text: &str) -> Result<String, String> {
    let odd = |c: char| c.is_control() || matches!(c, '"' | '%' | '/' | ':' | ';' | '=');
    if text.is_empty() || text.len() > 104 || text.starts_with('-') || text.contains(odd) {
        return Err("write the name of an account".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_name_is_one_word_that_no_shell_and_no_folder_takes_for_more() {
        assert!(service_name("mailmend-agent-oslo_b.2").is_ok());
        for bad in ["", "a b", "../x", ".hidden", "-x", "a/b", "a\\b", "a%i"] {
            assert!(service_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_account_is_a_name_and_nothing_that_a_unit_takes_for_more() {
        assert!(account(r"NT SERVICE\mailmend-agent").is_ok());
        assert!(account("exchange").is_ok());
        for bad in ["", "a\nExecStartPre=x", "-x", "a%h", "a:b"] {
            assert!(account(bad).is_err(), "{bad:?}");
        }
    }
}
