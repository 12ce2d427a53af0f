//! What `mailmend rollout simulate` takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration;
use super::strategy::StrategyFlags;

/// A rollout to be played through.
#[derive(Debug, Args)]
pub(in crate::cli) struct Simulation {
    /// The policy: a shipped one's NAME, a FILE that ends in `.toml`, or with --inventory one of the controller
    pub(in crate::cli) policy: String,
    /// The servers whose sites are mended
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "site")]
    pub(in crate::cli) selector: String,
    /// Take the servers that the controller knows, and its published policy
    #[arg(long, conflicts_with_all = ["servers", "sites"])]
    pub(in crate::cli) inventory: bool,
    /// How many servers are generated, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(in crate::cli) servers: u32,
    /// At how many sites; half as many as servers unless told
    #[arg(long, value_name = "M")]
    pub(in crate::cli) sites: Option<u32>,
    /// How many simulations, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(in crate::cli) runs: u32,
    /// The seed of the first; each next one is one more. The same seed gives the same trace
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(in crate::cli) seed: u64,
    /// How many simulations at one time; one for each processor unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(in crate::cli) jobs: Option<u32>,
    /// Writes the trace of the first seed to this file, a line for each event
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) trace: Option<PathBuf>,
    /// The agent's program, which plays the servers; the one beside `mailmend` unless told
    #[arg(long, value_name = "FILE", env = "MAILMEND_AGENT_PROGRAM")]
    pub(in crate::cli) agent_program: Option<PathBuf>,
    /// How long until a person approves, answers or resumes
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(in crate::cli) person_after: Duration,
    /// Resume whatever halts or pauses, instead of ending there
    #[arg(long)]
    pub(in crate::cli) resume: bool,
    // Last: the heading of their options would stand over whatever follows.
    #[command(flatten)]
    pub(in crate::cli) harm: Harm,
    #[command(flatten)]
    pub(in crate::cli) strategy: StrategyFlags,
}

/// What goes wrong, as shares of all servers or of all messages: `5%` or `0.05`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What goes wrong")]
pub(in crate::cli) struct Harm {
    /// Servers on which the policy's symptom stands
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "25%")]
    pub(in crate::cli) affected: f64,
    /// Servers on which a part of the run goes wrong: service, disk, event log, tool or journal
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "5%")]
    pub(in crate::cli) failure_rate: f64,
    /// Agents that refuse the run
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0%")]
    pub(in crate::cli) refusing: f64,
    /// Servers that never connect
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "1%")]
    pub(in crate::cli) unreachable: f64,
    /// Servers whose services start and stop ten times slower, over a slow line
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "2%")]
    pub(in crate::cli) slow: f64,
    /// Agents that are killed within the first hour, once or twice
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "1%")]
    pub(in crate::cli) crashing: f64,
    /// Messages that are lost, and their stream with them
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.1%")]
    pub(in crate::cli) loses: f64,
    /// How often a third of the servers is cut off for up to 15 minutes within the first hour
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(in crate::cli) partitions: u32,
    /// How often the controller dies within the first hour
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(in crate::cli) controller_deaths: u32,
}

/// `5%` or `0.05`, from nothing to all.
fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text
        .strip_suffix('%')
        .map_or((text, 1.0), |number| (number, 100.0));
    let share = number.parse::<f64>().ok().map(|number| number / whole);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "give a share of all from `0%` to `100%`, or from `0` to `1`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_share_is_a_percentage_or_a_part_of_one_and_nothing_else() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.05"), Ok(0.05));
        assert_eq!(share("100%"), Ok(1.0));
        for bad in ["101%", "-1%", "1.5", "NaN", "inf", "", "%", "five"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
