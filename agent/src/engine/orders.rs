//! Orders of the controller: each is durable in the journal before it is answered, and changes nothing when
//! it comes again, late, or out of order.

use std::path::PathBuf;
use std::sync::Arc;

use mailmend_policy::condition::PathRoot;
use mailmend_proto::fence::{self, Stale};
use mailmend_proto::run::{Event, RunId, RunState};
use mailmend_proto::wire;
use prost::Message;

use super::{Engine, lock};
use crate::ablation::{Mechanism, off};
use crate::faults::known;
use crate::immunity::ImmunityError;
use crate::inbox::{self, Decision, Known, Refusal};
use crate::journal::JournalError;
use crate::runner::{CannotCarryOn, Runner};
use crate::session::{OrderRefused, Orders};
use crate::step::SUPPORTED;

impl Engine {
    /// Takes an assignment on. Durable on return.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn admit(&self, assignment: &wire::Assignment) -> Result<(), Refusal> {
        let station = &self.0.station;
        let _one = lock(&self.0.orders);
        let state = match mailmend_proto::convert::run_from_wire(&assignment.run) {
            Ok(run) => station.journal.state(run).map_err(unwritten)?,
            Err(_) => None,
        };
        let imcdata: Result<PathBuf, String> = station
            .host
            .root(PathRoot::Imcdata)
            .map_err(|error| format!("could not {error}"));
        let now_ms = station.host.clock().wall_ms();
        let permit = station.trust.admits(&assignment.policy_text, now_ms);
        let decision = inbox::decide(
            assignment,
            Known {
                me: &station.me,
                state: state.as_deref(),
                highest_fence: station.journal.highest_fence(),
                open: station.journal.open_runs().len(),
                guard: &station.guard,
                permit: &permit,
                imcdata: &imcdata,
            },
        );
        match (decision, state) {
            (Decision::Refuse(refusal), _) => return Err(refusal),
            (Decision::Admit(bound), _) => {
                self.room()?;
                let admitted = Event::Admitted {
                    fence: bound.fence,
                    plan: bound.digest,
                    policy: bound.policy,
                    assignment: assignment.encode_to_vec(),
                };
                station
                    .record(bound.run, vec![admitted])
                    .map_err(unwritten)?;
                self.go_on(bound.run);
            }
            (Decision::Already(run), Some(state)) => {
                let fence = assignment.fence;
                if fence > state.fence {
                    if !fence::plausible(station.journal.highest_fence(), fence) {
                        return Err(inbox::too_high(station.journal.highest_fence(), fence));
                    }
                    self.room()?;
                    let raised = Event::Fenced { fence };
                    station.record(run, vec![raised]).map_err(unwritten)?;
                }
                if state.closed.is_none() {
                    self.go_on(run);
                }
            }
            (Decision::Already(_), None) => {}
        }
        Ok(())
    }

    /// Releases steps. Durable on return.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn advance(&self, run: RunId, fence: u64, through: u32) -> Result<(), Refusal> {
        let station = &self.0.station;
        let _one = lock(&self.0.orders);
        let state = self.ordered(run, fence)?;
        let fence = counted(fence, &state);
        // Late and repeated orders change nothing: the watermark only rises, and an unwinding run
        // never goes forward again.
        if state.closed.is_some() || state.down_to.is_some() {
            return Ok(());
        }
        if through > state.through && through as usize > self.steps_of(run)? {
            return Err(Refusal::new(
                const { known("A046-assignment-malformed") },
                format!("the plan of run `{run}` has no step {through}"),
            ));
        }
        let through = through.max(state.through);
        if through > state.through || fence > state.fence {
            if through == state.through {
                self.room()?;
            }
            let advanced = Event::Advanced { fence, through };
            station.record(run, vec![advanced]).map_err(unwritten)?;
        }
        self.go_on(run);
        Ok(())
    }

    /// Orders done steps to be undone. Durable on return.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn unwind(&self, run: RunId, fence: u64, down_to: u32, last: bool) -> Result<(), Refusal> {
        let station = &self.0.station;
        let _one = lock(&self.0.orders);
        let state = self.ordered(run, fence)?;
        if state.closed.is_some() {
            return Ok(());
        }
        // Of a plan that cannot be read any more the order is taken as it came.
        let steps = self
            .steps_of(run)
            .map_or(u32::MAX, |steps| u32::try_from(steps).unwrap_or(u32::MAX));
        let down_to = down_to.min(steps);
        let down_to = state.down_to.map_or(down_to, |now| now.min(down_to));
        let last = last || state.unwind_last;
        let known_already =
            state.down_to == Some(down_to) && state.unwind_last == last && state.fence == fence;
        if !known_already {
            let ordered = Event::UnwindOrdered {
                fence,
                down_to,
                last,
            };
            station.record(run, vec![ordered]).map_err(unwritten)?;
        }
        self.go_on(run);
        Ok(())
    }

    /// Raises the fence of a run. Durable on return.
    ///
    /// # Errors
    /// Where the run is unknown or its fence is higher.
    pub fn fence(&self, run: RunId, fence: u64) -> Result<(), Refusal> {
        let station = &self.0.station;
        let _one = lock(&self.0.orders);
        let state = self.ordered(run, fence)?;
        if fence > state.fence && !off(Mechanism::FenceOutlivesAgent) {
            self.room()?;
            let raised = Event::Fenced { fence };
            station.record(run, vec![raised]).map_err(unwritten)?;
        }
        Ok(())
    }

    fn ordered(&self, run: RunId, fence: u64) -> Result<Arc<RunState>, Refusal> {
        let state = self.0.station.journal.state(run).map_err(unwritten)?;
        let state = state.filter(|state| state.plan.is_some()).ok_or_else(|| {
            Refusal::new(
                const { known("A047-run-unknown") },
                format!("this agent was never given run `{run}`"),
            )
        })?;
        if let Err(Stale {
            came,
            known: current,
        }) = fence::obey(state.fence, fence)
            && !off(Mechanism::FenceOnOrders)
        {
            return Err(Refusal::new(
                const { known("A042-fence-stale") },
                format!(
                    "the order has fence {came}, and run `{run}` has {current}; the controller that sent it is not the current one"
                ),
            ));
        }
        let highest = self.0.station.journal.highest_fence();
        if !fence::plausible(highest, fence) && !off(Mechanism::FenceOnOrders) {
            return Err(inbox::too_high(highest, fence));
        }
        Ok(state)
    }

    /// Whether there is room for one more record of an order: what a controller can have written down must never
    /// fill the volume, for a full disk stops the mail service.
    pub(super) fn room(&self) -> Result<(), Refusal> {
        let station = &self.0.station;
        let Some(folder) = station.immunity.folder() else {
            return Ok(());
        };
        let least = station.guard.limits().least_free_bytes;
        match station.host.spool().free_bytes(folder) {
            Ok(free) if free < least => Err(Refusal::new(
                const { known("A083-no-room") },
                format!(
                    "`{}` has {free} bytes free, and the guard file wants {least} to stay free: nothing further is taken on",
                    folder.display()
                ),
            )),
            // What cannot be told shows when the record is written.
            _ => Ok(()),
        }
    }

    fn steps_of(&self, run: RunId) -> Result<usize, Refusal> {
        Ok(self.open_runner(run)?.plan().steps.len())
    }

    pub(super) fn open_runner(&self, run: RunId) -> Result<Arc<Runner>, Refusal> {
        self.runner(run).map_err(|error| match error {
            CannotCarryOn::Journal(error) => unwritten(error),
            CannotCarryOn::Plan(refusal) => refusal,
            CannotCarryOn::Duty(run) => Refusal::new(
                const { known("A047-run-unknown") },
                format!("run `{run}` is a duty"),
            ),
        })
    }
}

/// The fence of an order as it is written down: its own, which was checked.
fn counted(fence: u64, state: &RunState) -> u64 {
    if off(Mechanism::FenceOnOrders) {
        return fence.max(state.fence);
    }
    fence
}

pub(super) fn unwritten(error: JournalError) -> Refusal {
    Refusal::new(
        const { known("A070-journal-refuses") },
        format!("the order was not taken, because it cannot be written down: {error}"),
    )
}

impl From<Refusal> for OrderRefused {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code,
            why: refusal.why,
        }
    }
}

impl Orders for Engine {
    fn admit(&self, assignment: wire::Assignment) -> Result<(), OrderRefused> {
        Ok(Engine::admit(self, &assignment)?)
    }

    fn advance(&self, run: RunId, fence: u64, through: u32) -> Result<(), OrderRefused> {
        Ok(Engine::advance(self, run, fence, through)?)
    }

    fn unwind(&self, run: RunId, fence: u64, down_to: u32, last: bool) -> Result<(), OrderRefused> {
        Ok(Engine::unwind(self, run, fence, down_to, last)?)
    }

    fn fence(&self, run: RunId, fence: u64) -> Result<(), OrderRefused> {
        Ok(Engine::fence(self, run, fence)?)
    }

    fn order(&self, order: &wire::Order) -> Result<(), OrderRefused> {
        Ok(Engine::granted(self, order)?)
    }

    fn audit(&self, request: &wire::AuditRequest, tell: &mut dyn FnMut(wire::Audit) -> bool) {
        Engine::audit(self, request, tell);
    }

    fn immunize(&self, immunity: wire::Immunity) -> Result<(), ImmunityError> {
        Engine::immunize(self, immunity)
    }

    fn trust(&self, documents: wire::TrustDocuments) -> Result<bool, OrderRefused> {
        Ok(self.take_trust(documents)?)
    }

    fn supported_actions(&self) -> Vec<String> {
        SUPPORTED.iter().map(|name| (*name).to_owned()).collect()
    }
}
