//! The integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    reason = "everything here is a test, its helpers too"
)]

mod arrows;
mod audit_trail;
mod bad_input;
mod bad_messages;
mod detection;
mod evidence;
mod faults;
mod formats;
mod fuzz;
mod hostile_controller;
mod immunity;
mod lab_run;
mod main_job;
mod procedures;
mod release;
mod scenarios;
mod signing;
mod simulation;
mod steering;
mod swarm;
mod traces;
mod unsafety;
mod world;
