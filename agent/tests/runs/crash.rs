//! The agent is killed before and after every journal record and every call to the machine, and again
//! while it recovers. Each time it must end in balance, with service running.

use std::time::Duration;

use mailmend_agent::host::simulated::{Crash, run_until_killed};
use mailmend_proto::run::Ended;

use crate::site::Site;

/// Fewer points than this would mean that the sweep has lost its object.
const LEAST_POINTS: u64 = 450;

/// How many points the agent passes in a run that nothing disturbs.
fn points() -> u64 {
    let site = Site::small(1);
    let before = site.switch().passed();
    let (killed, _) = site.live(&[]);
    assert!(killed.is_empty());
    let points = site.switch().passed() - before;
    assert!(points >= LEAST_POINTS, "only {points} points");
    points
}

/// Lives and dies at these points; the end must balance. Returns how often it was killed.
fn die_at(deaths: &[u64]) -> usize {
    let site = Site::small(1);
    let (killed, _) = site.live(deaths);
    let told = format!("killed at {deaths:?}: {killed:?}");
    site.check(&told);
    assert_eq!(
        site.ended(),
        Some(Ended::Committed),
        "{told}: {:?} {:?}",
        site.failed_steps(),
        site.alarms()
    );
    let balance = site.world.balance();
    assert!(
        balance
            .accounts
            .iter()
            .all(|account| account.delivered == 1),
        "{told}: {:?}",
        balance.accounts
    );
    killed.len()
}

/// Every n-th point, so that the sweep shares the cores; all shares together are every point.
fn sweep(share: u64, shares: u64) {
    let points = points();
    let mut killed = 0;
    for point in (1..=points).filter(|point| point % shares == share) {
        assert_eq!(die_at(&[point]), 1, "nobody died at point {point}");
        killed += 1;
    }
    eprintln!("share {share} of {shares}: killed at {killed} of {points} points");
    assert!(killed >= LEAST_POINTS / shares);
}

/// Pairs of deaths: the second falls into the life that mends what the first left. All points of the
/// first, each with a few of the second near its beginning, where recovery is, chosen by the seed.
fn sweep_pairs(share: u64, shares: u64) {
    let points = points();
    let mut rng = fastrand::Rng::with_seed(share);
    let (mut twice, mut tried) = (0, 0);
    for first in (1..=points).filter(|point| point % (2 * shares) == 2 * share) {
        let second = rng.u64(1..60);
        tried += 1;
        if die_at(&[first, second]) == 2 {
            twice += 1;
        }
    }
    eprintln!("share {share} of {shares}: killed twice in {twice} of {tried} lives");
    assert!(twice >= LEAST_POINTS / (2 * shares) * 9 / 10);
}

#[test]
fn a_run_that_nothing_disturbs_delivers_every_message_once() {
    let site = Site::new(1, 13);
    site.live(&[]);
    site.check("undisturbed");
    let balance = site.world.balance();
    assert_eq!(balance.accounts.len(), 14, "the probe counts too");
    assert!(
        balance
            .accounts
            .iter()
            .all(|account| account.delivered == 1)
    );
    assert_eq!(site.ended(), Some(Ended::Committed));
    let trace = site.switch().trace();
    for point in [
        "journal: before append",
        "journal: after append",
        "moved a file",
        "linked a file",
        "synced a folder",
        "started the service",
        "stopped the service",
    ] {
        assert!(trace.contains(&point), "no kill could fall at `{point}`");
    }
}

#[test]
fn killed_at_any_point_the_end_balances_share_0() {
    sweep(0, 2);
}

#[test]
fn killed_again_while_it_recovers_the_end_balances_share_0() {
    sweep_pairs(0, 2);
}

#[test]
fn killed_at_any_point_the_end_balances_share_1() {
    sweep(1, 2);
}

#[test]
fn killed_again_while_it_recovers_the_end_balances_share_1() {
    sweep_pairs(1, 2);
}

/// Every pair in which the second death falls among the first calls of recovery, after the deaths that
/// leave most to mend: around the moves, links and starts.
#[test]
fn killed_at_every_point_of_the_recovery_from_a_half_done_move_the_end_balances() {
    let site = Site::small(1);
    let before = site.switch().passed();
    site.live(&[]);
    let trace = site.switch().trace();
    let trace = &trace[usize::try_from(before).unwrap()..];
    let at = |name: &str, n: usize| {
        let found = trace
            .iter()
            .enumerate()
            .filter(|(_, point)| **point == name);
        let at = found.map(|(at, _)| at).nth(n).unwrap();
        u64::try_from(at).unwrap() + 1
    };
    let firsts = [
        at("moved a file", 1),
        at("linked a file", 0),
        at("linked a file", 3),
        at("started the service", 0),
        at("stopped the service", 1),
    ];
    let mut killed = 0;
    for first in firsts {
        for second in 1..=40 {
            assert_eq!(die_at(&[first, second]), 2, "at {first} and {second}");
            killed += 1;
        }
    }
    assert_eq!(killed, 200);
}

/// Power is lost at the point where the agent is killed: services end too, names that were not synced may
/// be gone, the machine comes up two minutes later and starts its services by itself.
fn lose_power_at(point: u64) {
    let site = Site::small(1);
    let engine = run_until_killed(|| {
        let engine = site.engine(point);
        engine.recover().expect("recovery writes its records");
        site.control(&engine);
    });
    let Err(kill) = engine else {
        panic!("nobody died at point {point}");
    };
    site.world.crash(Crash::Power);
    site.world.advance(Duration::from_secs(30));
    let (_, engine) = site.live(&[]);
    engine.watch().expect("the watchdog writes its records");
    let told = format!("power lost at {point}: {kill:?}");
    site.check_after_power(&told);
    assert!(site.ended().is_some(), "{told}: the run does not end");
}

#[test]
fn without_power_at_any_point_nothing_is_lost_and_service_comes_up() {
    let points = points();
    for point in (1..=points).step_by(3) {
        lose_power_at(point);
    }
}
