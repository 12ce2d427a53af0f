//! The command line.

mod audit;
mod check;
mod enrol;
mod failure;
mod journal;
mod ledger;
#[cfg(any(windows, test))]
mod log_file;
mod manual;
mod release;
mod run;
mod service;
#[cfg(windows)]
mod service_log;
mod show;
mod supervisor;
mod table;
mod trust;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use mailmend_agent::config::{Config, Overrides};
use mailmend_agent::faults::known;
use mailmend_agent::guard::Guard;
use mailmend_telemetry::log::{LogFilter, LogFormat};
use mailmend_telemetry::trace::Endpoint;
use tracing_subscriber::EnvFilter;

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
    /// What is logged, such as `debug` or `mailmend_agent::session=debug` [env: MAILMEND_AGENT_LOG, MAILMEND_LOG] [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// How the log is written, on standard error: text or json [env: MAILMEND_AGENT_LOG_FORMAT, MAILMEND_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Where spans of what is done go, by OTLP over gRPC: off or http://HOST:PORT [env: MAILMEND_AGENT_OTLP_ENDPOINT, MAILMEND_OTLP_ENDPOINT] [default: off]
    #[arg(long, global = true, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Play simulated servers for `mailmend rollout simulate`, over standard input and output
    #[command(
        hide = true,
        after_help = "\
Example, which starts it by itself:
  mailmend rollout simulate stuck-outbound-routing --servers 200 --seed 7"
    )]
    Simulate,
    /// Work: recover what was interrupted, then take orders from the controller, until SIGTERM
    #[command(after_help = "\
Examples:
  mailmend-agent run
  mailmend-agent run --config /etc/mailmend/srv-b.toml --log info,mailmend_agent::session=debug
  mailmend-agent run --otlp-endpoint http://127.0.0.1:4317
  mailmend-agent run --log-format json 2>> /var/log/mailmend-agent.jsonl")]
    Run,
    /// The agent as a service of this machine: systemd's on Linux, the control manager's on Windows
    Service {
        #[command(subcommand)]
        command: service::ServiceCommand,
    },
    /// Get a certificate from the controller with a token that works once
    #[command(after_help = "\
Examples:
  mailmend-agent enrol --token TOKEN --ca ca.pem
  mailmend-agent enrol --token - --ca ca.pem < token.txt     so that it stands in no list of processes
  mailmend-agent enrol --token TOKEN --ca ca.pem --again     for a certificate that still holds")]
    Enrol(enrol::Enrol),
    /// Look whether everything is there and say what this agent is allowed to do; changes nothing
    #[command(after_help = "\
Examples:
  mailmend-agent check
  mailmend-agent check --offline
  mailmend-agent check --output json")]
    Check(check::Check),
    /// Show each value of the configuration with where it came from
    #[command(after_help = "\
Examples:
  mailmend-agent config
  MAILMEND_AGENT_DATA=/srv/mailmend mailmend-agent config --output json")]
    Config {
        /// The default, and the only thing that this command does
        #[arg(long)]
        show: bool,
    },
    /// List what this agent has done and is about to do, from its own journal
    #[command(after_help = "\
Examples:
  mailmend-agent journal --last 20
  mailmend-agent journal --run 0198c5
  mailmend-agent journal --after 1200 --output json")]
    Journal(journal::Listing),
    /// List every message file that this agent has or had in custody, from its own journal
    #[command(after_help = "\
Examples:
  mailmend-agent ledger
  mailmend-agent ledger --state in-doubt
  mailmend-agent ledger audit --run 0198c5")]
    Ledger(ledger::Listing),
    /// Give held mail of a closed run back to its queue, while no agent runs here and no controller is at hand
    #[command(after_help = "\
Examples:
  mailmend-agent release 0198c5 --why 'the relay takes mail again'
  mailmend-agent release 0198c5 --batch 0198c6 --why 'checked by hand' --by anna")]
    Release(release::Release),
    /// The guard file
    Guard {
        #[command(subcommand)]
        command: GuardCommand,
    },
    /// Whose policies this agent carries out, and how far it has followed their signatures
    Trust {
        #[command(subcommand)]
        command: trust::TrustCommand,
    },
    /// Print a script that completes commands and options in a shell
    #[command(after_help = "\
Neither configuration nor journal is read. The packages hold the scripts already.

Examples:
  mailmend-agent completions bash > /etc/bash_completion.d/mailmend-agent
  mailmend-agent completions zsh > /usr/share/zsh/site-functions/_mailmend-agent
  mailmend-agent completions fish > ~/.config/fish/completions/mailmend-agent.fish
  mailmend-agent completions powershell >> $PROFILE")]
    Completions {
        /// For this shell
        shell: Shell,
    },
    /// Write the manual: a page for each command
    #[command(after_help = "\
Pages of the same names are replaced, others stay. The packages hold the pages already.

Examples:
  mailmend-agent man --out /usr/local/share/man/man8
  mailmend-agent man --out man && man man/mailmend-agent-run.8")]
    Man {
        /// The folder; it is made where it is missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Subcommand)]
enum GuardCommand {
    /// Read the guard file and say what is wrong with it, or what it allows; changes nothing
    #[command(after_help = "\
Examples:
  mailmend-agent guard check
  mailmend-agent guard check --guard new.toml --output json")]
    Check,
}

/// A setting of what is told, and where it was said.
struct Said {
    value: String,
    /// The variable; `None`: the flag, or nobody.
    variable: Option<&'static str>,
}

impl Said {
    /// A flag wins over the environment, that over the default. An empty variable says nothing.
    fn first(flag: Option<&String>, variables: [&'static str; 2], default: &str) -> Self {
        if let Some(value) = flag {
            return Self {
                value: value.clone(),
                variable: None,
            };
        }
        let said = variables.into_iter().find_map(|name| {
            let value = std::env::var(name).ok().filter(|text| !text.is_empty())?;
            Some((value, Some(name)))
        });
        let (value, variable) = said.unwrap_or_else(|| (default.to_owned(), None));
        Self { value, variable }
    }

    fn read<T: FromStr>(&self, flag: &str) -> Result<T, Failure>
    where
        T::Err: Display,
    {
        self.value.parse().map_err(|why: T::Err| {
            let place = self.variable.unwrap_or(flag);
            Failure::usage(format!(
                "{}: `{}` is not a value for {place}: {why}",
                const { known("A007-usage") },
                self.value
            ))
        })
    }
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
        Command::Simulate => simulate(),
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
        Command::Trust { command } => trust::trust(&common.load()?, &command, output),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::man(&out),
    }
}

/// Answers until its input ends. Nothing of this machine is read or written but the two streams.
fn simulate() -> Result<(), Failure> {
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    mailmend_agent::simulation::pipe::serve(input, output)
        .map_err(|why| Failure::usage(format!("what came is no simulation: {why}")))
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

    /// What is logged, and how it is written.
    fn logged(&self) -> Result<(EnvFilter, LogFormat), Failure> {
        let (words, log_format) = (self.log_words(), self.log_format_words());
        let LogFilter(filter) = words.read("--log")?;
        Ok((filter, log_format.read("--log-format")?))
    }

    /// Where spans go.
    fn collector(&self) -> Result<Endpoint, Failure> {
        self.collector_words().read("--otlp-endpoint")
    }

    fn collector_words(&self) -> Said {
        let names = ["MAILMEND_AGENT_OTLP_ENDPOINT", "MAILMEND_OTLP_ENDPOINT"];
        Said::first(self.otlp_endpoint.as_ref(), names, "off")
    }

    fn log_words(&self) -> Said {
        let names = ["MAILMEND_AGENT_LOG", "MAILMEND_LOG"];
        Said::first(self.log.as_ref(), names, "info")
    }

    fn log_format_words(&self) -> Said {
        let names = ["MAILMEND_AGENT_LOG_FORMAT", "MAILMEND_LOG_FORMAT"];
        Said::first(self.log_format.as_ref(), names, "text")
    }

    /// Sends the log to standard error.
    fn begin_log(&self) -> Result<(), Failure> {
        use std::io::IsTerminal;
        let (filter, format) = self.logged()?;
        let colour = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            // Told on standard error too, with a panic where nobody reads it: in the middle of a step.
            .log_internal_errors(false)
            .with_ansi(colour);
        match format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_well_formed_and_every_command_has_help_and_examples() {
        let top = Cli::command();
        top.clone().debug_assert();
        let mut left = vec![top];
        let mut leaves = 0;
        while let Some(command) = left.pop() {
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some(), "{name} has no help");
            let children: Vec<_> = command.get_subcommands().cloned().collect();
            if children.is_empty() {
                leaves += 1;
                let help = command.get_after_help().map(ToString::to_string);
                let help = help.unwrap_or_default();
                assert!(help.contains("Example"), "{name} has no examples");
                assert!(help.contains("\n  "), "{name} has no examples");
                for argument in command.get_arguments() {
                    assert!(
                        argument.get_help().is_some(),
                        "{name}: {}",
                        argument.get_id()
                    );
                }
            }
            left.extend(children);
        }
        assert!(leaves >= 12, "{leaves} commands");
    }
}
