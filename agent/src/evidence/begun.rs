//! Which messages the service had begun to send since a moment: after a crash, what was in flight.

use super::records::Records;
use super::smtp_log::End;
use super::{MessageKey, fold};
use crate::host::Host;

/// What the SMTP log says of a message since a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Its sending did not begin.
    Not,
    /// It began, and the next hop answered each time.
    Answered,
    /// It began, and the last time no answer is recorded: it was in flight when the log ended.
    Unanswered,
}

/// Of each message, whether its sending began at or after `since_ms` (milliseconds since 1970 UTC; the log has
/// whole seconds, so the whole second counts). `None`: the logs cannot tell, because there is no SMTP log, it
/// has damaged lines, or it names no messages.
#[must_use]
pub fn begun_since(host: &dyn Host, since_ms: i64, keys: &[MessageKey]) -> Option<Vec<Begun>> {
    let since_ms = since_ms.div_euclid(1000) * 1000;
    let records = Records::read(host, since_ms);
    if keys.iter().any(|key| records.gap_for(key).is_some()) {
        return None;
    }
    // A transaction of nobody knows whom may be of any of them.
    if records
        .unnamed_unanswered()
        .any(|one| one.at_ms >= since_ms)
    {
        return None;
    }
    let begun = |key: &MessageKey| {
        let id = key.message_id.as_deref().map(fold)?;
        let last = records
            .transactions_named(&id)
            .into_iter()
            .filter(|one| one.at_ms >= since_ms)
            .max_by_key(|one| (one.at_ms, one.end == End::Unanswered));
        Some(match last.map(|one| &one.end) {
            None => Begun::Not,
            Some(End::Unanswered) => Begun::Unanswered,
            Some(End::Accepted { .. } | End::Refused { .. }) => Begun::Answered,
        })
    };
    keys.iter().map(begun).collect()
}
