//! What controller and agents tell of themselves, told by both in one way.

pub mod log;
pub mod trace;
