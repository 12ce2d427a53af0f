//! Documents: one way to write each, and everything else is refused.

use super::*;

#[test]
fn documents_read_back_as_they_are_written() {
    let root = root(3);
    assert_eq!(Root::parse(root.write().as_bytes()).unwrap(), root);
    let list = entries(&[(1, POLICY), (2, NEWER)]);
    let catalogue = Catalogue::new(7, NOW, list).unwrap();
    assert_eq!(
        Catalogue::parse(catalogue.write().as_bytes()).unwrap(),
        catalogue
    );
    let text = catalogue.write();
    let stamp = stamp(9, &signed(Kind::Catalogue, text.clone(), &[]));
    assert_eq!(Timestamp::parse(stamp.write().as_bytes()).unwrap(), stamp);
    assert_eq!(kind_of(text.as_bytes()), Some(Kind::Catalogue));
    assert_eq!(kind_of(b"x = 1"), None);
    assert_eq!(time(NOW), "2026-11-21T00:00:00Z");
}

#[test]
fn what_a_document_does_not_have_is_refused_and_so_is_what_it_has_twice() {
    let good = root(1).write();
    for (from, to) in [
        ("kind = \"root\"", "kind = \"catalogue\""),
        ("version = 1", "version = 0"),
        ("version = 1", "version = 1\nversion = 1"),
        ("version = 1", "version = 1\nspare = 1"),
        ("version = 1", "version = 99999999999999999999"),
        ("version = 1\n", ""),
        ("T00:00:00Z", "T00:00:00+00:00"),
        ("T00:00:00Z", " 00:00"),
        ("T00:00:00Z", "T00:00:00.5Z"),
        ("[root]", "[Root]"),
        ("[timestamp]", "[delegation]"),
        ("holder = \"holder 1\"", "holder = \"\""),
        ("holder = \"holder 1\"", "holder = \"a\\nb\""),
        ("holder = \"holder 1\"", "owner = \"anna\""),
    ] {
        assert!(good.contains(from), "{from}");
        let bad = good.replacen(from, to, 1);
        let why = Root::parse(bad.as_bytes()).unwrap_err();
        assert!(
            matches!(
                why,
                Refusal::Malformed {
                    kind: Kind::Root,
                    ..
                }
            ),
            "{to}: {why}"
        );
    }
    assert!(Root::parse(&[0xff, 0xfe]).is_err());
}

#[test]
fn a_timestamp_lives_no_longer_than_it_protects() {
    let catalogue = catalogue(1, &[]);
    let lives = |days: i64| {
        let stamp = Timestamp {
            expires_ms: NOW + days * DAY,
            ..stamp(1, &catalogue)
        };
        Timestamp::parse(stamp.write().as_bytes()).is_ok()
    };
    assert!(lives(1) && lives(92) && !lives(93) && !lives(0) && !lives(-1));
}

#[test]
fn a_key_is_written_in_one_way_and_no_weak_key_is_one() {
    let good = key(1).public().to_string();
    assert_eq!(good.parse::<PublicKey>().unwrap(), key(1).public());
    assert_eq!(
        good.to_uppercase().parse::<PublicKey>(),
        Err(KeyFault::Digits)
    );
    assert_eq!(good[1..].parse::<PublicKey>(), Err(KeyFault::Digits));
    // Points of small order verify signatures that nobody made; 2^255-19+y is a second way to write y.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert_eq!(PublicKey::from_bytes(&weak), Err(KeyFault::Unsound));
    assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(KeyFault::Unsound));
    for low in 0xed..=0xff {
        for high in [0x7f, 0xff] {
            let mut second = [0xff; 32];
            (second[0], second[31]) = (low, high);
            assert_eq!(
                PublicKey::from_bytes(&second),
                Err(KeyFault::Unsound),
                "{low:x}"
            );
        }
    }
}

#[test]
fn a_secret_keys_file_reads_back_and_is_never_shown() {
    let secret = key(7);
    let again = SecretKey::read(&secret.file()).unwrap();
    assert_eq!(again.public(), secret.public());
    assert!(!format!("{secret:?}").contains(&secret.file()[30..60]));
    for bad in ["", "x", &secret.file()[1..], &format!("{} ", secret.file())] {
        assert!(SecretKey::read(bad).is_err());
    }
}

#[test]
fn a_file_of_signatures_reads_back_and_every_other_line_is_told() {
    let text = root(1).write();
    let all = signed(Kind::Root, text, &[1, 2]).signatures;
    let file = Signature::write_all(&all);
    assert_eq!(Signature::read_all(&file).unwrap(), all);
    assert_eq!(Signature::read_all("").unwrap(), []);
    let bad = format!("{file}x\n");
    assert_eq!(Signature::read_all(&bad), Err(SignaturesFault::Line(3)));
    let many = file.repeat(MOST_SIGNATURES);
    assert_eq!(Signature::read_all(&many), Err(SignaturesFault::TooMany));
}

#[test]
fn depth_and_noise_are_refused_and_not_followed_down() {
    for kind in Kind::ALL {
        let most = kind.longest();
        for text in [
            "[".repeat(most),
            format!("x = {}", "[".repeat(most - 4)),
            "\0".repeat(most),
            "x.".repeat(most / 2),
        ] {
            let refused = match kind {
                Kind::Root => Root::parse(text.as_bytes()).is_err(),
                Kind::Catalogue => Catalogue::parse(text.as_bytes()).is_err(),
                Kind::Timestamp => Timestamp::parse(text.as_bytes()).is_err(),
            };
            assert!(refused && kind_of(text.as_bytes()).is_none());
        }
    }
}
