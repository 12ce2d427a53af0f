//! Properties: no bit may change, and nothing that comes makes a version fall.

use proptest::prelude::*;

use super::*;

fn flipped(bytes: &mut [u8], bit: usize) {
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// An offer that is taken whole: root 2, timestamp 6, catalogue 4.
fn good() -> Offer {
    let catalogue = catalogue(4, &[(1, POLICY), (2, NEWER)]);
    let mut offer = offer(6, &catalogue);
    offer.roots = vec![signed(Kind::Root, root(2).write(), &[1, 3])];
    offer
}

fn part(offer: &mut Offer, which: usize) -> &mut Signed {
    match which {
        0 => &mut offer.roots[0],
        1 => offer.timestamp.as_mut().unwrap(),
        _ => offer.catalogue.as_mut().unwrap(),
    }
}

/// Every bit of the timestamp, its signatures and the key ids in them; of the larger ones see below.
#[test]
fn every_flipped_bit_of_a_timestamp_is_refused() {
    let state = trusting();
    let bits = part(&mut good(), 1).text.len() * 8;
    for bit in 0..bits {
        let mut offer = good();
        flipped(&mut part(&mut offer, 1).text, bit);
        let step = state.offered(&offer, NOW);
        assert!(step.refused.is_some(), "bit {bit}");
        assert_eq!(step.state.version(Kind::Timestamp), 5, "bit {bit}");
    }
    for bit in 0..64 * 8 {
        let mut offer = good();
        flipped(&mut part(&mut offer, 1).signatures[0].value, bit);
        assert!(state.offered(&offer, NOW).refused.is_some(), "bit {bit}");
    }
}

#[derive(Debug, Clone)]
enum Came {
    Catalogue {
        version: u64,
        stamp: u64,
        highest: u32,
    },
    Root {
        version: u64,
    },
    Clock {
        days: i64,
    },
    Restart,
}

fn came() -> impl Strategy<Value = Came> {
    prop_oneof![
        (1..8_u64, 1..12_u64, 1..5_u32).prop_map(|(version, stamp, highest)| Came::Catalogue {
            version,
            stamp,
            highest
        }),
        (1..5_u64).prop_map(|version| Came::Root { version }),
        (-4000..4000_i64).prop_map(|days| Came::Clock { days }),
        Just(Came::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn a_flipped_bit_in_any_document_is_refused(which in 0..3_usize, bit in any::<usize>()) {
        let mut offer = good();
        flipped(&mut part(&mut offer, which).text, bit);
        prop_assert!(trusting().offered(&offer, NOW).refused.is_some());
    }

    #[test]
    fn a_flipped_bit_in_any_signature_that_is_needed_is_refused(
        which in 0..3_usize, one in 0..2_usize, bit in any::<usize>()
    ) {
        let mut offer = good();
        let signatures = &mut part(&mut offer, which).signatures;
        let one = one % signatures.len();
        flipped(&mut signatures[one].value, bit);
        prop_assert!(trusting().offered(&offer, NOW).refused.is_some());
    }

    #[test]
    fn a_flipped_bit_in_a_key_id_is_refused(which in 0..3_usize, bit in any::<usize>()) {
        let mut offer = good();
        let signature = &mut part(&mut offer, which).signatures[0];
        let mut id = *signature.key.as_bytes();
        flipped(&mut id, bit);
        signature.key = KeyId::from_bytes(id);
        prop_assert!(trusting().offered(&offer, NOW).refused.is_some());
    }

    #[test]
    fn a_policy_with_a_flipped_bit_is_not_carried_out(bit in any::<usize>()) {
        let mut text = POLICY.to_vec();
        flipped(&mut text, bit);
        prop_assert!(trusting().permits(&text, NOW).is_err());
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in ".{0,400}") {
        let _ = (Root::parse(text.as_bytes()), Catalogue::parse(text.as_bytes()));
        let _ = (Timestamp::parse(text.as_bytes()), Trusted::read(&text));
        let _ = (Signature::read_all(&text), SecretKey::read(&text), kind_of(text.as_bytes()));
    }

    /// Whatever comes, in whatever order, with whatever clock, over restarts: no version falls, nothing that was
    /// seen expired is permitted again, and what is kept reads back.
    #[test]
    fn versions_never_fall_whatever_comes(all in prop::collection::vec(came(), 1..30)) {
        let mut state = trusting();
        let mut now = NOW;
        for one in all {
            let before = state.clone();
            match one {
                Came::Catalogue { version, stamp, highest } => {
                    let texts: Vec<Vec<u8>> = (1..=highest).map(|n| format!("policy {n}").into_bytes()).collect();
                    let list: Vec<(u32, &[u8])> = (1..).zip(texts.iter().map(Vec::as_slice)).skip(highest as usize - 1).collect();
                    let catalogue = catalogue(version, &list);
                    state = state.offered(&offer(stamp, &catalogue), now).state;
                }
                Came::Root { version } => {
                    let root = signed(Kind::Root, root(version).write(), &[1, 2]);
                    state = state.offered(&roots(vec![root]), now).state;
                }
                Came::Clock { days } => {
                    now = NOW + days * DAY;
                    state = state.seen(now);
                }
                Came::Restart => {
                    state = Trusted::read(&state.write().unwrap()).unwrap();
                    prop_assert_eq!(&state, &before);
                }
            }
            for kind in Kind::ALL {
                prop_assert!(state.version(kind) >= before.version(kind));
            }
            let highest = |state: &Trusted| state.floor("stuck").map_or(0, |floor| floor.highest);
            prop_assert!(highest(&state) >= highest(&before));
            // The same documents, once seen expired: no clock revives them.
            let same = Kind::ALL.iter().all(|kind| state.version(*kind) == before.version(*kind));
            if same && before.fresh(i64::MIN).is_err() {
                prop_assert!(state.fresh(i64::MIN).is_err());
            }
        }
    }
}
