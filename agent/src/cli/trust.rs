//! `trust`: what this agent believes of whose policies it may carry out.

use clap::{Args, Subcommand};
use mailmend_agent::config::Config;
use mailmend_agent::guard::{Guard, Policies};
use mailmend_agent::inbox::Refusal;
use mailmend_agent::journal::Journal;
use mailmend_agent::trust::{Gate, Held, pin};
use serde::Serialize;

use super::Output;
use super::failure::Failure;
use super::run::now_ms;
use super::table::{json, say};

#[derive(Subcommand)]
pub(super) enum TrustCommand {
    /// Show whose policies are carried out, and how far this agent has followed; changes nothing
    #[command(after_help = "\
Examples:
  mailmend-agent trust show
  mailmend-agent trust show --output json")]
    Show,
    /// Believe the root file of the guard file, whether or not it follows from what was believed
    #[command(after_help = "\
For an agent that shall follow other keys, or whose kept state is damaged. The agent must not run. What \
the new root vouches for stays; the rest is sent by the controller again. Compare the digest with that of \
`sha256sum root.toml` where the keys are kept: it is believed on your word.

Examples:
  mailmend-agent trust pin --sha256 4be1…
  sha256sum /etc/mailmend/root.toml")]
    Pin(Pin),
}

#[derive(Args)]
pub(super) struct Pin {
    /// SHA-256 of the root file, from where the keys are kept
    #[arg(long, value_name = "DIGEST")]
    sha256: mailmend_trust::Sha256,
}

/// What is held, for people and for programs.
#[derive(Serialize)]
struct Shown {
    policies: &'static str,
    root: u64,
    catalogue: u64,
    timestamp: u64,
    expires: Option<String>,
    code: Option<&'static str>,
    why: Option<String>,
}

pub(super) fn trust(
    config: &Config,
    command: &TrustCommand,
    output: Output,
) -> Result<(), Failure> {
    let guard = Guard::read(&config.guard.value)?;
    match command {
        TrustCommand::Show => show(&held(config, &guard), output),
        TrustCommand::Pin(what) => pinned(config, &guard, what),
    }
}

/// What the gate would hold, without writing anything.
pub(super) fn held(config: &Config, guard: &Guard) -> Held {
    Gate::look_at(guard, &config.data.value, now_ms())
}

/// In a line.
pub(super) fn line(held: &Held) -> String {
    if !held.signed {
        return "unsigned: whatever the controller sends, within the guard file".to_owned();
    }
    let until = match held.expires_ms {
        0 => String::new(),
        ms => format!(", until {}", mailmend_trust::time(ms)),
    };
    format!(
        "signed: root {}, catalogue {}, timestamp {}{until}",
        held.root, held.catalogue, held.timestamp
    )
}

fn show(held: &Held, output: Output) -> Result<(), Failure> {
    let trouble = held.trouble.as_ref();
    match output {
        Output::Json => json(&Shown {
            policies: if held.signed { "signed" } else { "unsigned" },
            root: held.root,
            catalogue: held.catalogue,
            timestamp: held.timestamp,
            expires: (held.expires_ms != 0).then(|| mailmend_trust::time(held.expires_ms)),
            code: trouble.map(|one| one.code),
            why: trouble.map(|one| one.why.clone()),
        }),
        Output::Table => {
            say(&line(held))?;
            trouble.map_or(Ok(()), |one| say(&one.to_string()))
        }
    }
}

fn pinned(config: &Config, guard: &Guard, what: &Pin) -> Result<(), Failure> {
    let Policies::Signed { root } = guard.policies() else {
        return Err(Failure::usage(
            "the guard file takes unsigned policies: write `policies = \"signed\"` and `trust_root` there first",
        ));
    };
    // An agent at work would write over it.
    let _alone = config
        .journal_file()
        .exists()
        .then(|| Journal::open(&config.journal_file()))
        .transpose()?;
    mailmend_agent::identity::make_data_folder(&config.data.value)?;
    let pinned = pin(root, &config.data.value, what.sha256).map_err(refused)?;
    say(&format!(
        "root {} is believed from now on (SHA-256 {}); catalogue {}",
        pinned.root,
        pinned.sha256,
        match pinned.catalogue {
            0 => "none: the controller sends it".to_owned(),
            version => version.to_string(),
        }
    ))
}

fn refused(refusal: Refusal) -> Failure {
    Failure::failed(refusal.to_string()).with_exit(5)
}
