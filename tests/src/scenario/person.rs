//! The person whom a policy asks: looks for open tasks, and answers through the command line.

use serde_json::Value;

use super::operator::rows;
use super::room::Room;
use super::stage::Stage;
use crate::lab_error::LabError;

/// What a step asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The run.
    pub run: String,
    /// The server whose step asks.
    pub server: String,
    /// The step.
    pub step: String,
    /// What to do.
    pub ask: String,
    /// The answers that may be given.
    pub answers: Vec<String>,
}

/// What a person answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// One of the task's answers.
    pub answer: String,
    /// In the person's words; empty: nothing is added.
    pub note: String,
}

/// Answers the open tasks of a rollout that are not among `before`; returns what was answered. It does not
/// wait until the agent has heard: a killed one comes back only while the lab looks after it.
pub(super) fn answer_tasks(
    stage: &mut Stage<'_>,
    room: &mut dyn Room,
    rollout: &str,
    before: &[(Task, Answer)],
) -> Result<Vec<(Task, Answer)>, LabError> {
    let shown = stage.fleet()?.ask(&["rollout", "show", rollout])?;
    let mut answered = Vec::new();
    for run in runs(&shown) {
        answered.extend(answer_run(stage, room, &run, before)?);
    }
    Ok(answered)
}

/// As [`answer_tasks`], of one run.
pub(super) fn answer_run(
    stage: &mut Stage<'_>,
    room: &mut dyn Room,
    run: &str,
    before: &[(Task, Answer)],
) -> Result<Vec<(Task, Answer)>, LabError> {
    let shown = stage.fleet()?.ask(&["run", "show", run])?;
    let mut answered = Vec::new();
    for task in tasks(&shown) {
        if before.iter().any(|(known, _)| *known == task) {
            continue;
        }
        let Some(answer) = room.answer(stage, &task)? else {
            continue;
        };
        let line = format!(
            "a person is asked by `{}` on {} and answers `{}`",
            task.step, task.server, answer.answer
        );
        stage.say(&line);
        let mut arguments = vec![
            "run",
            "answer",
            &task.run,
            "--answer",
            &answer.answer,
            "--step",
            &task.step,
            "--no-wait",
        ];
        if !answer.note.is_empty() {
            arguments.extend(["--note", &answer.note]);
        }
        match stage.fleet()?.ask(&arguments) {
            Ok(_) => answered.push((task, answer)),
            // The run may have gone on, or its agent may be away; the next look tells.
            Err(error) => stage.say(&error.whole()),
        }
    }
    Ok(answered)
}

/// The ids of a rollout's runs.
pub(super) fn runs(rollout: &Value) -> Vec<String> {
    let id = |run: &Value| run["id"].as_str().map(str::to_owned);
    rows(&rollout["runs"]).iter().filter_map(id).collect()
}

/// The open tasks of a run.
fn tasks(run: &Value) -> Vec<Task> {
    let texts = |value: &Value| {
        let text = |one: &Value| one.as_str().map(str::to_owned);
        rows(value).iter().filter_map(text).collect()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows(&run["steps"])
        .iter()
        .filter(|step| step["asks"].is_object())
        .map(|step| Task {
            run: text(&run["run"]["id"]),
            server: text(&step["server"]),
            step: text(&step["id"]),
            ask: text(&step["asks"]["ask"]),
            answers: texts(&step["asks"]["answers"]),
        })
        .collect()
}
