//! Messages in custody.

use clap::Subcommand;

use super::{id, with_codes};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Ledger {
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

pub(super) const STATES: [&str; 6] = [
    "live",
    "held",
    "replaying",
    "gone-with-evidence",
    "poison",
    "in-doubt",
];
