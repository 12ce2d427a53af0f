//! `mailmend-lab run` and `mailmend-lab storm`: their arguments, and what is refused.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValue;
use mailmend_lab::clock_factor::ClockFactor;
use mailmend_lab::demo;
use mailmend_lab::lab_error::LabError;
use mailmend_lab::platform::Platform;
use mailmend_lab::platform::wine::{self, Windows};
use mailmend_lab::programs::Programs;
use mailmend_lab::scenario::{self, Options, SCENARIOS, Scenario, fleet_rollout};
use mailmend_lab::storm::{self, Storm};
use mailmend_lab::{tether, windows};

use super::{code, messages, processors, sites, top};

const RUN_EXAMPLES: &str = "\
Examples:
  mailmend-lab run stuck-outbound --json
  mailmend-lab run corrupt-message --bad 2 --messages 40 --kills 3 --seed 7
  mailmend-lab run fleet --sites 20 --faulty 7 --seed 3 --json
  mailmend-lab run fleet --sites 5 --faulty 3 --kills 0 --keep

Exit codes: 0 everything is accounted for and mended, or at rest as it should be; 1 it is not, or could not be
played.";

const STORM_EXAMPLES: &str = "\
Examples:
  mailmend-lab storm --runs 100
  mailmend-lab storm --scenario corrupt-message --variant watched --runs 10
  mailmend-lab storm --scenario fleet --runs 5 --at-once 1";

#[derive(Debug, clap::Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(super) struct Run {
    /// The scenario.
    #[arg(value_parser = names())]
    scenario: String,
    /// What varies the scenario; `mailmend-lab run --help` lists the variants of each.
    #[arg(long)]
    variant: Option<String>,
    /// How many of the messages are bad; as the scenario has it unless told.
    #[arg(long)]
    bad: Option<usize>,
    /// Mail and kills follow from it, and in `fleet` what is wrong where.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many messages users send, over all sites; 120 unless told, in `fleet` 12 for each site.
    #[arg(long, value_parser = messages)]
    messages: Option<usize>,
    /// How many sites of two servers, 1 to 50; 1 unless told, in `fleet` 20.
    #[arg(long, value_parser = sites)]
    sites: Option<usize>,
    /// How many of the sites are faulty, only in `fleet`; 7 unless told.
    #[arg(long)]
    faulty: Option<usize>,
    /// Keep the folder of the world.
    #[arg(long)]
    keep: bool,
    /// Print the report as one JSON object in the last line.
    #[arg(long)]
    json: bool,
    /// How many processes to kill during the rollout; none unless told, in `fleet` 8.
    #[arg(long, visible_alias = "chaos")]
    kills: Option<usize>,
    /// How much faster than life the clock runs, 1 to 600.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
    clock_factor: u32,
    /// Let the stuck mail have waited since before the lab began, instead of waiting for it; in `fleet` it always has.
    #[arg(long)]
    waited_before: bool,
    /// How many seconds the rollout may take; 240 unless told, in `fleet` 900.
    #[arg(long)]
    patience: Option<u64>,
    /// Another policy file instead of the shipped one.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// What the servers and their agents run on.
    #[arg(long, value_enum, default_value_t)]
    agents: Agents,
}

#[derive(Debug, clap::Args)]
#[command(after_help = STORM_EXAMPLES)]
pub(super) struct StormArguments {
    /// The scenario.
    #[arg(long, default_value = SCENARIOS[0].name, value_parser = names())]
    scenario: String,
    /// What varies it; its first variant unless told.
    #[arg(long)]
    variant: Option<String>,
    /// How many runs.
    #[arg(long, default_value_t = 100)]
    runs: u32,
    /// The seed of the first run; each next one is one more.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs at once; as many as the machine stands unless told.
    #[arg(long)]
    at_once: Option<usize>,
    /// How many messages each; 30 unless told, in `fleet` 12 for each site.
    #[arg(long, value_parser = messages)]
    messages: Option<usize>,
    /// How many sites each, only in `fleet`; 20 unless told.
    #[arg(long, value_parser = sites)]
    sites: Option<usize>,
    /// How many of them are faulty, only in `fleet`; 7 unless told.
    #[arg(long)]
    faulty: Option<usize>,
    /// How many processes are killed in each; 3 unless told, in `fleet` 8.
    #[arg(long)]
    kills: Option<usize>,
}

/// What the servers and their agents run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Agents {
    /// This Linux.
    #[default]
    Unix,
    /// Windows, as Wine makes it: real services, and the settings in the registry.
    Wine,
}

impl Agents {
    fn platform(self, say: &dyn Fn(&str)) -> Result<Platform, LabError> {
        match self {
            Self::Unix => Ok(Platform::Linux),
            Self::Wine => {
                let programs = std::env::var_os(wine::PROGRAMS)
                    .map_or_else(|| windows::programs(&top()), PathBuf::from);
                Windows::prepare(&programs, say).map(Platform::Wine)
            }
        }
    }
}

/// The scenarios as the command line has them, each with its variants, and the fleet.
fn names() -> impl clap::builder::TypedValueParser<Value = String> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    let value = |one: &&Scenario| {
        let variants = one.variants.join(", ");
        PossibleValue::new(one.name).help(format!(
            "{}: {}. Variants: {variants}",
            one.article, one.about
        ))
    };
    let fleet = PossibleValue::new(fleet_rollout::NAME).help(fleet_rollout::ABOUT);
    PossibleValuesParser::new(SCENARIOS.iter().map(value).chain([fleet])).map(|name| name)
}

/// What is played: the scenario of that name; none: the fleet.
fn found(name: &str) -> Result<Option<&'static Scenario>, LabError> {
    if name == fleet_rollout::NAME {
        return Ok(None);
    }
    let found = Scenario::named(name);
    found
        .map(Some)
        .ok_or_else(|| refused(&format!("play `{name}`"), "there is no such scenario"))
}

fn refused(attempted: &str, reason: &str) -> LabError {
    LabError::Refused {
        attempted: attempted.to_owned(),
        reason: reason.to_owned(),
    }
}

fn check_variant(scenario: &Scenario, variant: Option<&str>) -> Result<(), LabError> {
    match scenario.variant(variant) {
        Ok(_) => Ok(()),
        Err(reason) => Err(refused(&format!("play `{}`", scenario.name), &reason)),
    }
}

/// `mailmend-lab run`.
pub(super) fn run(arguments: &Run) -> Result<ExitCode, LabError> {
    tether::to_parent();
    let scenario = found(&arguments.scenario)?;
    match scenario {
        Some(scenario) => check_one(scenario, arguments)?,
        None => check_fleet(arguments)?,
    }
    let fleet = scenario.is_none();
    let sites = arguments
        .sites
        .unwrap_or(if fleet { fleet_rollout::SITES } else { 1 });
    let usual = if fleet {
        fleet_rollout::MESSAGES_EACH * sites
    } else {
        120
    };
    let begun = std::time::Instant::now();
    let say = |line: &str| eprintln!("[{:>5.1} s] {line}", begun.elapsed().as_secs_f32());
    let mut options = Options {
        variant: arguments.variant.clone(),
        bad: arguments.bad,
        seed: arguments.seed,
        messages: arguments.messages.unwrap_or(usual),
        sites,
        keep: arguments.keep,
        kills: arguments
            .kills
            .unwrap_or(if fleet { fleet_rollout::KILLS } else { 0 }),
        kills_agents_alone: false,
        clock_factor: ClockFactor(arguments.clock_factor),
        waited_before: arguments.waited_before || fleet,
        patience: Duration::from_secs(arguments.patience.unwrap_or(if fleet { 900 } else { 240 })),
        policy: arguments.policy.clone(),
        platform: Platform::Linux,
        watch: false,
    };
    let faulty = arguments.faulty.unwrap_or(fleet_rollout::FAULTY);
    if fleet {
        fleet_rollout::check(&options, faulty).map_err(|why| refused("play a fleet", &why))?;
    } else {
        options.platform = arguments.agents.platform(&say)?;
    }
    let programs = Programs::locate()?;
    let outcome = match scenario {
        Some(scenario) => scenario::run(scenario, &options, &programs, &say)?,
        None => fleet_rollout::run(&options, faulty, &programs, &say)?,
    };
    if arguments.json {
        // To text at once: by way of a value the fields would lose their order.
        println!(
            "{}",
            serde_json::to_string(&outcome.report).unwrap_or_default()
        );
    } else {
        print!("{}", demo::account(&outcome));
    }
    Ok(code(outcome.report.against().is_empty()))
}

fn check_one(scenario: &Scenario, arguments: &Run) -> Result<(), LabError> {
    check_variant(scenario, arguments.variant.as_deref())?;
    if arguments.faulty.is_some() {
        let attempted = format!("leave some sites of `{}` without a fault", scenario.name);
        let reason = "all of its sites are faulty; leave `--faulty` out, or run `fleet`";
        return Err(refused(&attempted, reason));
    }
    if arguments.bad.is_some() && scenario.bad == 0 {
        let attempted = format!("have bad messages in `{}`", scenario.name);
        let reason = "no message is bad in it; leave `--bad` out";
        return Err(refused(&attempted, reason));
    }
    let messages = arguments.messages.unwrap_or(120);
    if arguments.bad.is_some_and(|bad| bad > messages) {
        return Err(refused(
            "have more bad messages than messages",
            "give `--messages` a larger number",
        ));
    }
    Ok(())
}

/// What the seed alone decides in a fleet is not to be told.
fn check_fleet(arguments: &Run) -> Result<(), LabError> {
    let told = [
        ("--variant", arguments.variant.is_some()),
        ("--bad", arguments.bad.is_some()),
        ("--policy", arguments.policy.is_some()),
        ("--agents", arguments.agents != Agents::Unix),
    ];
    for (flag, told) in told {
        if told {
            let reason = "the seed draws what is wrong where, every shipped policy is rolled out, and all \
                servers are of Linux; leave it out, or run one scenario";
            return Err(refused(&format!("play a fleet with `{flag}`"), reason));
        }
    }
    Ok(())
}

/// `mailmend-lab storm`.
pub(super) fn storm(arguments: StormArguments) -> Result<ExitCode, LabError> {
    tether::to_parent();
    let scenario = found(&arguments.scenario)?;
    match scenario {
        Some(scenario) => check_variant(scenario, arguments.variant.as_deref())?,
        None if arguments.variant.is_some() => {
            return Err(refused(
                "play a fleet with `--variant`",
                "the seed draws what is wrong where; leave it out",
            ));
        }
        None => {}
    }
    let fleet = scenario.is_none();
    let sized = arguments.sites.is_some() || arguments.faulty.is_some();
    if sized && !fleet {
        return Err(refused(
            &format!(
                "storm `{}` with `--sites` or `--faulty`",
                arguments.scenario
            ),
            "each of its runs has one site; leave them out, or storm `fleet`",
        ));
    }
    let sites = arguments.sites.unwrap_or(fleet_rollout::SITES);
    let faulty = arguments.faulty.unwrap_or(fleet_rollout::FAULTY);
    let usual = if fleet {
        (fleet_rollout::MESSAGES_EACH * sites, fleet_rollout::KILLS)
    } else {
        (30, 3)
    };
    let messages = arguments.messages.unwrap_or(usual.0);
    if fleet {
        let options = Options {
            sites,
            messages,
            ..Options::default()
        };
        fleet_rollout::check(&options, faulty).map_err(|why| refused("play a fleet", &why))?;
    }
    // A fleet by itself is more than most machines have room for.
    let at_once = if fleet { 1 } else { 2 * processors() };
    let storm = Storm {
        scenario: arguments.scenario,
        fleet: fleet.then_some((sites, faulty)),
        variant: arguments.variant,
        runs: arguments.runs,
        seed: arguments.seed,
        at_once: arguments.at_once.unwrap_or(at_once),
        messages,
        kills: arguments.kills.unwrap_or(usual.1),
    };
    Ok(code(storm::run(&storm, &Programs::locate()?)?))
}
