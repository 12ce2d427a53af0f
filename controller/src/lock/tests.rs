use mailmend_proto::run::RunId;
use uuid::Uuid;

use super::{Granted, Held, Purpose, Taken, Word, after, is_over, take};

const fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

fn granted(held: Option<Held>, number: u128, purpose: Purpose, minted: u64) -> Held {
    let Granted { held, fence } = take(held, run(number), purpose, minted).unwrap();
    assert_eq!(fence, minted + 1);
    held
}

#[test]
fn a_site_has_one_holder_and_each_grant_a_new_fence() {
    let held = granted(None, 1, Purpose::Run, 4);
    assert_eq!((held.own, held.release), (Some(5), None));
    for purpose in [Purpose::Run, Purpose::Release] {
        assert_eq!(
            take(Some(held), run(2), purpose, 5),
            Err(Taken::Other(run(1)))
        );
    }
    assert_eq!(
        take(Some(held), run(1), Purpose::Run, 5),
        Err(Taken::Already)
    );
    let both = granted(Some(held), 1, Purpose::Release, 5);
    assert_eq!((both.own, both.release), (Some(5), Some(6)));
    assert_eq!(
        take(Some(both), run(1), Purpose::Release, 6),
        Err(Taken::Already),
        "one release at a time"
    );
}

#[test]
fn only_the_holders_own_words_free_a_site_and_each_only_what_it_is_about() {
    let held = granted(
        Some(granted(None, 1, Purpose::Run, 4)),
        1,
        Purpose::Release,
        5,
    );
    for number in [1, 2] {
        let word = Word::Ended { run: run(number) };
        let left = after(held, word).unwrap();
        assert_eq!(left.own.is_none(), number == 1);
        assert_eq!(left.release, Some(6), "the release is not over");
    }
    let release = after(held, Word::Ended { run: run(1) }).unwrap();
    for (word, freed) in [
        (
            Word::Closed {
                run: run(1),
                fence: 6,
            },
            true,
        ),
        (
            Word::Closed {
                run: run(1),
                fence: 5,
            },
            false,
        ),
        (
            Word::Closed {
                run: run(2),
                fence: 9,
            },
            false,
        ),
        (
            Word::Refused {
                run: run(1),
                fence: 6,
            },
            true,
        ),
        (
            Word::Refused {
                run: run(1),
                fence: 5,
            },
            false,
        ),
        (
            Word::Refused {
                run: run(2),
                fence: 6,
            },
            false,
        ),
    ] {
        assert_eq!(after(release, word).is_none(), freed, "{word:?}");
    }
}

#[test]
fn a_part_is_over_when_it_closed_was_lost_or_never_began() {
    assert!(is_over(true, false, false, true));
    assert!(is_over(false, true, false, true));
    assert!(is_over(false, false, true, false));
    assert!(
        !is_over(false, false, true, true),
        "it took on what it had refused"
    );
    assert!(!is_over(false, false, false, false), "it was not heard yet");
}
