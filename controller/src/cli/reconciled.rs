//! `mailmend run reconciled`: what became of messages that a server had accepted.

use std::collections::BTreeMap;

use mailmend_proto::wire;
use serde::Serialize;

use super::connection::Controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::view::{some, word};
use super::waiting::waiting;
use super::when::{absolute, column, now_ms};

/// Lines of a table for a person; the rest is counted, and `-o json` has all.
const MOST_LINES: usize = 1000;

#[derive(Debug, Serialize)]
struct ReconciledView {
    delivered: u64,
    counts: BTreeMap<String, u64>,
    messages: Vec<MessageView>,
}

#[derive(Debug, Serialize)]
struct MessageView {
    mts_id: Option<String>,
    message_id: Option<String>,
    fate: String,
    accepted: Option<String>,
    sender: Option<String>,
    recipients: Vec<String>,
    evidence: Vec<String>,
    escrow: Option<String>,
}

fn fate(message: &wire::ReconciledMessage) -> String {
    word(message.fate().as_str_name(), "FATE_")
}

impl From<&wire::ReconciledMessage> for MessageView {
    fn from(message: &wire::ReconciledMessage) -> Self {
        Self {
            mts_id: some(&message.mts_id),
            message_id: some(&message.message_id),
            fate: fate(message),
            accepted: absolute(message.accepted_ms),
            sender: some(&message.sender),
            recipients: message.recipients.clone(),
            evidence: message.evidence.clone(),
            escrow: some(&message.escrow),
        }
    }
}

pub(super) async fn list(
    controller: &Controller,
    run: String,
    all: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let what = "list what the reconciliation found";
    let request = wire::ListReconciledRequest { run, all };
    let mut pages = controller
        .follow(what, request, |mut client, request| async move {
            client.list_reconciled(request).await
        })
        .await?;
    let read = waiting(what, async {
        let (mut messages, mut delivered) = (Vec::new(), 0);
        while let Some(page) = pages.message().await? {
            messages.extend(page.messages);
            delivered += page.delivered;
        }
        Ok((messages, delivered))
    })
    .await;
    let (messages, delivered) = match read {
        Ok(read) => read,
        Err(status) => return Err(controller.failed(what, status).await),
    };
    let view = ReconciledView {
        delivered,
        counts: counts(&messages),
        messages: messages.iter().map(MessageView::from).collect(),
    };
    output.answer(&view, |output| told(&messages, delivered, output, now_ms()))?;
    Ok(Exit::Success)
}

fn counts(messages: &[wire::ReconciledMessage]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for message in messages {
        *counts.entry(fate(message)).or_default() += 1;
    }
    counts
}

fn told(
    messages: &[wire::ReconciledMessage],
    delivered: u64,
    output: &Output,
    now_ms: i64,
) -> String {
    let shown = &messages[..messages.len().min(MOST_LINES)];
    let rows = shown.iter().map(|message| {
        let id = if message.message_id.is_empty() {
            &message.mts_id
        } else {
            &message.message_id
        };
        let mut said = vec![format!(
            "{} to {}",
            message.sender,
            message.recipients.join(", ")
        )];
        said.extend(message.evidence.iter().map(|line| format!("· {line}")));
        if !message.escrow.is_empty() {
            said.push(format!("· its bytes are kept: {}", message.escrow));
        }
        vec![
            id.into(),
            Shown::state(fate(message)),
            column(message.accepted_ms, now_ms).into(),
            said.join("\n").into(),
        ]
    });
    let head = ["MESSAGE", "FATE", "ACCEPTED", "WHAT IS KNOWN"];
    let table = output.table(&head, rows.collect(), "no message is missing");
    let more = match messages.len().saturating_sub(MOST_LINES) {
        0 => String::new(),
        more => format!("and {more} more, see -o json\n"),
    };
    let words: Vec<String> = counts(messages)
        .iter()
        .map(|(fate, count)| format!(", {count} {fate}"))
        .collect();
    format!(
        "{table}{more}\n{delivered} messages were delivered by evidence; listed: {}{}\n",
        messages.len(),
        words.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vanished_is_listed_with_its_evidence_within_eighty_columns() {
        let message = wire::ReconciledMessage {
            message_id: "<one@lab.example>".to_owned(),
            fate: wire::Fate::Vanished.into(),
            accepted_ms: 1_780_000_000_000,
            recipients: vec!["anna@lab.example".to_owned()],
            sender: "otto@peer.example".to_owned(),
            evidence: vec!["SMTP log L0000001.LOG line 40: accepted with 250".to_owned()],
            ..wire::ReconciledMessage::default()
        };
        let text = told(&[message], 12, &Output::fixed(80), 1_780_000_060_000);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in [
            "vanished",
            "L0000001.LOG",
            "12 messages were delivered",
            "listed: 1, 1 vanished",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(told(&[], 0, &Output::fixed(80), 0).starts_with("no message is missing"));
    }
}
