//! Power cuts on a real ext4: the agent's own custody and journal work on a loop device, which is shut down
//! without its log being flushed, as if the power had failed; then it is mounted again and recovered.
//!
//! Each life is a process of its own ([`life`]), which cuts its own power at a chosen call or after a chosen
//! time and ends at once. What this process then finds on the remounted file system (`check`) must balance,
//! and every journal record that the life knew to be durable must be there.

mod check;
mod host;
pub mod life;
mod shutdown;
mod volume;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::getuid;

use self::life::{Cut, Ground};
use self::volume::Volume;
use crate::lab_error::{Attempting, LabError};

/// The most messages in a queue.
const MESSAGES: u64 = 8;

/// How often, and from which seed on.
#[derive(Debug, Clone, Copy)]
pub struct PowerCuts {
    /// How many times the power fails.
    pub cuts: u32,
    /// Which messages there are, and where it fails.
    pub seed: u64,
}

/// Why the power cannot be cut here; `None` where it can.
#[must_use]
pub fn impossible() -> Option<String> {
    if !getuid().is_root() {
        return Some("this account is not root, and loop devices cannot be mounted".into());
    }
    let tried = private(["true"]).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        return Some("this account may not have a mount namespace of its own".into());
    }
    let Ok(folder) = place() else {
        return Some("no folder for a disk image can be made".into());
    };
    match Volume::make(folder.path()).and_then(|mut volume| volume.mount()) {
        Ok(()) => None,
        Err(error) => Some(format!("no ext4 can be mounted: {}", error.whole())),
    }
}

/// A command in a mount namespace of its own, so that nothing stays mounted whatever happens to it.
fn private<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.args(arguments);
    command
}

/// Runs itself in a mount namespace of its own.
///
/// # Errors
/// Where it cannot be started.
pub fn apart(cuts: PowerCuts) -> Result<bool, LabError> {
    let program = std::env::current_exe().attempting(|| "find this program".into())?;
    let mut command = private([program]);
    command
        .args(["power-cuts", "--inside", "--cuts", &cuts.cuts.to_string()])
        .args(["--seed", &cuts.seed.to_string()]);
    let status = command
        .status()
        .attempting(|| "run `unshare --mount`".into())?;
    Ok(status.success())
}

/// A folder in memory where there is one: what is tried is the file system, not the disk under it.
fn place() -> Result<tempfile::TempDir, LabError> {
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.attempting(|| "make a folder for a disk image".into())
}

/// Cuts the power so often and prints what was found. Returns whether everything balanced.
///
/// # Errors
/// Where the lab's own machinery fails.
pub fn run(cuts: PowerCuts) -> Result<bool, LabError> {
    let begun = Instant::now();
    let folder = place()?;
    let mut volume = Volume::make(folder.path())?;
    let mut rng = fastrand::Rng::with_seed(cuts.seed);
    let mut wrong = 0;
    let mut tally = Tally::default();
    let mut lengths = Vec::new();
    for messages in 1..=MESSAGES {
        lengths.push(undisturbed(&mut volume, messages)?);
    }
    for number in 0..cuts.cuts {
        let at = rng.usize(..lengths.len());
        let messages = at as u64 + 1;
        let length = lengths[at];
        volume.renew()?;
        volume.mount()?;
        let ground = Ground::at(volume.top());
        ground.lay_out(messages, cuts.seed + u64::from(number))?;
        let mut told = String::new();
        let mut known = 0;
        // Every fourth time the life that mends is cut short too.
        for round in 0..if number % 4 == 3 { 2 } else { 1 } {
            let cut = if number % 3 == 2 {
                Cut::After(Duration::from_micros(rng.u64(..length.micros)))
            } else {
                Cut::At(1 + rng.u64(..length.points))
            };
            known = known.max(ground.live(cut)?);
            let then = if round > 0 { ", then " } else { "" };
            let _ = write!(told, "{then}{cut:?}");
            volume.unmount()?;
            volume.mount()?;
            tally.cuts += 1;
        }
        let found = ground.recover_and_check(messages, cuts.seed + u64::from(number), known);
        match found {
            Ok(found) => tally.add(found),
            Err(why) => {
                eprintln!("cut {number} of {messages} messages ({told}): {why}");
                wrong += 1;
            }
        }
        volume.unmount()?;
        if number % 20 == 0 {
            volume.check()?;
        }
    }
    println!(
        "{} power cuts of an ext4 in {} worlds (seed {}): {} messages, {} journal records known to be durable, all there; \
         {} found under way, {} in doubt; {wrong} wrong; {:.0} s",
        tally.cuts,
        tally.worlds,
        cuts.seed,
        tally.messages,
        tally.known,
        tally.under_way,
        tally.in_doubt,
        begun.elapsed().as_secs_f32()
    );
    Ok(wrong == 0)
}

/// How long a life that nothing disturbs is.
#[derive(Debug, Clone, Copy)]
struct Length {
    points: u64,
    micros: u64,
}

fn undisturbed(volume: &mut Volume, messages: u64) -> Result<Length, LabError> {
    volume.renew()?;
    volume.mount()?;
    let ground = Ground::at(volume.top());
    ground.lay_out(messages, 0)?;
    let begun = Instant::now();
    let points = ground.live_to_the_end()?;
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    volume.unmount()?;
    Ok(Length {
        points: points.max(1),
        micros: micros.max(1),
    })
}

/// What was found over all cuts.
#[derive(Debug, Default)]
struct Tally {
    cuts: u32,
    worlds: u32,
    messages: u64,
    known: u64,
    under_way: u32,
    in_doubt: u64,
}

impl Tally {
    fn add(&mut self, found: check::Found) {
        self.worlds += 1;
        self.messages += found.messages;
        self.known += found.known;
        self.under_way += u32::from(found.under_way);
        self.in_doubt += found.in_doubt;
    }
}
