//! Many small scenarios with kills: nothing may be lost, no duplicate unnamed, no service left down.
//!
//! Each run is a process of its own with the arguments that a person would type to see it again.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lab_error::LabError;
use crate::programs::Programs;
use crate::scenario::Report;
use crate::stop_signal;
use crate::tether::Tethered;

/// What a storm is.
#[derive(Debug, Clone)]
pub struct Storm {
    /// The scenario that is played, by its name.
    pub scenario: String,
    /// Of a fleet: how many sites, and how many of them are faulty.
    pub fleet: Option<(usize, usize)>,
    /// What varies it; its first variant unless told.
    pub variant: Option<String>,
    /// How many runs.
    pub runs: u32,
    /// The seed of the first run; each next one is one more.
    pub seed: u64,
    /// How many runs at once.
    pub at_once: usize,
    /// How many messages each.
    pub messages: usize,
    /// How many processes are killed in each.
    pub kills: usize,
}

/// How long one run may take, and a fleet.
const RUN: Duration = Duration::from_secs(300);
const FLEET: Duration = Duration::from_secs(1_800);

/// What came of a storm.
#[derive(Debug, Default)]
struct Tally {
    mended: u32,
    harmed: Vec<String>,
    submitted: usize,
    in_doubt: usize,
    held: usize,
    duplicated: usize,
    restarts: usize,
    longest_outage_ms: u64,
}

/// Runs a storm; prints a line for each run that was harmful, and a summary. Returns whether none was.
///
/// # Errors
/// Where the lab itself fails.
pub fn run(storm: &Storm, programs: &Programs) -> Result<bool, LabError> {
    let begun = Instant::now();
    let interrupted = stop_signal::install()?;
    let next = AtomicU32::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|threads| {
        for _ in 0..storm.at_once.max(1) {
            // A run is tethered to the thread that starts it, which waits for its end.
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= storm.runs || interrupted.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = storm.seed + u64::from(number);
                    let result = run_one(storm, seed, programs, &interrupted);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(storm, seed, result);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} runs, {} mended, {} without harm: {} messages, {} in doubt, {} held, {} named duplicates, \
         {} restarts, longest outage {} ms; {} harmed, in {:.0} s",
        next.into_inner().min(storm.runs),
        tally.mended,
        u32::try_from(tally.harmed.len()).map_or(0, |harmed| storm.runs.saturating_sub(harmed)),
        tally.submitted,
        tally.in_doubt,
        tally.held,
        tally.duplicated,
        tally.restarts,
        tally.longest_outage_ms,
        tally.harmed.len(),
        begun.elapsed().as_secs_f32()
    );
    for harmed in &tally.harmed {
        println!("HARM {harmed}");
    }
    Ok(tally.harmed.is_empty() && !interrupted.load(Ordering::Relaxed))
}

fn arguments(storm: &Storm, seed: u64) -> Vec<String> {
    let mut arguments: Vec<String> = ["run", &storm.scenario, "--json", "--waited-before"]
        .map(str::to_owned)
        .to_vec();
    if let Some((sites, faulty)) = storm.fleet {
        let (sites, faulty) = (sites.to_string(), faulty.to_string());
        arguments.extend(["--sites".to_owned(), sites, "--faulty".to_owned(), faulty]);
    }
    if let Some(variant) = &storm.variant {
        arguments.extend(["--variant".to_owned(), variant.clone()]);
    }
    for (name, value) in [
        ("--seed", seed),
        ("--messages", storm.messages as u64),
        ("--kills", storm.kills as u64),
    ] {
        arguments.extend([name.to_owned(), value.to_string()]);
    }
    arguments
}

/// A run's report and what it told on the way, or why there is no report.
fn run_one(
    storm: &Storm,
    seed: u64,
    programs: &Programs,
    interrupted: &AtomicBool,
) -> Result<(Report, String), String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let told = scratch.path().join("told");
    let answer = scratch.path().join("answer");
    let out = std::fs::File::create(&answer).map_err(|error| error.to_string())?;
    let mut command = Command::new(&programs.lab);
    command
        .args(arguments(storm, seed))
        .stdout(Stdio::from(out));
    let mut run = Tethered::start("a run", command, &told).map_err(|error| error.whole())?;
    let mut ended = None;
    let limit = if storm.fleet.is_some() { FLEET } else { RUN };
    crate::awaited::until(limit, || {
        ended = run.ended();
        ended.is_some() || interrupted.load(Ordering::Relaxed)
    });
    if ended.is_none() {
        run.stop(Duration::from_secs(30));
    }
    let text = std::fs::read_to_string(&answer).unwrap_or_default();
    let told = std::fs::read_to_string(&told).unwrap_or_default();
    let report = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    report
        .map(|report| (report, told.clone()))
        .ok_or_else(|| match ended {
            None => format!("it did not end within {} s\n{told}", limit.as_secs()),
            Some(code) => format!("it ended with {code:?} and without a report\n{told}"),
        })
}

impl Tally {
    fn add(&mut self, storm: &Storm, seed: u64, result: Result<(Report, String), String>) {
        let (harm, told) = match result {
            Ok((report, told)) => {
                self.submitted += report.submitted;
                self.in_doubt += report.in_doubt;
                self.held += report.held;
                self.duplicated += report.duplicated;
                self.restarts += report.restarts;
                self.longest_outage_ms = self.longest_outage_ms.max(report.longest_outage_ms);
                if report.told() == "mended" {
                    self.mended += 1;
                }
                eprintln!("seed {seed}: {} ({:.0} s)", report.outcome, report.seconds);
                let harm = match storm.fleet {
                    // There a kill may leave a site to a person, but only with a reason.
                    Some(_) => report.against(),
                    None => report.harm(),
                };
                (harm, told)
            }
            Err(why) => (vec!["there is no report".to_owned()], why),
        };
        if harm.is_empty() {
            return;
        }
        let again = arguments(storm, seed).join(" ");
        eprintln!("HARM seed {seed}: {}\n{told}", harm.join("; "));
        self.harmed.push(format!(
            "seed {seed}: {}; again, with its folder kept: mailmend-lab {again} --keep",
            harm.join("; ")
        ));
    }
}
