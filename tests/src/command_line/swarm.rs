//! `mailmend-lab swarm`: its arguments, and how it is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mailmend_lab::lab_error::LabError;
use mailmend_lab::programs::Programs;
use mailmend_lab::swarm::{self, Swarm, live};
use mailmend_lab::tether;

use super::code;

const EXAMPLES: &str = "\
Examples:
  mailmend-lab swarm --agents 1000
  mailmend-lab swarm --agents 10000 --output json
  mailmend-lab swarm --live --agents 200 --check

Exit codes: 0 it was measured; 1 it could not be, or with --check a goal was
missed.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// How many agents, 1 to 12000 (each is a connection of this process).
    #[arg(long, default_value_t = 1000, value_parser = agents)]
    agents: usize,
    /// How many of them stop reading for a while.
    #[arg(long, default_value_t = 50)]
    slow: usize,
    /// How many seconds any one measurement may take.
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Leave the bare server out, and with it the goals that compare with it.
    #[arg(long)]
    no_bare: bool,
    /// Real agents as processes instead of a swarm in this one; 1 to 500.
    #[arg(long)]
    live: bool,
    /// How it is told: table or json.
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    output: String,
    /// Fail where a goal is missed.
    #[arg(long)]
    check: bool,
    /// Keep the folder.
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Server {
    /// The controller's data folder, whose authority is taken.
    #[arg(long)]
    data: PathBuf,
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
}

fn agents(text: &str) -> Result<usize, String> {
    super::within(text, 1..=12_000)
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, LabError> {
    let begun = Instant::now();
    let say = |line: &str| eprintln!("[{:>6.1} s] {line}", begun.elapsed().as_secs_f32());
    let swarm = Swarm {
        agents: arguments.agents,
        slow: arguments.slow.min(arguments.agents / 2),
        patience: Duration::from_secs(arguments.patience),
        bare: !arguments.no_bare,
        keep: arguments.keep,
    };
    let programs = Programs::locate()?;
    if arguments.live {
        let outcome = live::run(&swarm, &programs, &say)?;
        tell(arguments, &outcome, &outcome.table());
        return Ok(code(!arguments.check || outcome.is_good()));
    }
    let outcome = swarm::run(&swarm, &programs, &say)?;
    let goals = outcome.goals();
    tell(
        arguments,
        &serde_json::json!({ "measured": outcome, "goals": goals }),
        &outcome.table(),
    );
    Ok(code(!arguments.check || goals.iter().all(|goal| goal.met)))
}

fn tell(arguments: &Arguments, outcome: &impl serde::Serialize, table: &str) {
    if arguments.output == "json" {
        // Numbers and texts: nothing that JSON cannot say.
        println!("{}", serde_json::to_string(outcome).unwrap_or_default());
    } else {
        print!("{table}");
    }
}

pub(super) fn serve(server: &Server) -> Result<(), LabError> {
    tether::to_parent();
    swarm::bare::run(&server.data, server.listen)
}
