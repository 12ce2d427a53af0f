//! mailmend's agent: carries out its server's part of a plan, crash-safely, and reports every step.

pub mod config;
pub mod connection;
pub mod custody;
pub mod enrol;
pub mod evidence;
pub mod facts;
pub mod faults;
pub mod guard;
pub mod host;
pub mod identity;
pub mod journal;
mod report;
pub mod session;
pub mod toml_file;
