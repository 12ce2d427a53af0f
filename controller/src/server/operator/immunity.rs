//! Fingerprints of poison: listed, added on a person's word, withdrawn.

use mailmend_proto::convert::proof_to_wire;
use mailmend_proto::run::Custody;
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use tonic::Status;

use super::person_orders::{Ask, custody_id, ids, named};
use super::{OperatorService, invalid};
use crate::immunity::State;
use crate::store::{FingerprintRow, OrderKind, SetAsideRow};

fn summary(row: &FingerprintRow) -> wire::FingerprintSummary {
    let one = &row.fingerprint;
    wire::FingerprintSummary {
        fingerprint: Some(one.to_wire()),
        state: match one.state {
            State::Standing => wire::FingerprintState::Standing,
            State::Withdrawn => wire::FingerprintState::Withdrawn,
            State::Refused => wire::FingerprintState::Refused,
        }
        .into(),
        agent: one.agent.to_string(),
        run: one.run.to_string(),
        entry: format!("{}/{}", one.batch, one.entry),
        proof: proof_to_wire(one.proof),
        how: one.how.clone(),
        policy: one.policy.clone(),
        found_ms: one.found_ms,
        changed_ms: one.changed_ms,
        by: one.by.clone(),
        why: one.why.clone(),
        set_aside: row.set_aside,
        given_back: row.given_back,
    }
}

/// What a message waits for: its release after its fingerprint was withdrawn, or a person.
fn waits(row: &SetAsideRow, withdrawn: bool) -> String {
    if row.custody == Custody::InDoubt {
        return format!(
            "it may have been sent: `mailmend custody settle {} {}/{} --as delivered` or `--as not-delivered`, with `--why`",
            row.run, row.batch, row.entry
        );
    }
    if withdrawn && row.custody == Custody::Held {
        return format!(
            "its release left it held; `mailmend run show {}` tells why, `mailmend custody release {}` gives it back",
            row.run, row.run
        );
    }
    if !withdrawn || !row.standing || row.custody != Custody::Poison {
        return String::new();
    }
    if row.waiting {
        return format!("`{}` has not answered the release", row.agent);
    }
    if !row.refused.is_empty() {
        return format!(
            "`{}` refused: {}; it is asked again within a minute or two",
            row.agent, row.refused
        );
    }
    format!(
        "its site is in use, or run {} goes on; `mailmend run show {}` tells what it does",
        row.run, row.run
    )
}

fn aside(row: &SetAsideRow, withdrawn: bool) -> wire::SetAside {
    wire::SetAside {
        agent: row.agent.to_string(),
        run: row.run.to_string(),
        entry: format!("{}/{}", row.batch, row.entry),
        name: row.name.clone(),
        custody: match row.custody {
            Custody::Live => wire::Custody::Live,
            Custody::Held => wire::Custody::Held,
            Custody::Replaying => wire::Custody::Replaying,
            Custody::GoneWithEvidence => wire::Custody::GoneWithEvidence,
            Custody::Poison => wire::Custody::Poison,
            Custody::InDoubt => wire::Custody::InDoubt,
        }
        .into(),
        evidence: row.evidence.clone(),
        changed_ms: row.changed_ms,
        standing: row.standing,
        waits: waits(row, withdrawn),
    }
}

impl OperatorService {
    pub(super) async fn fingerprints(
        &self,
        request: wire::ListFingerprintsRequest,
    ) -> Result<wire::ListFingerprintsResponse, Status> {
        let rows = self.controller.store().fingerprints(request.all).await?;
        Ok(wire::ListFingerprintsResponse {
            fingerprints: rows.iter().map(summary).collect(),
        })
    }

    pub(super) async fn fingerprint_detail(
        &self,
        prefix: &str,
    ) -> Result<wire::FingerprintDetail, Status> {
        let row = self.fingerprint(prefix).await?;
        let store = self.controller.store();
        let messages = store.set_aside_by(row.fingerprint.id).await?;
        let withdrawn = row.fingerprint.state == State::Withdrawn;
        Ok(wire::FingerprintDetail {
            summary: Some(summary(&row)),
            messages: messages.iter().map(|one| aside(one, withdrawn)).collect(),
        })
    }

    /// Asks the agent that holds a message for its fingerprint.
    pub(super) async fn fingerprint_added(
        &self,
        operator: String,
        request: wire::AddFingerprintRequest,
    ) -> Result<wire::OrderStatus, Status> {
        let ask = Ask {
            request_id: request.request_id,
            by: request.by,
            why: request.why,
            operator,
        };
        ask.with_reason()?;
        if let Some(stored) = self.stored(&ask).await? {
            return Ok(stored);
        }
        let run = self.run_id(&request.run).await?;
        let batches = self.controller.store().batches_of(run).await?;
        let (text, range) = custody_id(&request.entry)?;
        if range.first != range.last {
            return Err(ids("a fingerprint is of one message: BATCH/INDEX"));
        }
        let batch = named(text, batches.iter().map(|(batch, ..)| *batch))?;
        let Some((_, agent, _)) = batches.iter().find(|(id, ..)| *id == batch) else {
            return Err(ids("no message is named"));
        };
        let what = What::Immunize(wire::Immunize {
            batch: batch.to_string(),
            entry: range.first,
        });
        let target = format!("{run} {batch}/{}", range.first);
        self.ordered(ask, run, agent.clone(), OrderKind::Settle, what, target)
            .await
    }

    /// Withdraws a fingerprint.
    pub(super) async fn fingerprint_withdrawn(
        &self,
        operator: String,
        request: wire::WithdrawFingerprintRequest,
    ) -> Result<wire::FingerprintDetail, Status> {
        if request.why.trim().is_empty() {
            return Err(invalid(
                "C098-reason-missing: say why, for those who look later: what you know and from where",
            ));
        }
        if request.why.len() > 1000 || request.by.len() > 1000 {
            return Err(invalid(
                "C038-request: at most 1000 bytes of words are kept",
            ));
        }
        let row = self.fingerprint(&request.id).await?;
        let id = row.fingerprint.id;
        let by = if request.by.is_empty() {
            operator.clone()
        } else {
            request.by
        };
        let target = format!("{id}{}", if request.keep { " --keep" } else { "" });
        let change = self.change(operator, "withdraw-fingerprint", target, request.why);
        let store = self.controller.store();
        store
            .withdraw_fingerprint(id, !request.keep, &by, &change)
            .await?;
        self.controller.changed();
        self.fingerprint_detail(&id.to_string()).await
    }
}
