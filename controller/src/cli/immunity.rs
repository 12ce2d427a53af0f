//! `mailmend immunity`: list, show, add, withdraw.

use std::fmt::Write as _;

use mailmend_proto::wire;
use serde::Serialize;
use serde_json::json;

use super::arguments::Immunity;
use super::connection::Controller;
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::order::{Following, follow, new_id};
use super::output::{Output, Shown};
use super::rollout::short;
use super::view::{custody, hex, some, word};
use super::when::{absolute, column, now_ms};
use crate::config::Settings;

pub(super) async fn run(
    command: Immunity,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let controller = controller(settings)?;
    match command {
        Immunity::List { all } => list(&controller, all, output).await,
        Immunity::Show { id } => {
            let what = format!("show fingerprint `{id}`");
            let request = wire::GetFingerprintRequest { id };
            let detail = controller
                .ask(&what, request, |mut client, request| async move {
                    client.get_fingerprint(request).await
                })
                .await?;
            shown(&detail, output)
        }
        Immunity::Add {
            run,
            entry,
            say,
            no_wait,
            timeout,
        } => {
            let what = format!("add the fingerprint of message `{entry}`");
            let request = wire::AddFingerprintRequest {
                run,
                entry,
                by: say.by.unwrap_or_default(),
                why: say.why,
                request_id: new_id(),
            };
            let stored = controller
                .ask(&what, request, |mut client, request| async move {
                    client.add_fingerprint(request).await
                })
                .await?;
            follow(&controller, stored, &Following { no_wait, timeout }, output).await
        }
        Immunity::Withdraw { id, keep, say } => {
            let what = format!("withdraw fingerprint `{id}`");
            let request = wire::WithdrawFingerprintRequest {
                id,
                by: say.by.unwrap_or_default(),
                why: say.why,
                keep,
            };
            let detail = controller
                .ask(&what, request, |mut client, request| async move {
                    client.withdraw_fingerprint(request).await
                })
                .await?;
            let left = still_aside(&detail);
            let exit = shown(&detail, output)?;
            if left > 0 && !keep && !output.is_json() {
                let id = detail_id(&detail);
                output.note(&format!(
                    "{left} messages are given back by and by: mailmend immunity show {}",
                    short(id)
                ));
            }
            Ok(exit)
        }
    }
}

fn detail_id(detail: &wire::FingerprintDetail) -> &str {
    let told = detail
        .summary
        .as_ref()
        .and_then(|one| one.fingerprint.as_ref());
    told.map_or("", |told| told.id.as_str())
}

/// Messages that are set aside because of it now.
fn still_aside(detail: &wire::FingerprintDetail) -> u64 {
    detail.summary.as_ref().map_or(0, |one| one.set_aside)
}

fn state(summary: &wire::FingerprintSummary) -> String {
    word(summary.state().as_str_name(), "FINGERPRINT_STATE_")
}

fn proof(summary: &wire::FingerprintSummary) -> String {
    match summary.proof() {
        wire::PoisonProof::Named => "event".to_owned(),
        other => word(other.as_str_name(), "POISON_PROOF_"),
    }
}

#[derive(Debug, Serialize)]
struct FingerprintView {
    id: String,
    state: String,
    agent: String,
    run: String,
    entry: String,
    proof: String,
    how: String,
    policy: Option<String>,
    found: Option<String>,
    since: Option<String>,
    by: Option<String>,
    why: Option<String>,
    digest: String,
    bytes: u64,
    body_digest: Option<String>,
    body_bytes: u64,
    message_id: Option<String>,
    set_aside: u64,
    given_back: u64,
}

impl From<&wire::FingerprintSummary> for FingerprintView {
    fn from(summary: &wire::FingerprintSummary) -> Self {
        let told = summary.fingerprint.clone().unwrap_or_default();
        Self {
            id: told.id,
            state: state(summary),
            agent: summary.agent.clone(),
            run: summary.run.clone(),
            entry: summary.entry.clone(),
            proof: proof(summary),
            how: summary.how.clone(),
            policy: some(&summary.policy),
            found: absolute(summary.found_ms),
            since: absolute(summary.changed_ms),
            by: some(&summary.by),
            why: some(&summary.why),
            digest: hex(&told.hash),
            bytes: told.size,
            body_digest: some(&hex(&told.body)),
            body_bytes: told.body_bytes,
            message_id: some(&told.message_id),
            set_aside: summary.set_aside,
            given_back: summary.given_back,
        }
    }
}

#[derive(Debug, Serialize)]
struct SetAsideView {
    agent: String,
    run: String,
    entry: String,
    name: String,
    state: String,
    evidence: Option<String>,
    since: Option<String>,
    standing: bool,
    waits: Option<String>,
}

impl From<&wire::SetAside> for SetAsideView {
    fn from(one: &wire::SetAside) -> Self {
        Self {
            agent: one.agent.clone(),
            run: one.run.clone(),
            entry: one.entry.clone(),
            name: one.name.clone(),
            state: custody(one.custody()),
            evidence: some(&one.evidence),
            since: absolute(one.changed_ms),
            standing: one.standing,
            waits: some(&one.waits),
        }
    }
}

async fn list(controller: &Controller, all: bool, output: &Output) -> Result<Exit, Failure> {
    let answer = controller
        .ask(
            "list fingerprints",
            wire::ListFingerprintsRequest { all },
            |mut client, request| async move { client.list_fingerprints(request).await },
        )
        .await?;
    let views: Vec<FingerprintView> = answer
        .fingerprints
        .iter()
        .map(FingerprintView::from)
        .collect();
    output.answer(&json!({ "fingerprints": views }), |output| {
        listed(&answer.fingerprints, output, now_ms())
    })?;
    Ok(Exit::Success)
}

fn listed(all: &[wire::FingerprintSummary], output: &Output, now_ms: i64) -> String {
    let rows = all.iter().map(|summary| {
        let id = summary
            .fingerprint
            .as_ref()
            .map_or("", |told| told.id.as_str());
        let state = match summary.state() {
            wire::FingerprintState::Refused => Shown::bad("refused"),
            _ => Shown::from(state(summary)),
        };
        vec![
            short(id).into(),
            state,
            summary.agent.clone().into(),
            proof(summary).into(),
            column(summary.found_ms, now_ms).into(),
            summary.set_aside.to_string().into(),
            summary.given_back.to_string().into(),
        ]
    });
    let head = ["ID", "STATE", "FOUND BY", "PROOF", "FOUND", "ASIDE", "BACK"];
    output.table(&head, rows.collect(), "no fingerprint stands")
}

fn shown(detail: &wire::FingerprintDetail, output: &Output) -> Result<Exit, Failure> {
    let summary = detail.summary.clone().unwrap_or_default();
    let messages: Vec<SetAsideView> = detail.messages.iter().map(SetAsideView::from).collect();
    let view = json!({
        "fingerprint": FingerprintView::from(&summary),
        "messages": messages,
    });
    output.answer(&view, |output| told(&summary, &detail.messages, output))?;
    Ok(Exit::Success)
}

fn told(
    summary: &wire::FingerprintSummary,
    messages: &[wire::SetAside],
    output: &Output,
) -> String {
    let view = FingerprintView::from(summary);
    let mut text = format!("fingerprint {} is {}\n", view.id, view.state);
    let mut line = |what: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {what:<12} {value}");
    };
    line("found by", format!("{} in run {}", view.agent, view.run));
    line("message", view.entry.clone());
    line("at", view.found.clone().unwrap_or_default());
    line("proof", format!("{}: {}", view.proof, view.how));
    if let Some(policy) = &view.policy {
        line("policy", policy.clone());
    }
    line("file", format!("{} bytes, {}", view.bytes, view.digest));
    match &view.body_digest {
        Some(digest) => line("body", format!("{} bytes, {digest}", view.body_bytes)),
        None => line("body", "none: only the very same file has it".to_owned()),
    }
    if let Some(message_id) = &view.message_id {
        line("Message-ID", message_id.clone());
    }
    if let Some(by) = &view.by {
        let why = view.why.clone().unwrap_or_default();
        line(&view.state, format!("by {by}: {why}"));
    }
    let rows = messages.iter().map(|one| {
        let state = custody(one.custody());
        vec![
            one.agent.clone().into(),
            one.name.clone().into(),
            Shown::from(state),
            short(&one.run).into(),
            if one.waits.is_empty() {
                one.evidence.clone().into()
            } else {
                Shown::bad(one.waits.clone())
            },
        ]
    });
    let head = ["SERVER", "NAME", "STATE", "RUN", "WHY"];
    text.push_str(&output.table(&head, rows.collect(), "nothing was set aside because of it"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> wire::FingerprintSummary {
        wire::FingerprintSummary {
            fingerprint: Some(wire::Fingerprint {
                id: "4be1f2aa-1234-4000-8000-000000000001".into(),
                hash: vec![1; 32],
                size: 900,
                message_id: "<1@x.example>".into(),
                ..wire::Fingerprint::default()
            }),
            state: wire::FingerprintState::Standing.into(),
            agent: "SRV-A".into(),
            run: "0198c5aa-1234-7000-8000-000000000001".into(),
            entry: "0198c5aa-1234-7000-8000-0000000000ab/3".into(),
            proof: wire::PoisonProof::Search.into(),
            how: "it crashed the service when nothing else of the search was in the queue".into(),
            found_ms: 1_780_000_000_000,
            set_aside: 2,
            ..wire::FingerprintSummary::default()
        }
    }

    #[test]
    fn fingerprints_are_listed_within_eighty_columns() {
        let text = listed(&[summary()], &Output::fixed(80), 1_780_000_060_000);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in ["4be1f2", "SRV-A", "search", "standing"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let none = listed(&[], &Output::fixed(80), 0);
        assert_eq!(none, "no fingerprint stands\n");
    }

    #[test]
    fn one_is_told_with_its_provenance_and_what_each_message_waits_for() {
        let waits = wire::SetAside {
            agent: "SRV-B".into(),
            name: "AAAA0001".into(),
            custody: wire::Custody::Poison.into(),
            waits: "`SRV-B` has not answered the release".into(),
            ..wire::SetAside::default()
        };
        let text = told(&summary(), &[waits], &Output::fixed(80));
        for part in [
            "is standing",
            "SRV-A",
            "crashed the service",
            "AAAA0001",
            "not answered",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
