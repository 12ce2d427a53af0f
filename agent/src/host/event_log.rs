//! The event log of Windows as far as it is decided without a Windows: what a record says, which records are
//! new, and what a refusal of the log means. The calls are in `windows/events`.

mod followed;
mod record;
mod refusal;
mod rendered;

#[cfg(windows)]
pub(super) use self::followed::Followed;
#[cfg(windows)]
pub(super) use self::record::{Record, RecordLog};
#[cfg(windows)]
pub(super) use self::refusal::{Refused, refused};
