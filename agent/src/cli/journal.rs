//! `journal`: what the agent has done and is about to do.

mod export;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use mailmend_agent::config::Config;
use mailmend_agent::identity::time;
use mailmend_agent::inbox::bind;
use mailmend_agent::journal::Journal;
use mailmend_policy::name::ServerName;
use mailmend_policy::plan::Plan;
use mailmend_proto::run::{Event, Record, RunId};
use mailmend_proto::wire;
use prost::Message;
use serde::Serialize;

use super::Output;
use super::failure::Failure;
use super::table::print;

#[derive(Subcommand)]
enum Command {
    /// Write the whole journal to a file that anybody can verify, beside a running agent too
    #[command(after_help = "\
One JSON line for each record, with its exact bytes and hash: `mailmend audit verify --journal FILE`
tells whether it agrees with the controller's audit trail. A file that is there is replaced.

Examples:
  mailmend-agent journal export oslo-a.jsonl")]
    Export {
        /// The file
        file: PathBuf,
    },
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Listing {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only records of this run; its leading characters are enough
    #[arg(long)]
    run: Option<String>,
    /// Only records after this one
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Only the last so many
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
}

#[derive(Serialize)]
struct Row {
    seq: u64,
    at: String,
    run: String,
    event: &'static str,
    text: String,
}

pub(super) fn list(config: &Config, what: &Listing, output: Output) -> Result<(), Failure> {
    let file = existing(config)?;
    if let Some(Command::Export { file: into }) = &what.command {
        return export::write(&Journal::read(&file)?, &config.name.value, into);
    }
    // A damaged journal is read as far as it can be trusted: at 3 a.m. that is what is needed.
    let (records, fault) = Journal::salvage(&file)?;
    let names = StepNames::read(&records, &config.name.value);
    let wanted = |record: &Record| {
        record.seq > what.after
            && what
                .run
                .as_ref()
                .is_none_or(|prefix| record.run.to_string().starts_with(prefix.as_str()))
    };
    let mut rows: Vec<Row> = records
        .iter()
        .filter(|record| wanted(record))
        .map(|record| Row {
            seq: record.seq,
            at: time(record.at_ms),
            run: record.run.to_string(),
            event: record.event.name(),
            text: words::of(&record.event, |step| names.of(record.run, step)),
        })
        .collect();
    if let Some(last) = what.last {
        rows.drain(..rows.len().saturating_sub(last));
    }
    print(
        output,
        &["seq", "at", "run", "event", "text"],
        &rows,
        |row| {
            vec![
                row.seq.to_string(),
                row.at.clone(),
                row.run[..8].to_owned(),
                row.event.to_owned(),
                row.text.clone(),
            ]
        },
    )?;
    match fault {
        None => Ok(()),
        Some(fault) => Err(fault.into()),
    }
}

/// The ids that policies give to steps, found by planning each assignment once more.
struct StepNames(BTreeMap<RunId, Plan>);

impl StepNames {
    fn read(records: &[Record], me: &ServerName) -> Self {
        let plans = records.iter().filter_map(|record| {
            let Event::Admitted { assignment, .. } = &record.event else {
                return None;
            };
            let assignment = wire::Assignment::decode(assignment.as_slice()).ok()?;
            // An older agent may have admitted what this one would not: numbers have to do then.
            let bound = bind(&assignment, me).ok()?;
            Some((record.run, bound.plan))
        });
        Self(plans.collect())
    }

    fn of(&self, run: RunId, step: u32) -> Option<&str> {
        let plan = self.0.get(&run)?;
        let index = usize::try_from(step).ok()?;
        plan.steps.get(index).map(|step| step.id.as_str())
    }
}

/// The journal, where there is one.
pub(super) fn existing(config: &Config) -> Result<PathBuf, Failure> {
    let file = config.journal_file();
    if file.exists() {
        return Ok(file);
    }
    let shown = file.display();
    Err(Failure::failed(format!(
        "there is no journal `{shown}` yet: the agent has never run here, or `--data` is another folder"
    )))
}
