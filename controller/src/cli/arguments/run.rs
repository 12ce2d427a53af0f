//! Runs, and what people say about them.

use clap::Subcommand;

use super::ledger::STATES;
use super::{id, with_codes};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Run {
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
