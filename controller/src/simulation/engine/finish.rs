//! The end of a simulation: a last look at every server, and what is told of it.

use std::collections::BTreeMap;

use mailmend_proto::wire;
use mailmend_proto::wire::simulation_request::Request;

use super::{Engine, MOST_FOUND, START_MS};
use crate::simulation::agents::AgentsFault;
use crate::simulation::outcome::{Ending, Outcome, OutcomeOf};

impl Engine<'_> {
    pub(super) fn finish(mut self, ending: Ending) -> Result<Outcome, AgentsFault> {
        let settled = ending != Ending::TimeOver && self.found.is_empty();
        let mut outages = BTreeMap::new();
        let mut messages = (0, 0, 0);
        let known: Vec<usize> = self.states.keys().copied().collect();
        for server in known {
            let name = self.name(server);
            if settled && self.states[&server].messages > 0 {
                let look = wire::SimulationLook {
                    server: name.to_string(),
                    settle: self.states[&server].settled,
                };
                let state = self.ask(Request::Look(look))?.state.unwrap_or_default();
                self.look_at(server, state);
            }
            let state = &self.states[&server];
            messages.0 += state.messages;
            messages.1 += state.delivered;
            messages.2 += state.duplicates;
            *self
                .counts
                .entry("deaths of agents".to_owned())
                .or_default() += u64::from(state.deaths);
            if state.outage_ms > 0 {
                let of = OutcomeOf {
                    outage_ms: state.outage_ms,
                    longest_ms: state.longest_outage_ms,
                    restarts: state.restarts,
                };
                outages.insert(name.to_string(), of);
            }
        }
        let rollout = &self.controller.rollout;
        let mut runs: BTreeMap<String, u32> = BTreeMap::new();
        for run in &rollout.runs {
            *runs.entry(run.phase.name().to_owned()).or_default() += 1;
        }
        let waves = rollout.waves().count();
        let summary = format!("end {} {runs:?} {messages:?} {outages:?}", ending.name());
        self.hasher.update(summary.as_bytes());
        self.trace.push(summary);
        self.found.truncate(MOST_FOUND);
        Ok(Outcome {
            seed: self.setup.seed,
            ending,
            why: rollout.why.clone(),
            duration_ms: self.now_ms - START_MS,
            waves: (rollout.wave + 1, waves),
            runs,
            failed_before_halt: self
                .halted_with
                .unwrap_or_else(|| crate::decide::failed(rollout)),
            gates: self.gates,
            outages,
            messages,
            counts: self.counts,
            broken: self.found,
            trace_hash: self.hasher.finalize().to_hex().to_string(),
            trace: self.trace,
        })
    }
}
