//! One play: a hostile controller drives an agent for as many actions as it was told, all of them from a seed, then falls
//! silent; what came of it is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use mailmend_policy::plan::Server;
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use mailmend_proto::wire::to_agent::Message;
use prost::Message as _;
use uuid::Uuid;

use super::door::{Line, Said, framed};
use super::mind::Mind;
use super::place::{CLOCK, NARROW, Place, Width};
use super::policies::{self, Evil};
use super::table::{self, Honest};
use super::verdict::{self, Counts, Course, against};
use crate::awaited;
use crate::ims;
use crate::lab_error::LabError;
use crate::programs::Programs;
use crate::server_dir::spooled;

/// How long a session may take to come.
const SESSION: Duration = Duration::from_secs(45);
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
    /// Builds the place and waits for the first session.
    ///
    /// # Errors
    /// Where something does not start.
    pub fn begin(folder: &Path, settings: Settings, programs: &Programs) -> Result<Self, LabError> {
        let place = Place::build(folder, programs, settings.seed, settings.width)?;
        let mut drive = Self {
            place,
            mind: Mind::default(),
            rng: Rng::with_seed(settings.seed),
            line: None,
            hello: wire::Hello::default(),
            said: 0,
            sessions: 0,
            bad_ends: 0,
            lives: 1,
            begun: Instant::now(),
        };
        drive.connected()?;
        Ok(drive)
    }

    /// Waits until a session stands, where none does.
    ///
    /// # Errors
    /// Where none comes: the agent is gone, or gave up.
    pub fn connected(&mut self) -> Result<(), LabError> {
        if self.line.as_ref().is_some_and(|line| !line.is_over()) {
            return Ok(());
        }
        self.line = None;
        self.again()?;
        let (line, hello) = self.place.controller.welcomed(SESSION)?;
        self.took(line, hello);
        Ok(())
    }

    /// Whether no session stands.
    #[must_use]
    pub fn line_is_over(&self) -> bool {
        self.line.as_ref().is_none_or(Line::is_over)
    }

    /// Breaks the session off.
    pub fn drop_line(&mut self) {
        self.put(Said::Break);
        self.bad_ends += 1;
        self.left();
    }

    /// Waits until the agent has left the session, as it must after this.
    ///
    /// # Panics
    /// Where it stays.
    pub fn ends(&mut self, what: &str) {
        self.bad_ends += 1;
        if let Some(line) = self.line.take() {
            let over = awaited::until(SESSION, || line.is_over());
            assert!(over.is_some(), "the session goes on after {what}");
        }
    }

    /// Begins the next session with this message.
    ///
    /// # Errors
    /// Where none comes.
    pub fn begin_with(&mut self, message: Message) -> Result<(), LabError> {
        self.again()?;
        let (line, hello) = self.place.controller.session(SESSION)?;
        line.say(message);
        self.said += 1;
        self.took(line, hello);
        Ok(())
    }

    /// As [`Self::say`], and gives up after `limit`.
    pub fn say_at_most(&mut self, message: Message, limit: Duration) {
        let whole = wire::ToAgent {
            message: Some(message),
        };
        if let Some(line) = &self.line {
            line.put(Said::Bytes(framed(&whole.encode_to_vec())), limit);
            self.said += 1;
        }
    }

    fn took(&mut self, line: Line, hello: wire::Hello) {
        self.sessions += 1;
        self.mind.fence = self.mind.fence.max(hello.highest_fence);
        self.mind.seq = 0;
        self.hello = hello;
        self.line = Some(line);
    }

    /// The agent waits longer after each bad end: after some it is begun anew.
    fn again(&mut self) -> Result<(), LabError> {
        self.place.keep()?;
        if self.bad_ends < BAD_ENDS {
            return Ok(());
        }
        self.bad_ends = 0;
        self.lives += 1;
        if !self.place.begin_anew()? {
            return Err(super::refused(
                "end the agent in order",
                self.place.agent.said(),
            ));
        }
        Ok(())
    }

    /// Says a message, and takes in what comes.
    pub fn say(&mut self, message: Message) {
        if let Some(line) = &self.line {
            line.say(message);
            self.said += 1;
        }
        self.listen(Duration::ZERO);
    }

    /// Says a row of the table. What is not the row's own field is right at this moment: an assignment is of a new run
    /// under a new grant.
    pub fn say_row(&mut self, row: table::Row) {
        let mut message = row.message;
        match &mut message {
            Message::Assignment(assignment) => {
                if row.what != "assignment.fence" {
                    assignment.fence = self.mind.bump();
                }
                if row.what != "assignment.run" {
                    assignment.run = Uuid::now_v7().to_string();
                }
            }
            Message::Advance(wire::Advance { fence, .. })
            | Message::Unwind(wire::Unwind { fence, .. })
            | Message::Fence(wire::Fence { fence, .. })
                if !row.what.ends_with(".fence") =>
            {
                *fence = self.mind.fence;
            }
            Message::Order(order) if row.what != "order.fence" => order.fence = self.mind.bump(),
            _ => {}
        }
        self.say(message);
    }

    /// Puts bytes on the stream.
    pub fn put(&mut self, said: Said) {
        if let Some(line) = &self.line {
            line.put(said, Duration::from_secs(10));
            self.said += 1;
        }
    }

    /// Takes in what comes within `limit`, and acknowledges it as an honest controller does.
    pub fn listen(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        let Some(line) = self.line.take() else {
            return;
        };
        let before = self.mind.seq;
        while let Some(heard) = line.heard(until.saturating_duration_since(Instant::now())) {
            self.mind.hear(heard);
        }
        if self.mind.seq > before {
            let seq = self.mind.seq;
            line.say(Message::Acknowledge(wire::Acknowledge { seq }));
        }
        self.line = Some(line);
    }

    /// The servers of an assignment: the agent's own as it reports itself.
    #[must_use]
    pub fn servers(&self) -> Vec<Server> {
        let server = self.place.server();
        let mut labels: BTreeMap<String, String> = self.hello.facts.clone();
        labels
            .entry("exchange.version".to_owned())
            .or_insert_with(|| "5.0.1458.49".to_owned());
        let one = Server {
            name: match server.name.parse() {
                Ok(name) => name,
                Err(_) => return Vec::new(),
            },
            site: match server.site.parse() {
                Ok(site) => site,
                Err(_) => return Vec::new(),
            },
            labels,
            actions: self.hello.actions.iter().cloned().collect::<BTreeSet<_>>(),
        };
        vec![one]
    }

    /// Asks for a policy, as an honest controller would. The run's id.
    pub fn assign(&mut self, evil: &Evil) -> String {
        let run = Uuid::now_v7().to_string();
        let fence = self.mind.bump();
        let name = self.place.server().name.clone();
        let (assignment, steps) =
            policies::assignment(&run, fence, &evil.text, &self.servers(), &name);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.mind.asked.insert(run.clone(), steps);
        self.say(Message::Assignment(assignment));
        run
    }

    /// Asks for a policy and waits for the answer: whether it was taken on.
    ///
    /// # Errors
    /// Where no answer comes.
    pub fn assigned(&mut self, evil: &Evil) -> Result<bool, LabError> {
        let run = self.assign(evil);
        let answered = awaited::until(SESSION, || {
            self.listen(Duration::from_millis(50));
            !self.mind.asked.contains_key(&run)
        });
        if answered.is_none() {
            return Err(super::refused(
                "hear whether a run is taken on",
                self.place.agent.said(),
            ));
        }
        Ok(self.mind.runs.iter().any(|one| one.id == run))
    }

    /// Releases all of the newest run.
    pub fn release_all(&mut self) {
        let fence = self.mind.fence;
        let Some(run) = self.mind.runs.back().cloned() else {
            return;
        };
        self.say(Message::Advance(wire::Advance {
            run: run.id,
            fence,
            through: run.steps,
        }));
    }

    /// What an honest controller would say now.
    #[must_use]
    pub fn honest(&mut self) -> Honest {
        let evil = policies::of_kind("churn", &mut self.rng);
        let text = evil.map(|evil| evil.text).unwrap_or_default();
        let fence = self.mind.fence;
        let name = self.place.server().name.clone();
        let (assignment, _) = policies::assignment(
            &Uuid::now_v7().to_string(),
            fence,
            &text,
            &self.servers(),
            &name,
        );
        let (run, batch) = self.some_batch();
        Honest {
            run,
            fence,
            batch,
            order: Uuid::now_v7().to_string(),
            seq: self.mind.seq,
            assignment,
        }
    }

    /// A run, and a batch that may be of another.
    fn some_batch(&mut self) -> (String, String) {
        let run = match self.mind.runs.len() {
            0 => Uuid::now_v7().to_string(),
            count => self.mind.runs[self.rng.usize(..count)].id.clone(),
        };
        let batch = match self.mind.batches.len() {
            0 => Uuid::now_v7().to_string(),
            count => self.mind.batches[self.rng.usize(..count)].clone().1,
        };
        (run, batch)
    }

    /// Does one thing.
    ///
    /// # Errors
    /// Where the lab fails, or no session comes any more.
    pub fn act(&mut self) -> Result<(), LabError> {
        self.connected()?;
        match self.rng.u32(..100) {
            0..25 => {
                let evil = policies::next(&mut self.rng);
                self.assign(&evil);
                self.listen(Duration::from_millis(20));
                self.release_all();
            }
            25..40 => self.steer(),
            40..60 => {
                let honest = self.honest();
                let mut messages = table::honest(&honest);
                let message = messages.swap_remove(self.rng.usize(..messages.len()));
                let mut rows = table::abused(message);
                rows.retain(|row| !row.ends);
                if !rows.is_empty() {
                    let row = rows.swap_remove(self.rng.usize(..rows.len()));
                    self.say_row(row);
                }
            }
            60..72 => self.order(),
            72..77 => {
                let immunity = self.everything();
                self.say(Message::Immunity(immunity));
            }
            77..80 => {
                let honest = self.honest();
                self.say(Message::Audit(wire::AuditRequest {
                    id: honest.order,
                    run: String::new(),
                }));
            }
            80..84 => self.place.more_mail(4)?,
            84..86 => self.spoil()?,
            _ => self.listen(Duration::from_millis(100)),
        }
        Ok(())
    }

    /// Advances, unwinds and fences runs that are known, closed or never were, in any order.
    fn steer(&mut self) {
        let (run, _) = self.some_batch();
        let run = if self.rng.u32(..8) == 0 {
            Uuid::now_v7().to_string()
        } else {
            run
        };
        let fence = match self.rng.u32(..6) {
            0 => self.mind.fence.saturating_sub(1),
            1 => self.mind.bump(),
            2 => u64::MAX,
            _ => self.mind.fence,
        };
        let number = match self.rng.u32(..4) {
            0 => u32::MAX,
            1 => 0,
            _ => self.rng.u32(..30),
        };
        let last = self.rng.bool();
        let message = match self.rng.u32(..5) {
            0 | 1 => Message::Advance(wire::Advance {
                run,
                fence,
                through: number,
            }),
            2 | 3 => Message::Unwind(wire::Unwind {
                run,
                fence,
                down_to: number,
                last,
            }),
            _ => Message::Fence(wire::Fence { run, fence }),
        };
        self.say(message);
    }

    /// A person's word that no person gave.
    fn order(&mut self) {
        let (run, batch) = self.some_batch();
        let what = match self.rng.u32(..6) {
            0 => What::Answer(wire::AnswerTask {
                step: self.rng.u32(..10),
                answer: "look".to_owned(),
            }),
            1 | 2 => What::Release(wire::Release {
                batch: if self.rng.bool() {
                    batch
                } else {
                    String::new()
                },
                fingerprint: String::new(),
            }),
            3 => What::Settle(wire::Settle {
                batch,
                entries: vec![wire::Range { first: 0, last: 5 }],
                custody: self.rng.i32(0..8),
            }),
            4 => What::Recover(wire::Recover {
                messages: Vec::new(),
            }),
            _ => What::Immunize(wire::Immunize { batch, entry: 0 }),
        };
        let order = wire::Order {
            id: Uuid::now_v7().to_string(),
            run,
            by: "admin".to_owned(),
            why: "nobody said so".to_owned(),
            what: Some(what),
            fence: self.mind.bump(),
        };
        // The same twice, as after a connection that broke.
        self.say(Message::Order(order.clone()));
        self.say(Message::Order(order));
    }

    /// The fingerprints of everything that lies in the queues, as true as those of real poison.
    #[must_use]
    pub fn everything(&mut self) -> wire::Immunity {
        let server = self.place.server();
        let mut fingerprints = Vec::new();
        for folder in [server.dir.inbound(), server.dir.outbound()] {
            for file in spooled(&folder).unwrap_or_default() {
                // What was sent meanwhile is not there any more.
                let Ok(bytes) = fs::read(folder.join(file.name.as_str())) else {
                    continue;
                };
                fingerprints.push(wire::Fingerprint {
                    id: Uuid::now_v7().to_string(),
                    hash: blake3::hash(&bytes).as_bytes().to_vec(),
                    size: bytes.len() as u64,
                    body: Vec::new(),
                    body_bytes: 0,
                    message_id: String::new(),
                    provenance: "a search on another server".to_owned(),
                });
            }
        }
        wire::Immunity {
            generation: self.rng.u64(..),
            fingerprints,
            in_hand: false,
        }
    }

    /// Says what ends a session.
    fn spoil(&mut self) -> Result<(), LabError> {
        match self.rng.u32(..5) {
            0 => {
                let mut welcomes = table::welcomes();
                let row = welcomes.swap_remove(self.rng.usize(..welcomes.len()));
                self.put(Said::Break);
                self.line = None;
                self.bad_ends += 1;
                self.again()?;
                let (line, _) = self.place.controller.session(SESSION)?;
                line.say(row.message);
                self.said += 1;
                self.sessions += 1;
            }
            1 => {
                let status = self.rng.u8(..20);
                self.put(Said::End(status));
            }
            2 => {
                // It closes in the middle of a message.
                self.put(Said::Bytes(vec![0, 0, 0, 1, 0, 0x0a]));
                self.put(Said::Break);
            }
            3 => {
                let seq = u64::MAX;
                self.say(Message::Acknowledge(wire::Acknowledge { seq }));
            }
            _ => {
                let mut broken = table::broken();
                let (_, bytes) = broken.swap_remove(self.rng.usize(..broken.len()));
                self.put(Said::Bytes(bytes));
                self.put(Said::Bytes(framed(&[])));
            }
        }
        self.bad_ends += 1;
        self.left();
        Ok(())
    }

    /// Waits until the agent has left the session.
    fn left(&mut self) {
        if let Some(line) = self.line.take() {
            awaited::until(Duration::from_secs(10), || line.is_over());
        }
    }

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
        std::thread::sleep(Duration::from_millis(500));
        let after = self.place.history().map(|all| all.len());
        !matches!((before, after), (Ok(before), Ok(after)) if before == after)
    }
}
