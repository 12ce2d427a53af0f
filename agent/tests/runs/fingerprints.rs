//! Fingerprints of messages of a simulated site, as if another server had found them to be poison.

use std::path::Path;

use mailmend_agent::engine::Engine;
use mailmend_agent::host::Host;
use mailmend_agent::immunity::print;
use mailmend_policy::digest::Digest;
use mailmend_proto::convert::body_to_wire;
use mailmend_proto::run::{BatchId, Custody, RunId};
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use uuid::Uuid;

use crate::site::Site;

/// The fingerprint number `number`: of the message with this spool name, found in another file on another server.
pub(crate) fn of(site: &Site, number: u128, spool_name: &str) -> wire::Fingerprint {
    let balance = site.world.balance();
    let account = balance.by_spool_name(spool_name).unwrap();
    let path = account.live.first().or(account.elsewhere.first()).unwrap();
    of_file(site, number, path)
}

fn of_file(site: &Site, number: u128, path: &Path) -> wire::Fingerprint {
    let host = site.world.host();
    let size = host.spool().look(path).unwrap().unwrap().size;
    let mut file = host.spool().open(path).unwrap();
    let (print, _) = print(file.as_mut(), size, |_, _| true).unwrap().unwrap();
    let (body, body_bytes) = body_to_wire(print.body.as_ref());
    wire::Fingerprint {
        id: Uuid::from_u128(number).to_string(),
        hash: Digest::of(b"the file of another server")
            .as_bytes()
            .to_vec(),
        size: size + 7,
        body,
        body_bytes,
        message_id: print.message_id.unwrap_or_default(),
        provenance: "SRV-A found it in a search".into(),
    }
}

/// What the controller says stands.
pub(crate) fn standing(fingerprints: &[wire::Fingerprint]) -> wire::Immunity {
    wire::Immunity {
        generation: 1 + fingerprints.len() as u64,
        fingerprints: fingerprints.to_vec(),
        in_hand: false,
    }
}

/// A life of the agent: dies at its n-th point, 0 for never; it knows these fingerprints before anything else.
pub(crate) fn life(site: &Site, dies_at: u64, known: &[wire::Fingerprint]) -> Engine {
    let engine = site.engine(dies_at);
    engine.immunize(standing(known)).unwrap();
    engine.recover().expect("recovery writes its records");
    engine
}

/// A message in custody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) run: RunId,
    pub(crate) batch: BatchId,
    pub(crate) name: String,
    pub(crate) custody: Custody,
    /// It has a fingerprint, and its state because of that alone.
    pub(crate) marked: bool,
}

/// Everything in custody, of all runs and duties.
pub(crate) fn kept(site: &Site) -> Vec<Kept> {
    let journal = site.journal();
    let mut kept = Vec::new();
    for run in journal.runs() {
        let state = journal.state(run).unwrap().unwrap();
        for (batch, found) in &state.batches {
            let marked = state.immunized.get(batch);
            kept.extend(found.entries.iter().map(|entry| Kept {
                run,
                batch: *batch,
                name: entry.name.clone(),
                custody: entry.custody,
                marked: marked.is_some_and(|marked| marked.contains_key(&entry.index)),
            }));
        }
    }
    kept
}

/// The one message that is poison because of a fingerprint.
pub(crate) fn set_aside(site: &Site) -> Kept {
    let mut kept = kept(site);
    kept.retain(|one| one.custody == Custody::Poison && one.marked);
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept.remove(0)
}

/// The controller's order to give back what this fingerprint had set aside.
pub(crate) fn withdrawn(kept: &Kept, id: u128, fingerprint: u128) -> wire::Order {
    wire::Order {
        id: Uuid::from_u128(id).to_string(),
        run: kept.run.to_string(),
        by: "anna".into(),
        why: "it is the newsletter".into(),
        what: Some(What::Release(wire::Release {
            batch: kept.batch.to_string(),
            fingerprint: Uuid::from_u128(fingerprint).to_string(),
        })),
        fence: 0,
    }
}
