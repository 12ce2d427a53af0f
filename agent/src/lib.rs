//! mailmend's agent: carries out its server's part of a plan, crash-safely, and reports every step.

pub mod config;
pub mod faults;
pub mod guard;
pub mod host;
pub mod journal;
pub mod toml_file;
