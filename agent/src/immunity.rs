//! Fleet immunity: poison that was found on another server is set aside here on sight.
//!
//! The controller says which fingerprints stand; the agent keeps them, so that they hold while the controller is away.
//! A message that has one of them is taken out of its queue before each start of the mail service, and while the
//! service runs as long as nobody has its file open; held messages that have one are not given back. All of that is
//! ordinary custody: intended in the journal, moved without replacing anything, never deleted. Its state is `poison` with
//! the fingerprint's provenance as evidence, and the record of it names the fingerprint, so that a withdrawal finds
//! exactly what was set aside because of it.
//!
//! A wrong fingerprint would hold mail that somebody waits for, all over the fleet. So the guard file bounds it
//! (`[immunity]`), each message that is set aside is named by an alarm, and one command undoes it.

mod fingerprint;
mod keeper;
mod list;
mod print;
mod room;
#[cfg(test)]
mod tests;

pub use fingerprint::{Fingerprint, Known, Likeness, MOST, Print, TELLING};
pub(crate) use keeper::{DUTY, before_start, finish_open, hold_back};
pub use keeper::{Found, Keeper, choose};
pub use list::{ImmunityError, List};
pub use print::{body_at, print};
pub(crate) use room::{Room, told_once};
