//! How long service is away while a queue is taken into custody, from the proof of the stop to the moment at
//! which it may be started: as a whole folder, file by file, and beside a reference that only renames each file
//! and syncs both folders, in the same run. Goal: as a whole folder, 100 000 files take at most 50 ms longer
//! than 100.
//!
//! `cargo bench -p mailmend-agent --bench outage`; other sizes with `MAILMEND_BENCH_FILES=100,5000`,
//! elsewhere with `MAILMEND_BENCH_DIR`. Files are small and in the page cache: what is measured is the work.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use mailmend_agent::custody::quarantine::{self, Take};
use mailmend_agent::custody::{Desk, HowStopped, Limits, Stopped, whole};
use mailmend_agent::journal::Journal;
use mailmend_policy::condition::Queue;
use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{BatchId, Event, RunId};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

#[path = "machine/stopped.rs"]
mod stopped;
use stopped::{Machine, Silent};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const GOAL: Duration = Duration::from_millis(50);
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    // `cargo test --benches` runs this too: then once, and small.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let counts = std::env::var("MAILMEND_BENCH_FILES").unwrap_or_else(|_| {
        let counts = if bench {
            "100,1000,10000,100000"
        } else {
            "20,200"
        };
        counts.to_owned()
    });
    let rounds = if bench { ROUNDS } else { 1 };
    println!("time without service, median of {rounds}; then what is done when it is up again");
    println!("   files   each renamed   file by file   whole folder   listed after the start");
    let mut whole_folder = Vec::new();
    for count in counts.split(',') {
        let times = measure(count.trim().parse()?, rounds)?;
        let [renamed, each, whole, listed] = times.map(|time| format!("{time:.2?}"));
        println!("{count:>8} {renamed:>14} {each:>14} {whole:>14} {listed:>14}");
        whole_folder.push(times[2]);
    }
    if let [first, .., last] = whole_folder[..] {
        let grown = last.saturating_sub(first);
        let verdict = if grown <= GOAL { "met" } else { "MISSED" };
        println!(
            "whole folder: {grown:.2?} longer for the last than for the first (goal at most {GOAL:?}: {verdict})"
        );
    }
    Ok(())
}

fn measure(count: usize, rounds: usize) -> Result<[Duration; 4]> {
    let base = match std::env::var_os("MAILMEND_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let root = base.path().canonicalize()?;
    let out = root.join("imcdata/Out");
    fs::create_dir_all(out.join("Archive"))?;
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for number in 0..count {
        let path = out.join(format!("M{number:07}"));
        fs::write(&path, format!("message {number}\r\n").repeat(30))?;
        fs::File::options()
            .write(true)
            .open(&path)?
            .set_modified(long_ago)?;
    }
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let aside = root.join("aside");
        fs::create_dir(&aside)?;
        times[0].push(renamed(&out, &aside)?);
        back(&aside, &out)?;
        fs::remove_dir(&aside)?;
        let (took, _, held) = taken(&root, &out, count, false)?;
        times[1].push(took);
        back(&held, &out)?;
        let (took, listed, held) = taken(&root, &out, count, true)?;
        times[2].push(took);
        times[3].push(listed);
        back(&held, &out)?;
    }
    Ok(times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    }))
}

/// The reference: each file renamed, never replacing anything, both folders synced.
fn renamed(from: &Path, to: &Path) -> Result<Duration> {
    let names: Vec<_> = fs::read_dir(from)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<_>>()?;
    let began = Instant::now();
    let (source, target) = (fs::File::open(from)?, fs::File::open(to)?);
    for name in names.iter().filter(|name| name.len() == 8) {
        renameat_with(&source, name, &target, name, RenameFlags::NOREPLACE)?;
    }
    target.sync_all()?;
    source.sync_all()?;
    Ok(began.elapsed())
}

fn back(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name().len() == 8 {
            let to = to.join(entry.file_name());
            renameat_with(CWD, entry.path(), CWD, to, RenameFlags::NOREPLACE)?;
        }
    }
    Ok(())
}

/// Takes the queue; returns how long service was away, how long listing took, and where the files are.
fn taken(
    root: &Path,
    out: &Path,
    count: usize,
    whole_folder: bool,
) -> Result<(Duration, Duration, PathBuf)> {
    let host = Machine::new();
    let run = RunId(Uuid::now_v7());
    let journal = Journal::open(&root.join(format!("journal-{run}.db")))?;
    let desk = Desk {
        host: &host,
        journal: &journal,
        run,
    };
    let plan = Digest::of(b"plan");
    let admitted = Event::Admitted {
        fence: 1,
        plan,
        policy: plan,
        assignment: Vec::new(),
    };
    journal.append(run, 0, vec![admitted])?;
    let service: ServiceName = "MSExchangeIMC".parse()?;
    let batch = BatchId(Uuid::now_v7());
    let take = Take {
        batch,
        step: Some(0),
        queue: Queue::OutboundAwaitingDelivery,
        source: out.to_owned(),
        held_root: root.join("mailmend-held"),
        limits: Limits {
            files: u64::MAX,
            bytes: u64::MAX,
            least_free: 0,
        },
    };
    let held = take.held();
    let prepared = quarantine::prepare(&desk, take)?;
    let prepared = prepared.whole_from(&desk, u64::from(whole_folder));

    let began = Instant::now();
    let stopped = Stopped::prove(&host, &service, None, HowStopped::Cleanly)?;
    let taken = prepared.take(&desk, &stopped, &Silent)?;
    let away = began.elapsed();
    assert_eq!(taken.held, count as u64, "all files are taken");
    assert_eq!(taken.unlisted.is_some(), whole_folder);

    let began = Instant::now();
    if let Some(survey) = taken.unlisted {
        let listed = whole::take_stock(&desk, batch, Some(*survey), &Silent)?;
        assert_eq!(listed.held, count as u64, "all files are listed");
    }
    let listed = began.elapsed();
    assert!(out.join("Archive").is_dir(), "the archive is put back");
    Ok((away, listed, held))
}
