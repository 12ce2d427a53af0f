//! What keeps a message that vanished from being given back where it is not missing.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use mailmend_agent::ablation::Mechanism;
use mailmend_agent::host::Host;
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;

use crate::proof::proves;
use crate::site::{IMC, Site};
use crate::vanished::{IN, missing, recover, vanished};

/// Gives back one message, or is refused.
fn give_back(site: &Site, id: u128, mts_id: &str) -> Result<(), String> {
    let engine = site.engine(0);
    engine.recover().unwrap();
    let ordered = engine.order(&recover(site, id, &[mts_id]));
    ordered.map_err(|refusal| refusal.code.to_owned())?;
    engine.carry_on(site.run).unwrap();
    Ok(())
}

fn delivered(site: &Site, mts_id: &str) -> usize {
    let balance = site.world.balance();
    let account = balance.accounts.iter().find(|one| one.mts_id == mts_id);
    account.expect("it was submitted").delivered
}

#[test]
fn a_copy_with_other_bytes_than_were_found_is_not_taken_up() {
    proves(
        Mechanism::CopyAsRecorded,
        "bytes that nobody had found became custody",
        || {
            let site = vanished();
            let one = missing(&site).remove(0);
            site.world
                .put_file(Path::new(&one.escrow), b"another message", Duration::ZERO);
            let answer = give_back(&site, 1, &one.mts_id);
            assert_eq!(
                answer.err().as_deref(),
                Some("A092-recover-refused"),
                "bytes that nobody had found became custody"
            );
        },
    );
}

#[test]
fn a_message_that_was_delivered_after_all_is_not_given_back() {
    proves(
        Mechanism::MissingStillMissing,
        "it was delivered twice",
        || {
            let site = vanished();
            let one = missing(&site).remove(0);
            let copy = Path::new(&one.escrow);
            let mut bytes = Vec::new();
            let host = site.world.host();
            host.spool()
                .open(copy)
                .unwrap()
                .read_to_end(&mut bytes)
                .unwrap();
            let name = Path::new(IN).join(copy.file_name().unwrap());
            site.world.put_file(&name, &bytes, Duration::ZERO);
            site.world.advance(Duration::from_secs(60));
            let _ = give_back(&site, 1, &one.mts_id);
            assert_eq!(delivered(&site, &one.mts_id), 1, "it was delivered twice");
        },
    );
}

#[test]
fn a_copy_that_was_taken_up_and_settled_is_not_taken_up_again() {
    proves(
        Mechanism::CopyTakenUpOnce,
        "it was sent although a person had let it go",
        || {
            let site = vanished();
            let one = missing(&site).remove(0);
            // It is taken up, and cannot be given back now.
            let order = recover(&site, 1, &[&one.mts_id]);
            site.engine(0).order(&order).unwrap();
            site.world.write_event(IMC, 3038, "could not remove");
            let engine = site.engine(0);
            engine.carry_on(site.run).unwrap();
            let batch = *site.state().batches.keys().next_back().unwrap();
            let settle = wire::Settle {
                batch: batch.to_string(),
                entries: vec![wire::Range { first: 0, last: 0 }],
                custody: wire::Custody::GoneWithEvidence.into(),
            };
            engine.order(&site.order(2, What::Settle(settle))).unwrap();
            // What stood in the way is gone; somebody else orders the same again.
            site.world.by_hand(IMC, false);
            site.world.advance(Duration::from_secs(10));
            let _ = give_back(&site, 3, &one.mts_id);
            assert_eq!(
                delivered(&site, &one.mts_id),
                0,
                "it was sent although a person had let it go"
            );
        },
    );
}
