//! `mailmend immunity`.

use std::time::Duration;

use clap::Subcommand;

use super::custody::Say;
use super::{duration, id, with_codes};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Immunity {
    /// List the fingerprints of poison that every agent sets aside on sight
    #[command(after_help = "\
Examples:
  mailmend immunity list
  mailmend immunity list --all -o json | jq '.fingerprints[].id'")]
    List {
        /// Those that were withdrawn or refused too
        #[arg(long)]
        all: bool,
    },
    /// Show where a fingerprint comes from, and every message that was set aside because of it
    #[command(after_help = "\
Examples:
  mailmend immunity show 4be1f2
  mailmend immunity show 4be1f2 -o json | jq '.messages[] | select(.waits)'")]
    Show {
        /// The fingerprint: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        id: String,
    },
    /// Make the fingerprint of a message in custody known to every agent
    #[command(after_help = with_codes("\
For poison that no search proved: the agent that holds the message reads it and tells what it is known by. \
From then on every agent sets aside what has it, within the limits of its guard file. Messages that a search \
proves to be poison, or that an event names, are known without it.

Examples:
  mailmend immunity add 0198c6 8000000000ab/3 \\
      --why 'three servers died of it'"))]
    Add {
        /// The run: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        run: String,
        /// The message as `mailmend run ledger` prints it
        #[arg(value_name = "ENTRY")]
        entry: String,
        #[command(flatten)]
        say: Say,
        /// Do not wait until the agent has told it
        #[arg(long)]
        no_wait: bool,
        /// How long to wait at most; then exit code 7, and it goes on
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Withdraw a fingerprint: agents forget it and give back what they set aside
    #[command(after_help = with_codes("\
What is poison because of this fingerprint, and of nothing else, is held again and given back to its queue by \
an ordinary release: service stopped and proven stopped, placed, started and watched; one run at a time in a \
site. Agents that are away do it when they are back. What the logs show sent, or cannot tell of, is in doubt \
and not given back. `immunity show` tells what is still to come and what it waits for. Withdrawing it again \
changes nothing.

Examples:
  mailmend immunity withdraw 4be1f2 --why 'it is the newsletter'
  mailmend immunity withdraw 4be1f2 --keep --why 'years old'"))]
    Withdraw {
        /// The fingerprint: its id, or at least 6 characters of its beginning
        #[arg(value_parser = id)]
        id: String,
        /// Leave what is set aside as it is; without it, given later, it is given back
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        say: Say,
    },
}
