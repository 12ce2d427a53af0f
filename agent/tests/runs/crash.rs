//! Deaths that the sweeps of each policy do not reach often: pairs around the moves, links and starts.

use mailmend_proto::run::Ended;

use crate::site::Site;

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
