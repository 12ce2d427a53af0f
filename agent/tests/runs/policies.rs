//! The shipped policies, each with a simulated server that has its symptom, for the sweeps.
//!
//! To add one: a room `policies/<name>.rs` with its [`Case`], a line in [`CASES`] and in
//! `sweep/each.rs`. The world must be small (four to six messages) and
//! the policy's times short ([`crate::site::changed`]): a life of the agent should take some 10 ms.

pub(crate) mod corrupt_message;
pub(crate) mod sent_not_removed;
pub(crate) mod sent_not_removed_heavy;
pub(crate) mod silent_loss;
pub(crate) mod stuck_message;
pub(crate) mod stuck_outbound_routing;
pub(crate) mod stuck_outbound_whole;

use mailmend_policy::library;
use mailmend_proto::run::Ended;

use crate::site::Site;

/// A shipped policy, a world that has its symptom, and what must be true when it is over.
pub(crate) struct Case {
    /// The policy's name.
    pub(crate) policy: &'static str,
    /// A server with the symptom. The same seed gives the same world.
    pub(crate) site: fn(u64) -> Site,
    /// Fewer points in an undisturbed run than this would mean that the sweep has lost its object.
    pub(crate) least_points: u64,
    /// Where it is killed a second time.
    pub(crate) again: Again,
    /// How the run may end, killed or not.
    pub(crate) ends: &'static [Ended],
    /// What must hold besides [`Site::check`]: who was delivered, who is held, what was named.
    pub(crate) check: fn(&Site, &str),
}

/// Where an agent is killed that mends what a first death left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Again {
    /// After every n-th of the places where a first death leaves something else.
    pub(crate) every: u64,
    /// Also in the run that goes on after the recovery, not only in the recovery.
    pub(crate) in_run: bool,
}

/// The policies that are swept; each has its line in `sweep/each.rs`.
const CASES: [&Case; 5] = [
    &corrupt_message::CASE,
    &sent_not_removed::CASE,
    &silent_loss::CASE,
    &stuck_message::CASE,
    &stuck_outbound_routing::CASE,
];

#[test]
fn every_shipped_policy_is_swept() {
    let mut names: Vec<&str> = CASES.iter().map(|case| case.policy).collect();
    names.sort_unstable();
    let shipped = library::SHIPPED.map(|(name, _)| name);
    assert_eq!(names, shipped);
}
