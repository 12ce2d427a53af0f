//! `mailmend-lab`: the lab's processes, tools and scenarios.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mailmend_lab::lab_error::LabError;
use mailmend_lab::server_dir::ServerDir;
use mailmend_lab::{ims, mta, peer, service_manager, tether, tool};

/// A miniature Exchange site to run mailmend against.
#[derive(Debug, Parser)]
#[command(name = "mailmend-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A tool of a server, as an agent's guard file names it.
    #[command(subcommand)]
    Tool(Tool),
    /// The Internet Mail Service of a server (started by its service manager).
    #[command(hide = true)]
    Ims(OfServer),
    /// The message transfer agent of a server (started by its service manager).
    #[command(hide = true)]
    Mta(OfServer),
    /// The service manager of a server.
    #[command(hide = true)]
    ServiceManager(OfServer),
    /// A next-hop SMTP server that records what it takes.
    #[command(hide = true)]
    Peer {
        /// The file in which deliveries are recorded.
        #[arg(long)]
        truth: PathBuf,
        /// Milliseconds between recording a message and saying so.
        #[arg(long, default_value_t = 0)]
        latency_ms: u64,
    },
    /// Becomes another program that ends with the lab.
    #[command(hide = true)]
    Tether {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct OfServer {
    /// The server's folder.
    #[arg(long)]
    server_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Ask for a recalculation of the site's routing.
    Recalculate(OfServer),
    /// Send a test message; prints `submitted` and its MTS-ID.
    Submit {
        #[command(flatten)]
        server: OfServer,
        /// The recipient.
        #[arg(long)]
        to: String,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", error.whole());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, LabError> {
    match command {
        Command::Tool(Tool::Recalculate(server)) => {
            println!("{}", tool::recalculate(&ServerDir::new(server.server_dir))?);
        }
        Command::Tool(Tool::Submit { server, to }) => {
            println!("{}", tool::submit(&ServerDir::new(server.server_dir), &to)?);
        }
        Command::Ims(server) => {
            tether::to_parent();
            ims::run(ServerDir::new(server.server_dir))?;
        }
        Command::Mta(server) => {
            tether::to_parent();
            mta::run(&ServerDir::new(server.server_dir))?;
        }
        Command::ServiceManager(server) => {
            tether::to_parent();
            service_manager::run(ServerDir::new(server.server_dir))?;
        }
        Command::Peer { truth, latency_ms } => {
            tether::to_parent();
            peer::run(&truth, Duration::from_millis(latency_ms))?;
        }
        Command::Tether { program, arguments } => {
            tether::to_parent();
            return Err(tether::become_program(&program, &arguments));
        }
    }
    Ok(ExitCode::SUCCESS)
}
