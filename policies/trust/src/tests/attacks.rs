//! The attacks that the specification of The Update Framework names (its section 1.5.2), and confusion of roles.

use super::*;

#[test]
fn arbitrary_installation_what_strangers_sign_is_refused() {
    let state = trusting();
    let mut evil = catalogue(4, &[(2, NEWER)]);
    evil.signatures = [20, 21]
        .map(|seed| key(seed).sign(Kind::Catalogue, &evil.text))
        .into();
    let why = refused(&state, &offer(6, &evil));
    assert!(
        matches!(
            why,
            Refusal::Threshold {
                kind: Kind::Catalogue,
                have: 0,
                need: 2,
                ..
            }
        ),
        "{why}"
    );
    // Under the ids of those who may.
    evil.signatures[0].key = key(4).public().id();
    evil.signatures[1].key = key(5).public().id();
    let why = refused(&state, &offer(6, &evil));
    assert!(matches!(why, Refusal::Threshold { have: 0, .. }), "{why}");
    evil.signatures.clear();
    refused(&state, &offer(6, &evil));
}

#[test]
fn endless_data_is_refused_by_its_size() {
    let state = trusting();
    for kind in Kind::ALL {
        let long = Signed {
            text: vec![b'#'; kind.longest() + 1],
            signatures: Vec::new(),
        };
        let mut all = offer(6, &catalogue(4, &[(2, NEWER)]));
        match kind {
            Kind::Root => all.roots.push(long),
            Kind::Timestamp => all.timestamp = Some(long),
            // The timestamp says the length: it is not even measured against the limit.
            Kind::Catalogue => all.catalogue = Some(long),
        }
        let why = refused(&state, &all);
        assert!(matches!(why, Refusal::TooLong { .. }), "{why}");
    }
    let many = vec![signed(Kind::Root, root(1).write(), &[]); MOST_ROOTS + 1];
    assert_eq!(
        refused(&state, &roots(many)),
        Refusal::TooManyRoots {
            count: MOST_ROOTS + 1
        }
    );
}

#[test]
fn fast_forward_a_stolen_key_that_raised_versions_is_recovered_from_by_a_new_root() {
    let state = trusting();
    let honest = catalogue(3, &[(1, POLICY)]);
    let mut stamp = stamp(i64::MAX.cast_unsigned(), &honest);
    stamp.issued_ms = NOW + 60 * DAY;
    stamp.expires_ms = NOW + 80 * DAY;
    let jammed = taken(&state, &offer_of(&stamp, &honest));
    refused(&jammed, &offer(6, &catalogue(4, &[(2, NEWER)])));
    // Key 6 was stolen: root 2 gives the role to key 7.
    let roles = [role(2, &[1, 2, 3]), role(2, &[4, 5]), role(1, &[7])];
    let next = Root::new(2, NOW + 365 * DAY, roles).unwrap().write();
    let next = signed(Kind::Root, next, &[1, 2]);
    let recovered = taken(&jammed, &roots(vec![next]));
    assert_eq!(recovered.permits(POLICY, NOW), Err(Denial::NoCatalogue));
    let good = catalogue(4, &[(2, NEWER)]);
    let stamp = Timestamp {
        root: 2,
        ..super::stamp(6, &good)
    };
    let mut all = offer_of(&stamp, &good);
    all.timestamp = Some(signed(Kind::Timestamp, stamp.write(), &[7]));
    let state = taken(&recovered, &all);
    assert!(state.permits(NEWER, NOW).is_ok());
    // What was accepted of policies came from other keys, and still counts.
    assert_eq!(state.floor("stuck").unwrap().highest, 2);
}

#[test]
fn fast_forward_of_policies_ends_with_the_keys_that_did_it() {
    let jammed = taken(&trusting(), &offer(6, &catalogue(4, &[(u32::MAX, NEWER)])));
    let roles = [role(2, &[1, 2, 3]), role(2, &[4, 8]), role(1, &[6])];
    let next = Root::new(2, NOW + 365 * DAY, roles).unwrap().write();
    let recovered = taken(&jammed, &roots(vec![signed(Kind::Root, next, &[1, 2])]));
    assert_eq!(recovered.floor("stuck"), None);
    let anew = Catalogue::new(5, NOW + DAY, entries(&[(2, NEWER)])).unwrap();
    let anew = signed(Kind::Catalogue, anew.write(), &[4, 8]);
    assert!(
        taken(&recovered, &offer(7, &anew))
            .permits(NEWER, NOW)
            .is_ok()
    );
}

#[test]
fn freeze_an_old_timestamp_ends_and_nothing_new_is_begun() {
    let state = trusting();
    assert!(state.permits(POLICY, NOW + 7 * DAY - 1).is_ok());
    let why = state.permits(POLICY, NOW + 7 * DAY).unwrap_err();
    assert!(
        matches!(
            why,
            Denial::Expired {
                kind: Kind::Timestamp,
                version: 5,
                ..
            }
        ),
        "{why}"
    );
    // Watching goes on.
    assert!(state.listed(POLICY).is_ok());
    let step = state.offered(&offer(6, &catalogue(3, &[(1, POLICY)])), NOW + 8 * DAY);
    assert!(matches!(
        step.refused,
        Some(Refusal::Expired {
            kind: Kind::Timestamp,
            ..
        })
    ));
}

#[test]
fn freeze_of_roots_a_timestamp_tells_that_one_was_kept_back() {
    let good = catalogue(4, &[(2, NEWER)]);
    let stamp = Timestamp {
        root: 2,
        ..stamp(6, &good)
    };
    let why = refused(&trusting(), &offer_of(&stamp, &good));
    assert_eq!(
        why,
        Refusal::RootWithheld {
            timestamp: 6,
            named: 2,
            trusted: 1
        }
    );
    let mut all = offer_of(&stamp, &good);
    all.roots.push(signed(Kind::Root, root(2).write(), &[2, 3]));
    assert!(taken(&trusting(), &all).permits(NEWER, NOW).is_ok());
}

#[test]
fn mix_and_match_a_catalogue_of_another_time_is_refused() {
    let state = trusting();
    let (good, other) = (
        catalogue(4, &[(2, NEWER)]),
        catalogue(5, &[(1, POLICY), (2, NEWER)]),
    );
    let mut mixed = offer(6, &good);
    mixed.catalogue = Some(other);
    assert!(matches!(refused(&state, &mixed), Refusal::Mismatch { .. }));
    mixed.catalogue = None;
    assert_eq!(refused(&state, &mixed), Refusal::Incomplete);
    let alone = Offer {
        catalogue: Some(good),
        ..Offer::default()
    };
    assert_eq!(refused(&state, &alone), Refusal::Incomplete);
}

#[test]
fn rollback_and_equivocation_a_version_has_one_text_for_good() {
    let state = trusting();
    let why = refused(&state, &offer(6, &catalogue(3, &[(2, NEWER)])));
    assert_eq!(
        why,
        Refusal::Changed {
            kind: Kind::Catalogue,
            version: 3
        }
    );
    let why = refused(&state, &offer(5, &catalogue(4, &[(2, NEWER)])));
    assert_eq!(
        why,
        Refusal::Changed {
            kind: Kind::Timestamp,
            version: 5
        }
    );
    let roles = [role(1, &[1]), role(2, &[4, 5]), role(1, &[6])];
    let other = Root::new(1, NOW + DAY, roles).unwrap().write();
    let why = refused(&state, &roots(vec![signed(Kind::Root, other, &[1, 2, 3])]));
    assert_eq!(
        why,
        Refusal::Changed {
            kind: Kind::Root,
            version: 1
        }
    );
}

#[test]
fn wrong_software_a_policys_version_has_one_text_for_good() {
    let state = trusting();
    let why = refused(&state, &offer(6, &catalogue(4, &[(1, NEWER)])));
    assert!(
        matches!(why, Refusal::PolicyChanged { version: 1, .. }),
        "{why}"
    );
    let without = taken(&state, &offer(6, &catalogue(4, &[])));
    let why = refused(&without, &offer(7, &catalogue(5, &[(1, NEWER)])));
    assert!(
        matches!(why, Refusal::PolicyChanged { version: 1, .. }),
        "{why}"
    );
}

#[test]
fn key_compromise_below_the_threshold_changes_nothing() {
    let state = trusting();
    let mut catalogue = catalogue(4, &[(2, NEWER)]);
    catalogue.signatures.truncate(1);
    refused(&state, &offer(6, &catalogue));
    refused(
        &state,
        &roots(vec![signed(Kind::Root, root(2).write(), &[1])]),
    );
    let roles = [role(1, &[1]), role(1, &[4]), role(1, &[6])];
    let seized = Root::new(2, NOW + DAY, roles).unwrap().write();
    refused(&state, &roots(vec![signed(Kind::Root, seized, &[1])]));
}

#[test]
fn a_key_that_is_rotated_out_signs_nothing_any_more() {
    let roles = [role(2, &[1, 2, 3]), role(2, &[4, 8]), role(1, &[6])];
    let next = Root::new(2, NOW + 365 * DAY, roles).unwrap().write();
    let state = taken(&trusting(), &roots(vec![signed(Kind::Root, next, &[1, 3])]));
    assert_eq!(state.permits(POLICY, NOW), Err(Denial::NoCatalogue));
    // Signed by 4 and 5, as before.
    let why = refused(&state, &offer(6, &catalogue(4, &[(2, NEWER)])));
    assert!(
        matches!(
            why,
            Refusal::Threshold {
                have: 1,
                need: 2,
                ..
            }
        ),
        "{why}"
    );
}

#[test]
fn an_expired_root_may_lead_to_one_that_has_not_and_alone_begins_nothing() {
    let roles = || [role(2, &[1, 2, 3]), role(2, &[4, 5]), role(1, &[6])];
    let expired = Root::new(2, NOW - DAY, roles()).unwrap().write();
    let expired = signed(Kind::Root, expired, &[1, 2]);
    let state = taken(&trusting(), &roots(vec![expired]));
    let why = state.permits(POLICY, NOW).unwrap_err();
    assert!(
        matches!(
            why,
            Denial::Expired {
                kind: Kind::Root,
                version: 2,
                ..
            }
        ),
        "{why}"
    );
    let state = taken(
        &state,
        &roots(vec![signed(Kind::Root, root(3).write(), &[1, 2])]),
    );
    assert!(state.permits(POLICY, NOW).is_ok());
}

#[test]
fn confusion_of_roles_a_signature_of_one_kind_is_none_of_another() {
    let state = trusting();
    // All keys of the catalogue's role, over the same bytes, as another kind.
    for kind in [Kind::Root, Kind::Timestamp] {
        let mut confused = catalogue(4, &[(2, NEWER)]);
        confused.signatures = [4, 5]
            .map(|seed| key(seed).sign(kind, &confused.text))
            .into();
        let why = refused(&state, &offer(6, &confused));
        assert!(matches!(why, Refusal::Threshold { have: 0, .. }), "{why}");
    }
    // The timestamp's key on a catalogue, and a catalogue's text as a timestamp.
    let mut confused = catalogue(4, &[(2, NEWER)]);
    confused.signatures = vec![key(6).sign(Kind::Catalogue, &confused.text)];
    refused(&state, &offer(6, &confused));
    let good = catalogue(4, &[(2, NEWER)]);
    let mut swapped = offer(6, &good);
    swapped.timestamp = Some(signed(Kind::Timestamp, good.text, &[6]));
    assert!(matches!(
        refused(&state, &swapped),
        Refusal::Malformed { .. }
    ));
}

#[test]
fn the_least_guarded_key_has_no_other_role() {
    for [root, catalogue] in [[vec![1, 6], vec![4]], [vec![1], vec![4, 6]]] {
        let roles = [role(1, &root), role(1, &catalogue), role(1, &[6])];
        assert!(matches!(
            Root::new(1, NOW, roles),
            Err(Refusal::Malformed { .. })
        ));
    }
}
