//! The server.

pub mod agents;
