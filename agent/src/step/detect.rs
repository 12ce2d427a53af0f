//! `detect`: judge the policy's symptom; where it does not stand the run is not needed here.

use mailmend_policy::condition::Condition;

use super::{StepEnd, StepResult, Work};
use crate::condition::Verdict;

/// How the detail of a detection begins that found no symptom; the runner closes the run on it.
pub(crate) const NO_SYMPTOM: &str = "the symptom does not stand: ";

pub(super) fn apply(work: &Work<'_>, all: &[Condition]) -> StepResult {
    let judged = work.judge_all(all)?;
    Ok(match judged.verdict {
        Verdict::True => StepEnd::done("the symptom stands").with([judged.evidence]),
        Verdict::False => StepEnd::no_effect(format!("{NO_SYMPTOM}{}", judged.evidence)),
        // Not the same as "not needed": somebody has to make the facts readable.
        Verdict::CannotTell => StepEnd::no_effect(format!("A058-cannot-tell: {}", judged.evidence)),
    })
}
