//! From what an operator types to the one thing that it names.

use mailmend_proto::run::RunId;
use tonic::Status;
use uuid::Uuid;

use crate::react::Proposal;
use crate::rollout::{Rollout, RolloutId};
use crate::store::{FingerprintRow, PolicyRow};

use super::{OperatorService, invalid};

/// The fewest characters of an id that may stand for it.
const SHORTEST: usize = 6;

impl OperatorService {
    pub(super) async fn policy(&self, name: &str, version: u32) -> Result<PolicyRow, Status> {
        let found = self.controller.store().policy(name, version).await?;
        found.ok_or_else(|| {
            let which = match version {
                0 => format!("policy `{}`", name.escape_debug()),
                version => format!("version {version} of policy `{}`", name.escape_debug()),
            };
            Status::not_found(format!(
                "C036-not-found: there is no {which}; `mailmend policy list` shows all"
            ))
        })
    }

    pub(super) async fn rollout(&self, prefix: &str) -> Result<Rollout, Status> {
        let prefix = checked(prefix)?;
        let store = self.controller.store();
        let found = store.rollouts_named(&prefix).await?;
        let id: RolloutId = the_one("rollout", "mailmend rollout list", &prefix, &found)?;
        store
            .rollout(id)
            .await?
            .ok_or_else(|| Status::not_found("C036-not-found: the rollout has gone"))
    }

    pub(super) async fn proposal(&self, prefix: &str) -> Result<Proposal, Status> {
        let prefix = checked(prefix)?;
        let found = self.controller.store().proposals_named(&prefix).await?;
        let ids: Vec<Uuid> = found.iter().map(|proposal| proposal.id).collect();
        let id = the_one("proposal", "mailmend proposal list --all", &prefix, &ids)?;
        found
            .into_iter()
            .find(|proposal| proposal.id == id)
            .ok_or_else(|| Status::not_found("C036-not-found: the proposal has gone"))
    }

    pub(super) async fn fingerprint(&self, prefix: &str) -> Result<FingerprintRow, Status> {
        let prefix = checked(prefix)?;
        let found = self.controller.store().fingerprints_named(&prefix).await?;
        let ids: Vec<Uuid> = found.iter().map(|row| row.fingerprint.id).collect();
        let listing = "mailmend immunity list --all";
        let id = the_one("fingerprint", listing, &prefix, &ids)?;
        found
            .into_iter()
            .find(|row| row.fingerprint.id == id)
            .ok_or_else(|| Status::not_found("C036-not-found: the fingerprint has gone"))
    }

    pub(super) async fn run_id(&self, prefix: &str) -> Result<RunId, Status> {
        let prefix = checked(prefix)?;
        let found = self.controller.store().runs_named(&prefix).await?;
        the_one("run", "mailmend rollout show", &prefix, &found)
    }

    pub(super) async fn order_id(&self, prefix: &str) -> Result<Uuid, Status> {
        let prefix = checked(prefix)?;
        let found = self.controller.store().orders_named(&prefix).await?;
        the_one("order", "mailmend run show", &prefix, &found)
    }
}

fn checked(prefix: &str) -> Result<String, Status> {
    let prefix = prefix.trim().to_ascii_lowercase();
    let fits = (SHORTEST..=36).contains(&prefix.len())
        && prefix.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if fits {
        return Ok(prefix);
    }
    let shown: String = prefix.chars().take(40).collect();
    Err(invalid(&format!(
        "C089-id: `{}` is no id: give at least {SHORTEST} of its leading characters (0-9, a-f, -)",
        shown.escape_debug()
    )))
}

fn the_one<T: Copy + std::fmt::Display>(
    what: &str,
    listing: &str,
    prefix: &str,
    found: &[T],
) -> Result<T, Status> {
    match found {
        [] => Err(Status::not_found(format!(
            "C036-not-found: no {what} begins with `{prefix}`; `{listing}` shows all"
        ))),
        [one] => Ok(*one),
        several => {
            let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(invalid(&format!(
                "C090-id-ambiguous: more than one {what} begins with `{prefix}`: {}; give more characters",
                ids.join(", ")
            )))
        }
    }
}
