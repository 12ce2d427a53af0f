//! Rollouts that a binding starts: the decision and the rollout are one write.

use mailmend_policy::name::{PolicyName, SiteName};
use mailmend_proto::run::RunId;

use super::at_work::Touched;
use super::row::{to_json, unsigned};
use super::{Change, NewRollout, Store, StoreError};
use crate::react::{Binding, Effect};
use crate::rollout::RolloutId;

/// What a start was decided from; it is void where that is not so any more.
#[derive(Debug, Clone)]
pub struct ReactionStart<'a> {
    /// The binding that acts.
    pub binding: &'a Binding,
    /// Where.
    pub site: &'a SiteName,
    /// How many rollouts the binding's policy had started at the site by itself before.
    pub number: u64,
}

impl Store {
    /// How many rollouts a policy has started at a site by itself.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn reactions_of(
        &self,
        policy: &PolicyName,
        site: &SiteName,
    ) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT coalesce(max(number), 0) FROM reactions WHERE policy = $1 AND site = $2",
        )
        .bind(policy.as_str())
        .bind(site.as_str())
        .fetch_one(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        unsigned("reactions", count)
    }

    /// Starts a rollout that a binding has decided on, and ends the proposals that it answers.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where the decision was stored before, or was made from what is not so any
    /// more: the binding, who has a server of the site in hand, who holds the site.
    pub async fn start_reaction(
        &self,
        start: &ReactionStart<'_>,
        new: &NewRollout,
        change: &Change,
    ) -> Result<RolloutId, StoreError> {
        let (policy, site) = (start.binding.policy.as_str(), start.site.as_str());
        let changed =
            |what: &str| Err(StoreError::Changed(format!("{what} of {policy} at {site}")));
        let mut write = self.write().await?;
        let bound: Option<i64> = sqlx::query_scalar(
            "SELECT bound_ms FROM bindings WHERE policy = $1 AND version = $2 AND answer = 'auto'",
        )
        .bind(policy)
        .bind(start.binding.version)
        .fetch_optional(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if bound != Some(start.binding.bound_ms) {
            return changed("the binding");
        }
        let taken: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM locks WHERE site = $1)
               + (SELECT count(*) FROM in_hand h JOIN agents a ON a.name = h.agent WHERE a.site = $1)",
        )
        .bind(site)
        .fetch_one(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if taken > 0 {
            return changed("who has the site");
        }
        let rollout = self.write_rollout(&mut write, new).await?;
        let done = sqlx::query(
            "INSERT INTO reactions (rollout, policy, site, number) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(rollout.to_string())
        .bind(policy)
        .bind(site)
        .bind(i64::try_from(start.number + 1).unwrap_or(i64::MAX))
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if done.rows_affected() != 1 {
            return changed("what was decided");
        }
        self.lapse_all(&mut write, policy, site, new.started_ms)
            .await?;
        self.write_change_of(&mut write, change, vec![new.told()])
            .await?;
        self.commit(write).await?;
        Ok(rollout)
    }

    /// Keeps what came of runs, with the reasons; the first word of each stays. All of them or none.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn keep_effects(
        &self,
        effects: &[(RunId, Effect, &str)],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let of = |(run, effect, why): &(RunId, Effect, &str)| {
            (run.to_string(), effect.name(), (*why).to_owned())
        };
        let rows: Vec<_> = effects.iter().map(of).collect();
        sqlx::query(
            "INSERT INTO effects (run, effect, why, judged_ms)
             SELECT value ->> 0, value ->> 1, value ->> 2, $2 FROM json_each($1) WHERE true
             ON CONFLICT DO NOTHING",
        )
        .bind(to_json("effects", &rows)?)
        .bind(now_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let runs = effects.iter().map(|(run, ..)| *run).collect();
        self.commit_of(write, Touched::Judged(runs)).await
    }
}
