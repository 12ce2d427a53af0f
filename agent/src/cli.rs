//! The command line.

mod audit;
mod check;
mod enrol;
mod failure;
mod journal;
mod ledger;
#[cfg(any(windows, test))]
mod log_file;
mod release;
mod run;
mod service;
#[cfg(windows)]
mod service_log;
mod show;
mod supervisor;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mailmend_agent::config::{Config, Overrides};
use mailmend_agent::guard::Guard;

use failure::Failure;

const EXAMPLES: &str = "\
Examples:
  mailmend-agent enrol --token TOKEN --ca ca.pem   get a certificate, once
  mailmend-agent check                             what would be allowed, and is everything there?
  mailmend-agent run                               work until SIGTERM or Ctrl-C
  mailmend-agent service install --start           work as a service that starts with the machine
  mailmend-agent ledger --state in-doubt           which messages wait for a person
  mailmend-agent ledger audit                      do journal, disk and logs agree?

Every option can stand in the environment (MAILMEND_AGENT_CONFIG, _NAME, _CONTROLLER,
_DATA, _GUARD) or in the configuration file; a flag wins over the environment, that over
the file. `mailmend-agent config` shows each value with where it came from.

Exit codes: 0 success, 1 failure, 2 usage or invalid configuration, 3 waits for somebody,
5 refused by a gate, 6 controller unreachable or not authenticated, 7 timed out,
8 nothing can be written down any more: `run` ends so that whoever started it starts it again.";

/// mailmend's agent: carries out its server's part of a plan, crash-safely, and reports every step.
#[derive(Parser)]
#[command(name = "mailmend-agent", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone)]
struct Common {
    /// The configuration file [default: /etc/mailmend/agent.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server's name
    #[arg(long, global = true, value_name = "NAME")]
    name: Option<String>,
    /// The controller's address
    #[arg(long, global = true, value_name = "https://HOST:PORT")]
    controller: Option<String>,
    /// The data folder: journal, key, certificate
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The guard file: what this agent may touch
    #[arg(long, global = true, value_name = "FILE")]
    guard: Option<PathBuf>,
    /// How listings are printed
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// What is logged, such as `debug` or `mailmend_agent::session=debug`
    #[arg(
        long,
        global = true,
        env = "MAILMEND_AGENT_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    log: String,
    /// How the log is written, on standard error
    #[arg(long, global = true, env = "MAILMEND_AGENT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Work: recover what was interrupted, then take orders from the controller, until SIGTERM
    Run,
    /// The agent as a service of this machine: systemd's on Linux, the control manager's on Windows
    Service {
        #[command(subcommand)]
        command: service::ServiceCommand,
    },
    /// Get a certificate from the controller with a token that works once
    Enrol(enrol::Enrol),
    /// Look whether everything is there and say what this agent is allowed to do; changes nothing
    Check(check::Check),
    /// Show each value of the configuration with where it came from
    Config {
        /// The default, and the only thing that this command does
        #[arg(long)]
        show: bool,
    },
    /// List what this agent has done and is about to do, from its own journal
    Journal(journal::Listing),
    /// List every message file that this agent has or had in custody, from its own journal
    Ledger(ledger::Listing),
    /// Give held mail of a closed run back to its queue, while no agent runs here and no controller is at hand
    Release(release::Release),
    /// The guard file
    Guard {
        #[command(subcommand)]
        command: GuardCommand,
    },
}

#[derive(Subcommand)]
enum GuardCommand {
    /// Read the guard file and say what is wrong with it, or what it allows; changes nothing
    Check,
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => return failure::not_understood(&why),
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let Cli { common, command } = cli;
    let output = common.output;
    match command {
        Command::Run => run::run(&common),
        Command::Service { command } => service::service(&common, command),
        Command::Enrol(enrol) => enrol::enrol(&common.load()?, &enrol),
        Command::Check(check) => check::check(&common.load()?, &check, output),
        Command::Config { .. } => show::config(&common.load()?, output),
        Command::Journal(listing) => journal::list(&common.load()?, &listing, output),
        Command::Ledger(listing) => ledger::list(&common.load()?, &listing, output),
        Command::Release(what) => release::release(&common, what),
        Command::Guard {
            command: GuardCommand::Check,
        } => show::guard(&Guard::read(&common.load()?.guard.value)?, output),
    }
}

impl Common {
    /// The configuration in its layers.
    fn load(&self) -> Result<Config, Failure> {
        let flags = Overrides {
            file: self.config.clone(),
            name: self.name.clone(),
            controller: self.controller.clone(),
            data: self.data.clone(),
            guard: self.guard.clone(),
        };
        let environment = Overrides::from_environment(|name| std::env::var(name).ok());
        Ok(Config::load(&flags, &environment)?)
    }

    /// Sends the log to standard error.
    fn begin_log(&self) -> Result<(), Failure> {
        use std::io::IsTerminal;
        let filter = tracing_subscriber::EnvFilter::try_new(&self.log)
            .map_err(|why| Failure::usage(format!("`--log {}`: {why}", self.log)))?;
        let colour = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            // Told on standard error too, with a panic where nobody reads it: in the middle of a step.
            .log_internal_errors(false)
            .with_ansi(colour);
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
        Ok(())
    }
}
