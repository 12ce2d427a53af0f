//! Releasing: held mail of a closed run is given back on a person's word.
//!
//! In a section of its own, like everything that disturbs service: stopped and proven stopped, what may have
//! been sent set aside, the held files placed by the ordinary ledgered replay, the index set aside, started
//! and watched. What is in doubt, gone or poison is never given back. The state of the journal says what
//! comes next, so recovery is the ordinary path; the dead man's switch ends the section as it ends any.

mod gate;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_policy::plan::Plan;
use mailmend_policy::step::IfStillRunning;
use mailmend_proto::run::{Batch, BatchId, Custody, Ended, Event, RunId, RunState, SectionEnd};

use crate::custody::replay::{Checked, Give, Which, check};
use crate::custody::{CustodyError, Desk, copies, index};
use crate::faults::known;
use crate::host::{ServiceState, Uptime};
use crate::immunity;
use crate::journal::JournalError;
use crate::queue::QueueCare;
use crate::runner::{
    ExitReason, Rest, Runner, budget_over, closing, exit_due, millis, service_up, take_exit,
};
use crate::service::{Care, Start};
use crate::station::{Station, Trouble};
use crate::step::{await_evidence, how_to_stop};

pub(crate) use gate::{beside, refusal, refused_service};

/// How long service may be disturbed, where the run has no policy that says it: a duty.
const BUDGET: Duration = Duration::from_secs(600);

/// How long the service is watched before the start counts: longer than an exit's, because of what it reads.
const OBSERVE: Duration = Duration::from_secs(30);

/// How long the release waits for evidence of delivery; what comes later is settled in passing.
const SETTLE_FOR: Duration = Duration::from_secs(600);

/// A release on this server. It needs no plan: a duty has none, and a run's may be of an older version.
pub(crate) struct Release<'a> {
    station: &'a Station,
    run: RunId,
    plan: Option<Plan>,
}

/// What a release does next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Move {
    /// Take up the copies in escrow that a person wants given back.
    TakeUp,
    /// Look whether it may be done, read the held files, open the section and give back.
    Begin,
    /// Go on in the open section.
    GiveBack,
    /// Leave the open section: service up.
    Exit,
    /// Wait for evidence of what was given back, and close.
    Settle,
    /// The section was left: close.
    Failed,
    /// Nothing: there is no release.
    Over,
}

/// What comes next, from the journal alone.
fn next_move(state: &RunState, now: &Uptime) -> Move {
    let Some(release) = &state.release else {
        return Move::Over;
    };
    match (&state.section, release.section) {
        (Some(open), _) if budget_over(open, now) => Move::Exit,
        (Some(_), _) => Move::GiveBack,
        (None, None) if to_take_up(state).next().is_some() => Move::TakeUp,
        (None, None) => Move::Begin,
        (None, Some(SectionEnd::Committed)) => Move::Settle,
        (None, Some(SectionEnd::Exited | SectionEnd::HandedOver)) => Move::Failed,
    }
}

/// The batches that a release is about: these, or all.
fn scope(state: &RunState, only: Option<&[BatchId]>) -> Vec<BatchId> {
    let wanted = |id: &&BatchId| only.is_none_or(|only| only.contains(id));
    state.batches.keys().filter(wanted).copied().collect()
}

/// The batches of copies that are not taken up yet.
fn to_take_up(state: &RunState) -> impl Iterator<Item = BatchId> {
    let only = state
        .release
        .as_ref()
        .and_then(|one| one.batches.as_deref());
    let due = |(_, batch): &(&BatchId, &Batch)| batch.copied_from.is_some() && !batch.taken;
    let wanted = move |id: &BatchId| only.is_none_or(|only| only.contains(id));
    let all = state.batches.iter().filter(due).map(|(id, _)| *id);
    all.filter(move |id| wanted(id))
}

/// How many messages are held in these batches.
fn held(state: &RunState, batches: &[BatchId]) -> usize {
    batches
        .iter()
        .filter_map(|id| state.batches.get(id))
        .flat_map(|batch| &batch.entries)
        .filter(|entry| entry.custody == Custody::Held)
        .count()
}

/// The queue of that name.
fn queue_named(name: &str) -> Option<Queue> {
    let found = Queue::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, queue)| *queue)
}

impl<'a> Release<'a> {
    /// The release that is open in a run.
    pub(crate) fn open(station: &'a Arc<Station>, run: RunId) -> Self {
        let plan = Runner::open(Arc::clone(station), run).ok();
        Self {
            station,
            run,
            plan: plan.map(|runner| runner.plan().clone()),
        }
    }

    /// Carries the release to its end, or until the agent shuts down.
    ///
    /// # Errors
    /// Where nothing can be written down any more. Where service is down then it has been started.
    pub(crate) fn carry_on(&self) -> Result<Rest, JournalError> {
        self.go_on(|_| false)
    }

    /// Ends what a crash interrupted in an open section: service is up when this returns.
    ///
    /// # Errors
    /// As [`Self::carry_on`].
    pub(crate) fn mend_section(&self) -> Result<(), JournalError> {
        self.go_on(|state| state.section.is_none()).map(drop)
    }

    fn go_on(&self, enough: impl Fn(&RunState) -> bool) -> Result<Rest, JournalError> {
        loop {
            let moved = self.one_move(&enough);
            match moved {
                Ok(None) | Err(Trouble::Interrupted) => {}
                Ok(Some(rest)) => return Ok(rest),
                Err(Trouble::Journal(error)) => {
                    service_up(self.station, self.run);
                    return Err(error);
                }
            }
        }
    }

    fn one_move(&self, enough: impl Fn(&RunState) -> bool) -> Result<Option<Rest>, Trouble> {
        let state = self.station.state(self.run)?;
        if enough(&state) {
            return Ok(Some(Rest::Over));
        }
        let next = next_move(&state, &self.station.now());
        if self.station.stopping() {
            if let Some(open) = &state.section {
                let section = open.section;
                drop(state);
                self.exit(section, &ExitReason::ShuttingDown)?;
            }
            return Ok(Some(Rest::Stopped));
        }
        tracing::debug!(run = %self.run, ?next, "next move of the release");
        match next {
            Move::Over => return Ok(Some(Rest::Over)),
            Move::TakeUp => {
                let batches: Vec<BatchId> = to_take_up(&state).collect();
                drop(state);
                self.take_up(&batches)?;
            }
            Move::Begin => self.begin(state)?,
            Move::GiveBack => {
                let _alone = self.station.disturb();
                self.give_back_or_exit(Vec::new())?;
            }
            Move::Exit => {
                if let Some(open) = &state.section {
                    let section = open.section;
                    drop(state);
                    self.exit(section, &ExitReason::BudgetOver)?;
                }
            }
            Move::Settle => self.settle()?,
            Move::Failed => {
                let why = "the release was left before it was done; what was not placed stays held";
                self.close(Ended::AtRest, why.to_owned(), true)?;
            }
        }
        Ok(None)
    }

    fn exit(&self, section: u32, why: &ExitReason) -> Result<(), Trouble> {
        let _alone = self.station.disturb();
        take_exit(self.station, self.run, None, section, why)
    }

    fn record(&self, events: Vec<Event>) -> Result<(), JournalError> {
        self.station.record(self.run, events)
    }

    /// The service runs on meanwhile: nothing of its queues is touched.
    fn take_up(&self, batches: &[BatchId]) -> Result<(), Trouble> {
        let _alone = self.station.disturb();
        let desk = Desk {
            host: self.station.host.as_ref(),
            journal: &self.station.journal,
            run: self.run,
        };
        for batch in batches {
            if let Err(error) = copies::finish(&desk, *batch) {
                let why = told(error)?;
                self.close(Ended::AtRest, why, true)?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks once more whether it may be done, reads the files while service still runs, and opens the
    /// section.
    fn begin(&self, state: Arc<RunState>) -> Result<(), Trouble> {
        let Some(release) = state.release.clone() else {
            return Ok(());
        };
        let _alone = self.station.disturb();
        let only = release.batches.as_deref();
        if let Some(refusal) = refusal(self.station, self.run, &state, only)? {
            self.close(Ended::AtRest, refusal.to_string(), true)?;
            return Ok(());
        }
        // Above every number that a section of the plan or an undo of it may have.
        let used = state.ended_sections.keys().next_back().copied();
        let batches = scope(&state, only);
        // Whoever holds the state while the journal appends to it makes it copy all entries.
        drop(state);
        let (ready, left) = match self.read(&batches) {
            Ok(read) => read,
            Err(error) => {
                let why = told(error)?;
                self.close(Ended::AtRest, why, true)?;
                return Ok(());
            }
        };
        if ready.is_empty() {
            let why = format!("nothing was given back: {}", left.join("; "));
            self.close(Ended::AtRest, why, true)?;
            return Ok(());
        }
        let now = self.station.now();
        let budget = self
            .plan
            .as_ref()
            .map_or(BUDGET, |plan| plan.limits.max_outage);
        let Some(service) = self.mail_service() else {
            return Ok(());
        };
        self.record(vec![Event::SectionBegan {
            section: used.map_or(0, |used| used.saturating_add(1)),
            service,
            boot: now.boot.clone(),
            since_boot_ms: millis(now.since_boot),
            budget_ms: millis(budget),
        }])?;
        self.give_back_or_exit(ready)
    }

    fn mail_service(&self) -> Option<mailmend_policy::name::ServiceName> {
        crate::queue::MAIL_SERVICE.parse().ok()
    }

    /// Reads the held files and finds them whole, or raises an alarm and leaves them. Of copies only what is
    /// still missing by the server's records; the others are told.
    fn read(&self, batches: &[BatchId]) -> Result<(Vec<Checked>, Vec<String>), CustodyError> {
        let (mut ready, mut left) = (Vec::new(), Vec::new());
        for &batch in batches {
            let state = self.station.state(self.run)?;
            if held(&state, &[batch]) == 0 {
                continue;
            }
            let copied = state
                .batches
                .get(&batch)
                .is_some_and(|batch| batch.copied_from.is_some());
            let care = self.care(&state, batch)?;
            drop(state);
            if immunity::hold_back(&care.desk(), self.station, batch)? > 0
                && held(&*self.station.state(self.run)?, &[batch]) == 0
            {
                left.push(
                    "what was held has the fingerprint of a poison: withdraw that first".to_owned(),
                );
                continue;
            }
            let which = if copied {
                let (may, why) = copies::still_missing(&care.desk(), batch)?;
                left.extend(why);
                if may.is_empty() {
                    continue;
                }
                Which::Entries(may)
            } else {
                Which::All
            };
            let give = Give {
                batch,
                step: None,
                target: care.folder().to_path_buf(),
                which,
            };
            ready.push(check(&care.desk(), give)?);
        }
        Ok((ready, left))
    }

    fn care(&self, state: &RunState, batch: BatchId) -> Result<QueueCare<'_>, CustodyError> {
        let name = state.batches.get(&batch).map(|batch| batch.queue.as_str());
        let refused = |why: String| CustodyError::Refused {
            code: const { known("A073-release-refused") },
            why,
        };
        let queue = name
            .and_then(queue_named)
            .ok_or_else(|| refused(format!("batch `{batch}` has no queue that is known here")))?;
        QueueCare::open(self.station, self.run, queue).map_err(refused)
    }

    /// Gives back in the open section and ends it; where that cannot go on, leaves it by its exit.
    fn give_back_or_exit(&self, ready: Vec<Checked>) -> Result<(), Trouble> {
        let done = self.give_back(ready)?;
        let state = self.station.state(self.run)?;
        let Some(open) = &state.section else {
            return Ok(());
        };
        let section = open.section;
        drop(state);
        match done {
            Ok(()) => Ok(self.record(vec![Event::SectionEnded {
                section,
                how: SectionEnd::Committed,
                detail: "held mail is in the queue again and service is up".into(),
            }])?),
            Err(why) => {
                let why = ExitReason::ReleaseFailed(why);
                take_exit(self.station, self.run, None, section, &why)
            }
        }
    }

    fn give_back(&self, ready: Vec<Checked>) -> Result<Result<(), String>, Trouble> {
        // Any queue leads to the service and to the index.
        let any = Queue::OutboundAwaitingDelivery;
        let care = match QueueCare::open(self.station, self.run, any) {
            Ok(care) => care,
            Err(why) => return Ok(Err(why)),
        };
        let of_service = Care {
            station: self.station,
            run: self.run,
            service: care.service(),
        };
        let state = self.station.state(self.run)?;
        let started = handed_to_service(&state);
        drop(state);
        if !started {
            if let Err(why) = self.stop(&care, of_service)? {
                return Ok(Err(why));
            }
            if let Err(why) = self.place(&care, of_service, ready)? {
                return Ok(Err(why));
            }
        }
        let start = Start {
            observe: OBSERVE,
            ..Start::BACK
        };
        Ok(of_service.start(start)?.map(drop).map_err(|not| not.why))
    }

    /// Stops the service and writes it down, also where somebody had stopped it before: what the journal
    /// says of earlier stops must not make it seem that it ran after what is about to be intended.
    fn stop(
        &self,
        care: &QueueCare<'_>,
        of_service: Care<'_>,
    ) -> Result<Result<(), String>, Trouble> {
        if let Some(why) = gate::stop_forbidden(self.station, care.service()) {
            return Ok(Err(why));
        }
        let state = self.station.state(self.run)?;
        let Some(open) = &state.section else {
            return Ok(Err("its section is not open".into()));
        };
        let until = exit_due(open);
        drop(state);
        let then = self.plan.as_ref().map_or(IfStillRunning::Fail, |plan| {
            how_to_stop(plan, care.service())
        });
        let head = self.station.journal.head();
        if let Err(not) = of_service.stop(until, then)? {
            return Ok(Err(not.why));
        }
        if self.station.journal.head() == head
            && let Some(last) = of_service.last()?
        {
            of_service.note(last, 0)?;
        }
        Ok(Ok(()))
    }

    fn place(
        &self,
        care: &QueueCare<'_>,
        of_service: Care<'_>,
        ready: Vec<Checked>,
    ) -> Result<Result<(), String>, Trouble> {
        let status = match of_service.query() {
            Ok(status) => status,
            Err(error) => return Ok(Err(format!("could not {error}"))),
        };
        if status.state != ServiceState::Stopped {
            return Ok(Err("the service was started by somebody else".into()));
        }
        // What an earlier life left half placed is finished, and what may have been sent leaves the queue.
        if let Err(why) = of_service.set_aside(&status)? {
            return Ok(Err(why));
        }
        let stopped = match care.prove_stopped()? {
            Ok(stopped) => stopped,
            Err(why) => return Ok(Err(why)),
        };
        let ready = if ready.is_empty() {
            let state = self.station.state(self.run)?;
            let only = state
                .release
                .as_ref()
                .and_then(|one| one.batches.as_deref());
            let batches = scope(&state, only);
            drop(state);
            match self.read(&batches) {
                Ok((ready, _)) => ready,
                Err(error) => return Ok(Err(told(error)?)),
            }
        } else {
            ready
        };
        for checked in ready {
            if let Err(error) = checked.place(&care.desk(), &stopped) {
                return Ok(Err(told(error)?));
            }
        }
        match index::set_aside(&care.desk(), care.imcdata(), &stopped) {
            Ok(_) => Ok(Ok(())),
            Err(error) => Ok(Err(told(error)?)),
        }
    }

    /// Waits for evidence, and closes whatever came of it.
    fn settle(&self) -> Result<(), Trouble> {
        let state = self.station.state(self.run)?;
        let Some(release) = state.release.clone() else {
            return Ok(());
        };
        drop(state);
        let batches: BTreeSet<BatchId> = release.replays.iter().map(|(batch, _)| *batch).collect();
        let batches: Vec<BatchId> = batches.into_iter().collect();
        let until = self.station.now().since_boot + SETTLE_FOR;
        let sum = match await_evidence(self.station, self.run, &batches, until)? {
            Ok(sum) => sum,
            Err(error) => {
                let why = format!("held mail was given back; {}", told(error)?);
                return Ok(self.close(Ended::Released, why, false)?);
            }
        };
        let state = self.station.state(self.run)?;
        let left = held(&state, &scope(&state, release.batches.as_deref()));
        let given: usize = release
            .replays
            .iter()
            .filter_map(|(batch, number)| state.batches.get(batch)?.replays.get(number))
            .flat_map(|replay| &replay.entries)
            .map(|(first, last)| (last - first) as usize + 1)
            .sum();
        drop(state);
        let mut detail = format!(
            "{given} messages were given back: {} of this run's are delivered by evidence",
            sum.delivered
        );
        for (count, what) in [
            (sum.waiting, "still wait in the queue"),
            (sum.in_doubt, "are in doubt"),
            (left as u64, "stay held"),
        ] {
            if count > 0 {
                detail = format!("{detail}, {count} {what}");
            }
        }
        if !release.left_out.is_empty() {
            let reasons = release.left_out.join("; ");
            detail = format!("{detail}; not given back: {reasons}");
        }
        let how = if given == 0 {
            Ended::AtRest
        } else {
            Ended::Released
        };
        Ok(self.close(how, detail, left > 0)?)
    }

    fn close(&self, how: Ended, detail: String, failed: bool) -> Result<(), JournalError> {
        let state = self.station.state(self.run)?;
        let mut events = Vec::new();
        if failed {
            events.push(Event::Alarm {
                code: const { known("A075-release-failed") }.into(),
                text: detail.clone(),
            });
        }
        events.extend(closing(&state, how, detail));
        drop(state);
        self.record(events)
    }
}

/// Whether everything that the release placed was followed by a start: the service may have read it, so it is
/// not stopped again for the sake of this release.
fn handed_to_service(state: &RunState) -> bool {
    let Some(release) = &state.release else {
        return false;
    };
    let replay = |(batch, number): &(BatchId, u32)| state.batches.get(batch)?.replays.get(number);
    !release.replays.is_empty()
        && release
            .replays
            .iter()
            .all(|one| replay(one).is_some_and(|replay| replay.placed && replay.start_followed))
}

/// A failure of custody in words, or what ends everything.
fn told(error: CustodyError) -> Result<String, Trouble> {
    match error {
        CustodyError::Journal(error) => Err(error.into()),
        // The journal is poisoned: service comes up, and the next start of the agent looks.
        CustodyError::Unsure { why } => Err(JournalError::Poisoned { why }.into()),
        error => Ok(error.to_string()),
    }
}
