//! `mailmend ledger audit`: where an agent's journal, disk and logs disagree.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mailmend_proto::wire;
use serde::Serialize;

use super::connection::Controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::run::whole_id;
use super::view::some;

#[derive(Debug, Serialize)]
struct AuditView {
    agent: String,
    messages: u64,
    disagreements: Vec<DisagreementView>,
}

#[derive(Debug, Serialize)]
struct DisagreementView {
    id: Option<String>,
    run: Option<String>,
    journal: String,
    disk: Option<String>,
    logs: Option<String>,
    remedy: String,
}

impl From<&wire::Disagreement> for DisagreementView {
    fn from(found: &wire::Disagreement) -> Self {
        Self {
            id: some(&found.id),
            run: some(&found.run),
            journal: found.journal.clone(),
            disk: some(&found.disk),
            logs: some(&found.logs),
            remedy: found.remedy.clone(),
        }
    }
}

pub(super) async fn audit(
    controller: &Controller,
    agent: String,
    run: Option<String>,
    output: &Output,
) -> Result<Exit, Failure> {
    let run = match run {
        Some(id) => whole_id(controller, id).await?,
        None => String::new(),
    };
    let what = format!("audit the ledger of `{agent}`");
    let request = wire::AuditLedgerRequest {
        agent: agent.clone(),
        run,
    };
    let mut pages = controller
        .follow(&what, request, |mut client, request| async move {
            client.audit_ledger(request).await
        })
        .await?;
    let progress = progress(&agent);
    let (mut found, mut messages) = (Vec::new(), 0);
    let ended = loop {
        match pages.message().await {
            Ok(Some(page)) => {
                found.extend(page.found);
                messages = page.messages;
                progress.set_message(format!(
                    "{agent}: {messages} messages compared, {} disagreements",
                    found.len()
                ));
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    progress.finish_and_clear();
    if let Err(status) = ended {
        return Err(controller.failed(&what, status).await);
    }
    let view = AuditView {
        agent,
        messages,
        disagreements: found.iter().map(DisagreementView::from).collect(),
    };
    output.answer(&view, |output| told(&found, messages, output))?;
    Ok(if found.is_empty() {
        Exit::Success
    } else {
        Exit::Waiting
    })
}

/// A spinner with what was compared so far, where a person looks.
fn progress(agent: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(format!("{agent}: comparing"));
    spinner.set_style(
        ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
            .expect("the template is well formed"),
    );
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn told(found: &[wire::Disagreement], messages: u64, output: &Output) -> String {
    let mut text = String::new();
    for one in found {
        let id = if one.id.is_empty() {
            "a file that no entry knows"
        } else {
            &one.id
        };
        let mut pairs: Vec<(&str, Shown)> = vec![("message", Shown::bad(id))];
        for (name, said) in [
            ("run", &one.run),
            ("journal", &one.journal),
            ("disk", &one.disk),
            ("logs", &one.logs),
            ("do", &one.remedy),
        ] {
            if !said.is_empty() {
                pairs.push((name, said.into()));
            }
        }
        text.push_str(&output.pairs(pairs));
        text.push('\n');
    }
    if found.is_empty() {
        format!("{messages} messages compared: journal, disk and logs agree\n")
    } else {
        format!(
            "{text}{messages} messages compared, {} disagreements\n",
            found.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disagreement_says_what_each_source_says_and_what_to_do() {
        let found = wire::Disagreement {
            id: "0198c5aa-1234-7000-8000-0000000000ab/3".to_owned(),
            run: "0198c5aa-1234-7000-8000-000000000001".to_owned(),
            journal: "held".to_owned(),
            disk: "its file is gone from the held folder".to_owned(),
            logs: String::new(),
            remedy: "look for it in backups".to_owned(),
        };
        let text = told(&[found], 5, &Output::fixed(80));
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in [
            "/3",
            "held",
            "gone from",
            "backups",
            "5 messages compared, 1 ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("logs"), "{text}");
        assert!(told(&[], 5, &Output::fixed(80)).contains("agree"));
    }
}
