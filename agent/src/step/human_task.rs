//! `human.task`: a person does what no program can, and answers. Nothing waits in here: the runner comes
//! when the answer has come, the step's time is over, or the run is being unwound.

use super::{StepEnd, StepResult, Work};

pub(super) fn ended(work: &Work<'_>, accept: &[String]) -> StepResult {
    let state = work.state()?;
    let Some(given) = state.answers.get(&work.step.index) else {
        let why = if state.down_to.is_some() {
            "nobody had answered when unwinding was ordered"
        } else {
            "A061-condition-not-met: nobody answered within the step's time"
        };
        return Ok(StepEnd::no_effect(why));
    };
    let mut said = format!("{} answered `{}`", given.by, given.answer);
    if !given.note.is_empty() {
        said = format!("{said}: {}", given.note);
    }
    Ok(if accept.contains(&given.answer) {
        StepEnd::done(said)
    } else {
        StepEnd::no_effect(format!("A077-not-done-by-person: {said}"))
    })
}
