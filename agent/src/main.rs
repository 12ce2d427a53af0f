//! `mailmend-agent`: the program on each mail server.

mod cli;

fn main() -> std::process::ExitCode {
    if mailmend_agent::ablation::BUILT_IN {
        eprintln!(
            "A008-not-a-release: this program was built with the feature `ablation`, which can take \
             safety mechanisms away; it is for tests only. Build it without the feature"
        );
        return std::process::ExitCode::FAILURE;
    }
    // First of all: TLS has no provider of its own. A second installation is refused, and there is
    // none before this.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::main()
}
