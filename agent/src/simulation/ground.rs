//! The ground under a simulated agent: its machine and its journal's rows, which survive it, with the times at
//! which its records were written.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailmend_policy::name::{ServerName, ServiceName};
use mailmend_proto::run::{Event, RunId};
use mailmend_proto::wire;
use uuid::Uuid;

use super::invariants::{self, Kept, Memory};
use super::symptom::{self, Beginning, IMC};
use crate::engine::Engine;
use crate::guard::Guard;
use crate::host::simulated::{Crash, ServiceFaults, SimWorld};
use crate::journal::{Journal, JournalError, MemoryJournal};

/// How long after its machine's start the agent has seen all that services did before it could look: they do
/// it within seconds, and an agent that was killed in between is back by then and has looked again.
const SEEN: Duration = Duration::from_secs(900);

/// A machine and a journal.
pub(super) struct Ground {
    pub(super) world: SimWorld,
    pub(super) storage: MemoryJournal,
    pub(super) guard: Arc<Guard>,
    /// When the machine came to be, in the time of the simulation.
    born_ms: i64,
    /// When each record was written, as time since the world began.
    written: Arc<Mutex<Vec<u64>>>,
    service: ServiceName,
    memory: Memory,
    /// How many records were judged.
    judged: u64,
    /// When services were started, as time since the world began.
    starts: Vec<u64>,
    sections: Vec<wire::SimulatedSection>,
    /// How long the agent was dead since the service went down.
    pub(super) dead: Duration,
    broken: Vec<String>,
}

impl Ground {
    pub(super) fn new(
        of: &wire::SimulatedServer,
        seed: u64,
        born_ms: i64,
        broken: &[String],
    ) -> Self {
        let world = symptom::server(&Beginning {
            seed,
            symptom: of.symptom.clone(),
            messages: of.messages,
            slowness: of.slowness,
        });
        let elapsed = i64::try_from(world.elapsed().as_millis()).unwrap_or(0);
        world.forget_outage();
        let ground = Self {
            world,
            storage: MemoryJournal::new(journal(seed)),
            guard: Arc::new(symptom::guard(
                of.fault() != wire::SimulatedFault::Guard,
                of.symptom != "corrupt-message",
            )),
            born_ms: born_ms - elapsed,
            written: Arc::default(),
            service: match IMC.parse() {
                Ok(name) => name,
                Err(_) => unreachable!("it is a name"),
            },
            memory: Memory::default(),
            judged: 0,
            starts: Vec::new(),
            sections: Vec::new(),
            dead: Duration::ZERO,
            broken: broken.to_vec(),
        };
        ground.spoil(of.fault());
        ground
    }

    fn spoil(&self, fault: wire::SimulatedFault) {
        use wire::SimulatedFault as Fault;
        let service = |faults| self.world.set_faults(IMC, faults);
        match fault {
            Fault::Unspecified | Fault::Guard => {}
            Fault::StopRefused => service(ServiceFaults {
                refuses_stop: true,
                ..Default::default()
            }),
            Fault::StopLies => service(ServiceFaults {
                lies_stopped: true,
                ..Default::default()
            }),
            Fault::StartFlaps => service(ServiceFaults {
                dies_after: vec![700; 3],
                ..Default::default()
            }),
            Fault::StartFails => service(ServiceFaults {
                dies_after: vec![700; 10_000],
                ..Default::default()
            }),
            Fault::DiskFull => self.world.set_free_bytes(1000),
            Fault::Events => self.world.set_events_unreadable(true),
            Fault::Tools => {
                for tool in [
                    "recalculate",
                    "submit",
                    "imcsave",
                    "save-mtadata",
                    "list-mts-out",
                ] {
                    self.world.set_tool_answer(tool, 1, "it failed\n");
                }
            }
            Fault::Journal => self.storage.fail_append(9),
        }
    }

    /// Whatever was to go wrong does not go wrong any more.
    pub(super) fn heal(&self) {
        self.world.set_faults(IMC, ServiceFaults::default());
        self.world.set_free_bytes(1 << 30);
        self.world.set_events_unreadable(false);
    }

    /// What has passed on the machine at a time of the simulation.
    pub(super) fn since_birth(&self, now_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(now_ms.saturating_sub(self.born_ms)).unwrap_or(0))
    }

    /// The time of the simulation that the machine's clock has reached: ahead while a step takes its time.
    pub(super) fn reached_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.world.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.born_ms.saturating_add(elapsed)
    }

    /// Lets the machine go on until now.
    pub(super) fn catch_up(&self, now_ms: i64) {
        let behind = self
            .since_birth(now_ms)
            .saturating_sub(self.world.elapsed());
        if !behind.is_zero() {
            self.world.advance(behind);
        }
    }

    /// A new life of the agent.
    pub(super) fn engine(&self, name: &ServerName) -> Result<Engine, JournalError> {
        let host = Arc::new(self.world.host());
        let (switch, world, rows) = (
            self.world.kill_switch(),
            self.world.clone(),
            self.storage.clone(),
        );
        let written = Arc::clone(&self.written);
        let hook = Arc::new(move |what: &'static str| {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            let elapsed = u64::try_from(world.elapsed().as_millis()).unwrap_or(u64::MAX);
            let head = usize::try_from(rows.head()).unwrap_or(usize::MAX);
            written.resize(head, elapsed);
            drop(written);
            switch.point(what);
        });
        let journal = Journal::memory(&self.storage.clone().with_hook(hook))?;
        Engine::by_hand(host, journal, Arc::clone(&self.guard), name.clone())
    }

    /// The last record that was written by now.
    pub(super) fn head_at(&self, now_ms: i64) -> u64 {
        let now = u64::try_from(self.since_birth(now_ms).as_millis()).unwrap_or(u64::MAX);
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.partition_point(|at| *at <= now) as u64
    }

    /// When the record after this one was written, in the time of the simulation.
    pub(super) fn written_ms(&self, after: u64) -> Option<i64> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let at = written.get(usize::try_from(after).ok()?)?;
        Some(
            self.born_ms
                .saturating_add(i64::try_from(*at).unwrap_or(i64::MAX)),
        )
    }

    pub(super) fn crash(&mut self, power: bool) {
        self.world
            .crash(if power { Crash::Power } else { Crash::Process });
        self.world.dies_at(None);
    }

    /// Whether the machine started a short while ago, and the agent may not have seen yet what its services
    /// did before it could look.
    pub(super) fn has_just_started(&self) -> bool {
        Duration::from_millis(self.world.uptime_ms()) < SEEN
    }

    /// Holds the machine against what its journal says.
    pub(super) fn judge(&mut self, journal: &Journal, resting: bool) -> Vec<String> {
        let mut found = Vec::new();
        let records = journal.after(self.judged, usize::MAX).unwrap_or_default();
        for record in &records {
            let before = self.memory.starts;
            let written_ms = self.written_ms(record.seq - 1).unwrap_or(0);
            match &record.event {
                Event::SectionBegan { .. } => self.sections.push(wire::SimulatedSection {
                    from_ms: written_ms,
                    to_ms: 0,
                }),
                Event::SectionEnded { .. } => {
                    let open = self.sections.iter_mut().rev().find(|one| one.to_ms == 0);
                    if let Some(open) = open {
                        open.to_ms = written_ms;
                    }
                }
                _ => {}
            }
            self.memory.take(record, &self.service, &mut found);
            if self.memory.starts > before {
                self.starts
                    .push(u64::try_from(written_ms - self.born_ms).unwrap_or(0));
            }
            self.judged = record.seq;
        }
        self.memory.replays(&mut found);
        let last = self.starts.last().copied().unwrap_or(0);
        let within = self
            .starts
            .iter()
            .rev()
            .take_while(|at| last - **at < 3_600_000);
        let used = u32::try_from(within.count()).unwrap_or(u32::MAX);
        invariants::restarts(used, self.guard.limits().restarts_per_hour, &mut found);
        let outage = self.world.outage();
        let down = outage
            .since
            .map(|since| self.world.elapsed().saturating_sub(since));
        if down.is_none() {
            self.dead = Duration::ZERO;
        }
        self.memory.service(down, self.dead, &mut found);
        let mut balance = self.world.balance();
        for way in &self.broken {
            match way.as_str() {
                "lose-mail" => {
                    for account in &mut balance.accounts {
                        account.live.clear();
                        account.elsewhere.clear();
                        account.in_mts_out = false;
                    }
                }
                "deliver-twice" => balance
                    .accounts
                    .iter_mut()
                    .for_each(|one| one.delivered *= 2),
                _ => {}
            }
        }
        let kept = self.kept(journal);
        invariants::conservation(
            &balance,
            &kept,
            &self.memory.named,
            !self.has_just_started(),
            &mut found,
        );
        if resting && !self.has_just_started() && !self.memory.in_section() {
            invariants::custody(&balance, &kept, &self.memory.named, &mut found);
        }
        if self.world.strangers_sent() > 0 {
            found.push("I1: a file was sent that is no message".to_owned());
        }
        found
    }

    fn kept(&self, journal: &Journal) -> Kept {
        let mut kept = Kept::new();
        for run in journal.runs() {
            let Ok(Some(state)) = journal.state(run) else {
                continue;
            };
            for entry in state.batches.values().flat_map(|batch| &batch.entries) {
                kept.entry(entry.name.clone())
                    .or_default()
                    .push(entry.custody);
            }
        }
        kept
    }

    /// How the machine is.
    pub(super) fn state(&self, open: &[RunId]) -> wire::SimulatedState {
        let outage = self.world.outage();
        let balance = self.world.balance();
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        wire::SimulatedState {
            service_up: self.world.is_running(IMC),
            outage_ms: ms(outage.total),
            longest_outage_ms: ms(outage.longest),
            in_section: self.memory.in_section(),
            settled: open.is_empty(),
            messages: balance.accounts.len() as u64,
            delivered: balance
                .accounts
                .iter()
                .filter(|one| one.delivered > 0)
                .count() as u64,
            duplicates: balance.duplicated().len() as u64,
            broken: Vec::new(),
            restarts: self.memory.starts,
            deaths: 0,
            fence: self.memory.fence(),
            sections: self.sections.clone(),
        }
    }
}

/// The id of a server's journal.
pub(super) fn journal(seed: u64) -> Uuid {
    Uuid::from_u64_pair(0x51B0_0000_0000_7000, seed)
}
