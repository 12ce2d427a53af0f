//! `mailmend-lab hostile`: its arguments, and what is told.

use std::process::ExitCode;

use mailmend_lab::hostile::place::Width;
use mailmend_lab::hostile::play::{Settings, play};
use mailmend_lab::lab_error::{Attempting, LabError};
use mailmend_lab::programs::Programs;
use mailmend_lab::tether;

use super::code;

const EXAMPLES: &str = "\
Examples:
  mailmend-lab hostile --seed 1 --count 20
  mailmend-lab hostile --seed 7 --actions 500 --json

Exit codes: 0 nothing happened outside the guard file; 1 something did, or it
could not be played.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Hostile {
    /// The seed of the first play; each next one is one more.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many plays, one after the other.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// How many things the controller does in each.
    #[arg(long, default_value_t = 150)]
    actions: usize,
    /// Print one JSON object for each play.
    #[arg(long)]
    json: bool,
}

/// `mailmend-lab hostile`.
pub(super) fn run(arguments: &Hostile) -> Result<ExitCode, LabError> {
    tether::to_parent();
    let programs = Programs::locate()?;
    let mut bad = 0;
    for seed in (arguments.seed..).take(usize::try_from(arguments.count).unwrap_or(usize::MAX)) {
        let folder = tempfile::tempdir().attempting(|| "make a folder for a play".to_owned())?;
        let settings = Settings {
            seed,
            actions: arguments.actions,
            width: Width::Narrow,
        };
        let outcome = play(folder.path(), settings, &programs)?;
        bad += usize::from(!outcome.against.is_empty());
        if arguments.json {
            println!("{}", serde_json::to_string(&outcome).unwrap_or_default());
            continue;
        }
        println!(
            "seed {seed}: {} said in {} sessions, {} runs taken on, service started {} and stopped {} times, {} tool calls, {} MiB",
            outcome.said,
            outcome.sessions,
            outcome.runs,
            outcome.starts,
            outcome.stops,
            outcome.calls,
            outcome.memory_mib
        );
        for one in &outcome.against {
            println!("  AGAINST: {one}");
        }
    }
    println!(
        "{} plays, {bad} with effects outside the guard file",
        arguments.count
    );
    Ok(code(bad == 0))
}
