//! `mailmend rollout`: plan, start, list, show, watch, pause, resume, approve, retry, abort, explain.

mod approve;
mod explain;
mod plan;
mod retry;
mod simulate;
mod start;
mod watch;
mod waves;

use mailmend_proto::wire;
use serde_json::json;

use super::arguments::{Rollout, Steer};
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::view::{RolloutView, rollout_state, run_phase};
use super::when::{both, column, duration, now_ms};
use crate::config::Settings;

pub(super) async fn run(
    command: Rollout,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let command = match command {
        Rollout::Simulate(asked) => {
            return simulate::run(*asked, || controller(settings), output).await;
        }
        command => command,
    };
    let controller = controller(settings)?;
    match command {
        // Answered above: it needs no controller.
        Rollout::Simulate(_) => Ok(Exit::Success),
        Rollout::Plan(target) => plan::plan(&controller, target, output).await,
        Rollout::Start {
            target,
            approve,
            generation,
            yes,
            request_id,
            watch,
            timeout,
        } => {
            let how = start::How {
                approve,
                generation,
                yes,
                request_id,
                watch,
                timeout,
            };
            start::start(&controller, target, how, output).await
        }
        Rollout::List => list(&controller, output).await,
        Rollout::Show { which, at } => show(&controller, which.id, at, output).await,
        Rollout::Watch { which, timeout } => {
            watch::watch(&controller, which.id, timeout, output).await
        }
        Rollout::Pause(steer) => change(&controller, steer, Change::Pause, output).await,
        Rollout::Resume(steer) => change(&controller, steer, Change::Resume, output).await,
        Rollout::Abort(steer) => change(&controller, steer, Change::Abort, output).await,
        Rollout::Approve {
            which,
            wave,
            digest,
            generation,
            why,
        } => {
            let what = approve::What {
                wave,
                digest,
                generation,
                why,
            };
            approve::approve(&controller, which.id, what, output).await
        }
        Rollout::Retry {
            which,
            failed: _,
            strategy,
            why,
            request_id,
        } => {
            let retry = retry::Retry {
                strategy,
                why,
                request_id,
            };
            retry::retry(&controller, which.id, retry, output).await
        }
        Rollout::Explain { which } => explain::explain(&controller, which.id, output).await,
    }
}

use super::connection::Controller;
use wire::RolloutChange as Change;

/// How much of an id names it: UUIDs of version 7 begin with the time in milliseconds.
const ENOUGH: usize = 13;

/// Enough of an id to name it.
pub(super) fn short(id: &str) -> &str {
    id.get(..ENOUGH).unwrap_or(id)
}

/// How much of these ids tells them apart, at least [`ENOUGH`].
fn telling<'a>(ids: impl Iterator<Item = &'a str> + Clone) -> usize {
    let all = ids.clone().count();
    let distinct = |length: usize| {
        let heads: std::collections::BTreeSet<&str> = ids
            .clone()
            .map(|id| id.get(..length).unwrap_or(id))
            .collect();
        heads.len() == all
    };
    (ENOUGH..36).find(|length| distinct(*length)).unwrap_or(36)
}

async fn list(controller: &Controller, output: &Output) -> Result<Exit, Failure> {
    let answer = controller
        .ask(
            "list rollouts",
            wire::ListRolloutsRequest {},
            |mut client, request| async move { client.list_rollouts(request).await },
        )
        .await?;
    let views: Vec<RolloutView> = answer.rollouts.iter().map(RolloutView::from).collect();
    output.answer(&json!({ "rollouts": views }), |output| {
        let now = now_ms();
        let rows = answer.rollouts.iter().map(|rollout| {
            vec![
                short(&rollout.id).into(),
                Shown::state(rollout_state(rollout.state())),
                format!("{}@{}", rollout.policy, rollout.version).into(),
                (&rollout.selector).into(),
                progress(rollout).into(),
                column(rollout.started_ms, now).into(),
            ]
        });
        let head = ["ID", "STATE", "POLICY", "SELECTOR", "RUNS", "STARTED"];
        output.table(&head, rows.collect(), "no rollouts")
    })?;
    Ok(Exit::Success)
}

/// Runs that have ended, of all.
fn progress(rollout: &wire::Rollout) -> String {
    let ended = rollout.runs.iter().filter(|run| run.ended_ms != 0).count();
    format!("{ended}/{}", rollout.runs.len())
}

async fn fetch(controller: &Controller, id: String) -> Result<wire::Rollout, Failure> {
    let what = format!("show rollout `{id}`");
    controller
        .ask(
            &what,
            wire::GetRolloutRequest { id },
            |mut client, request| async move { client.get_rollout(request).await },
        )
        .await
}

async fn show(
    controller: &Controller,
    id: String,
    at: Option<i64>,
    output: &Output,
) -> Result<Exit, Failure> {
    let rollout = match at {
        None => fetch(controller, id).await?,
        Some(at_ms) => {
            let what = format!("show how rollout `{id}` stood");
            let request = wire::GetRolloutAtRequest { id, at_ms };
            controller
                .ask(&what, request, |mut client, request| async move {
                    client.get_rollout_at(request).await
                })
                .await?
        }
    };
    output.answer(&RolloutView::from(&rollout), |output| {
        told(&rollout, at.unwrap_or_else(now_ms), output)
    })?;
    Ok(Exit::Success)
}

/// A rollout and its runs.
fn told(rollout: &wire::Rollout, now: i64, output: &Output) -> String {
    let mut pairs: Vec<(&str, Shown)> = vec![
        ("rollout", (&rollout.id).into()),
        ("state", Shown::state(rollout_state(rollout.state()))),
        (
            "policy",
            format!("{} version {}", rollout.policy, rollout.version).into(),
        ),
        ("selector", (&rollout.selector).into()),
        ("started", both(rollout.started_ms, now).into()),
        ("by", (&rollout.by).into()),
        ("ended", both(rollout.ended_ms, now).into()),
    ];
    if !rollout.retry_of.is_empty() {
        pairs.push(("tries again", (&rollout.retry_of).into()));
    }
    for term in &rollout.strategy {
        pairs.push((&term.name, (&term.what).into()));
    }
    if !rollout.why.is_empty() {
        pairs.push(("why", Shown::bad(&rollout.why)));
    }
    let length = telling(rollout.runs.iter().map(|run| run.id.as_str()));
    let rows = rollout.runs.iter().map(|run| {
        vec![
            run.id.get(..length).unwrap_or(&run.id).into(),
            (&run.site).into(),
            (&run.subject).into(),
            Shown::state(run_phase(run.phase())),
            format!("{}/{}", run.finished, run.steps).into(),
            took(run, now).into(),
            now_or_why(run).into(),
        ]
    });
    let head = [
        "RUN",
        "SITE",
        "SERVER",
        "STATE",
        "STEPS",
        "TIME",
        "NOW OR WHY, MESSAGES",
    ];
    let waves = waves::told(rollout, output);
    format!(
        "{}\n{waves}{}",
        output.pairs(pairs),
        output.table(&head, rows.collect(), "no runs")
    )
}

fn took(run: &wire::Run, now_ms: i64) -> String {
    if run.started_ms == 0 {
        return String::new();
    }
    let end = if run.ended_ms == 0 {
        now_ms
    } else {
        run.ended_ms
    };
    duration(u64::try_from(end.saturating_sub(run.started_ms)).unwrap_or(0))
}

fn doing(run: &wire::Run) -> String {
    match (run.current.as_str(), run.why.as_str()) {
        ("", why) => why.to_owned(),
        (current, "") => current.to_owned(),
        (current, why) => format!("{current}: {why}"),
    }
}

fn now_or_why(run: &wire::Run) -> String {
    let parts = [doing(run), messages(run)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

/// Messages in custody by state, such as `12 held, 1 in-doubt`.
pub(super) fn messages(run: &wire::Run) -> String {
    let mut counts: Vec<(&String, &u64)> = run
        .custody
        .iter()
        .filter(|(_, count)| **count > 0)
        .collect();
    counts.sort();
    let words: Vec<String> = counts
        .into_iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    words.join(", ")
}

async fn change(
    controller: &Controller,
    steer: Steer,
    change: Change,
    output: &Output,
) -> Result<Exit, Failure> {
    let (verb, done) = match change {
        Change::Pause => (
            "pause",
            "paused: nothing new starts, open sections are finished",
        ),
        Change::Resume => ("resume", "goes on"),
        Change::Abort => (
            "abort",
            "is being aborted: done steps are undone, services started",
        ),
        Change::Unspecified => ("change", "changed"),
    };
    let id = steer.which.id;
    let what = format!("{verb} rollout `{id}`");
    let request = wire::ChangeRolloutRequest {
        id,
        change: change.into(),
        why: steer.why,
    };
    let rollout = controller
        .ask(&what, request, |mut client, request| async move {
            client.change_rollout(request).await
        })
        .await?;
    output.answer(&RolloutView::from(&rollout), |output| {
        let state = rollout_state(rollout.state());
        let state = output.paint(&state, super::output::Mood::of(&state));
        format!("rollout {} {done} (now {state})\n", short(&rollout.id))
    })?;
    if !output.is_json() && rollout.ended_ms == 0 {
        output.note(&format!(
            "follow it: mailmend rollout watch {}",
            short(&rollout.id)
        ));
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout() -> wire::Rollout {
        let run = wire::Run {
            id: "0198c5aa-1234-7000-8000-000000000001".to_owned(),
            site: "oslo".to_owned(),
            subject: "SRV-OUTBOUND-B".to_owned(),
            phase: wire::RunPhase::Running.into(),
            steps: 14,
            finished: 3,
            current: "quarantine on SRV-OUTBOUND-B".to_owned(),
            started_ms: 1_780_000_000_000,
            ended_ms: 1_780_000_090_000,
            custody: [
                ("held".to_owned(), 12),
                ("in-doubt".to_owned(), 1),
                ("live".to_owned(), 0),
            ]
            .into(),
            ..wire::Run::default()
        };
        wire::Rollout {
            id: "0198c5aa-0000-7000-8000-000000000001".to_owned(),
            policy: "stuck-outbound-routing".to_owned(),
            version: 1,
            selector: "site=oslo".to_owned(),
            state: wire::RolloutState::Halted.into(),
            runs: vec![run],
            why: "1 run failed, more than the 0 that are borne".to_owned(),
            ..wire::Rollout::default()
        }
    }

    #[test]
    fn runs_of_one_millisecond_are_shown_by_what_tells_them_apart() {
        let ids = [
            "0198c5aa-1234-7000-8000-000000000001",
            "0198c5aa-1234-7abc-8000-000000000001",
        ];
        assert_eq!(telling(ids.into_iter()), 16);
        assert_eq!(telling(ids.into_iter().take(1)), ENOUGH);
        assert_eq!(telling(std::iter::empty()), ENOUGH);
    }

    #[test]
    fn a_rollout_is_told_within_eighty_columns() {
        let text = told(&rollout(), now_ms(), &Output::fixed(80));
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in [
            "halted",
            "3/14",
            "1m30s",
            "12 held",
            "in-doubt",
            "oslo",
            "0198c5aa-0000",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("0 live"), "{text}");
    }
}
