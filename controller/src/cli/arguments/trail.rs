//! `mailmend audit`: the audit trail.

use std::path::PathBuf;

use clap::Subcommand;
use jiff::Timestamp;

use super::with_codes;
use crate::trail::Head;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Trail {
    /// List who did what and when, the newest last
    #[command(after_help = "\
The last line tells the head of the trail: keep it anywhere else, and \
`mailmend audit verify --head` will tell whether the trail was changed since.

Examples:
  mailmend audit list
  mailmend audit list --since 2026-05-01T10:00:00Z --actor anna
  mailmend audit list --kind revoke-identity --limit 20
  mailmend audit list --target 0198c5 -o json | jq '.entries[].detail'")]
    List {
        /// Only from this time on, RFC 3339 such as 2026-05-01T10:00:00Z
        #[arg(long, value_name = "TIME", value_parser = time)]
        since: Option<i64>,
        /// Only before this time
        #[arg(long, value_name = "TIME", value_parser = time)]
        until: Option<i64>,
        /// Only of this operator or agent, or of the controller: mailmend
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
        /// Only of this kind, such as start-rollout
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Only about what begins so: an id or a name
        #[arg(long, value_name = "START")]
        target: Option<String>,
        /// At most so many of the newest
        #[arg(long, value_name = "N", default_value_t = 100,
              value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show one entry with all that it says
    #[command(after_help = "\
Examples:
  mailmend audit show 1042
  mailmend audit show 1042 -o json")]
    Show {
        /// Its number in the trail
        #[arg(value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
        seq: u64,
    },
    /// Write the whole trail to a file that anybody can verify
    #[command(after_help = "\
One JSON line for each entry; docs/audit.md says how its hash follows from it. A file that is there is \
replaced only when the new one is whole.

With --data it is read from the controller's own folder, whether the controller runs or is gone.

Examples:
  mailmend audit export trail.jsonl
  mailmend audit export trail.jsonl --data /var/lib/mailmend/controller
  mailmend audit export - | gzip > trail.jsonl.gz")]
    Export {
        /// The file; - is standard output
        file: PathBuf,
        /// Read the store in this folder, without asking a controller
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Tell whether a trail, and what agents saw of it, was changed
    #[command(after_help = with_codes("\
Asks no controller where a file is named. Each entry must follow from those before it. With an agent's journal \
(`mailmend-agent journal export`) it also tells whether what each saw of the other is still so, and whether \
everything the agent did was allowed by an earlier entry. Export journals first and the trail last, or what they \
saw meanwhile is missing in it. The first place that is not as it must be is told \
first, with what it means. Exit code 3: something was found.

Examples:
  mailmend audit verify
  mailmend audit verify trail.jsonl
  mailmend audit verify --data /var/lib/mailmend/controller
  mailmend audit verify trail.jsonl --journal oslo-a.jsonl \\
      --journal oslo-b.jsonl
  mailmend audit verify trail.jsonl --head \"$(cat head-of-monday)\""))]
    Verify {
        /// An exported trail; without it the controller's, as it is now
        file: Option<PathBuf>,
        /// The store in this folder, instead of a file
        #[arg(long, value_name = "DIR", conflicts_with = "file")]
        data: Option<PathBuf>,
        /// An agent's exported journal; may be given again
        #[arg(long = "journal", value_name = "FILE")]
        journals: Vec<PathBuf>,
        /// A head that was noted, SEQ:HASH as `audit list` tells it; may be given again
        #[arg(long = "head", value_name = "SEQ:HASH")]
        heads: Vec<Head>,
    },
}

/// A time in milliseconds since 1970 UTC.
pub(in crate::cli) fn time(text: &str) -> Result<i64, String> {
    text.parse::<Timestamp>()
        .map(Timestamp::as_millisecond)
        .map_err(|_| "write it as 2026-05-01T10:00:00Z".to_owned())
}
