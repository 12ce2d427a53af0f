//! The command line.

/// Runs the command that the process was called with.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
