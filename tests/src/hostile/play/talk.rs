//! Speaking and listening: sessions that stand, end and are begun again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use mailmend_policy::plan::Server;
use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;
use prost::Message as _;
use uuid::Uuid;

use super::super::door::{Line, Said, framed};
use super::super::mind::Mind;
use super::super::place::Place;
use super::super::policies::{self, Evil};
use super::super::{refused, table};
use super::{BAD_ENDS, Drive, SESSION, Settings};
use crate::awaited;
use crate::lab_error::LabError;
use crate::programs::Programs;

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

    pub(super) fn took(&mut self, line: Line, hello: wire::Hello) {
        self.sessions += 1;
        self.mind.fence = self.mind.fence.max(hello.highest_fence);
        self.mind.seq = 0;
        self.hello = hello;
        self.line = Some(line);
    }

    /// The agent waits longer after each bad end: after some it is begun anew.
    pub(super) fn again(&mut self) -> Result<(), LabError> {
        self.place.keep()?;
        if self.bad_ends < BAD_ENDS {
            return Ok(());
        }
        self.bad_ends = 0;
        self.lives += 1;
        if !self.place.begin_anew()? {
            return Err(refused("end the agent in order", self.place.agent.said()));
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
            return Err(refused(
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
}
