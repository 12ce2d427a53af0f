//! `mailmend-agent`: the program on each mail server.

mod cli;

fn main() -> std::process::ExitCode {
    // First of all: TLS has no provider of its own. A second installation is refused, and there is
    // none before this.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::main()
}
