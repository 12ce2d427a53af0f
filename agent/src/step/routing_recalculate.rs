//! `routing.recalculate`: ask for it by a tool, then wait until its effect is to be seen. The tool's own
//! word is not enough: the success that it reports can be false (Q182798).

use std::collections::BTreeMap;
use std::time::Duration;

use mailmend_policy::condition::Condition;
use mailmend_policy::name::ToolName;

use super::tool_run::{printed, run};
use super::{StepEnd, StepResult, Work};

const POLL: Duration = Duration::from_secs(1);

pub(super) fn apply(work: &Work<'_>, tool: &ToolName, until: &[Condition]) -> StepResult {
    let output = match run(work, tool, &BTreeMap::new()) {
        Err(refused) => return Ok(refused),
        Ok(Err(error)) => return Ok(StepEnd::failed(&error)),
        Ok(Ok(output)) => output,
    };
    let evidence = printed(tool, &output);
    let mut last = String::new();
    let seen = work.wait_for(POLL, || {
        let judged = work.judge_all(until)?;
        let holds = judged.holds();
        last = judged.evidence;
        Ok(holds.then_some(()))
    })?;
    Ok(match seen {
        Some(()) => StepEnd::done("routing was recalculated, and its effect is to be seen"),
        // Recalculating changes nothing that has to be undone: the table is what the directory says.
        None => StepEnd::no_effect(format!(
            "A061-condition-not-met: recalculation was asked for and its effect is not to be seen: {last}"
        )),
    }
    .with([evidence, last]))
}
