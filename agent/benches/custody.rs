//! Quarantine and replay beside a reference that only reads, hashes and renames the same files, there and
//! back, in the same run. Goal: at most 1.3 times the reference.
//!
//! `cargo bench -p mailmend-agent --bench custody`; smaller with `MAILMEND_BENCH_FILES=10000,100`
//! (of 4 KiB, of 1 MiB), elsewhere with `MAILMEND_BENCH_DIR`, more often with
//! `MAILMEND_BENCH_ROUNDS`. Files are in the page cache: what is measured is the work, not the disk.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use mailmend_agent::custody::quarantine::{self, Take};
use mailmend_agent::custody::replay::{self, Give, Which};
use mailmend_agent::custody::{Desk, HowStopped, Limits, Stopped};
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

const GOAL: f64 = 1.3;

fn main() -> Result<()> {
    // `cargo test --benches` runs this too: then once, and small.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let counts = std::env::var("MAILMEND_BENCH_FILES").unwrap_or_else(|_| {
        let counts = if bench { "100000,1000" } else { "500,10" };
        counts.to_owned()
    });
    let counts: Vec<usize> = counts
        .split(',')
        .map(|count| count.trim().parse())
        .collect::<std::result::Result<_, _>>()?;
    let rounds = match std::env::var("MAILMEND_BENCH_ROUNDS") {
        Ok(rounds) => rounds.parse()?,
        Err(_) if bench => 3,
        Err(_) => 1,
    };
    for (count, size) in counts.into_iter().zip([4 << 10, 1 << 20]) {
        measure(count, size, rounds)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Times {
    /// One thread, there and back.
    reference: Duration,
    /// Two threads, there and back.
    reference_two: Duration,
    /// Before the stop: survey, hash, check.
    survey: Duration,
    /// The service being stopped: look again, journal, move, sync.
    take: Duration,
    /// Read and compare what is held; may be done before a stop.
    check: Duration,
    /// The service being stopped: journal, link, sync.
    place: Duration,
}

impl Times {
    fn custody(&self) -> Duration {
        self.survey + self.take + self.check + self.place
    }

    fn stopped(&self) -> Duration {
        self.take + self.place
    }
}

fn measure(count: usize, size: usize, rounds: usize) -> Result<()> {
    println!("\n{count} files of {} KiB, {rounds} rounds", size >> 10);
    let base = match std::env::var_os("MAILMEND_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let root = base.path().canonicalize()?;
    let out = root.join("imcdata/Out");
    fs::create_dir_all(&out)?;
    fs::create_dir_all(root.join("aside"))?;
    // Once for all rounds: each leaves the files in the queue, and writing and removing them takes longer
    // than all that is measured.
    fill(&out, count, size)?;
    let mut all = Vec::new();
    for round in 0..rounds {
        let times = one_round(&root, count, round)?;
        println!(
            "  round {}: reference {:.2?} ({:.2?} on two threads), custody {:.2?} = survey {:.2?} + take \
             {:.2?} + check {:.2?} + place {:.2?}",
            round + 1,
            times.reference,
            times.reference_two,
            times.custody(),
            times.survey,
            times.take,
            times.check,
            times.place
        );
        all.push(times);
    }
    // Of each round, because other work on the machine slows both sides of it alike.
    let median = |of: fn(&Times) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ratio = median(|t| t.custody().as_secs_f64() / t.reference.as_secs_f64());
    let verdict = if ratio <= GOAL { "met" } else { "MISSED" };
    println!(
        "  ratio {ratio:.2} of the reference on one thread (goal at most {GOAL}: {verdict}); {:.2} of it on two \
         threads\n  {:.0} files/s there and back; service stopped for {:.2} s of it, {:.2} of the reference",
        median(|t| t.custody().as_secs_f64() / t.reference_two.as_secs_f64()),
        2.0 * count as f64 / median(|t| t.custody().as_secs_f64()),
        median(|t| t.stopped().as_secs_f64()),
        median(|t| t.stopped().as_secs_f64() / t.reference.as_secs_f64()),
    );
    Ok(())
}

fn one_round(root: &Path, count: usize, round: usize) -> Result<Times> {
    let (out, aside) = (root.join("imcdata/Out"), root.join("aside"));
    let mut times = Times::default();
    // Whoever goes first warms nothing for the other: the files were just written. Still, turns.
    let reference = |times: &mut Times| -> Result<()> {
        times.reference = time(|| there_and_back(&out, &aside, 1))?;
        times.reference_two = time(|| there_and_back(&out, &aside, 2))?;
        Ok(())
    };
    if round.is_multiple_of(2) {
        reference(&mut times)?;
        custody(root, &out, round, count, &mut times)?;
    } else {
        custody(root, &out, round, count, &mut times)?;
        reference(&mut times)?;
    }
    Ok(times)
}

fn time(act: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    act()?;
    Ok(began.elapsed())
}

fn fill(out: &Path, count: usize, size: usize) -> Result<()> {
    // As Exchange writes them: header, envelope, MTS-ID, then the text.
    let mut bytes = b"\xF7ImCr\x01\x00".to_vec();
    short(&mut bytes, "sender@contoso.example");
    bytes.extend([1, 0]);
    short(&mut bytes, "recipient@next-hop.example");
    short(&mut bytes, "c=US;a= ;p=Contoso;l=RAYDEN9711051951WKA6D6YM");
    bytes.extend(b"EwLsMessage-ID: <1@contoso.example>\r\nSubject: x\r\n\r\n");
    bytes.resize(size, b'x');
    let written = SystemTime::now() - Duration::from_secs(600);
    for number in 0..count {
        let text = format!("{number:08}");
        bytes[size - 8..].copy_from_slice(text.as_bytes());
        let path = out.join(text);
        fs::write(&path, &bytes)?;
        // Mail that is stuck is older than the clock's tick.
        fs::File::options()
            .write(true)
            .open(&path)?
            .set_modified(written)?;
    }
    Ok(())
}

/// A text of less than 256 bytes with its length before it.
fn short(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend([text.len() as u8, 0]);
    bytes.extend(text.as_bytes());
}

fn there_and_back(out: &Path, aside: &Path, threads: usize) -> Result<()> {
    reference_pass(out, aside, threads)?;
    reference_pass(aside, out, threads)
}

/// Reads, hashes and renames every file, then syncs the two folders.
fn reference_pass(from: &Path, to: &Path, threads: usize) -> Result<()> {
    let mut names: Vec<PathBuf> = fs::read_dir(from)?
        .map(|entry| entry.map(|entry| PathBuf::from(entry.file_name())))
        .collect::<std::result::Result<_, _>>()?;
    names.sort_unstable();
    let piece = names.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = names
            .chunks(piece)
            .map(|names| {
                scope.spawn(move || -> std::io::Result<()> {
                    let mut buffer = Vec::new();
                    for name in names {
                        buffer.clear();
                        fs::File::open(from.join(name))?.read_to_end(&mut buffer)?;
                        std::hint::black_box(blake3::hash(&buffer));
                        let (from, to) = (from.join(name), to.join(name));
                        renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })?;
    fs::File::open(to)?.sync_all()?;
    fs::File::open(from)?.sync_all()?;
    Ok(())
}

fn custody(root: &Path, out: &Path, round: usize, count: usize, times: &mut Times) -> Result<()> {
    let host = Machine::new();
    let journal = Journal::open(&root.join(format!("journal-{round}.db")))?;
    let run = RunId(Uuid::now_v7());
    let desk = Desk {
        host: &host,
        journal: &journal,
        run,
    };
    let admitted = Event::Admitted {
        fence: 1,
        plan: Digest::of(b"plan"),
        policy: Digest::of(b"policy"),
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

    let began = Instant::now();
    let prepared = quarantine::prepare(&desk, take)?;
    times.survey = began.elapsed();

    let began = Instant::now();
    let stopped = Stopped::prove(&host, &service, None, HowStopped::Cleanly)?;
    let taken = prepared.take(&desk, &stopped, &Silent)?;
    times.take = began.elapsed();
    assert_eq!(taken.held, count as u64, "all files are taken");

    let began = Instant::now();
    let checked = replay::check(
        &desk,
        Give {
            batch,
            step: Some(1),
            target: out.to_owned(),
            which: Which::All,
        },
    )?;
    times.check = began.elapsed();

    let began = Instant::now();
    let given = checked.place(&desk, &stopped)?;
    times.place = began.elapsed();
    assert_eq!(given.placed, count as u64, "all files are given back");
    Ok(())
}
