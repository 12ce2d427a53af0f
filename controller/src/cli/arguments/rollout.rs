//! Rollouts: planning, starting, steering.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::policy::PolicyRef;
use super::simulation::Simulation;
use super::strategy::StrategyFlags;
use super::{duration, id, with_codes};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Rollout {
    /// Show what a rollout would do, without touching anything
    #[command(after_help = "\
Examples:
  mailmend rollout plan stuck-outbound-routing -l site=oslo
  mailmend rollout plan stuck-outbound-routing@2 -l 'site in (oslo,bergen)' \\
      --sites-at-once 2
  mailmend rollout plan stuck-outbound-routing -l site -o json | jq -r .digest")]
    Plan(Target),
    /// Play a rollout through many times in simulated time, without touching anything
    #[command(after_help = with_codes("\
The controller's decisions and the agent's program are the real ones; servers, mail and network are \
simulated. Nothing is started, and without --inventory no controller is needed.

Examples:
  mailmend rollout simulate stuck-outbound-routing --servers 200 \\
      --failure-rate 5% --seed 7
  mailmend rollout simulate my-policy.toml --servers 1000 --sites 250 \\
      --waves '1 site,10%,100%' --soak 1h --partitions 3 --runs 100
  mailmend rollout simulate stuck-outbound-routing --inventory -l site=oslo
  mailmend rollout simulate corrupt-message --runs 1 --seed 42 \\
      --trace trace.txt
  mailmend rollout simulate stuck-message -o json |
      jq .summary.duration_ms.p99"))]
    Simulate(Box<Simulation>),
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
        /// The plan's digest as `rollout plan` showed it, at least 12 digits; refused (5) if the plan has changed
        #[arg(long, value_name = "DIGEST", value_parser = digest)]
        approve: Option<String>,
        /// The inventory's generation as `rollout plan` showed it; refused (5) if any agent has changed since
        #[arg(long, value_name = "N", requires = "approve")]
        generation: Option<i64>,
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
        // Last: the heading of its options would stand over whatever follows.
        #[command(flatten)]
        target: Target,
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
With --at it is told from the audit trail and from what agents had reported by then.

Examples:
  mailmend rollout show 0198c5
  mailmend rollout show 0198c5 --at 2026-05-01T03:12:00Z")]
    Show {
        #[command(flatten)]
        which: Which,
        /// As it stood at this time, RFC 3339 such as 2026-05-01T10:00:00Z
        #[arg(long, value_name = "TIME", value_parser = super::trail::time)]
        at: Option<i64>,
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
Whoever resumes accepts what held it: the failures so far, or the gate after the wave.

Examples:
  mailmend rollout resume 0198c5
  mailmend rollout resume 0198c5 --why 'the alarm was the disk, it is replaced'")]
    Resume(Steer),
    /// Let a wave begin that asks a person
    #[command(after_help = with_codes("\
What was looked at is what is approved: the digest of the wave and the inventory's generation are told by \
`rollout show`. Without --digest the wave is shown and you are asked.

Examples:
  mailmend rollout approve 0198c5 --wave 2
  mailmend rollout approve 0198c5 --wave 2 --digest 4f1c22ab90de \\
      --why 'the first site was quiet all night'"))]
    Approve {
        #[command(flatten)]
        which: Which,
        /// The wave, from 1
        #[arg(long, value_name = "N")]
        wave: u32,
        /// The wave's digest as `rollout show` told it, at least 12 digits
        #[arg(long, value_name = "DIGEST", value_parser = digest)]
        digest: Option<String>,
        /// The inventory's generation as `rollout show` told it [default: as it is now]
        #[arg(long, value_name = "N", requires = "digest")]
        generation: Option<i64>,
        /// Why, for those who ask later
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Start a new rollout over exactly the runs that failed or were never begun
    #[command(after_help = with_codes("\
At any time, also while the first goes on. The same revision, the same strategy unless told, fresh plans.

Examples:
  mailmend rollout retry 0198c5 --failed
  mailmend rollout retry 0198c5 --failed --why 'the disks were full'"))]
    Retry {
        #[command(flatten)]
        which: Which,
        /// Those that failed or were cancelled: the only ones that can be tried again
        #[arg(long, required = true)]
        failed: bool,
        /// Why, for those who ask later
        #[arg(long, default_value = "")]
        why: String,
        /// The id of an attempt whose outcome is not known, as it was told: the same rollout answers
        #[arg(long, value_name = "UUID")]
        request_id: Option<uuid::Uuid>,
        #[command(flatten)]
        strategy: StrategyFlags,
    },
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

/// What a rollout is made from.
#[derive(Debug, Args)]
pub(in crate::cli) struct Target {
    /// The policy: NAME, or NAME@VERSION; the newest version by default
    pub(in crate::cli) policy: PolicyRef,
    /// The servers whose sites are mended; `site` selects every server that has a site
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(in crate::cli) selector: String,
    #[command(flatten)]
    pub(in crate::cli) strategy: StrategyFlags,
}

/// One rollout.
#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// The rollout: its id, or at least 6 characters of its beginning
    #[arg(value_parser = id)]
    pub(in crate::cli) id: String,
}

/// A change of a rollout.
#[derive(Debug, Args)]
pub(in crate::cli) struct Steer {
    #[command(flatten)]
    pub(in crate::cli) which: Which,
    /// Why, for those who ask later
    #[arg(long, default_value = "")]
    pub(in crate::cli) why: String,
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

    #[test]
    fn digests_are_refused_before_anybody_is_asked() {
        assert!(digest(&"ab".repeat(32)).is_ok() && digest("4F1C22AB90DE").is_ok());
        assert!(digest("4f1c").is_err() && digest(&"z".repeat(64)).is_err());
    }
}
