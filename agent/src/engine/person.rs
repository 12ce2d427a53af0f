//! A person's orders: an answer to a task, a release of held mail, a recovery from escrow, a settlement. Each is durable in the
//! journal before it is answered, and known there by its id: it is carried out once, however often it comes.

use std::time::{Duration, Instant};

use mailmend_policy::step::Action;
use mailmend_proto::convert::run_from_wire;
use mailmend_proto::fence::{self, Stale};
use mailmend_proto::run::{BatchId, Custody, Event, RunId, RunState, StepState};
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use uuid::Uuid;

use super::orders::unwritten;
use super::{Engine, lock};
use crate::ablation::{Mechanism, off};
use crate::custody::word::{Word, settle_by_word};
use crate::custody::{CustodyError, Desk, Records, copies};
use crate::faults::known;
use crate::inbox::Refusal;
use crate::queue::QueueCare;
use crate::release;

/// How long a settlement waits for a step that moves files, in real time.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest text of a person that is kept, bytes.
const MOST_WORDS: usize = 4096;

pub(super) fn malformed(why: impl Into<String>) -> Refusal {
    Refusal::new(const { known("A071-order-malformed") }, why)
}

pub(super) fn batch(text: &str) -> Result<BatchId, Refusal> {
    Uuid::try_parse(text)
        .map(BatchId)
        .map_err(|why| malformed(format!("`{}` is no batch: {why}", text.escape_debug())))
}

/// Whether it stops service, which takes the site's lock.
fn disturbs(order: &wire::Order) -> bool {
    matches!(order.what, Some(What::Release(_) | What::Recover(_)))
}

/// The state that a person may say; the others are for the agent to find out.
fn custody(said: wire::Custody) -> Result<Custody, Refusal> {
    match said {
        wire::Custody::GoneWithEvidence => Ok(Custody::GoneWithEvidence),
        wire::Custody::Held => Ok(Custody::Held),
        wire::Custody::Poison => Ok(Custody::Poison),
        other => Err(malformed(format!(
            "a person cannot settle a message as {}",
            other.as_str_name()
        ))),
    }
}

impl Engine {
    /// Takes an order of the administrator of this machine. Durable on return; what it sets going goes on
    /// by itself.
    ///
    /// # Errors
    /// Where it is refused; nothing was changed.
    pub fn order(&self, order: &wire::Order) -> Result<(), Refusal> {
        let _one = lock(&self.0.orders);
        self.take_order(order, None)
    }

    /// Takes a person's order that the controller passed on. What disturbs service is taken under the grant
    /// that came with it, once: refused, it stays refused, for the site may be another run's from then on.
    /// Durable on return, also where it is refused.
    ///
    /// # Errors
    /// Where it is refused; nothing was changed but the fence.
    pub fn granted(&self, order: &wire::Order) -> Result<(), Refusal> {
        if !disturbs(order) {
            return self.order(order);
        }
        let _one = lock(&self.0.orders);
        let taken = self.take_order(order, Some(order.fence));
        let Err(refusal) = taken else {
            return Ok(());
        };
        let station = &self.0.station;
        // A run that this agent does not know is not closed here, and nothing of it is ever given back here.
        if let Ok(run) = run_from_wire(&order.run)
            && let Some(state) = station.journal.state(run).map_err(unwritten)?
            && order.fence > state.fence
            && fence::plausible(station.journal.highest_fence(), order.fence)
        {
            self.room()?;
            let fence = order.fence;
            drop(state);
            station
                .record(run, vec![Event::Fenced { fence }])
                .map_err(unwritten)?;
        }
        Err(refusal)
    }

    fn take_order(&self, order: &wire::Order, grant: Option<u64>) -> Result<(), Refusal> {
        let station = &self.0.station;
        let id = Uuid::try_parse(&order.id)
            .map_err(|why| malformed(format!("the order has no id: {why}")))?;
        let run = run_from_wire(&order.run).map_err(|why| malformed(why.to_string()))?;
        if order.by.len() > MOST_WORDS || order.why.len() > MOST_WORDS {
            return Err(malformed(format!("more than {MOST_WORDS} bytes of words")));
        }
        let state = station
            .journal
            .state(run)
            .map_err(unwritten)?
            .ok_or_else(|| {
                Refusal::new(
                    const { known("A047-run-unknown") },
                    format!("this agent knows no run `{run}`"),
                )
            })?;
        if state.orders.contains(&id) {
            if state.closed.is_none() {
                self.go_on(run);
            }
            return Ok(());
        }
        self.room()?;
        let fenced = match grant {
            Some(fence) => Some(self.admitted(fence)?),
            None => None,
        };
        match &order.what {
            Some(What::Answer(answer)) => {
                let answered = self.answered(run, &state, (id, order), answer)?;
                drop(state);
                station.record(run, vec![answered]).map_err(unwritten)?;
                self.go_on(run);
                Ok(())
            }
            Some(What::Release(wanted)) => {
                let only = match wanted.batch.as_str() {
                    "" => None,
                    text => Some(batch(text)?),
                };
                if !wanted.fingerprint.is_empty() {
                    drop(state);
                    return self.withdrawn(run, (id, order), only, (&wanted.fingerprint, fenced));
                }
                if state.closed.is_none() {
                    return Err(Refusal::new(
                        const { known("A073-release-refused") },
                        format!("run `{run}` is not closed on this server; it ends first"),
                    ));
                }
                let wanted = only.as_ref().map(std::slice::from_ref);
                let refused = release::refusal(station, run, &state, wanted).map_err(unwritten)?;
                drop(state);
                if let Some(refusal) = refused {
                    return Err(refusal);
                }
                let ordered = Event::ReleaseOrdered {
                    order: id,
                    by: order.by.clone(),
                    why: order.why.clone(),
                    batch: only,
                };
                // The order first: half a report of both must not look like a grant that was only refused.
                let events = [ordered].into_iter().chain(fenced).collect();
                station.record(run, events).map_err(unwritten)?;
                self.go_on(run);
                Ok(())
            }
            Some(What::Recover(wanted)) => {
                if state.closed.is_none() {
                    return Err(Refusal::new(
                        const { known("A092-recover-refused") },
                        format!(
                            "run `{run}` is not closed on this server; answer what it asks, or abort its rollout, and order again"
                        ),
                    ));
                }
                let events = self.recovery(run, &state, (id, order), &wanted.messages)?;
                drop(state);
                let events = events.into_iter().chain(fenced).collect();
                station.record(run, events).map_err(unwritten)?;
                self.go_on(run);
                Ok(())
            }
            Some(What::Settle(said)) => {
                drop(state);
                let word = Word {
                    order: id,
                    by: order.by.clone(),
                    why: order.why.clone(),
                    batch: batch(&said.batch)?,
                    entries: said.entries.iter().map(|r| (r.first, r.last)).collect(),
                    custody: custody(said.custody())?,
                };
                self.settle(run, &word)
            }
            Some(What::Immunize(wanted)) => {
                drop(state);
                self.told_apart(run, (id, order), wanted)
            }
            None => Err(malformed(
                "it orders nothing, or something that only a newer agent knows",
            )),
        }
    }

    /// What is written down of a grant that is new; the highest fence is known after a restart too.
    fn admitted(&self, fence: u64) -> Result<Event, Refusal> {
        let highest = self.0.station.journal.highest_fence();
        if !fence::plausible(highest, fence) {
            return Err(crate::inbox::too_high(highest, fence));
        }
        match fence::admit(highest, fence) {
            Err(Stale { came, known: seen }) if !off(Mechanism::FenceOnReleases) => {
                Err(Refusal::new(
                    const { known("A042-fence-stale") },
                    format!(
                        "the order has fence {came}, and {seen} was seen already: it was refused before, or the site has been another run's since; order it again"
                    ),
                ))
            }
            _ => Ok(Event::Fenced {
                fence: fence.max(highest),
            }),
        }
    }

    /// What is written down where vanished messages may be given back: the order, and the copies that become
    /// custody. Nothing is changed by asking.
    fn recovery(
        &self,
        run: RunId,
        state: &RunState,
        (id, order): (Uuid, &wire::Order),
        wanted: &[String],
    ) -> Result<Vec<Event>, Refusal> {
        let station = &self.0.station;
        let custody = |error: CustodyError| match error {
            CustodyError::Refused { code, why } => Refusal::new(code, why),
            CustodyError::Journal(error) => unwritten(error),
            error => Refusal::new(
                const { known("A092-recover-refused") },
                format!("could not look at the copies: {error}"),
            ),
        };
        if let Some(refusal) = release::beside(station, run, state).map_err(unwritten)? {
            return Err(refusal);
        }
        let desk = Desk {
            host: station.host.as_ref(),
            journal: &station.journal,
            run,
        };
        let chosen = copies::choose(&desk, wanted).map_err(custody)?;
        if let Some(refusal) = release::refused_service(station) {
            return Err(refusal);
        }
        let mut events = vec![Event::RecoverOrdered {
            order: id,
            by: order.by.clone(),
            why: order.why.clone(),
            left: chosen.left,
        }];
        for group in chosen.groups {
            let care = QueueCare::open(station, run, group.queue)
                .map_err(|why| Refusal::new(const { known("A092-recover-refused") }, why))?;
            let take = care.take(care.batch_of_order(id), None, u64::MAX);
            events.extend(group.intend(&desk, &take).map_err(custody)?);
        }
        Ok(events)
    }

    fn answered(
        &self,
        run: RunId,
        state: &RunState,
        (id, order): (Uuid, &wire::Order),
        given: &wire::AnswerTask,
    ) -> Result<Event, Refusal> {
        let not_asked = |why: String| Refusal::new(const { known("A072-not-asked") }, why);
        let runner = self.open_runner(run)?;
        let step = usize::try_from(given.step)
            .ok()
            .and_then(|index| runner.plan().steps.get(index))
            .ok_or_else(|| not_asked(format!("run `{run}` has no step {}", given.step)))?;
        let Action::HumanTask { answers, .. } = &step.action else {
            return Err(not_asked(format!("step `{}` asks nobody", step.id)));
        };
        let waits = matches!(
            state.steps.get(&given.step),
            Some(StepState::Intended { .. })
        );
        if let Some(before) = state.answers.get(&given.step) {
            return Err(not_asked(format!(
                "step `{}` was answered already: {} said `{}`",
                step.id, before.by, before.answer
            )));
        }
        if !waits || state.down_to.is_some() {
            return Err(not_asked(format!(
                "step `{}` does not wait for an answer now",
                step.id
            )));
        }
        if !answers.contains(&given.answer) {
            return Err(not_asked(format!(
                "step `{}` takes {}, not `{}`",
                step.id,
                answers.join(", "),
                given.answer.escape_debug()
            )));
        }
        Ok(Event::Answered {
            order: id,
            step: given.step,
            answer: given.answer.clone(),
            by: order.by.clone(),
            note: order.why.clone(),
        })
    }

    fn settle(&self, run: RunId, word: &Word) -> Result<(), Refusal> {
        let station = &self.0.station;
        let refused = |why: String| Refusal::new(const { known("A074-settle-refused") }, why);
        let until = Instant::now() + PATIENCE;
        let _alone = loop {
            if let Some(open) = self.open_section().map_err(unwritten)? {
                return Err(refused(format!(
                    "run `{open}` has a section open on this server; settle when it is over"
                )));
            }
            if let Some(alone) = station.try_disturb() {
                break alone;
            }
            if Instant::now() >= until {
                return Err(refused(
                    "a step works on the service just now; try again when it has ended".into(),
                ));
            }
            // The lock has no wait with a limit.
            std::thread::sleep(Duration::from_millis(20));
        };
        let desk = Desk {
            host: station.host.as_ref(),
            journal: &station.journal,
            run,
        };
        match settle_by_word(&desk, word, &Records(desk.host)) {
            Ok(_) => Ok(()),
            Err(CustodyError::Refused { code, why }) => Err(Refusal::new(code, why)),
            Err(CustodyError::Journal(error)) => Err(unwritten(error)),
            Err(error) => Err(refused(format!("could not look at the files: {error}"))),
        }
    }

    /// A run that has a section open.
    fn open_section(&self) -> Result<Option<RunId>, crate::journal::JournalError> {
        let station = &self.0.station;
        for run in station.journal.open_runs() {
            if station.state(run)?.section.is_some() {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }
}
