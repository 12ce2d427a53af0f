//! Weaknesses that were published of clients of The Update Framework, each as a test of its name. Of those about
//! delegations, which there are none of here, only what has a counterpart is here.

use super::*;

/// One valid signature, copied, reached a threshold of two (python-tuf up to 0.12.1; tough before 0.7.1; of
/// delegated roles tough before 0.22.0).
#[test]
fn cve_2020_6174_cve_2020_15093_cve_2026_6966_a_signature_that_is_copied_counts_once() {
    let state = trusting();
    let mut catalogue = catalogue(4, &[(2, NEWER)]);
    let one = catalogue.signatures[0];
    catalogue.signatures = vec![one; 8];
    let why = refused(&state, &offer(6, &catalogue));
    assert!(
        matches!(
            why,
            Refusal::Threshold {
                kind: Kind::Catalogue,
                have: 1,
                need: 2,
                ..
            }
        ),
        "{why}"
    );
}

/// A new root's own signatures were counted by signature, not by key (python-tuf from 0.14.0, GMS-2022-4197).
#[test]
fn gms_2022_4197_a_new_root_counts_each_of_its_own_keys_once() {
    let roles = [role(2, &[1, 2, 7]), role(2, &[4, 5]), role(1, &[6])];
    let text = Root::new(2, NOW + DAY, roles).unwrap().write();
    let mut new = signed(Kind::Root, text, &[3, 1]);
    // Of the new root's keys only 1 signed, three times; the old root is satisfied by 3 and 1.
    new.signatures.extend([new.signatures[1]; 2]);
    let why = refused(&trusting(), &roots(vec![new]));
    assert!(
        matches!(
            why,
            Refusal::Threshold {
                by: "the new root",
                have: 1,
                need: 2,
                ..
            }
        ),
        "{why}"
    );
}

/// Very many signatures kept a client busy for minutes (python-tuf before 0.12.2).
#[test]
fn cve_2020_6173_very_many_signatures_are_refused_before_one_is_looked_at() {
    let mut catalogue = catalogue(4, &[(2, NEWER)]);
    let bad = Signature {
        key: key(4).public().id(),
        value: [7; 64],
    };
    // Good ones stand first: whoever looked at them would be content.
    catalogue.signatures.extend(vec![bad; 100_000]);
    let why = refused(&trusting(), &offer(6, &catalogue));
    assert!(
        matches!(why, Refusal::TooManySignatures { count: 100_002, .. }),
        "{why}"
    );
}

/// A root that failed was kept on disk and believed later; a new root was not checked with its own keys
/// (python-tuf before 0.12 and before 0.14).
#[test]
fn cve_2020_15163_a_root_that_was_refused_is_believed_at_no_later_time() {
    let state = trusting();
    let roles = [role(1, &[9]), role(1, &[10]), role(1, &[11])];
    let evil = Root::new(2, NOW + DAY, roles).unwrap().write();
    let evil = signed(Kind::Root, evil, &[9]);
    refused(&state, &roots(vec![evil.clone()]));
    let again = Trusted::read(&state.write().unwrap()).unwrap();
    refused(&again, &roots(vec![evil.clone()]));
    // Nor does it carry the one that it signed itself.
    let roles = [role(1, &[9]), role(1, &[10]), role(1, &[11])];
    let next = Root::new(3, NOW + DAY, roles).unwrap().write();
    refused(&state, &roots(vec![evil, signed(Kind::Root, next, &[9])]));
    // Signed by the old root alone, and not by its own keys.
    let roles = [role(1, &[9]), role(2, &[4, 5]), role(1, &[6])];
    let unsigned = Root::new(2, NOW + DAY, roles).unwrap().write();
    let why = refused(&state, &roots(vec![signed(Kind::Root, unsigned, &[1, 2])]));
    assert!(
        matches!(
            why,
            Refusal::Threshold {
                by: "the new root",
                ..
            }
        ),
        "{why}"
    );
}

/// Names of roles and targets were used as paths (python-tuf before 0.19, CVE-2021-41131; tough before 0.12,
/// CVE-2021-41149 and CVE-2021-41150; tough before 0.22, CVE-2026-6968). No name leads to a file here, and those that
/// could are refused all the same.
#[test]
fn cve_2021_41131_cve_2021_41149_cve_2021_41150_cve_2026_6968_a_name_that_looks_like_a_path_is_refused()
 {
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\x",
        "a/b",
        "a\\b",
        "..",
        ".",
        "con:",
        "a\0b",
        "",
    ] {
        let entry = Entry::of(name, 1, POLICY);
        assert!(Catalogue::new(1, NOW, vec![entry]).is_err(), "{name:?}");
        let text = catalogue(4, &[(1, POLICY)]).text;
        let text = String::from_utf8(text).unwrap();
        let quoted = name.replace('\\', "\\\\").replace('\0', "\\u0000");
        let text = text.replace("\"stuck\"", &format!("\"{quoted}\""));
        assert!(
            matches!(
                Catalogue::parse(text.as_bytes()),
                Err(Refusal::Malformed { .. })
            ),
            "{name:?}"
        );
    }
}

/// Names were matched without case on Windows, so which delegation counted depended on the machine (python-tuf).
#[test]
fn ghsa_qp9x_wp8f_qgjj_names_are_compared_in_one_way_on_every_machine() {
    for name in ["Stuck", "STUCK", "\u{17f}tuck"] {
        assert!(
            Catalogue::new(1, NOW, vec![Entry::of(name, 1, POLICY)]).is_err(),
            "{name}"
        );
    }
}

/// Versions were compared with zero instead of what was trusted before, and documents were kept before what they
/// refer to was checked (go-tuf before 0.3.0).
#[test]
fn cve_2022_29173_older_versions_are_refused_also_after_a_restart() {
    let state = Trusted::read(&trusting().write().unwrap()).unwrap();
    let older = offer(4, &catalogue(3, &[(1, POLICY)]));
    let why = refused(&state, &older);
    assert!(
        matches!(
            why,
            Refusal::Rollback {
                kind: Kind::Timestamp,
                trusted: 5,
                offered: 4
            }
        ),
        "{why}"
    );
    let older = offer(6, &catalogue(2, &[(1, POLICY)]));
    let why = refused(&state, &older);
    assert!(
        matches!(
            why,
            Refusal::Rollback {
                kind: Kind::Catalogue,
                trusted: 3,
                offered: 2
            }
        ),
        "{why}"
    );
}

/// A threshold of zero, or below, let everything pass (go-tuf before 2.3.1).
#[test]
fn ghsa_fphv_w9fq_2525_a_threshold_of_zero_is_refused() {
    let holder = Holder {
        key: key(1).public(),
        holder: "anna".into(),
    };
    assert!(Role::new(0, vec![holder.clone()]).is_err());
    assert!(Role::new(0, vec![]).is_err() && Role::new(2, vec![holder]).is_err());
    for threshold in ["0", "-1", "99"] {
        let text =
            root(2)
                .write()
                .replacen("threshold = 2", &format!("threshold = {threshold}"), 1);
        let why = refused(&trusting(), &roots(vec![signed(Kind::Root, text, &[1, 2])]));
        assert!(matches!(why, Refusal::Malformed { .. }), "{why}");
    }
}

/// The version inside a root was not checked to be the next one (tough before 0.20.0).
#[test]
fn cve_2025_2885_a_root_is_exactly_the_next_one() {
    let state = trusting();
    let why = refused(
        &state,
        &roots(vec![signed(Kind::Root, root(3).write(), &[1, 2])]),
    );
    assert_eq!(
        why,
        Refusal::Gap {
            trusted: 1,
            offered: 3
        }
    );
    let two = taken(
        &state,
        &roots(vec![signed(Kind::Root, root(2).write(), &[1, 2])]),
    );
    assert_eq!(two.version(Kind::Root), 2);
    // An older one is no step back, and no fault: it was sent to those who need it.
    let three = signed(Kind::Root, root(3).write(), &[1, 2]);
    let all = roots(vec![signed(Kind::Root, root(1).write(), &[]), three]);
    assert_eq!(taken(&two, &all).version(Kind::Root), 3);
}

/// What a document refers to could fall behind, or vanish and come back older (tough before 0.20.0, of delegated
/// targets; here: of policies).
#[test]
fn cve_2025_2887_what_the_catalogue_refers_to_never_falls() {
    let state = taken(&trusting(), &offer(6, &catalogue(4, &[(2, NEWER)])));
    let why = refused(&state, &offer(7, &catalogue(5, &[(1, POLICY)])));
    assert!(
        matches!(
            why,
            Refusal::PolicyFalls {
                accepted: 2,
                offered: 1,
                ..
            }
        ),
        "{why}"
    );
    // Withdrawn, and back beside the newer one.
    let why = refused(&state, &offer(7, &catalogue(5, &[(1, POLICY), (2, NEWER)])));
    assert!(
        matches!(
            why,
            Refusal::PolicyFalls {
                accepted: 2,
                offered: 1,
                ..
            }
        ),
        "{why}"
    );
    // Gone from one catalogue, and back older in the next.
    let without = taken(&state, &offer(7, &catalogue(5, &[])));
    assert!(without.permits(NEWER, NOW).is_err());
    let without = Trusted::read(&without.write().unwrap()).unwrap();
    let why = refused(&without, &offer(8, &catalogue(6, &[(1, POLICY)])));
    assert!(matches!(why, Refusal::PolicyFalls { .. }), "{why}");
}

/// A timestamp was kept although what it names was refused, and then nothing newer was accepted (tough before
/// 0.20.0).
#[test]
fn cve_2025_2888_a_timestamp_is_kept_only_with_its_catalogue() {
    let state = trusting();
    let old = catalogue(2, &[(1, POLICY)]);
    refused(&state, &offer(9, &old));
    assert_eq!(
        state
            .offered(&offer(9, &old), NOW)
            .state
            .version(Kind::Timestamp),
        5
    );
    // So the honest next one, with a lower version than the refused one, is taken.
    assert!(
        taken(&state, &offer(6, &catalogue(4, &[(2, NEWER)])))
            .permits(NEWER, NOW)
            .is_ok()
    );
}

/// Documents one level down escaped the checks of expiry, digest and length (tough before 0.22.0).
#[test]
fn cve_2026_6967_a_catalogue_is_checked_as_strictly_as_the_timestamp_that_names_it() {
    let state = trusting();
    let expired = Catalogue::new(4, NOW - 1000, entries(&[(2, NEWER)])).unwrap();
    let expired = signed(Kind::Catalogue, expired.write(), &[4, 5]);
    let why = refused(&state, &offer(6, &expired));
    assert!(
        matches!(
            why,
            Refusal::Expired {
                kind: Kind::Catalogue,
                ..
            }
        ),
        "{why}"
    );
    let good = catalogue(4, &[(2, NEWER)]);
    let mut stamp = stamp(6, &good);
    stamp.catalogue.sha256 = Sha256::of(b"another");
    let why = refused(&state, &offer_of(&stamp, &good));
    assert!(matches!(why, Refusal::Mismatch { .. }), "{why}");
    let mut stamp = super::stamp(6, &good);
    stamp.catalogue.bytes += 1;
    let why = refused(&state, &offer_of(&stamp, &good));
    assert!(matches!(why, Refusal::Mismatch { .. }), "{why}");
    let mut stamp = super::stamp(6, &good);
    stamp.catalogue.version = 5;
    let why = refused(&state, &offer_of(&stamp, &good));
    assert!(matches!(why, Refusal::Mismatch { .. }), "{why}");
}
