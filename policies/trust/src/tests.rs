//! What is refused, each attack by its name.

mod attacks;
mod clock;
mod documents;
mod properties;
mod published;

use crate::*;

pub(super) const DAY: i64 = 86_400_000;
/// 2026-11-21T00:00:00Z.
pub(super) const NOW: i64 = 1_795_219_200_000;

pub(super) const POLICY: &[u8] = b"schema = \"mailmend/v1\"\nname = \"stuck\"\nversion = 1\n";
pub(super) const NEWER: &[u8] = b"schema = \"mailmend/v1\"\nname = \"stuck\"\nversion = 2\n";

pub(super) fn key(seed: u8) -> SecretKey {
    SecretKey::of(&[seed; 32])
}

pub(super) fn role(threshold: u32, seeds: &[u8]) -> Role {
    let holder = |seed: &u8| Holder {
        key: key(*seed).public(),
        holder: format!("holder {seed}"),
    };
    Role::new(threshold, seeds.iter().map(holder).collect()).unwrap()
}

pub(super) fn signed(kind: Kind, text: impl Into<Vec<u8>>, seeds: &[u8]) -> Signed {
    let text = text.into();
    let signatures = seeds
        .iter()
        .map(|seed| key(*seed).sign(kind, &text))
        .collect();
    Signed { text, signatures }
}

/// Two of three people sign roots (1, 2, 3), two of two catalogues (4, 5), a machine timestamps (6).
pub(super) fn root(version: u64) -> Root {
    let roles = [role(2, &[1, 2, 3]), role(2, &[4, 5]), role(1, &[6])];
    Root::new(version, NOW + 365 * DAY, roles).unwrap()
}

pub(super) fn entries(policies: &[(u32, &[u8])]) -> Vec<Entry> {
    let entry = |(version, text): &(u32, &[u8])| Entry::of("stuck", *version, text);
    policies.iter().map(entry).collect()
}

pub(super) fn catalogue(version: u64, policies: &[(u32, &[u8])]) -> Signed {
    let catalogue = Catalogue::new(version, NOW + 90 * DAY, entries(policies)).unwrap();
    signed(Kind::Catalogue, catalogue.write(), &[4, 5])
}

pub(super) fn stamp(version: u64, catalogue: &Signed) -> Timestamp {
    let read = Catalogue::parse(&catalogue.text).unwrap();
    Timestamp {
        version,
        issued_ms: NOW,
        expires_ms: NOW + 7 * DAY,
        root: 1,
        catalogue: Named {
            version: read.version,
            sha256: Sha256::of(&catalogue.text),
            bytes: catalogue.text.len() as u64,
        },
    }
}

pub(super) fn offer(version: u64, catalogue: &Signed) -> Offer {
    offer_of(&stamp(version, catalogue), catalogue)
}

pub(super) fn offer_of(stamp: &Timestamp, catalogue: &Signed) -> Offer {
    Offer {
        roots: Vec::new(),
        timestamp: Some(signed(Kind::Timestamp, stamp.write(), &[6])),
        catalogue: Some(catalogue.clone()),
    }
}

pub(super) fn roots(roots: Vec<Signed>) -> Offer {
    Offer {
        roots,
        ..Offer::default()
    }
}

/// Root 1 pinned, timestamp 5, catalogue 3 with version 1 of the policy.
pub(super) fn trusting() -> Trusted {
    let pinned = Trusted::pin(root(1).write().as_bytes()).unwrap();
    taken(&pinned, &offer(5, &catalogue(3, &[(1, POLICY)])))
}

pub(super) fn taken(state: &Trusted, offer: &Offer) -> Trusted {
    let step = state.offered(offer, NOW);
    assert_eq!(step.refused, None);
    step.state
}

/// Asserts that an offer is refused and changes nothing; returns why.
pub(super) fn refused(state: &Trusted, offer: &Offer) -> Refusal {
    let step = state.offered(offer, NOW);
    assert_eq!(step.state, *state, "last known good stays");
    step.refused.unwrap()
}

#[test]
fn what_is_signed_and_current_is_permitted_and_nothing_else() {
    let state = trusting();
    let entry = state.permits(POLICY, NOW).unwrap();
    assert_eq!((entry.name.as_str(), entry.version), ("stuck", 1));
    assert!(matches!(
        state.permits(NEWER, NOW),
        Err(Denial::NotListed { catalogue: 3, .. })
    ));
    let pinned = Trusted::pin(root(1).write().as_bytes()).unwrap();
    assert_eq!(pinned.permits(POLICY, NOW), Err(Denial::NoCatalogue));
    let next = taken(&state, &offer(6, &catalogue(4, &[(1, POLICY), (2, NEWER)])));
    assert!(next.permits(POLICY, NOW).is_ok() && next.permits(NEWER, NOW).is_ok());
}

#[test]
fn an_offer_that_is_taken_twice_changes_nothing_the_second_time() {
    let state = trusting();
    let again = offer(5, &catalogue(3, &[(1, POLICY)]));
    assert_eq!(taken(&state, &again), state);
}

#[test]
fn what_is_kept_reads_back_as_it_was_and_in_no_other_way() {
    let state = trusting().seen(NOW + 8 * DAY);
    let text = state.write().unwrap();
    assert_eq!(Trusted::read(&text).unwrap(), state);
    for (good, bad) in [
        ("format = 1", "format = 2"),
        ("[timestamp]", "[time]"),
        ("\"timestamp\"]", "\"tomorrow\"]"),
        ("version = 3", "version = 9"),
        ("known_ms", "known"),
    ] {
        assert!(text.contains(good), "{good}");
        assert!(
            Trusted::read(&text.replacen(good, bad, 1)).is_err(),
            "{bad}"
        );
    }
    assert!(Trusted::read("").is_err());
}

#[test]
fn an_administrator_may_pin_another_root_and_what_it_does_not_vouch_for_is_forgotten() {
    let state = trusting();
    let kept = state.pin_again(root(4).write().as_bytes()).unwrap();
    assert!(
        kept.permits(POLICY, NOW).is_ok(),
        "the same keys vouch for it"
    );
    let roles = [role(1, &[11]), role(1, &[12]), role(1, &[13])];
    let other = Root::new(1, NOW + DAY, roles).unwrap();
    let anew = state.pin_again(other.write().as_bytes()).unwrap();
    assert_eq!(anew.permits(POLICY, NOW), Err(Denial::NoCatalogue));
    assert_eq!(anew.floor("stuck"), None);
    assert_ne!(anew.pinned(), state.pinned());
}
