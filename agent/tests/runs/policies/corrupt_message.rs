//! Q168883: a corrupt message ends the service each time it reads it.

use std::time::Duration;

use mailmend_agent::host::simulated::{Harm, SimSettings, SimWorld};
use mailmend_proto::run::{Custody, Ended};

use super::{Again, Case};
use crate::site::{GUARD, IMC, Site, changed};

/// Short watching, so that a life of the agent has few looks.
pub(crate) const SHORT: [(&str, &str); 2] = [
    ("observe = \"2m\"", "observe = \"10s\""),
    ("observe = \"60s\"", "observe = \"10s\""),
];

/// What waits in one queue.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mail {
    pub(crate) good: usize,
    pub(crate) bad: usize,
}

/// A server whose service has died of what is in its queues, or was ended by hand where that is all good.
pub(crate) fn dead(
    seed: u64,
    inbound: Mail,
    outbound: Mail,
    harm: Harm,
    at_once: usize,
) -> SimWorld {
    let world = SimWorld::new(SimSettings {
        seed,
        stale_routes: false,
        connections: at_once,
        ..SimSettings::default()
    });
    // Whoever has died takes nothing up while the mail is put there.
    world.by_hand(IMC, false);
    world.advance(Duration::from_secs(5));
    world.add_inbound(inbound.good, 300);
    world.add_outbound(outbound.good, 300);
    for _ in 0..inbound.bad {
        world.add_bad_inbound(harm);
    }
    for _ in 0..outbound.bad {
        world.add_bad_outbound(harm);
    }
    world.by_hand(IMC, true);
    world.advance(Duration::from_secs(2));
    if world.is_running(IMC) && harm != Harm::Hang {
        world.kill_service(IMC);
    }
    world.write_event(IMC, 4037, "An exception was handled; the service ends.");
    let balance = world.balance();
    for file in balance.accounts.iter().flat_map(|account| &account.live) {
        world.set_age(file, Duration::from_secs(16 * 60));
    }
    world
}

/// A run of the shipped policy on this world, with a guard that allows a long search.
pub(crate) fn on(world: SimWorld, seed: u64, edits: &[(&str, &str)]) -> Site {
    let edits: Vec<(&str, &str)> = SHORT.iter().chain(edits).copied().collect();
    let guard = GUARD.replace("restarts_per_hour = 40", "restarts_per_hour = 300");
    Site::on(world, seed, &changed("corrupt-message", &edits), &guard)
}

fn site(seed: u64) -> Site {
    let one_bad = Mail { good: 2, bad: 1 };
    on(dead(seed, one_bad, one_bad, Harm::Crash, 1), seed, &[])
}

/// What is bad is held or in doubt, and everything else was delivered.
pub(crate) fn told_apart(site: &Site, told: &str) {
    let state = site.state();
    for account in site.world.balance().accounts {
        let entries = state.batches.values().flat_map(|batch| &batch.entries);
        let custody: Vec<Custody> = entries
            .filter(|entry| entry.name == account.spool_name)
            .map(|entry| entry.custody)
            .collect();
        if account.poison {
            let kept = |custody: &Custody| matches!(custody, Custody::Poison | Custody::InDoubt);
            assert!(
                account.delivered == 0 && account.live.is_empty() && custody.iter().all(kept),
                "{told}: {account:?} {custody:?}"
            );
        } else {
            let doubt = custody.contains(&Custody::InDoubt);
            assert!(
                account.delivered > 0 || doubt,
                "{told}: {account:?} {custody:?}"
            );
        }
    }
}

pub(crate) const CASE: Case = Case {
    policy: "corrupt-message",
    site,
    least_points: 600,
    again: Again {
        every: 8,
        in_run: false,
    },
    ends: &[Ended::Committed],
    check: told_apart,
};
