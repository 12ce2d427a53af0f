//! Whether a run of ours has disturbed what a look would judge.

use mailmend_proto::run::RunState;

use crate::journal::{Journal, JournalError};

/// Why no symptom can be told now: an open run or duty of this agent has changed a service or taken
/// files. A service that our own section stopped is no symptom, and a queue that we emptied is no cure.
/// A run that has only looked and checked so far disturbs nothing.
///
/// # Errors
/// Where the journal cannot be read.
pub(super) fn disturbed(journal: &Journal) -> Result<Option<String>, JournalError> {
    for run in journal.open_runs() {
        let Some(state) = journal.state(run)? else {
            continue;
        };
        if disturbs(&state) {
            let what = if state.plan.is_some() {
                "run"
            } else {
                "watchdog duty"
            };
            let id = run.to_string();
            let short = id.get(..13).unwrap_or(&id);
            return Ok(Some(format!(
                "{what} {short} is at work on this server and has disturbed it; judged again when it has ended"
            )));
        }
    }
    Ok(None)
}

fn disturbs(state: &RunState) -> bool {
    state.closed.is_none()
        && (state.section.is_some() || !state.services.is_empty() || !state.batches.is_empty())
}
