//! `mailmend`: the controller (`mailmend serve`) and the operator's command line.

fn main() -> std::process::ExitCode {
    mailmend::cli::main()
}
