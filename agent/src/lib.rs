//! mailmend's agent: carries out its server's part of a plan, crash-safely, and reports every step.

pub mod host;
