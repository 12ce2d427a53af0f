//! One play: a hostile controller drives an agent for as many actions as it was told, all of them from a seed, then falls
//! silent; what came of it is judged.

mod acts;
mod talk;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use mailmend_proto::wire;

use super::door::Line;
use super::mind::Mind;
use super::place::{CLOCK, NARROW, Place, Width};
use super::verdict::{self, Counts, Course, against};
use crate::awaited;
use crate::ims;
use crate::lab_error::LabError;
use crate::programs::Programs;

/// How long a session may take to come.
const SESSION: Duration = Duration::from_secs(120);
/// So often sessions may end badly before the agent is begun anew: it waits longer each time.
const BAD_ENDS: usize = 3;
/// How long service may take to come back once nobody speaks any more: the longest outage that a policy here declares is
/// ten minutes of the lab's time.
const SILENCE: Duration = Duration::from_secs(60);

/// What a play is to be.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// All of it follows from this.
    pub seed: u64,
    /// How often something is done.
    pub actions: usize,
    /// How wide the guard file is.
    pub width: Width,
}

/// What came of a play.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What speaks against the agent; empty: it did what it may.
    pub against: Vec<String>,
    /// How many messages and pieces of messages were said.
    pub said: usize,
    /// How many sessions there were.
    pub sessions: usize,
    /// How often the agent answered what: `taken`, or a code.
    pub answers: BTreeMap<String, usize>,
    /// How many runs were taken on.
    pub runs: usize,
    /// How often the mail service was started.
    pub starts: usize,
    /// How often the mail service was stopped.
    pub stops: usize,
    /// How often tools were called.
    pub calls: usize,
    /// How many files lie in folders of held mail.
    pub held: u64,
    /// The most resident memory of the agent, mebibytes.
    pub memory_mib: u64,
}

/// A play under way.
pub struct Drive {
    /// Where it is played.
    pub place: Place,
    /// What was learned.
    pub mind: Mind,
    rng: Rng,
    line: Option<Line>,
    hello: wire::Hello,
    said: usize,
    sessions: usize,
    bad_ends: usize,
    lives: usize,
    begun: Instant,
}

/// Plays in a folder that is there and empty.
///
/// # Errors
/// Where the lab itself fails; what the agent did wrong is in the outcome.
pub fn play(folder: &Path, settings: Settings, programs: &Programs) -> Result<Outcome, LabError> {
    let mut drive = Drive::begin(folder, settings, programs)?;
    for _ in 0..settings.actions {
        drive.act()?;
    }
    drive.finish(settings.seed)
}

impl Drive {
    /// Says nothing any more, waits until service has come back, and judges.
    ///
    /// # Errors
    /// Where the lab fails.
    pub fn finish(mut self, seed: u64) -> Result<Outcome, LabError> {
        self.connected()?;
        self.listen(Duration::from_secs(1));
        let silent = Instant::now();
        awaited::until(SILENCE, || {
            self.listen(Duration::from_millis(200));
            let settled = silent.elapsed() > Duration::from_secs(3);
            settled && self.place.server().ims_runs() && !self.in_section()
        });
        let lab_time = self.begun.elapsed() * CLOCK.0;
        let hours = 1 + usize::try_from(lab_time.as_secs() / 3600).unwrap_or(usize::MAX);
        let alarm = !self.mind.alarms.is_empty();
        let mut found = against(
            &self.place,
            Course {
                numbers: NARROW,
                hours,
                lives: self.lives,
                words: &self.mind.words,
                alarm,
            },
        )?;
        let history = self.place.history()?;
        let Counts { starts, stops } = verdict::counts(&history, ims::SERVICE);
        let batches = verdict::batches(&self.place.server().dir.held())?;
        let memory_mib = self.place.eye.memory() >> 20;
        if !self.place.end() {
            found.push("it did not end when it was told to".to_owned());
        }
        // Also what it did while it ended.
        for late in self.place.differences()? {
            if !found.contains(&late) {
                found.push(late);
            }
        }
        Ok(Outcome {
            seed,
            against: found,
            said: self.said,
            sessions: self.sessions,
            answers: std::mem::take(&mut self.mind.answers),
            runs: self.mind.runs.len(),
            starts,
            stops,
            calls: self.place.calls().len(),
            held: batches.iter().map(|(_, files, _)| files).sum(),
            memory_mib,
        })
    }

    /// Whether the mail service is on its way down or up.
    fn in_section(&self) -> bool {
        let before = self.place.history().map(|all| all.len());
        // A service that is on its way changes state within this time.
        std::thread::sleep(Duration::from_millis(500));
        let after = self.place.history().map(|all| all.len());
        !matches!((before, after), (Ok(before), Ok(after)) if before == after)
    }
}
