//! The command line under Windows: a server's services and tools.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mailmend_lab::lab_error::LabError;
use mailmend_lab::windows_site::{Service, control, install, service};

use crate::server_tool::{OfServer, Tool};

/// What a server of the lab is made of.
#[derive(Debug, Parser)]
#[command(name = "mailmend-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A tool of the server, as an agent's guard file names it.
    #[command(subcommand)]
    Tool(Tool),
    /// Make the services of a server and write its settings into the registry.
    Install(OfServer),
    /// Ask and order the service control manager, one JSON object per line each way.
    Control(OfServer),
    /// A service of the server (started by the service control manager).
    #[command(hide = true)]
    Service {
        /// Its short name.
        name: String,
        #[command(flatten)]
        server: OfServer,
    },
}

pub(super) fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.whole());
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<(), LabError> {
    match command {
        Command::Tool(tool) => println!("{}", tool.run()?),
        Command::Install(server) => install::install(&server.dir())?,
        Command::Control(server) => control::run(server.dir())?,
        Command::Service { name, server } => {
            let named = Service::named(name).ok_or_else(|| LabError::Refused {
                attempted: format!("run the service `{name}`"),
                reason: "the lab has no such service".to_owned(),
            })?;
            service::run(named, server.dir())?;
        }
    }
    Ok(())
}
