//! `cargo demo`: the main job, shown, with a plain account of every message at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cargo;
use crate::lab_error::{Attempting, LabError};
use crate::programs::Programs;
use crate::scenario::{self, Options, Outcome, Report, stuck_outbound};
use crate::truth::{Fate, Told};

/// Builds the programs and shows the main job. Returns whether the site was mended.
///
/// # Errors
/// Where a program does not build or the lab itself fails.
pub fn run(top: &Path, seed: u64, messages: usize) -> Result<bool, LabError> {
    build(top)?;
    let programs = Programs::locate()?;
    println!(
        "A site of two Exchange servers. Server A sends and receives; Server B only sends. The relay\n\
         that both hand their mail to has moved. A knows; B's routing table is stale (Q268494).\n\
         The clock runs 60 times faster than in life: a quarter of an hour takes 15 seconds.\n"
    );
    let begun = Instant::now();
    let say = |line: &str| println!("[{:>4.1} s] {line}", begun.elapsed().as_secs_f32());
    let options = Options {
        seed,
        messages,
        patience: Duration::from_secs(120),
        watch: true,
        ..Options::default()
    };
    let outcome = scenario::run(&stuck_outbound::SCENARIO, &options, &programs, &say)?;
    print!("{}", account(&outcome));
    Ok(outcome.report.against().is_empty())
}

fn build(top: &Path) -> Result<(), LabError> {
    eprintln!("building mailmend");
    let status = cargo::build_programs(top)
        .status()
        .attempting(|| "run cargo".to_owned())?;
    if status.success() {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: "build mailmend".to_owned(),
        reason: status.to_string(),
    })
}

/// What became of every message, in plain words.
#[must_use]
pub fn account(outcome: &Outcome) -> String {
    let Report {
        submitted,
        lost,
        held,
        in_doubt,
        duplicated,
        duplicates_named,
        ..
    } = outcome.report;
    let mut text = fates(&outcome.told);
    let report = &outcome.report;
    text.push_str(&format!(
        "\n{submitted} messages sent, {} delivered exactly once, {lost} lost, {duplicated} duplicated \
         ({duplicates_named} of them named), {held} held, {in_doubt} in doubt.\n\
         {} were stuck before, {} are stuck now. The mail services were started {} time(s); the longest \
         outage was {} ms.\nOutcome: {} ({:.0} s)\n",
        report.delivered_once,
        report.symptom_before,
        report.symptom_after,
        report.restarts,
        report.longest_outage_ms,
        report.outcome,
        report.seconds
    ));
    text
}

/// The fates of messages, counted for each server.
#[must_use]
pub fn fates(told: &[Told]) -> String {
    let mut text =
        String::from("\nWhat became of every message, as the receiving side tells it:\n");
    let mut by_server: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for told in told {
        by_server.entry(&told.submission.server).or_default()[place(told.fate)] += 1;
    }
    text.push_str("  server          sent  delivered once  twice or more  waiting  held  lost\n");
    for (server, [once, twice, waiting, held, lost]) in by_server {
        let sent = once + twice + waiting + held + lost;
        text.push_str(&format!(
            "  {server:<14} {sent:>5}  {once:>14}  {twice:>13}  {waiting:>7}  {held:>4}  {lost:>4}\n"
        ));
    }
    text
}

const fn place(fate: Fate) -> usize {
    match fate {
        Fate::DeliveredOnce => 0,
        Fate::Duplicated => 1,
        Fate::Waiting => 2,
        Fate::Held => 3,
        Fate::Lost => 4,
    }
}
