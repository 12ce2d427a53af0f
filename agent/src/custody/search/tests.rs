//! The search against a service that keeps its own account, and against single observations.

mod service;

use proptest::prelude::*;

use super::*;
use mailmend_policy::bounds::{entropy, halvings, reach, restarts_within_crashes};
use service::{Records, Service};

const AMPLE: Limits = Limits {
    max_restarts: 100_000,
    max_crashes: 100_000,
    max_duplicates: u64::MAX,
    in_flight: None,
    confirm: false,
};

fn files(count: u32) -> Vec<Suspect> {
    (0..count).map(|index| ordinary(index, 1)).collect()
}

fn ordinary(index: u32, suspicion: u32) -> Suspect {
    Suspect {
        index,
        mark: Mark::Ordinary,
        suspicion,
        arrived: index.into(),
        exposed: false,
    }
}

fn fed(search: &Search) -> Vec<u32> {
    match search.next() {
        Move::Feed(fed) => fed,
        other => panic!("expected a start, got {other:?}"),
    }
}

fn found(search: &Search) -> Tally {
    match search.next() {
        Move::Found(tally) => tally,
        other => panic!("expected an end, got {other:?}"),
    }
}

fn escalated(search: &Search) -> Why {
    match search.next() {
        Move::Escalate { why, .. } => why,
        other => panic!("expected an escalation, got {other:?}"),
    }
}

/// A crash or not, with everything fed still there.
fn seen(crashed: bool, fed: &[u32]) -> Observation {
    Observation {
        crashed,
        still_there: fed.to_vec(),
        ..Observation::default()
    }
}

/// After the start with nothing, which it survived.
fn begun(files: Vec<Suspect>, limits: Limits) -> Search {
    let search = Search::begin(files, limits);
    assert_eq!(fed(&search), Vec::<u32>::new());
    search.after(&seen(false, &[]))
}

fn answer(search: Search, crashed: bool) -> Search {
    let fed = fed(&search);
    search.after(&seen(crashed, &fed))
}

fn indices(poison: &[Poison]) -> Vec<u32> {
    poison.iter().map(|poison| poison.index).collect()
}

fn pick(count: u32, bad: u32, odds: u32, seed: u64) -> BTreeMap<u32, u32> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5EED);
    let mut picked = BTreeMap::new();
    while picked.len() < bad.min(count) as usize {
        picked.insert(random.u32(..count), odds);
    }
    picked
}

#[derive(Debug, Clone)]
struct World {
    count: u32,
    bad: BTreeMap<u32, u32>,
    files: Vec<Suspect>,
    width: u32,
    records: Records,
    limits: Limits,
    seed: u64,
}

prop_compose! {
    fn worlds(most_bits: u32, odds: u32)(
        bits in 0..=most_bits,
        fraction in 0.5..1.0f64,
        bad in 0..=5u32,
        width in 1..=32u32,
        records in prop::sample::select(vec![Records::Full, Records::Delivered, Records::Nothing]),
        cap in prop::option::of(1..=200u64),
        confirm: bool,
        skewed: bool,
        marks in prop::collection::vec((any::<u32>(), any::<bool>()), 0..3),
        seed: u64,
    ) -> World {
        let count = ((f64::from(1u32 << bits) * fraction) as u32).clamp(1, 10_000);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut files: Vec<Suspect> = (0..count)
            .map(|index| ordinary(index, if skewed { 1 << random.u32(..16) } else { 1 }))
            .collect();
        for (place, named) in marks {
            files[(place % count) as usize].mark = if named { Mark::Named } else { Mark::Locked };
        }
        World {
            count,
            bad: pick(count, bad, odds, seed),
            files,
            width,
            records,
            limits: Limits {
                max_duplicates: cap.unwrap_or(u64::MAX),
                in_flight: (records == Records::Full).then_some(width),
                confirm,
                ..AMPLE
            },
            seed,
        }
    }
}

impl World {
    fn service(&self) -> Service {
        Service::new(self.bad.clone(), self.width, self.records, self.seed)
    }

    fn case(&self) -> Case {
        self.limits.case(self.count.into(), self.bad.len() as u64)
    }
}

fn finds_exactly_the_bad(world: &World) -> Effort {
    let mut service = world.service();
    let (search, seen) = service.search(&world.files, world.limits);
    let tally = found(&search);
    let bad: Vec<u32> = world.bad.keys().copied().collect();
    assert_eq!(indices(&tally.poison), bad);
    assert_eq!(
        tally.settled.len() + tally.good.len(),
        world.files.len() - bad.len()
    );
    let effort = search.effort();
    assert_eq!(
        (effort.starts as usize, effort.crashes),
        (seen.len(), service.crashes)
    );
    assert!(
        u64::from(effort.starts) <= world.case().restarts(),
        "{effort:?}"
    );
    assert!(
        u64::from(effort.crashes) <= world.case().crashes(),
        "{effort:?}"
    );
    assert_eq!(effort.restarts_bound, world.case().restarts());
    if world.limits.confirm {
        assert!(
            tally
                .poison
                .iter()
                .all(|poison| poison.proof == Proof::Alone)
        );
    }
    // Each that was really sent twice was named.
    for (index, times) in &service.delivered {
        assert!(
            *times < 2 || tally.perhaps_twice.contains(index),
            "{index} was sent {times} times"
        );
    }
    // A crash has never more to send twice than the policy allows.
    for observation in seen.iter().filter(|observation| observation.crashed) {
        let exposed = match &observation.in_flight {
            Some(flying) => flying.len(),
            None => observation.still_there.len(),
        };
        assert!(exposed as u64 <= world.limits.max_duplicates);
    }
    // The agent may die after any start.
    assert_eq!(
        Search::recover(world.files.clone(), world.limits, &seen),
        search
    );
    effort
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn finds_exactly_the_bad_within_the_bounds(world in worlds(10, 10)) {
        finds_exactly_the_bad(&world);
    }

    #[test]
    fn spends_no_more_than_the_policy_allows(
        world in worlds(10, 10),
        restarts in 1..60u32,
        crashes in 1..12u32,
    ) {
        let limits = Limits { max_restarts: restarts, max_crashes: crashes, ..world.limits };
        let mut service = world.service();
        let (search, seen) = service.search(&world.files, limits);
        prop_assert!(seen.len() <= restarts as usize);
        prop_assert!(service.crashes <= crashes);
        let tally = search.tally();
        for poison in indices(&tally.poison) {
            prop_assert!(world.bad.contains_key(&poison));
        }
        let cleared = |bad: &&u32| tally.good.contains(bad) || tally.settled.contains(bad);
        prop_assert_eq!(world.bad.keys().find(cleared), None);
        match search.next() {
            Move::Found(tally) => prop_assert_eq!(tally.poison.len(), world.bad.len()),
            Move::Escalate { why: Why::Restarts, .. } => prop_assert_eq!(seen.len(), restarts as usize),
            Move::Escalate { why, .. } => {
                prop_assert_eq!(why, Why::Crashes);
                prop_assert_eq!(service.crashes, crashes);
            }
            Move::Feed(_) => prop_assert!(false, "it has not ended"),
        }
    }

    #[test]
    fn one_poison_is_found_with_the_crashes_that_suffice(
        count in 1..400u32,
        crashes in 1..14u32,
        place: u32,
        none: bool,
    ) {
        let bad = if none { BTreeMap::new() } else { BTreeMap::from([(place % count, 10)]) };
        let mut service = Service::new(bad.clone(), 1, Records::Nothing, 1);
        let limits = Limits { max_crashes: crashes, ..AMPLE };
        let (search, seen) = service.search(&files(count), limits);
        let tally = search.tally();
        prop_assert_eq!(indices(&tally.poison), bad.keys().copied().collect::<Vec<_>>());
        // With nothing; once more because nobody knows beforehand that there is one; one that tries the oldest
        // in vain; and the rest.
        let most = 4 + restarts_within_crashes(count.into(), crashes);
        // After the last crash it may stop with files that nobody tried.
        let ended = matches!(search.next(), Move::Found(_) | Move::Escalate { why: Why::Crashes, .. });
        prop_assert!(ended);
        prop_assert!(seen.len() as u64 <= most, "{} starts, {most}", seen.len());
    }

    #[test]
    fn a_message_that_crashes_only_sometimes_is_never_cleared_by_arithmetic(
        world in worlds(8, 6),
        confirm: bool,
    ) {
        let limits = Limits { confirm, ..world.limits };
        let mut service = world.service();
        let (search, seen) = service.search(&world.files, limits);
        let tally = search.tally();
        let poison = indices(&tally.poison);
        // Good means that a start took it up and stayed up, or that evidence shows it delivered.
        for index in tally.good.iter().chain(&tally.settled) {
            prop_assert!(service.delivered.contains_key(index));
        }
        if confirm {
            for index in &poison {
                prop_assert!(service.crashed.contains(index), "{index} is innocent");
            }
        }
        match search.next() {
            Move::Found(_) => {
                // Each crash is explained by a poison that was there, so silence means that none was seen.
                for crash in seen.iter().filter(|seen| seen.crashed) {
                    let there = &crash.still_there;
                    prop_assert!(there.iter().any(|index| poison.contains(index)));
                }
                prop_assert!(service.crashes == 0 || !poison.is_empty());
            }
            Move::Escalate { why, .. } => {
                prop_assert!(limits.confirm);
                prop_assert!(why.is_contradiction(), "{why}");
            }
            Move::Feed(_) => prop_assert!(false, "it has not ended"),
        }
    }
}

#[test]
fn ten_thousand_files_with_up_to_five_bad_are_within_the_bounds() {
    for (seed, bad) in [0, 1, 5].into_iter().enumerate() {
        for (width, records) in [
            (1, Records::Full),
            (32, Records::Full),
            (4, Records::Nothing),
        ] {
            let seed = seed as u64;
            let world = World {
                count: 10_000,
                bad: pick(10_000, bad, 10, seed),
                files: files(10_000),
                width,
                records,
                limits: Limits {
                    in_flight: (records == Records::Full).then_some(width),
                    ..AMPLE
                },
                seed,
            };
            let effort = finds_exactly_the_bad(&world);
            if records == Records::Full {
                let halvings = u64::from(halvings(width.into()));
                assert!(u64::from(effort.starts) <= 1 + u64::from(bad) * (1 + halvings) + 1);
            }
        }
    }
}

#[test]
fn restarts_come_near_the_entropy_and_with_evidence_below_it() {
    // files, bad, in flight where the logs show it, the most that the mean may be
    let table = [
        (1_000, 1, 8, Records::Nothing, 14.0),
        (1_000, 5, 8, Records::Nothing, 57.0),
        (1_000, 5, 8, Records::Delivered, 40.0),
        (1_000, 1, 1, Records::Full, 3.0),
        (1_000, 5, 4, Records::Full, 17.0),
        (1_000, 2, 16, Records::Full, 12.0),
        (1_000, 5, 32, Records::Full, 32.0),
    ];
    for (count, bad, width, records, most) in table {
        let limits = Limits {
            in_flight: (records == Records::Full).then_some(width),
            ..AMPLE
        };
        let starts: u32 = (0..12)
            .map(|seed| {
                let bad = pick(count, bad, 10, seed);
                let mut service = Service::new(bad, width, records, seed);
                service.search(&files(count), limits).0.effort().starts
            })
            .sum();
        let mean = f64::from(starts) / 12.0;
        let bits = entropy(count.into(), bad.into());
        println!(
            "{count} files, {bad} bad, {width} in flight, {records:?}: mean {mean:.1} restarts, entropy {bits}"
        );
        assert!(
            mean <= most,
            "{count} files, {bad} bad, {records:?}: {mean}"
        );
        assert!(records == Records::Nothing || mean < f64::from(bits));
    }
}

/// The starts of the service that are restarts: the one with nothing is that of the policy's own
/// `service.start`, which the search finds running.
fn restarts(effort: &Effort) -> u32 {
    effort.starts - 1
}

#[test]
fn where_the_order_of_arrival_is_kept_each_bad_message_costs_two_restarts_however_long_the_queue() {
    for count in [2, 3, 9, 20, 100, 1_000, 10_000] {
        for bad in 0..=5.min(count) {
            for seed in 1..=2 {
                let picked = pick(count, bad, 10, seed);
                let mut service = Service::new(picked, 1, Records::Delivered, seed);
                service.in_order = true;
                let limits = Limits {
                    confirm: true,
                    ..AMPLE
                };
                let (search, _) = service.search(&files(count), limits);
                let tally = found(&search);
                assert_eq!(tally.poison.len() as u32, bad);
                let effort = search.effort();
                let most = 2 * bad + 1;
                assert!(
                    restarts(&effort) <= most,
                    "{count} files, {bad} bad: {effort:?}"
                );
                // Where this is less than one bit a restart would take, that is beaten always.
                let beats = match bad {
                    0 => u32::MAX,
                    1 => 9,
                    2 => 9,
                    3 => 11,
                    4 => 13,
                    _ => 15,
                };
                assert!(
                    count < beats || restarts(&effort) < effort.entropy,
                    "{count} files, {bad} bad: {effort:?}"
                );
            }
        }
    }
}

#[test]
fn an_oldest_message_that_is_innocent_costs_one_restart_and_the_order_is_not_believed_again() {
    let search = answer(begun(files(64), AMPLE), true);
    assert_eq!(fed(&search), [0], "the one whose turn it was");
    let search = answer(search, false);
    let part = fed(&search);
    assert!(part.len() > 1);
    let search = answer(search, true);
    assert!(fed(&search).len() > 1);
}

#[test]
fn a_queue_that_was_not_worked_in_order_accuses_nobody_by_its_age() {
    // 40 left before 0 did.
    let search = begun(files(64), AMPLE);
    let search = search.after(&Observation {
        crashed: true,
        settled: vec![40],
        still_there: (0..64).filter(|index| *index != 40).collect(),
        ..Observation::default()
    });
    assert!(fed(&search).len() > 1);
}

#[test]
fn where_logs_show_what_was_in_flight_one_bit_a_restart_is_beaten_from_so_many_messages_on() {
    // In flight, bad, and from how many messages on; the same figures stand in docs/procedures/Q168883.md.
    let table = [
        (1, 1, 9),
        (1, 2, 9),
        (1, 5, 15),
        (4, 1, 33),
        (4, 2, 33),
        (4, 5, 50),
        (8, 1, 65),
        (8, 2, 65),
        (8, 5, 98),
        (32, 1, 257),
        (32, 2, 257),
        (32, 5, 386),
    ];
    for (width, bad, from) in table {
        let limits = Limits {
            in_flight: Some(width),
            confirm: true,
            ..AMPLE
        };
        let beats = |files: u64| {
            let bits = entropy(files, u64::from(bad));
            limits.case(files, bad.into()).feeding() < u64::from(bits)
        };
        let first = (1..=10_000).find(|files| beats(*files));
        println!("{width} in flight, {bad} bad: from {first:?} messages on");
        assert_eq!(first, Some(from), "{width} in flight, {bad} bad");
        assert!((from..=10_000).all(beats), "{width} in flight, {bad} bad");
        // And it is so, not only by the bound.
        for count in [from as u32, 1_000, 10_000] {
            let world = World {
                count,
                bad: pick(count, bad, 10, from),
                files: files(count),
                width,
                records: Records::Full,
                limits,
                seed: from,
            };
            let effort = finds_exactly_the_bad(&world);
            assert!(restarts(&effort) < effort.entropy, "{count}: {effort:?}");
        }
    }
}

#[test]
fn a_likelier_file_is_found_in_fewer_restarts_than_the_entropy() {
    // The newest is twice as likely as the next.
    let files: Vec<Suspect> = (0..1_000)
        .map(|index| ordinary(index, 1 << (30 - index.min(30))))
        .collect();
    let mut starts = 0;
    for seed in 0..100u64 {
        let bad = (fastrand::Rng::with_seed(seed).u32(1..).leading_zeros()).min(999);
        let mut service = Service::new(BTreeMap::from([(bad, 10)]), 1, Records::Nothing, seed);
        let (search, _) = service.search(&files, AMPLE);
        assert_eq!(indices(&found(&search).poison), [bad]);
        starts += search.effort().starts;
    }
    let mean = f64::from(starts) / 100.0;
    println!(
        "skewed: mean {mean:.1} restarts, entropy {}",
        entropy(1_000, 1)
    );
    assert!(mean < 10.0, "{mean}");
}

#[test]
fn a_service_that_dies_of_nothing_ends_the_search_before_any_file_is_fed() {
    let search = Search::begin(files(5), AMPLE).after(&seen(true, &[]));
    assert_eq!(escalated(&search), Why::NotInSpool);
    assert_eq!(search.tally().untested.len(), 5);
    assert_eq!(search.clone().after(&seen(false, &[])), search);
}

#[test]
fn no_files_are_no_poison_once_it_survives_nothing() {
    assert_eq!(found(&begun(Vec::new(), AMPLE)), Tally::default());
}

#[test]
fn what_an_event_named_or_is_locked_is_tried_first_and_apart() {
    let mut suspects = files(100);
    suspects[70].mark = Mark::Named;
    suspects[30].mark = Mark::Locked;
    let search = begun(suspects, AMPLE);
    assert_eq!(fed(&search), [70, 30]);
    let search = answer(search, true);
    assert_eq!(fed(&search), [70]);
    let search = answer(search, true);
    assert_eq!(
        search.tally().poison,
        [Poison {
            index: 70,
            proof: Proof::Alone
        }]
    );
    assert_eq!(fed(&search), [30]);
    // A wrong guess is the last.
    let search = answer(search, false);
    assert_eq!(fed(&search).len(), 98);
}

#[test]
fn a_file_named_at_a_crash_is_tried_next_and_one_lie_ends_the_belief() {
    let search = begun(files(64), AMPLE);
    let all = fed(&search);
    let named = |fed: &[u32], named| Observation {
        named: Some(named),
        ..seen(true, fed)
    };
    let search = search.after(&named(&all, 40));
    assert_eq!(fed(&search), [40]);
    let search = answer(search, false);
    let part = fed(&search);
    assert!(part.len() > 1);
    let search = search.after(&named(&part, part[3]));
    assert_ne!(fed(&search), [part[3]]);
}

#[test]
fn only_what_was_in_flight_is_suspect_and_delivered_files_never_come_again() {
    let limits = Limits {
        in_flight: Some(2),
        ..AMPLE
    };
    let search = begun(files(1_000), limits);
    let all = fed(&search);
    let search = search.after(&Observation {
        crashed: true,
        settled: (0..500).collect(),
        still_there: (500..1_000).collect(),
        in_flight: Some(vec![600, 601]),
        ..Observation::default()
    });
    assert_eq!(all.len(), 1_000);
    let tally = search.tally();
    assert_eq!(
        (tally.settled.len(), &tally.suspected),
        (500, &vec![600, 601])
    );
    let search = answer(answer(search, false), false);
    let tally = found(&search);
    assert_eq!(
        tally.poison,
        [Poison {
            index: 601,
            proof: Proof::Deduced
        }]
    );
    assert_eq!(tally.perhaps_twice, [600]);
}

#[test]
fn a_file_that_left_the_queue_without_evidence_is_in_doubt_and_never_fed_again() {
    let search = begun(files(4), AMPLE).after(&seen(true, &[0, 1, 3]));
    assert_eq!(search.tally().in_doubt, [2]);
    let mut search = search;
    while let Move::Feed(fed) = search.next() {
        assert!(!fed.contains(&2));
        search = answer(search, fed.contains(&3));
    }
    assert_eq!(indices(&found(&search).poison), [3]);
}

#[test]
fn a_poison_is_not_called_alone_when_another_file_left_without_evidence() {
    let search = begun(files(2), AMPLE).after(&seen(true, &[1]));
    let proof = Proof::InFlight;
    assert_eq!(search.tally().poison, [Poison { index: 1, proof }]);
    let confirm = Limits {
        confirm: true,
        ..AMPLE
    };
    let search = begun(files(2), confirm).after(&seen(true, &[1]));
    assert_eq!(fed(&search), [1]);
}

#[test]
fn what_a_start_may_send_twice_is_known_before_it() {
    let search = begun(files(4), AMPLE);
    assert_eq!(search.may_send_twice(), Vec::<u32>::new());
    let search = answer(search, true);
    let again = fed(&search);
    assert_eq!(search.may_send_twice(), again);
    assert_eq!(search.tally().perhaps_twice, Vec::<u32>::new());
    assert_eq!(answer(search, false).tally().perhaps_twice, again);
}

#[test]
fn a_crash_of_which_nothing_is_left_escalates() {
    let search = begun(files(3), AMPLE).after(&Observation {
        crashed: true,
        settled: vec![0, 1, 2],
        ..Observation::default()
    });
    assert_eq!(escalated(&search), Why::CrashWithoutSuspect);
}

#[test]
fn a_group_that_crashes_while_none_of_it_crashes_alone_escalates() {
    let limits = Limits {
        confirm: true,
        ..AMPLE
    };
    let mut search = answer(begun(files(2), limits), true);
    for _ in 0..2 {
        assert_eq!(fed(&search).len(), 1);
        search = answer(search, false);
    }
    assert_eq!(escalated(&search), Why::NoneOfThem);
    assert_eq!(search.tally().good, [0, 1]);
}

#[test]
fn evidence_that_a_poison_was_delivered_escalates() {
    let search = answer(begun(files(2), AMPLE), true);
    let search = answer(search, true);
    assert_eq!(indices(&search.tally().poison), [0]);
    let late = Observation {
        settled: vec![0, 1],
        ..Observation::default()
    };
    assert_eq!(escalated(&search.after(&late)), Why::PoisonDelivered(0));
}

#[test]
fn a_disturbed_start_tells_only_what_left_the_queue() {
    let search = begun(files(8), AMPLE);
    let disturbed = Observation {
        settled: vec![1],
        disturbed: true,
        ..seen(true, &[0, 2, 3, 4, 5, 6, 7])
    };
    let search = search.after(&disturbed);
    assert_eq!(fed(&search), [0, 2, 3, 4, 5, 6, 7]);
    assert_eq!(search.tally().suspected, Vec::<u32>::new());
    // What was in the queue when it died may still have been sent.
    assert_eq!(answer(search, false).tally().perhaps_twice.len(), 7);
}

#[test]
fn a_start_with_nothing_that_was_disturbed_is_repeated() {
    let disturbed = Observation {
        disturbed: true,
        ..seen(true, &[])
    };
    let search = Search::begin(files(2), AMPLE).after(&disturbed);
    assert_eq!(fed(&search), Vec::<u32>::new());
}

#[test]
fn files_that_a_living_service_does_not_take_up_are_left_and_not_called_good() {
    let limits = Limits {
        in_flight: Some(4),
        ..AMPLE
    };
    let search = begun(files(3), limits).after(&Observation {
        in_flight: Some(vec![2]),
        ..seen(false, &[0, 1, 2])
    });
    let tally = found(&search);
    assert_eq!((tally.left, tally.good), (vec![0, 1], vec![2]));
}

#[test]
fn suspects_that_are_not_taken_up_escalate_instead_of_being_cleared() {
    let limits = Limits {
        in_flight: Some(2),
        ..AMPLE
    };
    let search = begun(files(2), limits).after(&Observation {
        in_flight: Some(vec![0, 1]),
        ..seen(true, &[0, 1])
    });
    let part = fed(&search);
    let search = search.after(&Observation {
        in_flight: Some(Vec::new()),
        ..seen(false, &part)
    });
    assert_eq!(escalated(&search), Why::NotTakenUp);
    assert_eq!(search.tally().suspected, [0, 1]);
}

#[test]
fn logs_that_fail_to_tell_end_the_trust_in_their_telling() {
    let limits = Limits {
        in_flight: Some(2),
        max_duplicates: 10,
        ..AMPLE
    };
    let search = begun(files(100), limits);
    assert_eq!(fed(&search).len(), 100);
    let mut search = answer(search, true);
    while !search.suspected.is_empty() {
        search = answer(search, true);
    }
    assert_eq!(fed(&search).len(), 10);
}

/// A crash that the logs blame on others than did it.
#[test]
fn logs_that_blame_the_innocent_are_not_believed_again_and_the_poison_is_found() {
    let limits = Limits {
        in_flight: Some(2),
        max_duplicates: 8,
        confirm: true,
        ..AMPLE
    };
    // 5 crashes it before anything of it is logged, while 0 is on its way.
    let observe = |fed: &[u32]| {
        let crashed = fed.contains(&5);
        let flying = fed.iter().copied().filter(|index| *index == 0).collect();
        Observation {
            settled: if crashed { Vec::new() } else { fed.to_vec() },
            still_there: if crashed { fed.to_vec() } else { Vec::new() },
            in_flight: Some(flying),
            crashed,
            ..Observation::default()
        }
    };
    let mut search = begun(files(10), limits);
    while let Move::Feed(fed) = search.next() {
        search = search.after(&observe(&fed));
    }
    let tally = found(&search);
    assert_eq!(indices(&tally.poison), [5]);
    let effort = search.effort();
    assert!(
        u64::from(effort.starts) <= effort.restarts_bound,
        "{effort:?}"
    );
}

#[test]
fn a_crash_that_nothing_explains_in_the_end_escalates() {
    let limits = Limits {
        in_flight: Some(2),
        confirm: true,
        ..AMPLE
    };
    let mut search = begun(files(4), limits);
    let mut starts = 0;
    while let Move::Feed(fed) = search.next() {
        starts += 1;
        // It crashes once, with 0 on its way, and never again.
        search = search.after(&Observation {
            in_flight: Some(if starts == 1 { vec![0] } else { fed.clone() }),
            ..seen(starts == 1, &fed)
        });
    }
    assert_eq!(escalated(&search), Why::NoneOfThem);
}

#[test]
fn the_bounds_are_those_that_are_declared() {
    let case = |files, bad, in_flight| Case {
        files,
        bad,
        in_flight,
        max_duplicates: u64::MAX,
        confirm: false,
    };
    assert_eq!(case(1_000, 1, Some(1)).feeding(), 2);
    assert_eq!(case(1_000_000, 2, Some(16)).feeding(), 11);
    assert_eq!(case(1_000, 5, None).feeding(), 56);
    assert_eq!(case(10_000, 5, None).feeding(), 76);
    let capped = Case {
        max_duplicates: 50,
        ..case(1_000, 1, None)
    };
    assert_eq!(capped.feeding(), 20 + 1 + 6);
    assert_eq!([1, 2, 3, 1_000, 1_024].map(halvings), [0, 1, 2, 10, 10]);
    assert_eq!(
        [(1_000, 1), (1_000, 5), (10_000, 1), (10_000, 5)].map(|(n, d)| entropy(n, d)),
        [10, 43, 14, 60]
    );
    assert_eq!(
        (entropy(5, 5), entropy(0, 3), entropy(1_024, 1)),
        (0, 0, 10)
    );
    assert!(entropy(100_000, 50_000).abs_diff(99_992) <= 1);
    assert_eq!((reach(5, 2), reach(5, 0), reach(9, 9)), (16, 1, 512));
    assert_eq!(
        [1, 2, 10, 99].map(|k| restarts_within_crashes(1_000, k)),
        [999, 45, 10, 10]
    );
}
