//! `wait.until`: look again and again until conditions hold; nothing is changed.

use std::time::Duration;

use mailmend_policy::condition::Condition;

use super::{StepEnd, StepResult, Work};

pub(super) fn apply(work: &Work<'_>, until: &[Condition], poll: Duration) -> StepResult {
    let mut last = String::new();
    let held = work.wait_for(poll, || {
        let judged = work.judge_all(until)?;
        let holds = judged.holds();
        last = judged.evidence;
        Ok(holds.then_some(()))
    })?;
    Ok(match held {
        Some(()) => StepEnd::done("the conditions hold").with([last]),
        None => StepEnd::no_effect(format!(
            "A061-condition-not-met: the step's time is over and it does not hold yet: {last}"
        )),
    })
}
