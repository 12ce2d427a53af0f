//! Renewals that bring what no agent may take.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use mailmend_lab::awaited;
use mailmend_lab::hostile::certificates::{abused, honest};
use mailmend_lab::hostile::door::{Renewal, framed};
use prost::Message as _;

use super::{begun, ended_well, narrow};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn no_renewal_brings_another_name_another_authority_or_a_certificate_that_does_not_hold() {
    let (folder, mut drive) = begun(narrow(6));
    let data = drive.place.server().dir.agent().join("data");
    let name = drive.place.server().name.clone();
    let kept =
        || ["agent.key", "agent.pem", "ca.pem"].map(|file| fs::read(data.join(file)).unwrap());
    let before = kept();
    let authority = Arc::clone(&drive.place.controller.authority);
    let answers = abused(&authority, &name, folder.path()).unwrap();
    assert!(answers.len() >= 12);
    for (what, answer) in answers {
        let asked = drive.place.controller.renewed();
        drive.place.controller.answer_renewals([answer]);
        // It asks once in each session, and then not for a minute.
        drive.drop_line();
        drive.connected().unwrap();
        awaited::or_fail("a renewal", LIMIT, || {
            drive.place.controller.renewed() > asked
        })
        .unwrap();
        drive.listen(Duration::from_millis(700));
        assert!(!drive.line_is_over(), "{what}: the session ended");
        assert_eq!(before, kept(), "{what}");
    }
    let asked = drive.place.controller.renewed();
    let good: Renewal = {
        let (authority, name) = (Arc::clone(&authority), name.clone());
        Arc::new(move |csr| framed(&honest(&authority, &name, csr).encode_to_vec()))
    };
    drive.place.controller.answer_renewals([good]);
    drive.drop_line();
    drive.connected().unwrap();
    awaited::or_fail("the renewal", LIMIT, || {
        drive.place.controller.renewed() > asked
    })
    .unwrap();
    awaited::or_fail("the certificate", LIMIT, || kept()[1] != before[1]).unwrap();
    assert_eq!((&kept()[0], &kept()[2]), (&before[0], &before[2]));
    drive.drop_line();
    drive.connected().unwrap();
    ended_well(drive);
}
