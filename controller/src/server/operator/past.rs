//! How a rollout stood once: from the trail what was decided, from the records that were stored by then what its
//! agents had told.

use mailmend_proto::wire;
use tonic::Status;

use super::{OperatorService, answers};
use crate::ingest::Folded;
use crate::rollout::Rollout;
use crate::trail::{line, past};

impl OperatorService {
    pub(super) async fn rollout_at(
        &self,
        request: wire::GetRolloutAtRequest,
    ) -> Result<wire::Rollout, Status> {
        let now = self.rollout(&request.id).await?;
        let store = self.controller.store();
        let mut entries = store.trail_of(&now.id.to_string()).await?;
        entries.retain(|row| row.entry.at_ms <= request.at_ms);
        let found = past::rollout(&now, &entries)
            .map_err(|why| Status::internal(format!("C039-controller: {why}")))?;
        let Some(mut past) = found else {
            return Err(Status::failed_precondition(format!(
                "C161-not-in-the-trail: the trail does not tell how rollout {} stood at {}; it was started at {}",
                now.id,
                line::time(request.at_ms),
                line::time(now.started_ms)
            )));
        };
        self.told_by(&mut past, request.at_ms).await?;
        Ok(answers::rollout(&past))
    }

    /// Puts in what the agents had told by then.
    async fn told_by(&self, past: &mut Rollout, at_ms: i64) -> Result<(), Status> {
        let store = self.controller.store();
        for run in past.runs.iter().map(|run| run.id).collect::<Vec<_>>() {
            for row in store.trail_of(&run.to_string()).await? {
                if row.entry.kind == "refuse-run" && row.entry.at_ms <= at_ms {
                    past::refused(past, run, &row);
                }
            }
            let mut folded = std::collections::BTreeMap::<_, Folded>::new();
            for (agent, event) in store.events_until(run, at_ms).await? {
                let before = folded.remove(&agent).unwrap_or_default();
                // Of another journal of the agent: what it did there is not known, as it is now.
                let after = before.clone().after(&event).unwrap_or(before);
                folded.insert(agent, after);
            }
            let Some(run) = past.runs.iter_mut().find(|one| one.id == run) else {
                continue;
            };
            for (agent, folded) in folded {
                if let Some(part) = run.parts.get_mut(&agent) {
                    part.told = folded.told.counted(&folded.state);
                }
            }
        }
        Ok(())
    }
}
