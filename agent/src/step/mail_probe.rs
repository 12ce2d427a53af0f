//! `mail.probe`: send a test message through the server and wait for evidence that it left. That the
//! server accepts it proves nothing: internal success is not delivery (Q268494, step 7).

use std::collections::BTreeMap;
use std::time::Duration;

use mailmend_policy::name::ToolName;

use super::tool_run::{printed, run};
use super::{StepEnd, StepResult, Work};
use crate::evidence::{Direction, MessageKey, Sent, what_was_sent};

const POLL: Duration = Duration::from_secs(1);

/// What the tool prints before the MTS-ID of the message that it submitted.
const SUBMITTED: &str = "submitted ";

pub(super) fn apply(work: &Work<'_>, tool: &ToolName, to: &str) -> StepResult {
    let began_ms = work.host().clock().wall_ms();
    let with = BTreeMap::from([("to".to_owned(), to.to_owned())]);
    let output = match run(work, tool, &with) {
        Err(refused) => return Ok(refused),
        Ok(Err(error)) => return Ok(StepEnd::failed(&error)),
        Ok(Ok(output)) => output,
    };
    let said = printed(tool, &output);
    let id = output
        .text
        .lines()
        .find_map(|line| line.trim().strip_prefix(SUBMITTED));
    let Some(id) = id.map(str::trim).filter(|id| !id.is_empty()) else {
        return Ok(StepEnd::no_effect(
            "A062-probe-failed: the tool did not say `submitted <MTS-ID>`",
        )
        .with([said]));
    };
    let mut trouble = None;
    let evidence = work.wait_for(POLL, || {
        Ok(match left(work, id, to, began_ms) {
            Ok(found) => found,
            Err(why) => {
                trouble = Some(why);
                None
            }
        })
    })?;
    Ok(match (evidence, trouble) {
        (Some(evidence), _) => {
            StepEnd::done(format!("test message `{id}` has left the server")).with([evidence])
        }
        (None, Some(why)) => StepEnd::no_effect(format!(
            "A062-probe-failed: whether test message `{id}` left cannot be told: {why}"
        )),
        (None, None) => StepEnd::no_effect(format!(
            "A062-probe-failed: test message `{id}` was submitted and there is no evidence that it left the server"
        )),
    }
    .with([said]))
}

/// What proves that the test message left the server; none yet is no error, unreadable logs are.
fn left(work: &Work<'_>, id: &str, to: &str, began_ms: i64) -> Result<Option<String>, String> {
    // The last eight characters of an MTS-ID are the name of the spool file.
    let from = id.len().saturating_sub(8);
    let key = MessageKey {
        spool_name: id.get(from..).unwrap_or_default().to_owned(),
        mts_id: Some(id.to_owned()),
        message_id: None,
        sender: None,
        recipients: Some(vec![to.to_owned()]),
        written_ms: began_ms,
        direction: Direction::Outbound,
    };
    match what_was_sent(work.host(), began_ms, &[key])
        .into_iter()
        .next()
    {
        Some(Sent::Delivered { evidence }) => Ok(Some(evidence.join("; "))),
        Some(Sent::CannotTell { why }) => Err(why),
        Some(Sent::Begun { .. } | Sent::NotSeen) | None => Ok(None),
    }
}
