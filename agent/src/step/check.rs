//! `check`: judge conditions once; nothing changes either way.

use mailmend_policy::condition::Condition;

use super::{StepEnd, StepResult, Work};
use crate::condition::Verdict;

pub(super) fn apply(work: &Work<'_>, all: &[Condition]) -> StepResult {
    let judged = work.judge_all(all)?;
    Ok(match judged.verdict {
        Verdict::True => StepEnd::done("the conditions hold").with([judged.evidence]),
        Verdict::False => StepEnd::no_effect(format!(
            "A061-condition-not-met: the check failed: {}",
            judged.evidence
        )),
        Verdict::CannotTell => StepEnd::no_effect(format!("A058-cannot-tell: {}", judged.evidence)),
    })
}
