//! A controller that means harm, against a real agent: it stole everything that the real one has, and drives the
//! agent through its whole API. What happens is judged from outside the agent.
//!
//! [`door`] is its end of the wire, [`table`] every message with every field abused, [`policies`] the policies that it
//! asks for, [`play`] one seeded play of it all. [`jungle`], [`eye`] and [`verdict`] never ask the agent: they look at
//! files, processes, sockets, the service manager's own history and the lab's truth.

pub mod certificates;
pub mod door;
pub mod eye;
pub mod jungle;
pub mod mind;
pub mod offline;
pub mod place;
pub mod play;
pub mod policies;
pub mod table;
pub mod verdict;

use crate::lab_error::LabError;

/// What could not be done, and why.
fn refused(attempted: &str, why: impl std::fmt::Display) -> LabError {
    LabError::Refused {
        attempted: attempted.to_owned(),
        reason: why.to_string(),
    }
}
