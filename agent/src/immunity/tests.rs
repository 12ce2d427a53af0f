use std::io::Cursor;

use mailmend_policy::digest::Digest;
use mailmend_proto::wire;
use proptest::prelude::*;
use uuid::Uuid;

use super::list::List;
use super::room::Room;
use super::{Fingerprint, Known, Likeness, MOST, Print, TELLING, body_at, choose, print};
use crate::guard::Immunity;

fn short(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A spool file as a server writes it: its own name in the MTS-ID and in `Received`.
fn spooled(server: &str, message_id: &str, body: &str) -> Vec<u8> {
    let mut bytes = b"\xF7ImCr\x01\x00".to_vec();
    bytes.extend(short("a@x.example"));
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(short(&format!("someone@{server}.example")));
    bytes.extend(short(&format!("c=US;a= ;p=X;l={server}9711051951WKA6D6YM")));
    bytes.extend(b"EwLs");
    bytes.extend(
        format!("Received: by {server}\r\nMessage-ID: {message_id}\r\n\r\n{body}").as_bytes(),
    );
    bytes
}

fn printed(bytes: &[u8]) -> Print {
    let (print, _) = print(&mut Cursor::new(bytes), bytes.len() as u64, |_, _| true)
        .unwrap()
        .unwrap();
    print
}

fn fingerprint(number: u128, print: Print) -> Fingerprint {
    Fingerprint {
        id: Uuid::from_u128(number),
        print,
        provenance: "A, search".into(),
    }
}

#[test]
fn the_same_message_on_another_server_has_the_fingerprint_and_others_have_not() {
    let long = "x".repeat(usize::try_from(TELLING).unwrap());
    let found = printed(&spooled("ONE", "<1@x>", &long));
    let likeness = |bytes: &[u8]| found.likeness(&printed(bytes));
    let table = [
        (spooled("ONE", "<1@x>", &long), Some(Likeness::File)),
        (spooled("TWO", "<1@x>", &long), Some(Likeness::Message)),
        (spooled("TWO", "<2@x>", &long), Some(Likeness::Body)),
        (spooled("TWO", "<1@x>", &format!("{long}!")), None),
        (spooled("TWO", "<1@x>", ""), None),
        (b"no spool file".to_vec(), None),
    ];
    for (bytes, expected) in table {
        assert_eq!(likeness(&bytes), expected);
    }
}

#[test]
fn a_short_body_tells_only_together_with_the_same_message_id() {
    let short = "x".repeat(usize::try_from(TELLING).unwrap() - 1);
    let found = printed(&spooled("ONE", "<1@x>", &short));
    let same = printed(&spooled("TWO", "<1@x>", &short));
    let other = printed(&spooled("TWO", "<2@x>", &short));
    assert_eq!(found.likeness(&same), Some(Likeness::Message));
    assert_eq!(found.likeness(&other), None);
    let nameless = Print {
        message_id: None,
        ..found.clone()
    };
    assert_eq!(nameless.likeness(&nameless.clone()), Some(Likeness::File));
    let elsewhere = Print {
        hash: Digest::of(b"another file"),
        ..nameless.clone()
    };
    assert_eq!(
        nameless.likeness(&elsewhere),
        None,
        "no id is not the same id"
    );
    let empty = printed(&spooled("ONE", "<1@x>", ""));
    assert_eq!(empty.body, None);
    assert_eq!(empty.likeness(&printed(&spooled("TWO", "<1@x>", ""))), None);
}

#[test]
fn of_several_fingerprints_the_one_that_says_most_is_found() {
    let long = "y".repeat(2000);
    let one = printed(&spooled("ONE", "<1@x>", &long));
    let two = printed(&spooled("TWO", "<2@x>", &long));
    let known = Known::new(1, false, vec![fingerprint(1, one), fingerprint(2, two)]);
    let find = |bytes: &[u8]| {
        let (found, likeness) = known.find(&printed(bytes)).unwrap();
        (found.id.as_u128(), likeness)
    };
    assert_eq!(
        find(&spooled("SIX", "<2@x>", &long)),
        (2, Likeness::Message)
    );
    assert_eq!(find(&spooled("SIX", "<9@x>", &long)), (1, Likeness::Body));
    assert_eq!(find(&spooled("TWO", "<2@x>", &long)), (2, Likeness::File));
}

#[test]
fn a_file_of_another_length_is_not_read_whole() {
    let bytes = spooled("ONE", "<1@x>", &"z".repeat(3000));
    let known = Known::new(1, false, vec![fingerprint(1, printed(&bytes))]);
    let read = |bytes: &[u8]| {
        let worth = |size, body| known.may_be(size, body);
        print(&mut Cursor::new(bytes), bytes.len() as u64, worth).unwrap()
    };
    assert!(read(&bytes).is_some());
    assert!(read(&spooled("LONGERNAME", "<1@x>", &"z".repeat(3000))).is_some());
    assert!(read(&spooled("ONE", "<1@x>", &"z".repeat(3001))).is_none());
    let changed = print(&mut Cursor::new(&bytes), bytes.len() as u64 - 1, |_, _| {
        true
    });
    assert!(changed.is_err(), "it changed while it was read");
}

#[test]
fn the_guard_files_limits_bound_what_is_set_aside_and_the_oldest_goes_first() {
    let limits = Immunity {
        allowed: true,
        max_per_hour: 5,
        max_files: 8,
    };
    let left = |this_hour, held| Room::of(&limits, this_hour, held).left;
    assert_eq!(left(0, 0), 5);
    assert_eq!(left(4, 4), 1);
    assert_eq!(left(0, 7), 1);
    assert_eq!((left(9, 0), left(0, 9)), (0, 0));
    assert!(Room::of(&limits, 5, 5).why.contains("max_per_hour"));
    assert!(Room::of(&limits, 0, 8).why.contains("max_files"));
    let chosen = choose(vec![30, 10, 20], 2, |at| *at);
    assert_eq!((chosen.aside, chosen.over), (vec![10, 20], vec![30]));
}

fn sent(generation: u64, count: u128) -> wire::Immunity {
    let one = |number: u128| wire::Fingerprint {
        id: Uuid::from_u128(number).to_string(),
        hash: Digest::of(&number.to_le_bytes()).as_bytes().to_vec(),
        size: 10,
        ..wire::Fingerprint::default()
    };
    wire::Immunity {
        generation,
        fingerprints: (1..=count).map(one).collect(),
        in_hand: false,
    }
}

#[test]
fn what_the_controller_said_last_holds_after_a_restart_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = List::default();
    first.keep_in(folder.path());
    first.take(sent(3, 2)).unwrap();
    first.take(sent(4, 1)).unwrap();
    let second = List::default();
    second.keep_in(folder.path());
    let known = second.now();
    assert_eq!((known.generation, known.len()), (4, 1));
    assert!(known.has(Uuid::from_u128(1)) && !known.has(Uuid::from_u128(2)));
}

#[test]
fn a_list_that_makes_no_sense_is_refused_and_the_former_one_stays() {
    let list = List::default();
    list.take(sent(1, 2)).unwrap();
    let mut bad = sent(2, 1);
    bad.fingerprints[0].hash.pop();
    assert!(list.take(bad).unwrap_err().to_string().contains("A142"));
    let many = sent(3, MOST as u128 + 1);
    assert!(list.take(many).unwrap_err().to_string().contains("A142"));
    assert_eq!((list.now().generation, list.now().len()), (1, 2));
}

#[test]
fn a_file_that_was_damaged_counts_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let first = List::default();
    first.keep_in(folder.path());
    first.take(sent(1, 2)).unwrap();
    let path = folder.path().join("immunity");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let second = List::default();
    second.keep_in(folder.path());
    assert!(second.now().is_empty());
    second.take(sent(1, 2)).unwrap();
    assert_eq!(second.now().len(), 2, "and the controller's is taken again");
}

proptest! {
    #[test]
    fn the_body_is_what_follows_the_first_empty_line_whatever_the_pieces_are(
        head in "[A-Za-z: ]{1,40}",
        body in proptest::collection::vec(any::<u8>(), 1..40_000),
    ) {
        let mut bytes = spooled("ONE", "<1@x>", "");
        bytes.truncate(bytes.len() - 2);
        bytes.extend(format!("X-More: {head}\r\n\r\n").as_bytes());
        let at = bytes.len();
        bytes.extend(&body);
        prop_assert_eq!(body_at(&bytes), Some(at));
        let print = printed(&bytes);
        prop_assert_eq!(print.body.unwrap().hash, Digest::of(&body));
        prop_assert_eq!(print.hash, Digest::of(&bytes));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = body_at(&bytes);
        let _ = body_at(&[b"\xF7ImCr\x01\x00", &bytes[..], b"EwLs"].concat());
        let _ = printed(&bytes);
    }
}
