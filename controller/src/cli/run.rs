//! `mailmend run`: show, ledger.

use mailmend_policy::bounds::entropy;
use mailmend_proto::wire;

use super::arguments::Run;
use super::connection::Controller;
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::ledger;
use super::order::{Following, follow, new_id};
use super::output::{Output, Shown};
use super::view::{RunDetailView, run_phase};
use super::when::{both, duration, now_ms};
use crate::config::Settings;

pub(super) async fn run(
    command: Run,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let controller = controller(settings)?;
    match command {
        Run::Show { id } => {
            let detail = fetch(&controller, id).await?;
            output.answer(&RunDetailView::from(&detail), |output| {
                told(&detail, output)
            })?;
            Ok(Exit::Success)
        }
        Run::Ledger { id, state, history } => {
            let request = wire::ListCustodyRequest {
                run: whole_id(&controller, id).await?,
                agent: String::new(),
                state: state.unwrap_or_default(),
                // A program gets everything; a person the states that are now, unless asked for.
                history: history || output.is_json(),
            };
            ledger::list(&controller, request, output).await
        }
        Run::Answer {
            id,
            answer,
            step,
            note,
            by,
            no_wait,
        } => {
            let request = wire::AnswerTaskRequest {
                run: id.clone(),
                step,
                answer,
                by: by.unwrap_or_default(),
                note,
                request_id: new_id(),
            };
            let what = format!("answer run `{id}`");
            let stored = controller
                .ask(&what, request, |mut client, request| async move {
                    client.answer_task(request).await
                })
                .await?;
            let how = Following {
                no_wait,
                timeout: None,
            };
            follow(&controller, stored, &how, output).await
        }
        Run::Order { id } => super::order::show(&controller, id, output).await,
        Run::Reconciled { id, all } => super::reconciled::list(&controller, id, all, output).await,
    }
}

async fn fetch(controller: &Controller, id: String) -> Result<wire::RunDetail, Failure> {
    let what = format!("show run `{id}`");
    controller
        .ask(
            &what,
            wire::GetRunRequest { id },
            |mut client, request| async move { client.get_run(request).await },
        )
        .await
}

/// The whole id of the run that a beginning names.
pub(super) async fn whole_id(controller: &Controller, id: String) -> Result<String, Failure> {
    let detail = fetch(controller, id).await?;
    Ok(detail.run.unwrap_or_default().id)
}

fn told(detail: &wire::RunDetail, output: &Output) -> String {
    let run = detail.run.clone().unwrap_or_default();
    let now = now_ms();
    let rollout = if detail.rollout.is_empty() {
        "none: the agent's own duty"
    } else {
        &detail.rollout
    };
    let mut pairs: Vec<(&str, Shown)> = vec![
        ("run", (&run.id).into()),
        ("state", Shown::state(run_phase(run.phase()))),
        ("rollout", rollout.into()),
        (
            "policy",
            format!("{} version {}", detail.policy, detail.version).into(),
        ),
        ("site", (&run.site).into()),
        ("server", (&run.subject).into()),
        ("started", both(run.started_ms, now).into()),
        ("ended", both(run.ended_ms, now).into()),
        (
            "steps",
            format!(
                "{} of {} finished, released up to {}",
                run.finished, run.steps, run.through
            )
            .into(),
        ),
        ("service starts", detail.restarts.into()),
        ("messages", super::rollout::messages(&run).into()),
    ];
    let searches = detail.steps.iter().filter(|step| step.search.is_some());
    if searches.count() > 1
        && let Some(search) = searched_in_all(detail)
    {
        pairs.push(("in all", searched(&search).into()));
    }
    if !run.why.is_empty() {
        pairs.push(("why", Shown::bad(&run.why)));
    }
    for alarm in &detail.alarms {
        pairs.push(("alarm", Shown::bad(alarm)));
    }
    let rows = detail.steps.iter().map(|step| {
        let mut said = step.detail.clone();
        if let Some(search) = &step.search {
            said.push_str("\n· ");
            said.push_str(&searched(search));
        }
        for evidence in &step.evidence {
            said.push_str("\n· ");
            said.push_str(evidence);
        }
        vec![
            (step.index + 1).into(),
            (&step.server).into(),
            (&step.id).into(),
            Shown::state(&step.state),
            took(step, now).into(),
            said.into(),
        ]
    });
    let head = ["#", "SERVER", "STEP", "STATE", "TIME", "WHAT HAPPENED"];
    format!(
        "{}\n{}{}",
        output.pairs(pairs),
        output.table(&head, rows.collect(), "no steps"),
        asked(detail, output)
    )
}

/// How a search for poison went so far.
fn searched(search: &wire::SearchView) -> String {
    let bound = match search.restarts_bound {
        0 => String::new(),
        bound => format!(", at most {bound} for what was found"),
    };
    format!(
        "searched {} messages: {} crash the service; {} restarts{bound} (one bit a restart takes {}), {} crashes, {} may have been sent twice",
        search.messages,
        search.poison,
        search.restarts,
        search.restarts_information,
        search.crashes,
        search.may_be_sent_twice
    )
}

/// All searches of a run together: every queue apart has its own bad messages to tell from its own others. The bound
/// is known where each is, and the information is that of telling the bad ones of all from all.
pub(super) fn searched_in_all(detail: &wire::RunDetail) -> Option<wire::SearchView> {
    let parts: Vec<&wire::SearchView> = detail
        .steps
        .iter()
        .filter_map(|step| step.search.as_ref())
        .collect();
    if parts.is_empty() {
        return None;
    }
    let bounds = parts.iter().map(|part| part.restarts_bound);
    let mut all = wire::SearchView {
        restarts_bound: match bounds.clone().min() {
            Some(0) | None => 0,
            Some(_) => bounds.sum(),
        },
        ..wire::SearchView::default()
    };
    for part in parts {
        all.messages += part.messages;
        all.poison += part.poison;
        all.restarts += part.restarts;
        all.crashes += part.crashes;
        all.may_be_sent_twice += part.may_be_sent_twice;
    }
    all.restarts_information = entropy(all.messages, all.poison);
    Some(all)
}

/// What is asked of a person now, and how to answer.
fn asked(detail: &wire::RunDetail, output: &Output) -> String {
    let id = detail.run.as_ref().map_or("", |run| run.id.as_str());
    let id = id.get(..8).unwrap_or(id);
    let asking: Vec<_> = detail
        .steps
        .iter()
        .filter_map(|step| Some((step, step.task.as_ref()?)))
        .collect();
    let mut text = String::new();
    for (step, task) in &asking {
        let server = if asking.len() > 1 {
            format!("@{}", step.server)
        } else {
            String::new()
        };
        let done = |answer: &String| {
            let done = task.accept.contains(answer);
            format!("{answer}{}", if done { " (done)" } else { "" })
        };
        let answers: Vec<String> = task.answers.iter().map(done).collect();
        let pairs: Vec<(&str, Shown)> = vec![
            (
                "asked of you",
                Shown::bad(format!("step {} on {}", step.id, step.server)),
            ),
            ("", task.ask.trim().into()),
            ("answers", answers.join(", ").into()),
            (
                "command",
                format!(
                    "mailmend run answer {id} --step {}{server} --answer {}",
                    step.id,
                    task.answers.first().map_or("", String::as_str)
                )
                .into(),
            ),
        ];
        text.push('\n');
        text.push_str(&output.pairs(pairs));
    }
    text
}

fn took(step: &wire::RunStep, now_ms: i64) -> String {
    if step.began_ms == 0 {
        return String::new();
    }
    let end = match step.ended_ms {
        0 if step.state == "running" => now_ms,
        0 => return String::new(),
        end => end,
    };
    duration(u64::try_from(end.saturating_sub(step.began_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_with_its_evidence_within_eighty_columns() {
        let step = wire::RunStep {
            index: 4,
            id: "probe".to_owned(),
            server: "SRV-B".to_owned(),
            action: "mail.probe".to_owned(),
            state: "done".to_owned(),
            detail: "the probe left the server".to_owned(),
            began_ms: 1_780_000_000_000,
            ended_ms: 1_780_000_002_000,
            evidence: vec!["tracking log 20260528.log line 118: event 1011 for c=US;a= ;p=Lab;l=SRVB2605282026ABCDEFGH".to_owned()],
            task: None,
            search: None,
        };
        let detail = wire::RunDetail {
            run: Some(wire::Run {
                phase: wire::RunPhase::Succeeded.into(),
                ..Default::default()
            }),
            steps: vec![step],
            alarms: vec!["A031-something: look".to_owned()],
            ..wire::RunDetail::default()
        };
        let text = told(&detail, &Output::fixed(80));
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in [
            "succeeded",
            "2s",
            "1011 for",
            "A031-something",
            "the agent's own duty",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
