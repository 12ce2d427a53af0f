//! Policies: checking, publishing, binding, recalling.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{seconds, with_codes};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Policy {
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
    /// Stop published versions for ever: no run begins, open rollouts unwind
    #[command(after_help = with_codes("\
Open rollouts of it are aborted, what is bound is unbound, and it can never be started again. Versions that \
are published later may run.

Examples:
  mailmend policy recall stuck-outbound-routing --why 'restarts the MTA twice'
  mailmend policy recall stuck-outbound-routing@2 --why 'wrong queue'
  mailmend policy recall --article Q168883 --why 'the article was withdrawn'"))]
    Recall {
        /// The policy: NAME, every published version of it, or NAME@VERSION
        #[arg(required_unless_present = "article", conflicts_with = "article")]
        policy: Option<PolicyRef>,
        /// Everything that is published of this article
        #[arg(long, value_name = "ARTICLE")]
        article: Option<String>,
        /// Why, for everybody who meets it
        #[arg(long)]
        why: String,
    },
    /// Print the JSON Schema of policies, for editors
    #[command(after_help = "\
Examples:
  mailmend policy schema > mailmend-policy.schema.json")]
    Schema,
}

const REACTIONS: [&str; 3] = ["observe", "propose", "auto"];

/// How often a policy may act by itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Throttles")]
pub(in crate::cli) struct Throttle {
    /// Runs begun on one server within any 24 hours [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) per_server_per_day: Option<u32>,
    /// Runs begun in one site within any 24 hours [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) per_site_per_day: Option<u32>,
    /// Runs begun in all within any 24 hours [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) per_fleet_per_day: Option<u32>,
    /// Rollouts that are open at one time [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) at_once: Option<u32>,
    /// How long the symptom must have stood [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub(in crate::cli) stands_for: Option<Duration>,
    /// How long nothing begins on a server after a run; doubled for each run in a row that did not hold [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub(in crate::cli) settle: Option<Duration>,
}

/// A policy by name, and version where one is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct PolicyRef {
    pub(in crate::cli) name: String,
    /// 0: the newest.
    pub(in crate::cli) version: u32,
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
