//! What people do with the rollout: wish, approve, answer.

use mailmend_policy::name::ServerName;
use mailmend_policy::step;
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use uuid::Uuid;

use super::{Controller, Said, Waits};
use crate::rollout::{Approval, Cause, Mark, RunPhase, Wish};

impl Controller {
    /// What a person's wish makes of the rollout, as the operator's service stores it.
    pub(in super::super) fn wish(&mut self, wish: Wish) -> bool {
        let Ok(state) = self.rollout.state.after(wish) else {
            return false;
        };
        if state == self.rollout.state {
            return false;
        }
        if wish == Wish::Resume {
            let failed = crate::decide::failed(&self.rollout);
            self.rollout.accepted_failures = self.rollout.accepted_failures.max(failed);
            if self.rollout.cause == Cause::Gate {
                self.rollout.accepted.insert(self.rollout.wave);
            }
        }
        self.rollout.cause = if wish == Wish::Resume {
            Cause::None
        } else {
            Cause::Person
        };
        self.rollout.state = state;
        self.rollout.revision += 1;
        true
    }

    /// A person approves a wave.
    pub(in super::super) fn approve(&mut self, wave: u32, now_ms: i64) {
        let approval = Approval {
            digest: self.rollout.wave_digest(wave),
            generation: self.rollout.generation,
            by: "somebody".into(),
            at_ms: now_ms,
            why: String::new(),
        };
        self.rollout.approvals.entry(wave).or_insert(approval);
    }

    /// The steps that ask a person and for whose answer nobody was sent yet; from now on somebody is.
    pub(in super::super) fn asks(&mut self) -> Vec<(RunId, ServerName, u32)> {
        let mut asks = Vec::new();
        for run in &self.rollout.runs {
            if run.phase != RunPhase::Running {
                continue;
            }
            for step in &run.plan.steps {
                let asked = matches!(step.action, step::Action::HumanTask { .. })
                    && run.mark(step) == Some(Mark::Intended)
                    && run.asks(step);
                if asked && self.asked.insert((run.id, step.index)) {
                    asks.push((run.id, step.server.clone(), step.index));
                }
            }
        }
        asks
    }

    /// A person answers a step that asks, with what lets the run go on.
    pub(in super::super) fn answer(
        &mut self,
        run: RunId,
        server: &ServerName,
        step: u32,
    ) -> Vec<Said> {
        let found = self.rollout.runs.iter().find(|one| one.id == run);
        let Some(step::Action::HumanTask { accept, .. }) = found
            .and_then(|run| run.plan.steps.get(step as usize))
            .map(|step| &step.action)
        else {
            return Vec::new();
        };
        let (run_number, _) = run.0.as_u64_pair();
        let id = Uuid::from_u64_pair(
            run_number ^ u64::from(step),
            run.0.as_u64_pair().1 << 16 | u64::from(step),
        );
        let order = wire::Order {
            id: id.to_string(),
            run: run.to_string(),
            by: "somebody".into(),
            why: String::new(),
            // Only a release has a grant of its own.
            fence: 0,
            what: Some(wire::order::What::Answer(wire::AnswerTask {
                step,
                answer: accept.first().cloned().unwrap_or_default(),
            })),
        };
        self.orders
            .entry(server.clone())
            .or_default()
            .push(Waits { id, order });
        self.tell(server, false)
    }
}
