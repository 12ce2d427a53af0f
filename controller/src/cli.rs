//! The command line: commands and rendering.
//!
//! Answers go to stdout, as a table or as JSON; everything else goes to stderr. Each way to end has
//! one exit code, see [`exit::Exit`].

mod agent;
mod arguments;
mod audit;
mod connection;
mod custody;
mod diagnosis;
mod doctor;
pub mod exit;
mod failure;
mod fleet;
mod health;
mod immunity;
mod ledger;
mod manual;
mod operator;
mod order;
mod output;
mod policy;
mod proposal;
mod reconciled;
#[cfg(test)]
pub(crate) mod releases;
mod rollout;
mod run;
mod serve;
mod settings;
mod trail;
mod trust;
mod view;
mod waiting;
mod when;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use arguments::{Cli, Command};
use connection::Controller;
use exit::Exit;
use failure::Failure;
use output::Output;

use crate::config::{Origin, Settings};
use mailmend_telemetry::log::{LogFilter, LogFormat};
use tracing_subscriber::EnvFilter;

/// Runs the command that the process was called with.
#[must_use]
pub fn main() -> ExitCode {
    // Fails only when a provider was installed before, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => return not_understood(&why).into(),
    };
    // Of the arguments alone: a configuration that is broken keeps nobody from help.
    match &cli.command {
        Command::Completions { shell } => return ended(manual::completions(*shell)),
        Command::Man { out } => return ended(manual::man(out)),
        _ => {}
    }
    let (output, settings) = match prepare(&cli) {
        Ok(prepared) => prepared,
        Err(failure) => {
            let exit = failure.exit();
            failure.print(colour_without_settings());
            return exit.into();
        }
    };
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::new("C039-controller", format!("could not start threads: {why}")))
        .and_then(|runtime| {
            let ended = runtime.block_on(dispatch(cli.command, &output, &settings));
            // A prompt that nobody answers must not keep the process.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let exit = failure.exit();
            failure.print(output.paints_errors());
            exit.into()
        }
    }
}

fn ended(how: Result<Exit, Failure>) -> ExitCode {
    match how {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let exit = failure.exit();
            failure.print(colour_without_settings());
            exit.into()
        }
    }
}

async fn dispatch(command: Command, output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        Command::Serve(arguments) => serve::serve(arguments, settings).await,
        Command::Policy(command) => policy::run(command, output, settings).await,
        Command::Agent(command) => agent::run(command, output, settings).await,
        Command::Rollout(command) => rollout::run(command, output, settings).await,
        Command::Fleet(command) => fleet::run(command, output, settings).await,
        Command::Proposal(command) => proposal::run(command, output, settings).await,
        Command::Run(command) => run::run(command, output, settings).await,
        Command::Custody(command) => custody::run(command, output, settings).await,
        Command::Immunity(command) => immunity::run(command, output, settings).await,
        Command::Ledger(command) => ledger::run(command, output, settings).await,
        Command::Audit(command) => trail::run(command, output, settings).await,
        Command::Operator(command) => operator::run(command, output, settings).await,
        Command::Health => health::run(output, settings).await,
        Command::Trust(command) => trust::run(command, output, settings).await,
        Command::Doctor => doctor::run(output, settings).await,
        Command::Config => settings::show(output, settings),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::man(&out),
    }
}

fn prepare(cli: &Cli) -> Result<(Output, Settings), Failure> {
    let mut flags = cli.global.flags();
    if let Command::Serve(serve) = &cli.command {
        flags.extend(serve.flags());
    }
    let settings = Settings::load(&flags)?;
    let output = Output::of(&settings)?;
    start_logging(cli, &settings)?;
    Ok((output, settings))
}

fn start_logging(cli: &Cli, settings: &Settings) -> Result<(), Failure> {
    let LogFilter(mut filter) = settings.parsed("log")?;
    let format: LogFormat = settings.parsed("log-format")?;
    // A server that says nothing at all cannot be told from one that hangs.
    if matches!(cli.command, Command::Serve(_)) && settings.get("log").origin == Origin::Default {
        filter = EnvFilter::new("info");
    }
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Told on standard error too, with a panic where nobody reads it: in the middle of a call.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log
            .with_ansi(Output::of(settings)?.paints_errors())
            .with_target(false)
            .init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Help and version are answers; all else is a usage error with our code.
fn not_understood(why: &clap::Error) -> Exit {
    if matches!(
        why.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // Whoever stopped reading has seen enough.
        drop(why.print());
        return Exit::Success;
    }
    let colour = colour_without_settings();
    let text = why.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    failure::print_usage(text, colour);
    Exit::Usage
}

fn colour_without_settings() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let never = std::env::args().any(|argument| argument == "never" || argument == "--color=never");
    !no_color && !never && std::io::stderr().is_terminal()
}

/// Dials lazily: the first call connects.
fn controller(settings: &Settings) -> Result<Controller, Failure> {
    Controller::from_settings(settings)
}
