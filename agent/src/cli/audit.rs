//! `ledger audit`: where journal, disk and logs of this server disagree.

use mailmend_agent::config::Config;
use mailmend_agent::custody::audit::{Disagreement, Ground, audit};
use mailmend_agent::guard::Guard;
use mailmend_agent::journal::Journal;
use mailmend_policy::condition::PathRoot;
use mailmend_proto::run::RunId;
use serde::Serialize;

use super::Output;
use super::failure::Failure;
use super::journal::existing;
use super::run::host;
use super::table::{json, say};

#[derive(Serialize)]
struct Row {
    id: Option<String>,
    run: Option<String>,
    journal: String,
    disk: Option<String>,
    logs: Option<String>,
    remedy: String,
}

#[derive(Serialize)]
struct Audit {
    messages: u64,
    disagreements: Vec<Row>,
}

/// Reads the journal beside a running agent; changes nothing.
pub(super) fn ledger(config: &Config, run: Option<&str>, output: Output) -> Result<(), Failure> {
    let file = existing(config)?;
    let journal = Journal::read(&file)?;
    let only = match run {
        Some(prefix) => Some(the_run(&journal, prefix)?),
        None => None,
    };
    let host = host(config)?;
    // Without a guard file it is not known where held folders are; those of the journal are still read.
    let guard = Guard::read(&config.guard.value).ok();
    let root = guard.and_then(|guard| {
        let imcdata = host.root(PathRoot::Imcdata).ok()?;
        Some(mailmend_agent::inbox::held_root(&guard, &imcdata))
    });
    let ground = Ground {
        host: host.as_ref(),
        journal: &journal,
        held_root: root.as_deref(),
    };
    let mut found = Vec::new();
    let messages = audit(ground, only, &mut |piece, _| {
        found.extend(piece);
        true
    })
    .map_err(|error| Failure::failed(format!("A076-audit-failed: {error}")))?;
    if !found.is_empty() {
        let later = Journal::read(&file)?;
        found = still(found, &later)?;
    }
    print(&found, messages, output)?;
    if found.is_empty() {
        Ok(())
    } else {
        Err(Failure::already_told().with_exit(3))
    }
}

/// Those findings of which the journal still says the same: an agent at work moves on.
fn still(found: Vec<Disagreement>, later: &Journal) -> Result<Vec<Disagreement>, Failure> {
    let mut kept = Vec::with_capacity(found.len());
    for one in found {
        let (Some((batch, index)), Some(run)) = (one.message, one.run) else {
            kept.push(one);
            continue;
        };
        let state = later.state(run)?.unwrap_or_default();
        let entry = state
            .batches
            .get(&batch)
            .and_then(|batch| batch.entries.get(index as usize));
        if entry.is_some_and(|entry| entry.custody.name() == one.journal) {
            kept.push(one);
        }
    }
    Ok(kept)
}

fn the_run(journal: &Journal, prefix: &str) -> Result<RunId, Failure> {
    let mut runs = journal.runs().into_iter();
    runs.find(|run| run.to_string().starts_with(prefix))
        .ok_or_else(|| {
            Failure::usage(format!(
                "no run in this server's journal begins with `{prefix}`"
            ))
        })
}

fn print(found: &[Disagreement], messages: u64, output: Output) -> Result<(), Failure> {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    if output == Output::Json {
        let rows = found.iter().map(|one| Row {
            id: one.message.map(|(batch, index)| format!("{batch}/{index}")),
            run: one.run.map(|run| run.to_string()),
            journal: one.journal.clone(),
            disk: some(&one.disk),
            logs: some(&one.logs),
            remedy: one.remedy.clone(),
        });
        return json(&Audit {
            messages,
            disagreements: rows.collect(),
        });
    }
    for one in found {
        match one.message {
            Some((batch, index)) => say(&format!("{batch}/{index}"))?,
            None => say("a file that no entry knows")?,
        }
        for (name, said) in [
            ("journal", &one.journal),
            ("disk", &one.disk),
            ("logs", &one.logs),
            ("do", &one.remedy),
        ] {
            if !said.is_empty() {
                say(&super::table::printable(&format!("  {name:8} {said}")))?;
            }
        }
    }
    if found.is_empty() {
        say(&format!(
            "{messages} messages compared: journal, disk and logs agree"
        ))
    } else {
        say(&format!(
            "{messages} messages compared, {} disagreements",
            found.len()
        ))
    }
}
