//! mailmend's agent: carries out its server's part of a plan, crash-safely, and reports every step.

pub mod ablation;
mod allowance;
pub mod condition;
pub mod config;
pub mod connection;
pub mod custody;
pub mod engine;
pub mod enrol;
pub mod evidence;
pub mod facts;
pub mod faults;
pub mod guard;
pub mod host;
pub mod identity;
pub mod inbox;
pub mod journal;
mod left_down;
pub mod queue;
mod report;
pub mod runner;
mod service;
pub mod session;
pub mod station;
pub mod step;
pub mod symptoms;
pub mod toml_file;
pub mod watchdog;
