//! Stopping policies for ever.

use mailmend_proto::wire;
use tonic::Status;

use super::{OperatorService, answers, invalid};
use crate::store::{PolicyRow, Recall, Recalled};

impl OperatorService {
    pub(super) async fn recalled(
        &self,
        operator: String,
        request: wire::RecallPolicyRequest,
    ) -> Result<wire::RecallPolicyResponse, Status> {
        let why = request.why.trim();
        if why.is_empty() {
            return Err(invalid(
                "C098-reason-missing: say why it is recalled: everybody who meets it will read that",
            ));
        }
        let what = match (request.policy.as_str(), request.article.as_str()) {
            ("", "") => {
                return Err(invalid(
                    "C038-request: say what to recall: a policy by name, or an article",
                ));
            }
            (name, "") => {
                let name = name
                    .parse()
                    .map_err(|why| invalid(&format!("C038-request: the policy: {why}")))?;
                Recalled::Policy(name, Some(request.version).filter(|version| *version > 0))
            }
            ("", article) => Recalled::Article(article.to_owned()),
            _ => {
                return Err(invalid(
                    "C038-request: recall a policy by name or everything of an article, not both",
                ));
            }
        };
        let target = match &what {
            Recalled::Policy(name, Some(version)) => format!("{name} {version}"),
            Recalled::Policy(name, None) => name.to_string(),
            Recalled::Article(article) => format!("article {article}"),
        };
        let change = self.change(operator, "recall-policy", target.clone(), why.to_owned());
        let store = self.controller.store();
        let done = store.recall(&what, &change).await?;
        if done.revisions.is_empty() {
            return Err(Status::not_found(format!(
                "C036-not-found: nothing is published of {}; `mailmend policy list` shows all",
                target.escape_debug()
            )));
        }
        tracing::warn!(target, why, rollouts = done.rollouts.len(), "recalled");
        self.controller.symptoms_changed();
        self.controller.sessions().wake_all();
        let rows = store.policies().await?;
        let of = |recall: &Recall| {
            rows.iter()
                .find(|row| row.name == recall.policy && row.version == recall.version)
                .cloned()
                .map(|row| revision(row, Some(recall)))
        };
        Ok(wire::RecallPolicyResponse {
            revisions: done.revisions.iter().filter_map(of).collect(),
            rollouts: done.rollouts.iter().map(ToString::to_string).collect(),
            unbound: done.unbound.iter().map(ToString::to_string).collect(),
        })
    }

    /// Revisions, with those that were recalled marked.
    pub(super) async fn revisions(
        &self,
        rows: Vec<PolicyRow>,
    ) -> Result<Vec<wire::PolicyRevision>, Status> {
        let recalls = self.controller.store().recalls().await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let recall = recalls
                    .iter()
                    .find(|recall| recall.policy == row.name && recall.version == row.version);
                revision(row, recall)
            })
            .collect())
    }
}

fn revision(row: PolicyRow, recall: Option<&Recall>) -> wire::PolicyRevision {
    wire::PolicyRevision {
        recall: recall.map(answers::recall),
        ..answers::policy(row)
    }
}
