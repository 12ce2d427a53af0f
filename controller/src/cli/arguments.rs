//! The arguments: every command, with its help and examples.

mod agent;
mod custody;
mod immunity;
mod ledger;
mod operator;
mod policy;
mod proposal;
mod rollout;
mod run;
mod simulation;
mod strategy;
mod trail;
mod trust;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use mailmend_policy::units;

pub(super) use agent::{Agent, Fleet};
pub(super) use custody::{Custody, SettleAs};
pub(super) use immunity::Immunity;
pub(super) use ledger::Ledger;
pub(super) use operator::{Enrol, Operator};
pub(super) use policy::{Policy, PolicyRef, Throttle};
pub(super) use proposal::{Proposal, Word};
pub(super) use rollout::{Rollout, Steer, Target};
pub(super) use run::Run;
pub(super) use simulation::{Harm, Simulation};
pub(super) use strategy::StrategyFlags;
pub(super) use trail::Trail;
pub(super) use trust::{
    Catalogue as TrustCatalogue, Key as TrustKey, Root as TrustRoot, Timestamp as TrustTimestamp,
    Trust,
};

use super::exit;
use crate::config::Flags;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const TOP_EXAMPLES: &str = "\
Examples:
  mailmend serve --data /var/lib/mailmend/controller
  mailmend policy publish --shipped stuck-outbound-routing
  mailmend agent token SRV-B --site oslo
  mailmend rollout plan stuck-outbound-routing -l site=oslo
  mailmend rollout start stuck-outbound-routing -l site=oslo --watch
  mailmend rollout explain 0198c5
  mailmend policy bind stuck-outbound-routing propose
  mailmend fleet symptoms";

fn top_help() -> String {
    format!("{TOP_EXAMPLES}\n\n{}", exit::HELP)
}

fn with_codes(examples: &str) -> String {
    format!("{examples}\n\n{}", exit::HELP)
}

/// Mends mail servers: controller and operator's command line.
#[derive(Debug, Parser)]
#[command(name = "mailmend", version, styles = STYLES, after_help = top_help(), max_term_width = 100)]
#[command(
    propagate_version = false,
    arg_required_else_help = false,
    subcommand_required = true
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Address of the controller [env: MAILMEND_CONTROLLER] [default: https://127.0.0.1:7268]
    #[arg(long, global = true, value_name = "URL")]
    controller: Option<String>,
    /// Folder with operator.pem, operator.key and ca.pem [env: MAILMEND_IDENTITY]
    #[arg(long, global = true, value_name = "DIR")]
    identity: Option<PathBuf>,
    /// How answers are written: table or json [env: MAILMEND_OUTPUT]
    #[arg(short, long, global = true, value_name = "FORMAT")]
    output: Option<String>,
    /// Colours: auto, always or never [env: MAILMEND_COLOR, NO_COLOR]
    #[arg(long, global = true, value_name = "WHEN")]
    color: Option<String>,
    /// What is logged to stderr, such as info or mailmend=debug [env: MAILMEND_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// How the log is written: text or json [env: MAILMEND_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Global {
    /// What was given as a flag.
    pub(super) fn flags(&self) -> Flags {
        let identity = self
            .identity
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned());
        let all = [
            ("controller", self.controller.clone()),
            ("identity", identity),
            ("output", self.output.clone()),
            ("color", self.color.clone()),
            ("log", self.log.clone()),
            ("log-format", self.log_format.clone()),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the controller
    #[command(after_help = "\
Examples:
  mailmend serve
  mailmend serve --listen 10.0.0.5:7268 --data /srv/mailmend
  mailmend serve --listen 127.0.0.1:0 --ready-file /run/mailmend/address
  mailmend serve --metrics-listen 9268
  mailmend serve --otlp-endpoint http://127.0.0.1:4317
  mailmend serve --log info,mailmend::server=debug --log-format json

At its first start the controller makes its own certificate authority in the data folder, and \
DATA/operator, which is the --identity of the operator. Keep a backup of ca.key: without it every \
agent has to enrol again.")]
    Serve(Serve),
    /// Check, publish and read policies
    #[command(subcommand)]
    Policy(Policy),
    /// Enrol agents and look at them
    #[command(subcommand)]
    Agent(Agent),
    /// Say who may call, and with which role
    #[command(subcommand)]
    Operator(Operator),
    /// Sign policies with offline keys, and say which of them agents may carry out
    #[command(subcommand)]
    Trust(Trust),
    /// Plan, start, follow and steer rollouts
    #[command(subcommand)]
    Rollout(Rollout),
    /// Look at the whole fleet
    #[command(subcommand)]
    Fleet(Fleet),
    /// Decide on rollouts that are proposed
    #[command(subcommand)]
    Proposal(Proposal),
    /// Look at one run of a rollout, and answer what it asks
    #[command(subcommand)]
    Run(Run),
    /// Give held or vanished messages back, or say what became of messages
    #[command(subcommand)]
    Custody(Custody),
    /// Poison that one server found and all set aside: fingerprints
    #[command(subcommand)]
    Immunity(Immunity),
    /// Look at messages in custody
    #[command(subcommand)]
    Ledger(Ledger),
    /// Who did what and when: the audit trail, and whether it was changed
    #[command(subcommand)]
    Audit(Trail),
    /// Tell what is overdue over the whole fleet, and what keeps this machine from asking
    #[command(after_help = with_codes("\
Each finding says what must become true, who holds it, since when, until when it was expected, and the \
command that releases it; what presses most comes first. Exit code 3: something is overdue. Where the \
controller cannot be reached it tells what it found here (address, identity, certificate) and why.

Examples:
  mailmend doctor
  mailmend doctor -o json | jq -r '.findings[] | select(.overdue) | .release'
  mailmend doctor > /dev/null || echo 'somebody is needed'"))]
    Doctor,
    /// Ask whether the controller works: its store, and what decides
    #[command(after_help = with_codes("\
Exit code 0: it serves. 1: it answers and does not serve; its log says why. Other programs ask the same by \
grpc.health.v1.Health, with the certificate of an operator or an agent.

Examples:
  mailmend health
  mailmend health -o json
  until mailmend health; do sleep 5; done"))]
    Health,
    /// Show every setting and where its value comes from
    #[command(after_help = "\
A flag wins over the environment, that over the user's file, that over the system's file, that over \
the default. The files are ~/.config/mailmend/config.toml and /etc/mailmend/config.toml:

  controller = \"https://mail-controller.example:7268\"
  identity = \"/home/anna/mailmend-operator\"

Examples:
  mailmend config
  MAILMEND_CONTROLLER=https://10.0.0.5:7268 mailmend config -o json")]
    Config,
    /// Print a script that completes commands and options in a shell
    #[command(after_help = "\
Neither configuration nor controller is asked. The archives hold the scripts already.

Examples:
  mailmend completions bash > /etc/bash_completion.d/mailmend
  mailmend completions zsh > /usr/share/zsh/site-functions/_mailmend
  mailmend completions fish > ~/.config/fish/completions/mailmend.fish
  mailmend completions powershell >> $PROFILE")]
    Completions {
        /// For this shell
        shell: Shell,
    },
    /// Write the manual: a page for each command
    #[command(after_help = "\
Pages of the same names are replaced, others stay. The archives hold the pages already.

Examples:
  mailmend man --out /usr/local/share/man/man1
  mailmend man --out man && man man/mailmend-rollout-start.1")]
    Man {
        /// The folder; it is made where it is missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address and port to listen on; port 0 takes a free one [env: MAILMEND_LISTEN] [default: 127.0.0.1:7268]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Tell metrics by plain HTTP: off, a port on this machine, or an address [env: MAILMEND_METRICS_LISTEN] [default: off]
    #[arg(long, value_name = "WHERE")]
    metrics_listen: Option<String>,
    /// Tell spans of runs by OTLP over gRPC: off or http://HOST:PORT [env: MAILMEND_OTLP_ENDPOINT] [default: off]
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Folder of the store and the keys [env: MAILMEND_DATA] [default: /var/lib/mailmend/controller]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write the bound address here when ready
    #[arg(long, value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,
    /// Life of agents' certificates, renewed at half of it
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "24h")]
    pub(super) agent_certificates: Duration,
}

impl Serve {
    /// What was given as a flag.
    pub(super) fn flags(&self) -> Flags {
        let data = self
            .data
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned());
        let (metrics, collector) = (self.metrics_listen.clone(), self.otlp_endpoint.clone());
        [
            ("listen", self.listen.clone()),
            ("metrics-listen", metrics),
            ("otlp-endpoint", collector),
            ("data", data),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|why| why.to_string())
}

/// A duration of whole seconds, at least one.
fn seconds(text: &str) -> Result<Duration, String> {
    let found = duration(text)?;
    if found.as_secs() == 0 || found.subsec_nanos() > 0 {
        return Err("give whole seconds, one at least".to_owned());
    }
    Ok(found)
}

fn id(text: &str) -> Result<String, String> {
    let fits =
        (6..=36).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if fits {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("an id is a UUID, or at least 6 characters of its beginning".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_well_formed_and_every_command_has_help_and_examples() {
        let mut top = Cli::command();
        top.clone().debug_assert();
        let mut left = vec![top.clone()];
        let mut leaves = 0;
        while let Some(command) = left.pop() {
            assert!(
                command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
            let children: Vec<_> = command.get_subcommands().cloned().collect();
            if children.is_empty() {
                leaves += 1;
                let help = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    help.contains("Examples:"),
                    "{} has no examples",
                    command.get_name()
                );
                for argument in command.get_arguments() {
                    assert!(
                        argument.get_help().is_some(),
                        "{}: {}",
                        command.get_name(),
                        argument.get_id()
                    );
                }
            }
            left.extend(children);
        }
        assert!(leaves >= 22, "{leaves} commands");
        assert!(top.render_help().to_string().contains("Exit codes:"));
    }

    #[test]
    fn help_and_examples_fit_eighty_columns_unbroken() {
        let mut left = vec![Cli::command().term_width(80)];
        while let Some(mut command) = left.pop() {
            command.build();
            left.extend(
                command
                    .get_subcommands()
                    .cloned()
                    .map(|child| child.term_width(80)),
            );
            let written = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            for line in written.lines().filter(|line| line.starts_with(' ')) {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            for line in command.render_help().to_string().lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
        }
    }

    #[test]
    fn ids_are_refused_before_anybody_is_asked() {
        assert!(id("0198c5").is_ok());
        assert!(id("0198c").is_err() && id("zzzzzz").is_err() && id(&"0".repeat(37)).is_err());
    }
}
