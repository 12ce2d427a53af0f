//! An audit finds what was tampered with, whichever of journal, disk and logs it was, and nothing else.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_agent::engine::Engine;
use mailmend_agent::host::Host;
use mailmend_agent::host::simulated::ServiceFaults;
use mailmend_proto::run::{Batch, Custody, Ended};
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;

use crate::site::{IMC, Site};

const OUT: &str = "/exchsrvr/imcdata/Out";

fn at_rest() -> Site {
    let site = Site::small(2);
    let faults = ServiceFaults {
        dies_after: vec![200, 200],
        ..ServiceFaults::default()
    };
    site.world.set_faults(IMC, faults);
    site.live(&[]);
    assert_eq!(site.ended(), Some(Ended::AtRest));
    site.world.set_faults(IMC, ServiceFaults::default());
    site
}

/// What an audit finds, and how many messages it looked at.
fn audited(engine: &Engine) -> (Vec<wire::Disagreement>, u64) {
    let request = wire::AuditRequest {
        id: "an id".into(),
        run: String::new(),
    };
    let (mut found, mut looked, mut last) = (Vec::new(), 0, false);
    engine.audit(&request, &mut |piece| {
        assert!(!last, "a piece after the last one");
        assert_eq!((piece.id.as_str(), piece.failed.as_str()), ("an id", ""));
        found.extend(piece.found);
        looked = piece.messages;
        last = piece.last;
        true
    });
    assert!(last, "an audit says that nothing follows");
    (found, looked)
}

fn nothing_found(site: &Site) {
    assert_eq!(audited(&site.engine(0)), (Vec::new(), 5));
}

fn batch(site: &Site) -> Batch {
    let state = site.state();
    state.batches.values().next().cloned().expect("a batch")
}

/// The held file of an entry.
fn held(site: &Site, index: usize) -> PathBuf {
    let batch = batch(site);
    Path::new(&batch.held).join(&batch.entries[index].name)
}

/// The one finding, which is about this entry.
fn one(site: &Site, index: u32) -> wire::Disagreement {
    let (mut found, looked) = audited(&site.engine(0));
    assert_eq!((found.len(), looked), (1, 5), "{found:?}");
    let found = found.remove(0);
    assert!(found.id.ends_with(&format!("/{index}")), "{found:?}");
    assert_eq!(found.run, site.run.to_string());
    assert!(!found.remedy.is_empty());
    found
}

#[test]
fn a_ledger_that_nobody_touched_agrees_with_disk_and_logs_at_every_stage() {
    let site = at_rest();
    nothing_found(&site);
    let engine = site.engine(0);
    engine
        .order(&site.order(1, What::Release(wire::Release::default())))
        .unwrap();
    engine.carry_on(site.run).unwrap();
    nothing_found(&site);
    let unwound = Site::small(1);
    let engine = unwound.engine(0);
    engine.admit(&unwound.assignment).unwrap();
    let released = unwound.plan.sections[0].last + 1;
    engine.advance(unwound.run, 1, released).unwrap();
    engine.carry_on(unwound.run).unwrap();
    nothing_found(&unwound);
    let engine = unwound.engine(0);
    engine.unwind(unwound.run, 1, 0, true).unwrap();
    engine.carry_on(unwound.run).unwrap();
    engine.watch().unwrap();
    nothing_found(&unwound);
}

#[test]
fn a_byte_that_was_flipped_in_a_held_file_is_found() {
    let site = at_rest();
    let file = held(&site, 2);
    let mut bytes = Vec::new();
    let host = site.world.host();
    host.spool()
        .open(&file)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    site.world
        .put_file(&file, &bytes, Duration::from_secs(16 * 60));
    let found = one(&site, 2);
    assert_eq!(found.journal, "held");
    assert!(found.disk.contains("digest"), "{found:?}");
}

#[test]
fn a_held_file_that_is_gone_is_found() {
    let site = at_rest();
    site.world.host().spool().remove(&held(&site, 1)).unwrap();
    let found = one(&site, 1);
    assert!(found.disk.contains("gone"), "{found:?}");
    assert!(found.logs.is_empty(), "{found:?}");
}

#[test]
fn a_held_file_that_is_in_the_queue_too_is_found() {
    let site = at_rest();
    site.world.by_hand(IMC, false);
    site.world.advance(Duration::from_secs(10));
    let host = site.world.host();
    let back = Path::new(OUT).join("ZZZZZZZ9");
    host.spool().link_new(&held(&site, 3), &back).unwrap();
    let found = one(&site, 3);
    assert!(
        found.disk.contains("`ZZZZZZZ9` is in the queue"),
        "{found:?}"
    );
    assert!(found.remedy.contains("out of the queue"), "{found:?}");
}

#[test]
fn a_held_message_that_the_logs_show_delivered_is_found() {
    let site = at_rest();
    let host = site.world.host();
    let name = batch(&site).entries[0].name.clone();
    // Somebody gives a copy back by hand, and the service sends it.
    let mut bytes = Vec::new();
    host.spool()
        .open(&held(&site, 0))
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    site.world.by_hand(IMC, false);
    site.world.advance(Duration::from_secs(10));
    site.world
        .put_file(&Path::new(OUT).join(name), &bytes, Duration::ZERO);
    site.world.by_hand(IMC, true);
    site.world.advance(Duration::from_secs(120));
    let found = one(&site, 0);
    assert!(found.logs.contains("delivered"), "{found:?}");
    assert!(found.remedy.contains("--as delivered"), "{found:?}");
    // And what it says to do makes them agree.
    let order = site.order(
        9,
        What::Settle(wire::Settle {
            batch: site.state().batches.keys().next().unwrap().to_string(),
            entries: vec![wire::Range { first: 0, last: 0 }],
            custody: wire::Custody::GoneWithEvidence.into(),
        }),
    );
    site.engine(0).order(&order).unwrap();
    nothing_found(&site);
}

#[test]
fn a_message_whose_delivery_no_log_shows_is_found_unless_a_person_said_so() {
    let site = at_rest();
    let order = site.order(
        9,
        What::Settle(wire::Settle {
            batch: site.state().batches.keys().next().unwrap().to_string(),
            entries: vec![wire::Range { first: 0, last: 0 }],
            custody: wire::Custody::GoneWithEvidence.into(),
        }),
    );
    site.engine(0).order(&order).unwrap();
    nothing_found(&site);
    assert_eq!(
        site.state()
            .custody_counts()
            .get(&Custody::GoneWithEvidence),
        Some(&1)
    );
}

#[test]
fn a_file_that_no_entry_knows_is_found_in_a_held_folder_and_beside_it() {
    let site = at_rest();
    let folder = PathBuf::from(batch(&site).held);
    let root = folder.parent().unwrap().join("0000-of-nobody");
    let host = site.world.host();
    host.spool().make_folder(&root).unwrap();
    for file in [folder.join("STRANGER"), root.join("STRANGER")] {
        site.world.put_file(&file, b"whose", Duration::ZERO);
    }
    let (found, looked) = audited(&site.engine(0));
    assert_eq!((found.len(), looked), (2, 5), "{found:?}");
    for found in &found {
        assert!(
            found.id.is_empty() && found.disk.contains("STRANGER"),
            "{found:?}"
        );
    }
    assert_eq!(found.iter().filter(|found| found.run.is_empty()).count(), 1);
}

#[test]
fn an_audit_of_one_run_looks_at_no_other_and_a_second_one_waits_its_turn() {
    let site = at_rest();
    let engine = site.engine(0);
    let request = wire::AuditRequest {
        id: "one".into(),
        run: uuid::Uuid::from_u128(5).to_string(),
    };
    let mut pieces = Vec::new();
    engine.audit(&request, &mut |piece| {
        pieces.push((piece.messages, piece.last));
        true
    });
    assert_eq!(pieces, [(0, true)]);
    let own = wire::AuditRequest {
        run: site.run.to_string(),
        ..request
    };
    let mut beside = Vec::new();
    engine.audit(&own, &mut |piece| {
        if !piece.last {
            engine.audit(&own, &mut |other| {
                beside.push(other.failed);
                true
            });
        }
        true
    });
    assert_eq!(beside.len(), 1);
    assert!(beside[0].starts_with("A076-audit-failed"), "{beside:?}");
}
