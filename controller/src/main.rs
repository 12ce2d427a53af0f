//! `mailmend`: the controller (`mailmend serve`) and the operator's command line.

/// Thousands of sessions allocate and free all the time: what a trial of it saved stands in `docs/scale.md`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    mailmend::cli::main()
}
