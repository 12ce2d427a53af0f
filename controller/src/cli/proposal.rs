//! `mailmend proposal`: list, start, refuse.

use mailmend_proto::wire;
use serde::Serialize;
use serde_json::json;

use super::arguments::{Proposal, Word};
use super::connection::Controller;
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::rollout::short;
use super::view::some;
use super::when::{absolute, column, now_ms};
use crate::config::Settings;

pub(super) async fn run(
    command: Proposal,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let controller = controller(settings)?;
    match command {
        Proposal::List { all } => list(&controller, all, output).await,
        Proposal::Start(word) => decide(&controller, word, true, output).await,
        Proposal::Refuse(word) => decide(&controller, word, false, output).await,
    }
}

#[derive(Debug, Serialize)]
struct ProposalView {
    id: String,
    policy: String,
    version: u32,
    selector: String,
    servers: Vec<String>,
    proposed: Option<String>,
    decided: Option<String>,
    by: Option<String>,
    rollout: Option<String>,
    why: Option<String>,
}

impl From<&wire::Proposal> for ProposalView {
    fn from(proposal: &wire::Proposal) -> Self {
        Self {
            id: proposal.id.clone(),
            policy: proposal.policy.clone(),
            version: proposal.version,
            selector: proposal.selector.clone(),
            servers: proposal.servers.clone(),
            proposed: absolute(proposal.proposed_ms),
            decided: some(&proposal.decided),
            by: some(&proposal.by),
            rollout: some(&proposal.rollout),
            why: some(&proposal.why),
        }
    }
}

async fn list(controller: &Controller, all: bool, output: &Output) -> Result<Exit, Failure> {
    let answer = controller
        .ask(
            "list proposals",
            wire::ListProposalsRequest { all },
            |mut client, request| async move { client.list_proposals(request).await },
        )
        .await?;
    let views: Vec<ProposalView> = answer.proposals.iter().map(ProposalView::from).collect();
    output.answer(&json!({ "proposals": views }), |output| {
        told(&answer.proposals, output, now_ms())
    })?;
    Ok(Exit::Success)
}

fn told(proposals: &[wire::Proposal], output: &Output, now_ms: i64) -> String {
    let rows = proposals.iter().map(|proposal| {
        let decided = match (proposal.decided.as_str(), proposal.by.as_str()) {
            ("", _) => Shown::bad("waits for a person"),
            (decided, "") => Shown::from(decided),
            (decided, by) => Shown::from(format!("{decided} by {by}")),
        };
        vec![
            short(&proposal.id).into(),
            format!("{}@{}", proposal.policy, proposal.version).into(),
            proposal.servers.join(", ").into(),
            column(proposal.proposed_ms, now_ms).into(),
            decided,
            why(proposal).into(),
        ]
    });
    let head = ["ID", "POLICY", "SERVERS", "PROPOSED", "STATE", "WHY"];
    output.table(&head, rows.collect(), "no proposal waits")
}

fn why(proposal: &wire::Proposal) -> String {
    match (proposal.why.as_str(), proposal.rollout.as_str()) {
        (why, "") => why.to_owned(),
        ("", rollout) => format!("rollout {}", short(rollout)),
        (why, rollout) => format!("{why}; rollout {}", short(rollout)),
    }
}

async fn decide(
    controller: &Controller,
    word: Word,
    start: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let verb = if start { "start" } else { "refuse" };
    let what = format!("{verb} proposal `{}`", word.id);
    let request = wire::DecideProposalRequest {
        id: word.id,
        start,
        by: word.by,
        why: word.why,
    };
    let proposal = controller
        .ask(&what, request, |mut client, request| async move {
            client.decide_proposal(request).await
        })
        .await?;
    output.answer(&ProposalView::from(&proposal), |_| {
        if start {
            format!("started rollout {}\n", proposal.rollout)
        } else {
            format!("refused proposal {}\n", short(&proposal.id))
        }
    })?;
    if start && !output.is_json() {
        output.note(&format!(
            "follow it: mailmend rollout watch {}",
            short(&proposal.rollout)
        ));
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_told_within_eighty_columns() {
        let proposal = wire::Proposal {
            id: "0198c5aa-1234-7000-8000-000000000001".into(),
            policy: "stuck-outbound-routing".into(),
            version: 1,
            servers: vec!["SRV-OUTBOUND-B".into(), "SRV-OUTBOUND-C".into()],
            proposed_ms: 1_780_000_000_000,
            why: "3 runs in a row did not hold: the binding acts no more here by itself".into(),
            ..wire::Proposal::default()
        };
        let text = told(&[proposal], &Output::fixed(80), 1_780_000_060_000);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in ["0198c5aa-1234", "SRV-OUTBOUND-C", "person", "row"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(told(&[], &Output::fixed(80), 0), "no proposal waits\n");
    }
}
