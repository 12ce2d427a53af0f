//! Wherever the controller dies: its trail is whole, everything that an agent did has an earlier authorisation in it,
//! and it tells how the rollout stands.

use mailmend_proto::chain::Link;
use prost::Message as _;

use super::*;
use crate::store::kept;
use crate::trail::chain::hex;
use crate::trail::verify::{Journal, Trail, compare};
use crate::trail::{Head, past};

async fn verified(store: &Store) -> Trail {
    let mut trail = Trail::default();
    loop {
        let rows = store.trail_after(trail.head().seq).await.unwrap();
        if rows.is_empty() {
            return trail;
        }
        for row in rows {
            let says = Head {
                seq: row.entry.seq,
                hash: row.hash.try_into().unwrap(),
            };
            let bytes = row.entry.encode_to_vec();
            trail.entry(&row.entry, &bytes, says).unwrap();
        }
    }
}

/// An agent's journal as it is exported, verified.
fn exported(agent: &SimulatedAgent) -> Journal {
    let (name, id) = (&agent.name, journal(&agent.name));
    let header =
        format!(r#"{{"mailmend":"journal","format":1,"agent":"{name}","journal":"{id}"}}"#);
    let mut exported = Journal::begun(&header).unwrap();
    let mut link = Link::first(exported.id);
    for record in &agent.journal {
        let bytes = kept(record);
        link = link.after(&bytes);
        let (hash, record) = (hex(&link.hash), hex(&bytes));
        let seq = link.seq;
        let line = format!(r#"{{"seq":{seq},"hash":"{hash}","record":"{record}"}}"#);
        exported.line(&line).unwrap();
    }
    exported
}

pub(super) async fn assert_authorised(store: &Store, site: &Site, ended: &Rollout) {
    let trail = verified(store).await;
    for agent in &site.agents {
        let journal = exported(&agent.lock().unwrap());
        assert!(journal.seq() > 0);
        assert_eq!(compare(&trail, &journal), [], "{}", journal.agent);
        // Without the authorisations each step is found: the check can fail.
        assert!(!compare(&Trail::default(), &journal).is_empty());
    }
    let id = ended.id.to_string();
    let mut entries = store.trail_of(&id).await.unwrap();
    if entries[0].entry.kind != "start-rollout" {
        // The start of these tests names no target.
        entries.splice(0..0, store.trail_of("").await.unwrap());
    }
    let mut stands = ended.clone();
    for run in &mut stands.runs {
        for part in run.parts.values_mut() {
            part.told = crate::rollout::Told::default();
        }
    }
    let told = past::rollout(ended, &entries).unwrap().unwrap();
    assert_eq!(told, stands, "the trail tells another rollout");
}
