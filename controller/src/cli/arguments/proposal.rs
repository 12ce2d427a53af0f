//! Proposed rollouts.

use clap::{Args, Subcommand};

use super::{id, with_codes};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Proposal {
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
pub(in crate::cli) struct Word {
    /// The proposal: its id, or at least 6 characters of its beginning
    #[arg(value_parser = id)]
    pub(in crate::cli) id: String,
    /// Why, for those who ask later
    #[arg(long, default_value = "")]
    pub(in crate::cli) why: String,
    /// Who decides, where that is somebody else than the operator
    #[arg(long, default_value = "")]
    pub(in crate::cli) by: String,
}
