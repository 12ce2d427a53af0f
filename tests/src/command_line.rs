//! The command line on Linux: the lab's processes, tools and scenarios.

mod hostile;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mailmend_lab::clock_factor::ClockFactor;
use mailmend_lab::lab_error::LabError;
use mailmend_lab::power_cut::life::Cut;
use mailmend_lab::power_cut::{self, PowerCuts};
use mailmend_lab::programs::Programs;
use mailmend_lab::scenario::{Options, site};
use mailmend_lab::verify::Verification;
use mailmend_lab::{
    archives, demo, ims, mta, peer, service_manager, stop_signal, tether, verify, windows,
};

use crate::server_tool::{OfServer, Tool};

/// A miniature Exchange site to run mailmend against.
#[derive(Debug, Parser)]
#[command(name = "mailmend-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario: break a site, have it mended, tell what became of every message.
    Run(run::Run),
    /// Run many small scenarios in which processes are killed at moments that follow from the seed.
    Storm(run::StormArguments),
    /// Let a controller that means harm drive agents through their whole API, and tell what it brought about.
    Hostile(hostile::Hostile),
    /// Stand a broken site up, for a controller and agents that you run yourself.
    Site {
        /// The controller's address, as the agents' configurations are to name it.
        #[arg(long, default_value = "127.0.0.1:7268")]
        controller: String,
        /// How many messages are stuck.
        #[arg(long, default_value_t = 40, value_parser = messages)]
        messages: usize,
        /// How many sites of two servers, 1 to 50.
        #[arg(long, default_value_t = 1, value_parser = sites)]
        sites: usize,
        /// How much faster than life the clock runs, 1 to 600.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
        clock_factor: u32,
        /// Keep the folder of the world.
        #[arg(long)]
        keep: bool,
    },
    /// Show the main job (this is `cargo demo`).
    Demo {
        /// Mail follows from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many messages users send.
        #[arg(long, default_value_t = 120, value_parser = messages)]
        messages: usize,
    },
    /// Check everything (this is `cargo verify`).
    Verify {
        /// How many runs the storm has.
        #[arg(long, default_value_t = 100)]
        storm_runs: u32,
        /// The storm's first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Go on after a stage has failed.
        #[arg(long)]
        keep_going: bool,
    },
    /// Build the agent for Windows and check it under Wine (installs what it needs where it may).
    Windows {
        /// Take the programs for Windows as they were built last, and only play.
        #[arg(long)]
        as_built: bool,
    },
    /// Make the archives of a release: tar.gz, Debian package, zip for Windows, sums (this is `cargo archives`).
    Archives {
        /// Where they go.
        #[arg(long, default_value = "target/archives", value_name = "DIR")]
        out: PathBuf,
        /// `release` for use, `dev` as tests build them, which is faster.
        #[arg(long, default_value = "release", value_parser = ["release", "dev"])]
        profile: String,
        /// Open each again and use what is in it, the zip under Wine.
        #[arg(long)]
        check: bool,
    },
    /// Cut the power of a real ext4 under the agent's custody and journal, and recover (needs root).
    PowerCuts {
        /// How many times.
        #[arg(long, default_value_t = 200)]
        cuts: u32,
        /// Which messages there are, and where the power fails.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// In a mount namespace of its own already.
        #[arg(long, hide = true)]
        inside: bool,
        /// Live once on this volume, until the power fails.
        #[arg(long, hide = true)]
        life: Option<PathBuf>,
        /// The power fails at this point.
        #[arg(long, hide = true, requires = "life")]
        at: Option<u64>,
        /// The power fails after so many microseconds.
        #[arg(long, hide = true, requires = "life")]
        after_us: Option<u64>,
    },
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
    ServiceManager {
        #[command(flatten)]
        server: OfServer,
        /// The server runs Windows, and this is `mailmend-lab.exe`.
        #[arg(long)]
        windows: Option<PathBuf>,
    },
    /// Ends the Windows of a server when its standard input ends.
    #[command(hide = true)]
    EndWine(OfServer),
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

fn messages(text: &str) -> Result<usize, String> {
    within(text, 1..=1_000_000)
}

fn sites(text: &str) -> Result<usize, String> {
    within(text, 1..=50)
}

fn within(text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize, String> {
    let number: usize = text
        .parse()
        .map_err(|_| "it is not a whole number".to_owned())?;
    if range.contains(&number) {
        return Ok(number);
    }
    Err(format!(
        "it is not within {} to {}",
        range.start(),
        range.end()
    ))
}

pub(super) fn main() -> ExitCode {
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
        Command::Run(arguments) => return run::run(&arguments),
        Command::Storm(arguments) => return run::storm(arguments),
        Command::Hostile(arguments) => return hostile::run(&arguments),
        Command::Site {
            controller,
            messages,
            sites,
            clock_factor,
            keep,
        } => {
            let options = Options {
                messages,
                sites,
                keep,
                clock_factor: ClockFactor(clock_factor),
                waited_before: true,
                patience: Duration::MAX,
                ..Options::default()
            };
            let say = |line: &str| println!("{line}");
            let told = site::stand(&options, &controller, &Programs::locate()?, &say)?;
            print!("{}", demo::fates(&told));
        }
        Command::Demo { seed, messages } => {
            return Ok(code(demo::run(&top(), seed, messages)?));
        }
        Command::Verify {
            storm_runs,
            seed,
            keep_going,
        } => {
            let verification = Verification {
                top: top(),
                storm_runs,
                seed,
                keep_going,
            };
            return Ok(code(verify::run(&verification)?));
        }
        Command::Windows { as_built } => {
            tether::to_parent();
            let begun = std::time::Instant::now();
            let say = |line: &str| eprintln!("[{:>5.1} s] {line}", begun.elapsed().as_secs_f32());
            if as_built {
                windows::play(&windows::programs(&top()), &say)?;
            } else {
                windows::check(&top(), &say)?;
            }
        }
        Command::Archives {
            out,
            profile,
            check,
        } => {
            let release = archives::Release {
                top: top(),
                out,
                optimised: profile == "release",
            };
            let say = |line: &str| eprintln!("{line}");
            let made = archives::make(&release, &say)?;
            if check {
                archives::check(&release, &made, &say)?;
            }
            for name in [&made.linux, &made.debian, &made.windows] {
                println!("{}", made.folder.join(name).display());
            }
            println!("{}", made.folder.join(archives::SUMS).display());
        }
        Command::PowerCuts {
            life: Some(top),
            at,
            after_us,
            ..
        } => {
            tether::to_parent();
            let after = Duration::from_micros(after_us.unwrap_or_default());
            let cut = at.map_or(Cut::After(after), Cut::At);
            power_cut::life::run(&top, cut)?;
        }
        Command::PowerCuts {
            cuts, seed, inside, ..
        } => {
            tether::to_parent();
            let cuts = PowerCuts { cuts, seed };
            if inside {
                return Ok(code(power_cut::run(cuts)?));
            }
            if let Some(why) = power_cut::impossible() {
                println!("LEFT OUT: power cuts on ext4: {why}");
                return Ok(ExitCode::FAILURE);
            }
            return Ok(code(power_cut::apart(cuts)?));
        }
        Command::Tool(tool) => println!("{}", tool.run()?),
        Command::Ims(server) => {
            tether::to_parent();
            let stop = stop_signal::install()?;
            ims::run(server.dir(), stop, &|| tether::ready("running"))?;
        }
        Command::Mta(server) => {
            tether::to_parent();
            let stop = stop_signal::install()?;
            mta::run(&server.dir(), &stop, &|| tether::ready("running"))?;
        }
        Command::ServiceManager { server, windows } => {
            tether::to_parent();
            match windows {
                None => service_manager::run(server.dir())?,
                Some(windows) => service_manager::relay::run(&server.dir(), &windows)?,
            }
        }
        Command::EndWine(server) => service_manager::relay::end_when_left(&server.dir())?,
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

const fn code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The workspace: two levels above the program's own folder `target/debug`, or where cargo says.
fn top() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .and_then(|folder| folder.parent().map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from("."))
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
