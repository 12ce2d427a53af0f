//! The arguments: every command, with its help and examples.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use mailmend_policy::units;

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
    /// Look at messages in custody
    #[command(subcommand)]
    Ledger(Ledger),
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
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address and port to listen on; port 0 takes a free one [env: MAILMEND_LISTEN] [default: 127.0.0.1:7268]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
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
        [("listen", self.listen.clone()), ("data", data)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Check policy files, without a controller
    #[command(after_help = with_codes("\
Examples:
  mailmend policy check stuck-outbound.toml
  mailmend policy check *.toml -o json | jq '.files[] | select(.ok|not).file'
  generate-policy | mailmend policy check -"))]
    Check {
        /// Files; `-` reads from standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Publish a policy, so that rollouts can use it; a published version never changes
    #[command(after_help = "\
Examples:
  mailmend policy publish stuck-outbound.toml
  mailmend policy publish --shipped stuck-outbound-routing")]
    Publish {
        /// Files, checked before they are sent
        #[arg(value_name = "FILE", required_unless_present = "shipped")]
        files: Vec<PathBuf>,
        /// A policy that mailmend ships, by name
        #[arg(long, value_name = "NAME")]
        shipped: Vec<String>,
    },
    /// List the published policies
    #[command(after_help = "\
Examples:
  mailmend policy list
  mailmend policy list --shipped
  mailmend policy list -o json")]
    List {
        /// Those that mailmend ships, without a controller
        #[arg(long)]
        shipped: bool,
    },
    /// Print a policy's exact text
    #[command(after_help = "\
Examples:
  mailmend policy show stuck-outbound-routing
  mailmend policy show stuck-outbound-routing@2 > policy.toml
  mailmend policy show --shipped stuck-outbound-routing > mine.toml")]
    Show {
        /// Name, or NAME@VERSION; the newest version by default
        policy: PolicyRef,
        /// One that mailmend ships, without a controller
        #[arg(long)]
        shipped: bool,
    },
    /// Bind a policy to its symptom: agents look for it, and its rollout is proposed or started
    #[command(after_help = with_codes("\
Bound as `observe`, a policy's symptom is looked for and listed. As `propose`, a rollout is proposed \
for each site where it stands, and waits for `mailmend proposal start`. As `auto` it is started, \
within the throttles. Binding again replaces what was bound before, throttles too, and lets a \
binding act again that had given up.

Examples:
  mailmend policy bind stuck-outbound-routing observe
  mailmend policy bind stuck-outbound-routing propose -l tier=gold
  mailmend policy bind stuck-outbound-routing@2 auto \\
      --per-server-per-day 1 --settle 1h
  mailmend fleet symptoms"))]
    Bind {
        /// Name, or NAME@VERSION; the newest version now by default
        policy: PolicyRef,
        /// What is done where its symptom stands
        #[arg(value_name = "REACTION", value_parser = REACTIONS)]
        reaction: String,
        /// Only on these servers; by default all to which the policy applies
        #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
        selector: String,
        #[command(flatten)]
        throttle: Throttle,
    },
    /// Unbind a policy: its symptom is not looked for any more
    #[command(after_help = "\
Rollouts that are open go on; proposals lapse.

Examples:
  mailmend policy unbind stuck-outbound-routing")]
    Unbind {
        /// The policy's name
        policy: String,
    },
    /// List how policies are bound to their symptoms
    #[command(after_help = "\
Examples:
  mailmend policy bindings
  mailmend policy bindings -o json |
      jq '.bindings[] | select(.reaction == \"auto\") | .policy'")]
    Bindings,
    /// Print the JSON Schema of policies, for editors
    #[command(after_help = "\
Examples:
  mailmend policy schema > mailmend-policy.schema.json")]
    Schema,
}

#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Make a token that lets the agent of one server enrol once
    #[command(after_help = "\
The token is shown once and is not stored. On the server:

  mailmend-agent enrol --config /etc/mailmend/agent.toml --token TOKEN \\
      --ca ca.pem

where ca.pem is the file that --ca wrote, or the one in the operator's identity folder.

Examples:
  mailmend agent token SRV-B --site oslo
  mailmend agent token SRV-B --site oslo --label tier=gold --valid 15m \\
      --ca ca.pem
  mailmend agent token SRV-B --site oslo -o json | jq -r .token")]
    Token {
        /// The server; the agent's name must be the same
        name: String,
        /// The site that the server belongs to: servers that share routing
        #[arg(long)]
        site: String,
        /// A label, may be given several times
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// How long the token may be used: 1m to 7d
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
        valid: Duration,
        /// Write the authority's certificate here, for `mailmend-agent enrol --ca`
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
    /// List agents
    #[command(after_help = "\
Examples:
  mailmend agent list
  mailmend agent list -l site=oslo,ims.direction=outbound
  mailmend agent list -o json | jq '.agents[] | select(.connected|not).name'")]
    List {
        /// Only these, such as `site=oslo,role in (a,b),!retired`
        #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
        selector: String,
    },
    /// Take a server in hand: nothing begins at its site until it is given back
    #[command(after_help = with_codes("\
No binding acts at its site, and rollouts wait there; `mailmend rollout explain` says for whom. A run \
that is open goes to the end of what was released to it, so that service comes back.

Examples:
  mailmend agent in-hand SRV-B --why 'new disk, until noon'
  mailmend agent in-hand SRV-B --why 'call 4711' --by anna"))]
    InHand {
        /// The server
        name: String,
        /// Why, for those who wait
        #[arg(long)]
        why: String,
        /// Who has it, where that is somebody else than the operator
        #[arg(long, default_value = "")]
        by: String,
    },
    /// Give a server back that was taken in hand
    #[command(after_help = "\
Examples:
  mailmend agent give-back SRV-B")]
    GiveBack {
        /// The server
        name: String,
    },
    /// Show all that is known of one agent
    #[command(after_help = "\
Examples:
  mailmend agent show SRV-B")]
    Show {
        /// The server
        name: String,
    },
}

/// What a rollout is made from.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The policy: NAME, or NAME@VERSION; the newest version by default
    pub(super) policy: PolicyRef,
    /// The servers whose sites are mended; `site` selects every server that has a site
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(super) selector: String,
    /// Sites worked on at one time [default: the policy's]
    #[arg(long, value_name = "N")]
    pub(super) sites_at_once: Option<u32>,
    /// Failed runs that are borne before nothing new starts [default: the policy's]
    #[arg(long, value_name = "N")]
    pub(super) max_failed: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Rollout {
    /// Show what a rollout would do, without touching anything
    #[command(after_help = "\
Examples:
  mailmend rollout plan stuck-outbound-routing -l site=oslo
  mailmend rollout plan stuck-outbound-routing@2 -l 'site in (oslo,bergen)' \\
      --sites-at-once 2
  mailmend rollout plan stuck-outbound-routing -l site -o json | jq -r .digest")]
    Plan(Target),
    /// Start a rollout
    #[command(after_help = with_codes("\
Examples:
  mailmend rollout start stuck-outbound-routing -l site=oslo
  mailmend rollout start stuck-outbound-routing -l site=oslo \\
      --approve 4f1c22ab90de --watch
  mailmend rollout start stuck-outbound-routing -l site=oslo \\
      --yes --watch --timeout 30m

Where the answer is lost on the way (exit code 6), the command tells a --request-id: with it the \
same command never starts a second rollout."))]
    Start {
        #[command(flatten)]
        target: Target,
        /// The plan's digest as `rollout plan` showed it, at least 12 digits; refused (5) if the plan has changed
        #[arg(long, value_name = "DIGEST", value_parser = digest)]
        approve: Option<String>,
        /// Do not ask; start whatever the plan is now
        #[arg(short, long, conflicts_with = "approve")]
        yes: bool,
        /// The id of an attempt whose outcome is not known, as it was told: the same rollout answers
        #[arg(long, value_name = "UUID")]
        request_id: Option<uuid::Uuid>,
        /// Follow it until it is at rest
        #[arg(short, long)]
        watch: bool,
        /// With --watch: how long at most; then exit code 7, and the rollout goes on
        #[arg(long, value_name = "DURATION", value_parser = duration, requires = "watch")]
        timeout: Option<Duration>,
    },
    /// List rollouts, the newest first
    #[command(after_help = "\
Examples:
  mailmend rollout list
  mailmend rollout list -o json |
      jq '.rollouts[] | select(.state == \"running\") | .id'")]
    List,
    /// Show a rollout and its runs
    #[command(after_help = "\
Examples:
  mailmend rollout show 0198c5")]
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Follow a rollout until it is at rest; the exit code tells how it ended
    #[command(after_help = with_codes("\
With -o json each change is one line.

Examples:
  mailmend rollout watch 0198c5
  mailmend rollout watch 0198c5 --timeout 10m && echo mended"))]
    Watch {
        #[command(flatten)]
        which: Which,
        /// How long at most; then exit code 7, and the rollout goes on
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Let nothing new start; open sections are finished, so that service comes back
    #[command(after_help = "\
Examples:
  mailmend rollout pause 0198c5 --why 'board meeting until noon'")]
    Pause(Steer),
    /// Go on after a pause or a halt
    #[command(after_help = "\
Examples:
  mailmend rollout resume 0198c5")]
    Resume(Steer),
    /// Unwind what is under way and end
    #[command(after_help = "\
Done steps are undone in reverse, each as its policy declares, back to the point of no return at \
most. Messages in custody stay in custody; services are started.

Examples:
  mailmend rollout abort 0198c5 --why 'wrong site'")]
    Abort(Steer),
    /// Say what a rollout waits for, who holds it, and which command releases it
    #[command(after_help = "\
Examples:
  mailmend rollout explain 0198c5")]
    Explain {
        #[command(flatten)]
        which: Which,
    },
}

const REACTIONS: [&str; 3] = ["observe", "propose", "auto"];

/// How often a policy may act by itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Throttles")]
pub(super) struct Throttle {
    /// Runs begun on one server within any 24 hours [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) per_server_per_day: Option<u32>,
    /// Runs begun in one site within any 24 hours [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) per_site_per_day: Option<u32>,
    /// Runs begun in all within any 24 hours [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) per_fleet_per_day: Option<u32>,
    /// Rollouts that are open at one time [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) at_once: Option<u32>,
    /// How long the symptom must have stood [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub(super) stands_for: Option<Duration>,
    /// How long nothing begins on a server after a run; doubled for each run in a row that did not hold [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub(super) settle: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Fleet {
    /// List where which policies' symptoms stand, since when, and what is done about them
    #[command(after_help = with_codes("\
Agents look for the symptoms of bound policies all the time; `mailmend policy bind` binds one. What an \
agent cannot tell is listed too.

Examples:
  mailmend fleet symptoms
  mailmend fleet symptoms --all -l site=oslo
  mailmend fleet symptoms -o json |
      jq '.symptoms[] | select(.state == \"stands\") | .agent'"))]
    Symptoms {
        /// Also symptoms that are known not to stand
        #[arg(long)]
        all: bool,
        /// Only on these servers
        #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
        selector: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Proposal {
    /// List rollouts that wait for a person's word
    #[command(after_help = "\
Examples:
  mailmend proposal list
  mailmend proposal list --all -o json")]
    List {
        /// Also those that were decided or have lapsed
        #[arg(long)]
        all: bool,
    },
    /// Start a proposed rollout, for the servers where the symptom stands now
    #[command(after_help = with_codes("\
The same word again starts nothing new.

Examples:
  mailmend proposal start 0198c5
  mailmend proposal start 0198c5 --why 'as agreed with the site'"))]
    Start(Word),
    /// Refuse a proposal: it is not made again before the symptom has gone and come again
    #[command(after_help = with_codes("\
Examples:
  mailmend proposal refuse 0198c5 --why 'the next hop is being replaced'"))]
    Refuse(Word),
}

/// A person's word on a proposal.
#[derive(Debug, Args)]
pub(super) struct Word {
    /// The proposal: its id, or at least 6 characters of its beginning
    #[arg(value_parser = id)]
    pub(super) id: String,
    /// Why, for those who ask later
    #[arg(long, default_value = "")]
    pub(super) why: String,
    /// Who decides, where that is somebody else than the operator
    #[arg(long, default_value = "")]
    pub(super) by: String,
}

/// One rollout.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The rollout: its id, or at least 6 characters of its beginning
    #[arg(value_parser = id)]
    pub(super) id: String,
}

/// A change of a rollout.
#[derive(Debug, Args)]
pub(super) struct Steer {
    #[command(flatten)]
    pub(super) which: Which,
    /// Why, for those who ask later
    #[arg(long, default_value = "")]
    pub(super) why: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Run {
    /// Show a run: every step, what it did, its evidence
    #[command(after_help = "\
Examples:
  mailmend run show 0198c6")]
    Show {
        /// The run: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        id: String,
    },
    /// List the messages that a run took into custody
    #[command(after_help = "\
Examples:
  mailmend run ledger 0198c6
  mailmend run ledger 0198c6 --state in-doubt")]
    Ledger {
        /// The run: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        id: String,
        /// Only messages in this state
        #[arg(long, value_name = "STATE", value_parser = STATES)]
        state: Option<String>,
        /// With every state that each message was in, when, and by what evidence
        #[arg(long)]
        history: bool,
    },
    /// Answer a step that asks a person to do something
    #[command(after_help = with_codes("\
`mailmend run show` tells what is asked and which answers there are. The agent writes the answer \
down and goes on; what is answered cannot be taken back.

Examples:
  mailmend run answer 0198c6 --answer removed
  mailmend run answer 0198c6 --step remove-sent --answer cannot \\
      --note 'Mdbvu32 does not open the mailbox'"))]
    Answer {
        /// The run: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        id: String,
        /// One of the answers that the step offers
        #[arg(long)]
        answer: String,
        /// The step, or STEP@SERVER where it waits on several; the one that waits by default
        #[arg(long, default_value = "")]
        step: String,
        /// Something to add, for those who look later
        #[arg(long, default_value = "")]
        note: String,
        /// Who answers [default: the operator's certificate]
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// Do not wait until the agent has taken it
        #[arg(long)]
        no_wait: bool,
    },
    /// Show how an answer, a release or a settlement stands
    #[command(after_help = with_codes("\
Examples:
  mailmend run order 5f0c2a"))]
    Order {
        /// The order: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        id: String,
    },
    /// List what a run's reconciliation found of accepted messages
    #[command(after_help = "\
Lists what vanished, what the logs cannot tell, what is in custody, and what was delivered but still stands in \
a folder of the store and would be sent again; and says which command gives back what vanished.

Examples:
  mailmend run reconciled 0198c6
  mailmend run reconciled 0198c6 --all -o json |
      jq '.messages[] | select(.fate == \"vanished\") | .message_id'")]
    Reconciled {
        /// The run: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        id: String,
        /// Also what waits or was reported to its sender
        #[arg(long)]
        all: bool,
    },
}

/// Who says something about mail, and why.
#[derive(Debug, Args)]
pub(super) struct Say {
    /// What you know and from where, for those who look later
    #[arg(long)]
    pub(super) why: String,
    /// Who says it [default: the operator's certificate]
    #[arg(long, value_name = "NAME")]
    pub(super) by: Option<String>,
}

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SettleAs {
    /// Delivered, or not wanted any more; its file stays until retention ends
    Delivered,
    /// Not delivered: it is held, and may be released
    NotDelivered,
    /// It crashes the service: it is held, and never released
    Poison,
}

#[derive(Debug, Subcommand)]
pub(super) enum Custody {
    /// Give held messages of a run that has come to rest back to their queue
    #[command(after_help = with_codes("\
The agent stops the service and proves it stopped, sets aside what may have been sent, places the held \
files, starts the service and watches it. Never given back: what is in doubt, delivered, or poison; settle \
that first. Refused while event 3038 stands, another run is open there, or the run itself goes on.

Examples:
  mailmend custody release 0198c6 --why 'the next hop is back'
  mailmend custody release 0198c6 --batch 8000000000ab \\
      --why 'only what came before noon' --no-wait"))]
    Release {
        /// The run: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        run: String,
        /// Only this batch: the first part of a message's id in `run ledger`
        #[arg(long, value_name = "BATCH")]
        batch: Option<String>,
        #[command(flatten)]
        say: Say,
        /// Do not wait until it is carried out
        #[arg(long)]
        no_wait: bool,
        /// How long to wait at most; then exit code 7, and the release goes on
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Give messages that vanished back to their queue, from the copies in escrow
    #[command(after_help = with_codes("\
What `run reconciled` calls vanished and has a copy of. The copy becomes custody and goes the way of a \
release: service stopped and proven stopped, placed, started and watched; the message is gone when the logs \
show it delivered. The copy itself stays until then and for its retention. Not given back, and named: what the \
logs show delivered by now, what is in a queue or in custody, and a copy that is not the one that was found. \
Mend the server first (Service Pack 3 for 4.0): it may delete the message again.

Examples:
  mailmend run reconciled 0198c6
  mailmend custody recover 0198c6 --why 'SP3 is on; the recipients miss them'
  mailmend custody recover 0198c6 --message '<one@peer.example>' \\
      --why 'Anna misses this one' --no-wait"))]
    Recover {
        /// The run that reconciled: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        run: String,
        /// Only this message: its Message-ID, its MTS-ID or the file of its copy; may be given several times
        #[arg(long = "message", value_name = "ID")]
        messages: Vec<String>,
        /// On this server, where the run has copies on several
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
        #[command(flatten)]
        say: Say,
        /// Do not wait until it is carried out
        #[arg(long)]
        no_wait: bool,
        /// How long to wait at most; then exit code 7, and it goes on
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Say what became of messages in doubt, held, replaying or poison
    #[command(after_help = with_codes("\
The server's own logs count for more than a person: what they show delivered is never turned back. What is \
still in a queue cannot be settled.

Examples:
  mailmend custody settle 0198c6 8000000000ab/3 --as delivered \\
      --why 'the recipient has it'
  mailmend custody settle 0198c6 8000000000ab/4-17 --as not-delivered \\
      --why 'the log of the next hop does not have them'"))]
    Settle {
        /// The run: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        run: String,
        /// Messages as `mailmend run ledger` prints them, or BATCH/FIRST-LAST
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// What became of them
        #[arg(long = "as", value_name = "HOW")]
        outcome: SettleAs,
        #[command(flatten)]
        say: Say,
        /// Do not wait until the agent has taken it
        #[arg(long)]
        no_wait: bool,
    },
}

const STATES: [&str; 6] = [
    "live",
    "held",
    "replaying",
    "gone-with-evidence",
    "poison",
    "in-doubt",
];

#[derive(Debug, Subcommand)]
pub(super) enum Ledger {
    /// List messages in custody, of all agents
    #[command(after_help = "\
Examples:
  mailmend ledger list
  mailmend ledger list --state in-doubt
  mailmend ledger list --agent SRV-B -o json | jq '.counts'")]
    List {
        /// Only messages in this state
        #[arg(long, value_name = "STATE", value_parser = STATES)]
        state: Option<String>,
        /// Only of this agent
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
        /// Only of this run: its id, or at least 6 characters of its beginning
        #[arg(long, value_name = "ID", value_parser = id)]
        run: Option<String>,
    },
    /// Compare an agent's ledger with its disk and its server's logs
    #[command(after_help = with_codes("\
The agent derives each entry anew from its journal, the held folders and queues (every held file is read \
again), and the tracking and SMTP logs. Where they disagree a line says what each of them says and what to \
do; the exit code is 3 then.

Examples:
  mailmend ledger audit SRV-B
  mailmend ledger audit SRV-B --run 0198c6 -o json"))]
    Audit {
        /// The agent
        agent: String,
        /// Only of this run: its id, or at least 6 characters of its beginning
        #[arg(long, value_name = "ID", value_parser = id)]
        run: Option<String>,
    },
}

/// A policy by name, and version where one is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PolicyRef {
    pub(super) name: String,
    /// 0: the newest.
    pub(super) version: u32,
}

impl std::str::FromStr for PolicyRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            None => (text, 0),
            Some((name, version)) => {
                let version: u32 = version
                    .parse()
                    .ok()
                    .filter(|version| *version > 0)
                    .ok_or_else(|| format!("`{version}` is no version: a whole number from 1"))?;
                (name, version)
            }
        };
        let name: mailmend_policy::name::PolicyName =
            name.parse().map_err(|why| format!("{why}"))?;
        Ok(Self {
            name: name.to_string(),
            version,
        })
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

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "a label is written KEY=VALUE".to_owned())?;
    if key.is_empty() || value.is_empty() {
        return Err("a label is written KEY=VALUE, both not empty".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
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

fn digest(text: &str) -> Result<String, String> {
    let fits = (12..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if fits {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a digest is 64 hexadecimal digits, or at least 12 of its beginning".to_owned())
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
    fn a_policy_is_named_with_or_without_its_version() {
        let read = |text: &str| text.parse::<PolicyRef>();
        assert_eq!(
            read("a-b"),
            Ok(PolicyRef {
                name: "a-b".to_owned(),
                version: 0
            })
        );
        assert_eq!(
            read("a-b@3"),
            Ok(PolicyRef {
                name: "a-b".to_owned(),
                version: 3
            })
        );
        for bad in ["", "A", "a@", "a@0", "a@x", "a@1@2", "a b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_and_digests_are_refused_before_anybody_is_asked() {
        assert!(id("0198c5").is_ok());
        assert!(id("0198c").is_err() && id("zzzzzz").is_err() && id(&"0".repeat(37)).is_err());
        assert!(digest(&"ab".repeat(32)).is_ok() && digest("4F1C22AB90DE").is_ok());
        assert!(digest("4f1c").is_err() && digest(&"z".repeat(64)).is_err());
    }
}
