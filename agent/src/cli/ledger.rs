//! `ledger`: every message file in custody, from the journal alone.

use std::path::Path;

use clap::{Args, Subcommand};
use mailmend_agent::config::Config;
use mailmend_agent::journal::Journal;
use mailmend_proto::run::{Custody, RunState};
use serde::Serialize;

use super::Output;
use super::failure::Failure;
use super::journal::existing;
use super::table::{print, say};

#[derive(Subcommand)]
enum Command {
    /// Compare every entry with the disk and the server's logs; ends with 3 where they disagree
    #[command(after_help = "\
Examples:
  mailmend-agent ledger audit
  mailmend-agent ledger audit --run 0198c5 --output json")]
    Audit {
        /// Only messages of this run; its leading characters are enough
        #[arg(long)]
        run: Option<String>,
    },
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Listing {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only messages in this state
    #[arg(long, value_parser = states())]
    state: Option<String>,
    /// Only messages of this run; its leading characters are enough
    #[arg(long)]
    run: Option<String>,
}

fn states() -> Vec<&'static str> {
    Custody::ALL.iter().map(|(name, _)| *name).collect()
}

#[derive(Serialize)]
struct Row {
    run: String,
    batch: String,
    index: u32,
    name: String,
    state: &'static str,
    bytes: u64,
    hash: String,
    mts_id: String,
    message_id: String,
    /// Where the file is, while its bytes are kept.
    held: Option<String>,
}

pub(super) fn list(config: &Config, what: &Listing, output: Output) -> Result<(), Failure> {
    if let Some(Command::Audit { run }) = &what.command {
        return super::audit::ledger(config, run.as_deref(), output);
    }
    let journal = Journal::read(&existing(config)?)?;
    let mut rows = Vec::new();
    for run in journal.runs() {
        let id = run.to_string();
        if what
            .run
            .as_ref()
            .is_some_and(|prefix| !id.starts_with(prefix.as_str()))
        {
            continue;
        }
        if let Some(state) = journal.state(run)? {
            rows.extend(of_run(&id, &state));
        }
    }
    rows.retain(|row| what.state.as_ref().is_none_or(|state| state == row.state));
    print(
        output,
        &[
            "run", "batch", "no", "file", "state", "bytes", "mts-id", "where",
        ],
        &rows,
        |row| {
            vec![
                row.run[..8].to_owned(),
                row.batch[..8].to_owned(),
                row.index.to_string(),
                row.name.clone(),
                row.state.to_owned(),
                row.bytes.to_string(),
                row.mts_id.clone(),
                row.held.clone().unwrap_or_default(),
            ]
        },
    )?;
    if output == Output::Table {
        let counts: Vec<String> = Custody::ALL
            .iter()
            .map(|(name, _)| (name, rows.iter().filter(|row| row.state == *name).count()))
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let counts = if counts.is_empty() {
            "nothing was ever taken into custody".to_owned()
        } else {
            counts.join(", ")
        };
        say(&counts)?;
    }
    Ok(())
}

fn of_run(run: &str, state: &RunState) -> Vec<Row> {
    let mut rows = Vec::new();
    for (batch, held) in &state.batches {
        for entry in &held.entries {
            let in_folder = matches!(
                entry.custody,
                Custody::Held | Custody::Poison | Custody::Replaying | Custody::InDoubt
            );
            rows.push(Row {
                run: run.to_owned(),
                batch: batch.to_string(),
                index: entry.index,
                name: entry.name.clone(),
                state: entry.custody.name(),
                bytes: entry.size,
                hash: entry.hash.to_string(),
                mts_id: entry.mts_id.clone(),
                message_id: entry.message_id.clone(),
                held: in_folder
                    .then(|| Path::new(&held.held).join(&entry.name))
                    .filter(|path| path.exists())
                    .map(|path| path.display().to_string()),
            });
        }
    }
    rows
}
