//! `tool.run`: run a tool of the guard file and judge its output by the verdicts defined there.
//!
//! A tool that the guard file gives a `fresh_place` writes below a name that no call before had, so it is
//! run again after a crash. Any other one may have done anything, and a person looks.

use std::collections::BTreeMap;

use mailmend_policy::name::ToolName;
use mailmend_proto::run::Event;

use super::{StepEnd, StepResult, Work};
use crate::faults::known;
use crate::guard::Tool;
use crate::host::{Effect, HostError, ToolOutput};

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
    let mut arguments = tool
        .arguments_for(with)
        .map_err(|refusal| refused(refusal.to_string()))?;
    if let Some(flag) = tool.fresh_place() {
        arguments.extend([flag.to_owned(), place(work)]);
    }
    let left = work.until.saturating_sub(work.station.now().since_boot);
    if left.is_zero() {
        return Err(refused(
            "the step's time was over before the tool was run".into(),
        ));
    }
    work.station.call_tool().map_err(refused)?;
    // The limits of tools are kept on the wall clock.
    let limit = left.div_f64(work.host().clock().pace());
    Ok(work.host().tools().run(tool.program(), &arguments, limit))
}

/// A word that no call of a tool had before: the run, the step, and the number of the last record. Each call
/// has a record of its own before it, and numbers never fall.
fn place(work: &Work<'_>) -> String {
    let run = work.run.to_string();
    let (short, _) = run.split_once('-').unwrap_or((&run, ""));
    format!("{short}-{}-{}", work.step.id, work.station.journal.head())
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
    let allowed = work.station.guard.allows_tool(tool);
    // Whatever became of a tool that only reads, it changed nothing. Any other may have, whatever it says.
    let failed: fn(String) -> StepEnd = if allowed.as_ref().is_ok_and(|tool| tool.only_reads()) {
        StepEnd::no_effect
    } else {
        StepEnd::unknown
    };
    let output = match run(work, tool, with) {
        Err(refused) => return Ok(refused),
        Ok(Err(error)) if error.effect == Effect::None => return Ok(StepEnd::failed(&error)),
        Ok(Err(error)) => return Ok(failed(format!("could not {error}"))),
        Ok(Ok(output)) => output,
    };
    let evidence = printed(tool, &output);
    let verdict = match allowed {
        Err(refusal) => Err(refusal.to_string()),
        Ok(tool) => tool.verdict(&output.text).map_err(|why| why.to_string()),
    };
    Ok(match verdict {
        Ok(verdict) if accept.iter().any(|accepted| accepted == verdict) => {
            StepEnd::done(format!("tool `{tool}` says `{verdict}`"))
        }
        Ok(verdict) => failed(format!(
            "A063-tool-verdict: tool `{tool}` says `{verdict}`, accepted: {}",
            accept.join(", ")
        )),
        Err(why) => failed(format!("A063-tool-verdict: tool `{tool}`: {why}")),
    }
    .with([evidence]))
}

/// A tool that was interrupted may have done anything, unless it only reads, or only ever writes in a fresh place.
pub(super) fn recover(
    work: &Work<'_>,
    tool: &ToolName,
    with: &BTreeMap<String, String>,
    accept: &[String],
) -> StepResult {
    let allowed = work.station.guard.allows_tool(tool).ok();
    if allowed.is_some_and(Tool::only_reads) {
        return apply(work, tool, with, accept);
    }
    if allowed.is_none_or(|tool| tool.fresh_place().is_none()) {
        return Ok(StepEnd::unknown(format!(
            "A066-interrupted: the agent ended while tool `{tool}` ran; look at what it did before anything else"
        )));
    }
    // Before it runs: this record is what makes the place another one than the interrupted call's.
    work.record(vec![Event::Alarm {
        code: const { known("A078-tool-run-again") }.into(),
        text: format!(
            "the agent ended while tool `{tool}` of step `{}` ran; it is run again in a place of its own, and \
             what it had written until then stays where it is",
            work.step.id
        ),
    }])?;
    apply(work, tool, with, accept)
}
