//! The contract between mailmend's controller, its agents and its operators.
//!
//! [`wire`] is what travels; [`run`] is what it means. [`convert`] parses once at the edge: behind it
//! nobody handles an unspecified enum or a digest of the wrong length.

pub mod chain;
pub mod convert;
pub mod fence;
pub mod rpc;
pub mod run;
pub mod wire;
