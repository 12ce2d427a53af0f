//! `mailmend ledger`: messages in custody.

use std::collections::BTreeMap;

use mailmend_proto::wire;

use super::arguments::Ledger;
use super::connection::Controller;
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::run::whole_id;
use super::view::{EntryView, LedgerView, custody, hex};
use super::waiting::waiting;
use super::when::{absolute, column, now_ms, size};
use crate::config::Settings;

/// Lines of a table for a person; the rest is counted, and `-o json` has all.
const MOST_LINES: usize = 1000;
/// Columns from which on the beginning of the content's digest stands in the table.
const HASHED: usize = 100;
/// Columns from which on evidence stands in the table.
const WIDE: usize = 140;

pub(super) async fn run(
    command: Ledger,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let controller = controller(settings)?;
    let (state, agent, run) = match command {
        Ledger::List { state, agent, run } => (state, agent, run),
        Ledger::Audit { agent, run } => {
            return super::audit::audit(&controller, agent, run, output).await;
        }
    };
    let run = match run {
        Some(id) => whole_id(&controller, id).await?,
        None => String::new(),
    };
    let request = wire::ListCustodyRequest {
        run,
        agent: agent.unwrap_or_default(),
        state: state.unwrap_or_default(),
        history: false,
    };
    list(&controller, request, output).await
}

pub(super) async fn list(
    controller: &Controller,
    request: wire::ListCustodyRequest,
    output: &Output,
) -> Result<Exit, Failure> {
    let what = "list the ledger";
    let mut pages = controller
        .follow(what, request, |mut client, request| async move {
            client.list_custody(request).await
        })
        .await?;
    let entries = waiting(what, async {
        let mut entries = Vec::new();
        while let Some(page) = pages.message().await? {
            entries.extend(page.entries);
        }
        Ok(entries)
    })
    .await;
    let entries = match entries {
        Ok(entries) => entries,
        Err(status) => return Err(controller.failed(what, status).await),
    };
    let counts = counts(&entries);
    if output.is_json() {
        let entries = entries.iter().map(EntryView::from).collect();
        output.json(&LedgerView { counts, entries })?;
    } else {
        output.text(&told(&entries, &counts, output, now_ms()))?;
    }
    Ok(Exit::Success)
}

fn state(found: &wire::CustodyEntry) -> String {
    custody(
        found
            .entry
            .as_ref()
            .map_or(wire::Custody::Unspecified, wire::Entry::custody),
    )
}

fn counts(entries: &[wire::CustodyEntry]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        *counts.entry(state(entry)).or_default() += 1;
    }
    counts
}

fn told(
    entries: &[wire::CustodyEntry],
    counts: &BTreeMap<String, u64>,
    output: &Output,
    now_ms: i64,
) -> String {
    let shown = &entries[..entries.len().min(MOST_LINES)];
    // Evidence is a sentence: a narrow table would break it into syllables.
    let wide = output.fits(WIDE);
    let hashed = output.fits(HASHED);
    let rows = shown.iter().map(|found| {
        let entry = found.entry.clone().unwrap_or_default();
        let mut row: Vec<Shown> = vec![
            short(found).into(),
            (&found.agent).into(),
            entry.name.into(),
            Shown::state(state(found)),
            size(entry.size).into(),
            column(found.changed_ms, now_ms).into(),
        ];
        if hashed {
            row.push(hex(entry.hash.get(..6).unwrap_or_default()).into());
        }
        if wide {
            row.extend([(&found.queue).into(), (&found.evidence).into()]);
        }
        row
    });
    let mut head = vec!["MESSAGE", "AGENT", "FILE", "STATE", "SIZE", "CHANGED"];
    if hashed {
        head.push("HASH");
    }
    if wide {
        head.extend(["QUEUE", "EVIDENCE"]);
    }
    let table = output.table(&head, rows.collect(), "no messages in custody");
    if entries.is_empty() {
        return table;
    }
    let told: String = shown.iter().map(|found| history(found, output)).collect();
    if !told.is_empty() {
        return format!("{table}{told}\n{}", summary(entries, counts));
    }
    let urgent = if wide {
        String::new()
    } else {
        evidence(shown, output)
    };
    let more = match entries.len().saturating_sub(MOST_LINES) {
        0 => String::new(),
        more => format!("and {more} more, see -o json\n"),
    };
    format!("{table}{more}{urgent}\n{}", summary(entries, counts))
}

fn summary(entries: &[wire::CustodyEntry], counts: &BTreeMap<String, u64>) -> String {
    let words: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    format!("{} messages: {}\n", entries.len(), words.join(", "))
}

/// Every state that a message was in, below the table: when, and by what evidence.
fn history(found: &wire::CustodyEntry, output: &Output) -> String {
    if found.history.is_empty() {
        return String::new();
    }
    let entry = found.entry.clone().unwrap_or_default();
    let name = format!("{} {}, {}", short(found), entry.name, hex(&entry.hash));
    let pairs = found.history.iter().map(|change| {
        let state = custody(change.custody());
        let at = absolute(change.at_ms).unwrap_or_default();
        let evidence = if change.evidence.is_empty() {
            String::new()
        } else {
            format!(": {}", change.evidence)
        };
        ("", Shown::from(format!("{at} {state}{evidence}")))
    });
    format!("\n{name}\n{}", output.pairs(pairs.collect()))
}

/// What is known of those that need a person: below the table, where it is narrow.
fn evidence(entries: &[wire::CustodyEntry], output: &Output) -> String {
    let urgent = entries.iter().filter(|found| {
        let state = found.entry.as_ref().map(wire::Entry::custody);
        matches!(state, Some(wire::Custody::InDoubt | wire::Custody::Poison))
    });
    let pairs: Vec<(&str, Shown)> = urgent
        .map(|found| (short(found), (&found.evidence).into()))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("\n{}", output.pairs(pairs))
    }
}

/// The batch is a UUID: its end tells two apart at a glance.
fn short(found: &wire::CustodyEntry) -> &str {
    found.id.get(24..).unwrap_or(&found.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u32, state: wire::Custody) -> wire::CustodyEntry {
        wire::CustodyEntry {
            id: format!("0198c5aa-1234-7000-8000-0000000000ab/{at}"),
            agent: "SRV-B".to_owned(),
            queue: "outbound-awaiting-delivery".to_owned(),
            entry: Some(wire::Entry {
                name: format!("ABCDEF{at:02}"),
                size: 4096,
                custody: state.into(),
                ..Default::default()
            }),
            evidence: "SMTP log L0000001.LOG line 40: DATA begun, no reply".to_owned(),
            changed_ms: 1_780_000_000_000,
            ..Default::default()
        }
    }

    #[test]
    fn the_ledger_is_listed_and_counted_within_eighty_columns() {
        let entries = [
            entry(0, wire::Custody::Held),
            entry(1, wire::Custody::InDoubt),
            entry(2, wire::Custody::Held),
        ];
        let text = told(
            &entries,
            &counts(&entries),
            &Output::fixed(80),
            1_780_000_060_000,
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.ends_with("3 messages: 2 held, 1 in-doubt\n"), "{text}");
    }

    #[test]
    fn a_hundred_thousand_messages_are_counted_and_not_all_printed() {
        let entries = vec![entry(0, wire::Custody::Held); 3000];
        let text = told(&entries, &counts(&entries), &Output::fixed(200), 0);
        assert!(
            text.contains("and 2000 more"),
            "{}",
            text.lines().last().unwrap()
        );
        assert!(text.contains("3000 messages: 3000 held"));
    }
}
