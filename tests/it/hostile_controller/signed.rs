//! With `policies = "signed"` whoever stole the controller can ask for policies that are signed already, and for nothing
//! else: he knows everything but the offline keys.

use mailmend_lab::hostile::certificates::now_ms;
use mailmend_lab::hostile::offline::Offline;
use mailmend_lab::hostile::place::Width;
use mailmend_lab::hostile::play::{Drive, Settings, play};
use mailmend_lab::hostile::policies::{Evil, of_kind};
use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;

use super::{begun, built, ended_well};

const SIGNED: Settings = Settings {
    seed: 21,
    actions: 40,
    width: Width::Signed,
};

const KINDS: [&str; 8] = [
    "churn",
    "churn without end",
    "probes without end",
    "escrow",
    "heavy conditions",
    "reconcile",
    "a search over everything",
    "a shipped one",
];

/// None of these is taken on.
#[track_caller]
fn nothing_is_taken(drive: &mut Drive, seed: u64, what: &str) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for kind in KINDS {
        let evil = of_kind(kind, &mut rng).unwrap();
        assert!(!drive.assigned(&evil).unwrap(), "{kind} {what}");
    }
}

#[test]
fn a_policy_that_nobody_signed_is_never_taken_on_whatever_documents_the_controller_sends() {
    let (_folder, mut drive) = begun(SIGNED);
    nothing_is_taken(&mut drive, 1, "without a document");
    let offline = drive.place.offline.clone().unwrap();
    let listed = of_kind("escrow", &mut fastrand::Rng::with_seed(77)).unwrap();
    let text = String::from_utf8(listed.text.clone()).unwrap();
    let name = text.split('"').nth(3).unwrap().to_owned();
    let good = offline.documents(5, &[(&name, 1, &listed.text)]).unwrap();

    // What a thief makes of true documents, and of false ones, with one of his own policies in it.
    let mine = of_kind("churn", &mut fastrand::Rng::with_seed(78)).unwrap();
    let thief = Offline::new(9, now_ms()).unwrap();
    let named = String::from_utf8(mine.text.clone()).unwrap();
    let named = named.split('"').nth(3).unwrap().to_owned();
    let theirs = thief.documents(6, &[(&named, 1, &mine.text)]).unwrap();
    let swapped = |catalogue: bool, timestamp: bool| wire::TrustDocuments {
        roots: good.roots.clone(),
        timestamp: if timestamp {
            theirs.timestamp.clone()
        } else {
            good.timestamp.clone()
        },
        catalogue: if catalogue {
            theirs.catalogue.clone()
        } else {
            good.catalogue.clone()
        },
    };
    let borrowed = wire::SignedDocument {
        text: theirs.catalogue.clone().unwrap().text,
        signatures: good.catalogue.clone().unwrap().signatures,
    };
    let false_ones = [
        theirs.clone(),
        swapped(true, true),
        swapped(true, false),
        swapped(false, true),
        wire::TrustDocuments {
            catalogue: Some(borrowed),
            ..good.clone()
        },
        wire::TrustDocuments {
            roots: vec![theirs.roots[0].clone(); 300],
            ..good.clone()
        },
    ];
    let refused = |drive: &mut Drive, documents: &wire::TrustDocuments, what: &str| {
        drive.connected().unwrap();
        drive.say(Message::Trust(documents.clone()));
        assert!(!drive.assigned(&mine).unwrap(), "{what}");
    };
    for (number, documents) in false_ones.iter().enumerate() {
        refused(&mut drive, documents, &format!("before, {number}"));
    }
    drive.say(Message::Trust(good.clone()));
    assert!(drive.assigned(&listed).unwrap(), "{:?}", drive.mind.answers);
    for (number, documents) in false_ones.iter().enumerate() {
        refused(&mut drive, documents, &format!("after, {number}"));
    }
    // An older catalogue does not come back, and the last good one stays.
    let older = offline.documents(4, &[(&named, 1, &mine.text)]).unwrap();
    refused(&mut drive, &older, "a true document of yesterday");
    nothing_is_taken(&mut drive, 2, "with documents");
    let changed = Evil {
        kind: "one byte more",
        text: [&listed.text[..], b"\n"].concat(),
    };
    assert!(!drive.assigned(&changed).unwrap());
    assert!(drive.assigned(&listed).unwrap(), "{:?}", drive.mind.answers);
    assert_eq!(drive.mind.runs.len(), 2);
    let outcome = ended_well(drive);
    assert_eq!((outcome.stops, outcome.calls), (0, 0));
}

#[test]
fn a_play_of_everything_at_random_has_nothing_carried_out_where_policies_are_signed() {
    let folder = tempfile::tempdir().unwrap();
    let outcome =
        play(folder.path(), SIGNED, &built()).unwrap_or_else(|why| panic!("{}", why.whole()));
    eprintln!("{}", serde_json::json!(outcome));
    assert_eq!(outcome.against, [""; 0]);
    assert_eq!((outcome.runs, outcome.stops, outcome.calls), (0, 0, 0));
    assert!(!outcome.answers.is_empty());
}
