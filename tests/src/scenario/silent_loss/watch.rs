//! Which copies the agents owe: of what vanished while one was there all the time, from before it was sent until
//! after it was gone. What vanishes while an agent is killed has no copy, and cannot have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::stage::Stage;
use crate::daemon::Daemon;
use crate::lab_error::LabError;
use crate::load::Submission;
use crate::spool::SpoolName;

/// How long an agent that was started again has been there before it is held to what it must keep: by then it
/// is told of new files. One that never died is told of them before the step that orders escrow is done.
const SETTLED_IN: Duration = Duration::from_secs(2);

/// A message that vanishes, with the agent that is to keep a copy of it.
struct Attended {
    /// Of its body.
    hash: String,
    /// The index of its server.
    server: usize,
    /// The process of its agent when it was sent.
    agent: u32,
    /// Its spool file.
    name: SpoolName,
}

/// An eye on the agents, and on what vanishes.
#[derive(Default)]
pub(super) struct Watch {
    /// What vanishes and was sent while its agent was there, and is not gone yet.
    attended: Vec<Attended>,
    /// The agents' processes, and since when they are seen; none: since before the rollout.
    agents: BTreeMap<usize, (u32, Option<Instant>)>,
    /// The hashes of what vanished while its agent was there.
    owed: BTreeSet<String>,
}

impl Watch {
    /// The fleet has come up.
    pub(super) fn begin(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        self.look_at_agents(stage, None)
    }

    /// Whether a copy must be there.
    pub(super) fn owes(&self, hash: &str) -> bool {
        self.owed.contains(hash)
    }

    /// The process of the agent of a server, where it is there and can keep copies.
    pub(super) fn agent_of(&self, server: usize) -> Option<u32> {
        let (pid, since) = self.agents.get(&server)?;
        let settled = since.is_none_or(|since| since.elapsed() >= SETTLED_IN);
        settled.then_some(*pid)
    }

    /// A message that vanishes was sent while that agent was there.
    pub(super) fn sent(&mut self, sent: &Submission, server: usize, agent: u32) {
        self.attended.push(Attended {
            hash: sent.body_hash.clone(),
            server,
            agent,
            name: sent.spool_name.clone(),
        });
    }

    /// Notes which agents are there, and since when.
    fn look_at_agents(
        &mut self,
        stage: &mut Stage<'_>,
        seen: Option<Instant>,
    ) -> Result<(), LabError> {
        let pids: Vec<Option<u32>> = stage.fleet()?.agents.iter_mut().map(running).collect();
        for (at, pid) in pids.into_iter().enumerate() {
            match pid {
                Some(pid) if self.agents.get(&at).is_some_and(|known| known.0 == pid) => {}
                Some(pid) => drop(self.agents.insert(at, (pid, seen))),
                None => drop(self.agents.remove(&at)),
            }
        }
        Ok(())
    }

    /// Looks which of the attended are gone by now, and whether their agents are still the same processes: then
    /// they were there all the time, and a copy must be.
    pub(super) fn look_after(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let gone = |one: &Attended| {
            let server = &stage.world.servers[one.server].dir;
            // It goes from Work to In: whoever looks in this order does not miss it.
            let name = one.name.as_str();
            !server.work().join(name).exists() && !server.inbound().join(name).exists()
        };
        let (gone, stays): (Vec<Attended>, Vec<Attended>) = std::mem::take(&mut self.attended)
            .into_iter()
            .partition(gone);
        self.attended = stays;
        self.look_at_agents(stage, Some(Instant::now()))?;
        let same = |one: &Attended| {
            self.agents
                .get(&one.server)
                .is_some_and(|now| now.0 == one.agent)
        };
        let demanded = gone.into_iter().filter(same).map(|one| one.hash);
        self.owed.extend(demanded.collect::<Vec<_>>());
        Ok(())
    }
}

/// The agent's process, while it runs.
fn running(agent: &mut Daemon) -> Option<u32> {
    agent.runs().then(|| agent.pid()).flatten()
}
