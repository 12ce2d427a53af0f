//! The words of `mailmend rollout show` for where a run stands.

/// Whether nothing of it goes on any more.
pub(super) fn is_final(phase: &str) -> bool {
    ["succeeded", "not-needed", "failed", "cancelled"].contains(&phase)
}

/// Whether it has touched nothing, and will not.
pub(super) fn did_nothing(phase: &str) -> bool {
    ["waiting", "not-needed", "cancelled"].contains(&phase)
}
