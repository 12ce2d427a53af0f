//! Held mail.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{duration, id, with_codes};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Custody {
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

/// Who says something about mail, and why.
#[derive(Debug, Args)]
pub(in crate::cli) struct Say {
    /// What you know and from where, for those who look later
    #[arg(long)]
    pub(in crate::cli) why: String,
    /// Who says it [default: the operator's certificate]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) by: Option<String>,
}

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum SettleAs {
    /// Delivered, or not wanted any more; its file stays until retention ends
    Delivered,
    /// Not delivered: it is held, and may be released
    NotDelivered,
    /// It crashes the service: it is held, and never released
    Poison,
}
