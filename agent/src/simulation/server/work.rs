//! What the agent does: takes what has arrived, carries its runs on, and lets the watchdog look.

use std::time::Duration;

use mailmend_proto::convert::run_from_wire;
use mailmend_proto::wire;
use mailmend_proto::wire::{from_agent, to_agent};

use super::{Life, Server, WATCH_MS, say};
use crate::engine::Engine;
use crate::host::simulated::run_until_killed;
use crate::inbox;
use crate::runner::Rest;
use crate::session::{OrderRefused, Orders};
use crate::simulation::person;
use crate::simulation::symptom::IMC;

impl Server {
    /// Takes what has arrived and carries every open run as far as it goes.
    pub(super) fn go_on(&mut self, now_ms: i64, answer: &mut wire::SimulationAnswer) {
        let (Some(ground), Life::Lives(_)) = (&self.ground, &self.life) else {
            return;
        };
        if ground.reached_ms() > now_ms {
            return;
        }
        let looks = self.watch_due.is_some_and(|due| due <= now_ms);
        let runs = self.run_due.is_some_and(|due| due <= now_ms);
        if self.inbox.is_empty() && !looks && !runs {
            return;
        }
        ground.catch_up(now_ms);
        self.arm();
        let Life::Lives(engine) = std::mem::replace(&mut self.life, Life::Idle) else {
            return;
        };
        let mut said = Vec::new();
        let carried = run_until_killed(|| self.carry(&engine, &mut said));
        self.life = Life::Lives(engine);
        for message in said {
            say(answer, message);
        }
        let alive = match carried {
            Ok(Ok(due)) => {
                self.run_due = due;
                true
            }
            Ok(Err(_)) | Err(_) => false,
        };
        if alive {
            self.watch_next();
        }
        self.judge(alive, answer);
        if !alive {
            self.ended(answer);
        }
    }

    pub(super) fn judge(&mut self, resting: bool, answer: &mut wire::SimulationAnswer) {
        if let (Some(ground), Life::Lives(engine)) = (&mut self.ground, &self.life) {
            let broken = ground.judge(engine.journal(), resting);
            answer.state.get_or_insert_default().broken.extend(broken);
        }
    }

    /// Takes the messages and carries the runs on. When one goes on by itself, in the time of the simulation.
    pub(super) fn carry(
        &mut self,
        engine: &Engine,
        said: &mut Vec<from_agent::Message>,
    ) -> Result<Option<i64>, String> {
        while let Some(message) = self.inbox.pop_front() {
            self.take(engine, message, said);
        }
        let mut due: Option<i64> = None;
        for run in engine.open_runs() {
            let rest = match engine.carry_on(run) {
                Ok(rest) => rest,
                // A duty has no plan: recovery and the watchdog end it.
                Err(crate::runner::CannotCarryOn::Duty(_)) => continue,
                Err(error) => return Err(error.to_string()),
            };
            if let (
                Rest::Waiting {
                    until: Some(until), ..
                },
                Some(ground),
            ) = (rest, &self.ground)
            {
                let left = until.saturating_sub(Duration::from_millis(ground.world.uptime_ms()));
                let at =
                    ground.reached_ms() + i64::try_from(left.as_millis()).unwrap_or(i64::MAX / 4);
                due = Some(due.map_or(at, |due| due.min(at)));
            }
        }
        // After the runs: what a run was begun for is its own to mend.
        engine.watch().map_err(|error| error.to_string())?;
        Ok(due)
    }

    /// The watchdog looks again while there is something to see: a look at a service that runs changes nothing,
    /// unless its machine has just started.
    pub(super) fn watch_next(&mut self) {
        let Some(ground) = &self.ground else { return };
        let well = ground.world.is_running(IMC) && !ground.world.is_busy();
        let again = !well || ground.has_just_started();
        self.watch_due = again.then(|| ground.reached_ms() + WATCH_MS);
    }

    /// One message, as a session takes it.
    pub(super) fn take(
        &mut self,
        engine: &Engine,
        message: wire::ToAgent,
        said: &mut Vec<from_agent::Message>,
    ) {
        let refused = |refused: Option<OrderRefused>| {
            refused.map_or_else(Default::default, |refused| {
                (refused.code.to_owned(), refused.why)
            })
        };
        match message.message {
            Some(to_agent::Message::Assignment(assignment)) => {
                let run = assignment.run.clone();
                if let Ok(id) = run_from_wire(&run) {
                    self.assignments.insert(id, assignment.clone());
                }
                let answer = Orders::admit(engine, assignment);
                let admitted = answer.is_ok();
                let (code, why) = refused(answer.err());
                said.push(from_agent::Message::Answer(wire::AssignmentAnswer {
                    run,
                    admitted,
                    code,
                    why,
                }));
            }
            Some(to_agent::Message::Advance(wire::Advance {
                run,
                fence,
                through,
            })) => {
                if let Ok(run) = run_from_wire(&run) {
                    // What is refused is not answered: the journal says what was taken.
                    let _ = Orders::advance(engine, run, fence, through);
                }
            }
            Some(to_agent::Message::Unwind(wire::Unwind {
                run,
                fence,
                down_to,
                last,
            })) => {
                if let Ok(run) = run_from_wire(&run) {
                    let _ = Orders::unwind(engine, run, fence, down_to, last);
                }
            }
            Some(to_agent::Message::Fence(wire::Fence { run, fence })) => {
                if let Ok(id) = run_from_wire(&run)
                    && Orders::fence(engine, id, fence).is_ok()
                {
                    said.push(from_agent::Message::FenceTaken(wire::FenceTaken {
                        run,
                        fence,
                    }));
                }
            }
            Some(to_agent::Message::Order(order)) => {
                if let (Some(ground), Ok(run)) = (&self.ground, run_from_wire(&order.run))
                    && let Some(bound) = self
                        .assignments
                        .get(&run)
                        .map(|one| inbox::bind(one, &self.name))
                    && let (Ok(bound), Ok(state)) = (bound, engine.state(run))
                {
                    person::acts(&ground.world, &bound, &state, &order);
                }
                let taken = Orders::order(engine, &order);
                let ok = taken.is_ok();
                let (code, why) = refused(taken.err());
                said.push(from_agent::Message::OrderAnswer(wire::OrderAnswer {
                    id: order.id,
                    taken: ok,
                    code,
                    why,
                }));
            }
            _ => {}
        }
    }
}
