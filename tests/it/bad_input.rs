//! Bad input of every kind, given to the real programs: each ends with the exit code that its help
//! promises and one clear message with its code and what to do, and what is on disk stays as it was.

mod certificate;
mod clock;
mod command_line;
mod config;
mod disk_full;
mod ended;
mod enrolment;
mod journal;
mod log;
mod place;
mod policy;
mod store;
mod unreadable;
