//! `tool.run`: run a tool of the guard file and judge its output by the verdicts defined there.

use std::collections::BTreeMap;

use mailmend_policy::name::ToolName;

use super::{StepEnd, StepResult, Work};
use crate::host::{HostError, ToolOutput};

/// The most of a tool's output that is kept as evidence.
const SHOWN_CHARACTERS: usize = 400;

/// Runs a tool of the guard file with these values of its flags; the outer error is a refusal, with
/// nothing run.
pub(super) fn run(
    work: &Work<'_>,
    tool: &ToolName,
    with: &BTreeMap<String, String>,
) -> Result<Result<ToolOutput, HostError>, StepEnd> {
    let refused = |why: String| StepEnd::no_effect(why);
    let tool = work
        .station
        .guard
        .allows_tool(tool)
        .map_err(|refusal| refused(refusal.to_string()))?;
    let arguments = tool
        .arguments_for(with)
        .map_err(|refusal| refused(refusal.to_string()))?;
    let left = work.until.saturating_sub(work.station.now().since_boot);
    if left.is_zero() {
        return Err(refused(
            "the step's time was over before the tool was run".into(),
        ));
    }
    // The limits of tools are kept on the wall clock.
    let limit = left.div_f64(work.host().clock().pace());
    Ok(work.host().tools().run(tool.program(), &arguments, limit))
}

/// What a tool printed, as evidence.
pub(super) fn printed(tool: &ToolName, output: &ToolOutput) -> String {
    let text: String = output.text.trim().chars().take(SHOWN_CHARACTERS).collect();
    format!("tool `{tool}` printed `{}`", text.escape_debug())
}

pub(super) fn apply(
    work: &Work<'_>,
    tool: &ToolName,
    with: &BTreeMap<String, String>,
    accept: &[String],
) -> StepResult {
    let output = match run(work, tool, with) {
        Err(refused) => return Ok(refused),
        Ok(Err(error)) => return Ok(StepEnd::failed(&error)),
        Ok(Ok(output)) => output,
    };
    let evidence = printed(tool, &output);
    let verdict = match work.station.guard.allows_tool(tool) {
        Err(refusal) => Err(refusal.to_string()),
        Ok(tool) => tool.verdict(&output.text).map_err(|why| why.to_string()),
    };
    Ok(match verdict {
        Ok(verdict) if accept.iter().any(|accepted| accepted == verdict) => {
            StepEnd::done(format!("tool `{tool}` says `{verdict}`"))
        }
        // It ran and may have changed something, whatever it says.
        Ok(verdict) => StepEnd::unknown(format!(
            "A063-tool-verdict: tool `{tool}` says `{verdict}`, accepted: {}",
            accept.join(", ")
        )),
        Err(why) => StepEnd::unknown(format!("A063-tool-verdict: tool `{tool}`: {why}")),
    }
    .with([evidence]))
}

/// A tool that was interrupted may have done anything.
pub(super) fn recover(tool: &ToolName) -> StepEnd {
    StepEnd::unknown(format!(
        "A066-interrupted: the agent ended while tool `{tool}` ran; look at what it did before anything else"
    ))
}
