//! Clocks that are wrong: expiry is never revived, and one bad clock stops nobody for good.

use super::*;

const YEARS: i64 = 3652 * DAY;

#[test]
fn what_was_seen_expired_is_not_revived_by_a_clock_that_is_set_back() {
    let state = trusting().seen(NOW + 8 * DAY);
    assert_ne!(state, trusting());
    let state = Trusted::read(&state.write().unwrap()).unwrap();
    for back in [NOW, NOW - YEARS, i64::MIN] {
        let why = state.permits(POLICY, back).unwrap_err();
        assert!(
            matches!(
                why,
                Denial::Expired {
                    kind: Kind::Timestamp,
                    ..
                }
            ),
            "{why}"
        );
        assert_eq!(state.seen(back), state);
    }
    // Nor by the same timestamp again.
    let again = offer(5, &catalogue(3, &[(1, POLICY)]));
    assert!(
        state
            .offered(&again, NOW)
            .state
            .permits(POLICY, NOW)
            .is_err()
    );
}

#[test]
fn a_catalogue_that_was_seen_expired_is_not_revived_by_a_newer_timestamp() {
    let old = catalogue(3, &[(1, POLICY)]);
    let late = Timestamp {
        issued_ms: NOW + 85 * DAY,
        expires_ms: NOW + 95 * DAY,
        ..stamp(6, &old)
    };
    let state = trusting()
        .offered(&offer_of(&late, &old), NOW + 86 * DAY)
        .state;
    assert!(state.permits(POLICY, NOW + 86 * DAY).is_ok());
    let state = state.seen(NOW + 91 * DAY);
    let later = Timestamp { version: 7, ..late };
    let step = state.offered(&offer_of(&later, &old), NOW + 87 * DAY);
    assert!(matches!(
        step.refused,
        Some(Refusal::Expired {
            kind: Kind::Catalogue,
            ..
        })
    ));
    assert!(step.state.permits(POLICY, NOW + 87 * DAY).is_err());
}

#[test]
fn a_clock_ten_years_ahead_for_a_moment_costs_one_timestamp_and_nobodys_signature() {
    let state = trusting().seen(NOW + YEARS);
    assert!(state.permits(POLICY, NOW).is_err());
    // The clock is right again; the next timestamp comes as every day.
    let next = offer(6, &catalogue(3, &[(1, POLICY)]));
    let step = state.offered(&next, NOW);
    assert_eq!(step.refused, None);
    assert!(
        step.state.permits(POLICY, NOW).is_ok(),
        "catalogue and root are not held to be expired"
    );
    // While it is wrong nothing is taken, and nothing is lost.
    let wrong = trusting().offered(&next, NOW + YEARS);
    assert!(matches!(
        wrong.refused,
        Some(Refusal::Expired {
            kind: Kind::Timestamp,
            ..
        })
    ));
    assert!(
        wrong
            .state
            .offered(&next, NOW)
            .state
            .permits(POLICY, NOW)
            .is_ok()
    );
}

#[test]
fn a_clock_ten_years_behind_knows_better_from_what_was_signed() {
    let old = catalogue(3, &[(1, POLICY)]);
    let late = Timestamp {
        issued_ms: NOW + 85 * DAY,
        expires_ms: NOW + 95 * DAY,
        ..stamp(6, &old)
    };
    let state = trusting()
        .offered(&offer_of(&late, &old), NOW - YEARS)
        .state;
    assert!(state.permits(POLICY, NOW - YEARS).is_ok());
    // A catalogue that had expired by then is not taken, though the clock would have it.
    let stale = Catalogue::new(4, NOW + 80 * DAY, entries(&[(2, NEWER)])).unwrap();
    let stale = signed(Kind::Catalogue, stale.write(), &[4, 5]);
    let stamp = Timestamp {
        issued_ms: NOW + 85 * DAY,
        expires_ms: NOW + 95 * DAY,
        ..stamp(7, &stale)
    };
    let step = state.offered(&offer_of(&stamp, &stale), NOW - YEARS);
    assert!(
        matches!(
            step.refused,
            Some(Refusal::Expired {
                kind: Kind::Catalogue,
                ..
            })
        ),
        "{:?}",
        step.refused
    );
}

#[test]
fn a_clock_at_the_ends_of_time_breaks_nothing() {
    for at in [i64::MIN, -1, 0, 1, i64::MAX] {
        let state = trusting().seen(at);
        assert_eq!(Trusted::read(&state.write().unwrap()).unwrap(), state);
        let _ = state.permits(POLICY, at);
        let _ = state.offered(&offer(6, &catalogue(4, &[(2, NEWER)])), at);
    }
}
