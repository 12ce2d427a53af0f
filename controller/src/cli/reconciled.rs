//! `mailmend run reconciled`: what became of messages that a server had accepted.

use std::collections::BTreeMap;

use mailmend_proto::wire;
use serde::Serialize;

use super::connection::Controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::view::{custody, hex, some, word};
use super::waiting::waiting;
use super::when::{absolute, column, now_ms};

/// Lines of a table for a person; the rest is counted, and `-o json` has all.
const MOST_LINES: usize = 1000;

#[derive(Debug, Serialize)]
struct ReconciledView {
    delivered: u64,
    counts: BTreeMap<String, u64>,
    /// Messages that vanished and have a copy that is not in custody yet.
    recoverable: usize,
    /// The command that gives them back.
    recover: Option<String>,
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
    escrow_hash: Option<String>,
    custody_id: Option<String>,
    custody: Option<String>,
}

/// A message with what its copy became.
#[derive(Debug, Default)]
struct Listed {
    message: wire::ReconciledMessage,
    taken_up: Option<wire::TakenUp>,
}

impl Listed {
    fn recoverable(&self) -> bool {
        self.message.fate() == wire::Fate::Vanished
            && !self.message.escrow_hash.is_empty()
            && self.taken_up.is_none()
    }
}

fn recover(run: &str) -> String {
    format!("mailmend custody recover {run} --why ...")
}

fn fate(message: &wire::ReconciledMessage) -> String {
    word(message.fate().as_str_name(), "FATE_")
}

impl From<&Listed> for MessageView {
    fn from(listed: &Listed) -> Self {
        let Listed { message, taken_up } = listed;
        Self {
            escrow_hash: some(&hex(&message.escrow_hash)),
            custody_id: taken_up.as_ref().map(|one| one.id.clone()),
            custody: taken_up.as_ref().map(|one| custody(one.custody())),
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
    let request = wire::ListReconciledRequest {
        run: run.clone(),
        all,
    };
    let mut pages = controller
        .follow(what, request, |mut client, request| async move {
            client.list_reconciled(request).await
        })
        .await?;
    let read = waiting(what, async {
        let (mut messages, mut delivered) = (Vec::new(), 0);
        while let Some(page) = pages.message().await? {
            let mut taken_up: BTreeMap<u32, wire::TakenUp> = page
                .taken_up
                .into_iter()
                .map(|one| (one.index, one))
                .collect();
            let listed = (0..).zip(page.messages).map(|(index, message)| Listed {
                message,
                taken_up: taken_up.remove(&index),
            });
            messages.extend(listed);
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
        recoverable: recoverable(&messages),
        recover: (recoverable(&messages) > 0).then(|| recover(&run)),
        messages: messages.iter().map(MessageView::from).collect(),
    };
    output.answer(&view, |output| {
        told(&run, &messages, delivered, output, now_ms())
    })?;
    Ok(Exit::Success)
}

fn recoverable(messages: &[Listed]) -> usize {
    messages.iter().filter(|one| one.recoverable()).count()
}

fn counts(messages: &[Listed]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for listed in messages {
        *counts.entry(fate(&listed.message)).or_default() += 1;
    }
    counts
}

fn told(run: &str, messages: &[Listed], delivered: u64, output: &Output, now_ms: i64) -> String {
    let shown = &messages[..messages.len().min(MOST_LINES)];
    let rows = shown.iter().map(|Listed { message, taken_up }| {
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
        if let Some(taken_up) = taken_up {
            let state = custody(taken_up.custody());
            said.push(format!(
                "· its copy is in custody: {}, {state}",
                taken_up.id
            ));
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
    let next = match recoverable(messages) {
        0 => String::new(),
        count => format!(
            "{count} vanished and have a copy. To give them back, when the server is mended:\n  {}\n",
            recover(run)
        ),
    };
    format!(
        "{table}{more}\n{delivered} messages were delivered by evidence; listed: {}{}\n{next}",
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
            escrow: "/held/escrow/In/AAAAAAA1".to_owned(),
            escrow_hash: vec![7; 32],
            ..wire::ReconciledMessage::default()
        };
        let listed = Listed {
            message,
            taken_up: None,
        };
        let text = told(
            "0198c6",
            &[listed],
            12,
            &Output::fixed(80),
            1_780_000_060_000,
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in [
            "vanished",
            "L0000001.LOG",
            "12 messages were delivered",
            "listed: 1, 1 vanished",
            "mailmend custody recover 0198c6 --why",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // What is in custody already is told, and not offered again.
        let listed = Listed {
            message: wire::ReconciledMessage {
                fate: wire::Fate::Vanished.into(),
                escrow_hash: vec![7; 32],
                ..wire::ReconciledMessage::default()
            },
            taken_up: Some(wire::TakenUp {
                index: 0,
                id: "8000000000ab/3".to_owned(),
                custody: wire::Custody::GoneWithEvidence.into(),
            }),
        };
        let text = told("0198c6", &[listed], 0, &Output::fixed(80), 0);
        assert!(text.contains("gone-with-evidence"), "{text}");
        assert!(!text.contains("custody recover"), "{text}");
        assert!(told("0198c6", &[], 0, &Output::fixed(80), 0).starts_with("no message is missing"));
    }
}
