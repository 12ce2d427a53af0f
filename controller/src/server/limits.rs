//! What one caller, and all of them together, may take.

use std::time::Duration;

use crate::trust::rates::Rate;

/// Limits of the listener. Each bounds memory or time that somebody else could make us spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections of callers with a certificate at one time.
    pub connections: usize,
    /// Connections without a certificate at one time. Apart, so that strangers cannot crowd out
    /// agents.
    pub anonymous_connections: usize,
    /// TLS handshakes at one time; more connections wait with the kernel.
    pub handshakes: usize,
    /// The longest that a handshake may take.
    pub handshake_timeout: Duration,
    /// The longest that a connection without a certificate may live; enrolling takes one call.
    pub anonymous_life: Duration,
    /// The largest message, bytes. An agent's report is at most 1 MiB, a policy too.
    pub message_bytes: usize,
    /// The largest answer to an operator, bytes: a rollout with a run for each of ten thousand servers.
    pub answer_bytes: usize,
    /// The largest message of a caller without a certificate, bytes.
    pub anonymous_message_bytes: usize,
    /// Streams of one connection at one time.
    pub streams_per_connection: u32,
    /// Calls of one connection that are worked on at one time.
    pub calls_per_connection: usize,
    /// All headers of a call together, bytes.
    pub header_bytes: u32,
    /// Streams that a caller reset and that we still hold (CVE-2023-44487).
    pub pending_resets: usize,
    /// The longest from a call to the beginning of its answer.
    pub call_timeout: Duration,
    /// How often one name may call.
    pub named_rate: Rate,
    /// How often one address may call without a certificate.
    pub anonymous_rate: Rate,
    /// How often a silent connection is asked whether it lives.
    pub keepalive_every: Duration,
    /// How long it may take to answer that.
    pub keepalive_timeout: Duration,
    /// How long calls may go on after the controller was told to stop.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 12_000,
            anonymous_connections: 128,
            handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            anonymous_life: Duration::from_secs(60),
            message_bytes: 4 * 1024 * 1024,
            answer_bytes: 64 * 1024 * 1024,
            anonymous_message_bytes: 64 * 1024,
            streams_per_connection: 64,
            calls_per_connection: 64,
            header_bytes: 16 * 1024,
            pending_resets: 32,
            call_timeout: Duration::from_secs(30),
            named_rate: Rate::new(100, 400),
            anonymous_rate: Rate::new(50, 500),
            keepalive_every: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            shutdown: Duration::from_secs(10),
        }
    }
}
