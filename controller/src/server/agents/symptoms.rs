//! What an agent says of the symptoms that it looks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mailmend_policy::name::{PolicyName, ServerName};
use mailmend_proto::convert::digest_from_wire;
use mailmend_proto::wire::{self, SymptomState};
use tonic::Status;

use crate::orchestrator::Controller;
use crate::react::{Standing, Word};
use crate::store::SymptomRow;

/// More symptoms than this are refused; agents watch fewer.
const MOST: usize = 128;
/// Lines of evidence that are kept of one symptom, and characters of each.
const MOST_EVIDENCE: usize = 20;
const LONGEST_EVIDENCE: usize = 1000;

/// Keeps what an agent said, in the place of what it said before. What it says of policies that are
/// neither bound nor asked for by a gate any more is dropped: it will hear so.
pub(super) async fn heard(
    controller: &Controller,
    name: &ServerName,
    said: wire::Symptoms,
) -> Result<(), Status> {
    if said.symptoms.len() > MOST {
        return Err(malformed(
            name,
            &format!("{} symptoms, {MOST} at most", said.symptoms.len()),
        ));
    }
    let store = controller.store();
    let outlook = store.outlook().await?;
    let gated = outlook.gated.get(name);
    let bound: BTreeSet<&str> = outlook
        .bindings
        .keys()
        .chain(gated.into_iter().flat_map(BTreeMap::keys))
        .map(PolicyName::as_str)
        .collect();
    let rows = said
        .symptoms
        .into_iter()
        .filter(|symptom| bound.contains(symptom.policy.as_str()))
        .map(|symptom| row(name, symptom, controller.now_ms()))
        .collect::<Result<Vec<_>, Status>>()?;
    store.replace_symptoms(name, &rows).await?;
    controller.symptoms_changed();
    Ok(())
}

fn row(name: &ServerName, symptom: wire::Symptom, heard_ms: i64) -> Result<SymptomRow, Status> {
    let standing = match symptom.state() {
        SymptomState::Absent => Standing::Absent,
        SymptomState::Stands => Standing::Stands,
        SymptomState::CannotTell => Standing::CannotTell,
        SymptomState::Unspecified => {
            return Err(malformed(name, "a symptom without a state"));
        }
    };
    let digest = digest_from_wire("digest", &symptom.digest)
        .map_err(|why| malformed(name, &why.to_string()))?;
    let policy = symptom
        .policy
        .parse()
        .map_err(|why| malformed(name, &format!("the policy: {why}")))?;
    let evidence = symptom
        .evidence
        .into_iter()
        .take(MOST_EVIDENCE)
        .map(|line| line.chars().take(LONGEST_EVIDENCE).collect())
        .collect();
    Ok(SymptomRow {
        word: Arc::new(Word {
            agent: name.clone(),
            policy,
            version: symptom.version,
            standing,
            since_ms: symptom.since_ms,
            looked_ms: symptom.looked_ms,
            heard_ms,
            evidence,
        }),
        digest,
    })
}

fn malformed(name: &ServerName, why: &str) -> Status {
    Status::invalid_argument(format!(
        "C065-symptoms-malformed: the symptoms of `{name}` make no sense: {why}"
    ))
}
