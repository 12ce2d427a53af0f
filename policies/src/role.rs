//! Roles: the parts that servers of a site play in a policy.

use serde::{Deserialize, Serialize};

use crate::selector::Selector;

/// A role and the servers that may take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Which servers, by label or reported fact.
    pub select: Selector,
    /// How they are bound.
    pub bind: Bind,
}

/// How the selected servers of a site are bound to a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bind {
    /// One run for each such server, never two at once. At most one role of a policy.
    Each,
    /// Exactly one server; a site with none or several is a planning fault that names them.
    One,
    /// All of them in the same run; at least this many (at least 1).
    All {
        /// The least number of servers.
        at_least: u32,
    },
}
