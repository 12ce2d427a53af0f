//! Kills at moments that follow from a seed.

use std::time::Duration;

use crate::server_dir::Direction;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The controller; the lab starts it again, as an init system would.
    Controller,
    /// The agent of the server with this index; the lab starts it again.
    Agent(usize),
    /// The IMS of the server with this index; nobody but its agent starts it again.
    Ims(usize),
}

/// A kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// When, counted from the start of the rollout.
    pub after: Duration,
    /// What.
    pub victim: Victim,
    /// How long the lab waits before it starts a killed controller or agent again.
    pub back_after: Duration,
}

/// The kills of a run, in order of time: `count` of them within `window`, over `servers` servers of
/// which every second one is outbound-only; those of the direction that is `ill` get twice their share.
#[must_use]
pub fn kills(
    seed: u64,
    count: usize,
    window: Duration,
    servers: usize,
    ill: Direction,
) -> Vec<Kill> {
    let both_are_ill = ill == Direction::Both;
    // A sequence of its own, so that the mail of a seed is the same with and without kills.
    let mut random = fastrand::Rng::with_seed(seed ^ 0x6b69_6c6c);
    let mut kills: Vec<Kill> = (0..count)
        .map(|_| {
            let server = {
                let index = random.usize(..servers.max(1));
                let well = index.is_multiple_of(2) != both_are_ill;
                if well && random.bool() {
                    (index ^ 1).min(servers - 1)
                } else {
                    index
                }
            };
            let victim = match random.u32(..8) {
                0..2 => Victim::Controller,
                2..5 => Victim::Agent(server),
                _ => Victim::Ims(server),
            };
            Kill {
                after: window.mul_f64(random.f64()),
                victim,
                back_after: Duration::from_millis(random.u64(20..1_200)),
            }
        })
        .collect();
    kills.sort_by_key(|kill| kill.after);
    kills
}

/// The kills of a fleet of `servers` servers, two a site: of the controller, of agents anywhere, the `ill` sites
/// more often, and of mail services of these alone. Of three kills or more one at least is of each. Every other
/// site is to be left as it was.
#[must_use]
pub fn of_fleet(
    seed: u64,
    count: usize,
    window: Duration,
    servers: usize,
    ill: &[usize],
) -> Vec<Kill> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x666b_696c);
    // One of each first; which comes when is drawn for all of them.
    let first = [0, 4, 6];
    let mut kills: Vec<Kill> = (0..count)
        .map(|number| {
            let anywhere = random.usize(..servers.max(1));
            let there = random.choice(ill).map(|site| 2 * site + random.usize(..2));
            let drawn = random.u32(..8);
            let kind = first.get(number).copied().unwrap_or(drawn);
            let victim = match (kind, there) {
                (0..2, _) => Victim::Controller,
                (2 | 3, _) => Victim::Agent(anywhere),
                (4 | 5, Some(server)) => Victim::Agent(server),
                (_, Some(server)) => Victim::Ims(server),
                (_, None) => Victim::Agent(anywhere),
            };
            Kill {
                after: window.mul_f64(random.f64()),
                victim,
                back_after: Duration::from_millis(random.u64(20..1_200)),
            }
        })
        .collect();
    kills.sort_by_key(|kill| kill.after);
    kills
}

/// The same kills, all of them of agents.
#[must_use]
pub fn of_agents(mut kills: Vec<Kill>, ill: Direction) -> Vec<Kill> {
    for kill in &mut kills {
        kill.victim = match kill.victim {
            Victim::Agent(index) | Victim::Ims(index) => Victim::Agent(index),
            Victim::Controller => Victim::Agent(usize::from(ill == Direction::Outbound)),
        };
    }
    kills
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_follow_from_the_seed_and_reach_everything() {
        let window = Duration::from_secs(10);
        let some = kills(1, 200, window, 2, Direction::Outbound);
        assert_eq!(some, kills(1, 200, window, 2, Direction::Outbound));
        assert_ne!(some, kills(2, 200, window, 2, Direction::Outbound));
        assert!(some.is_sorted_by_key(|kill| kill.after));
        assert!(some.iter().all(|kill| kill.after <= window));
        for victim in [
            Victim::Controller,
            Victim::Agent(0),
            Victim::Agent(1),
            Victim::Ims(0),
            Victim::Ims(1),
        ] {
            assert!(
                some.iter().any(|kill| kill.victim == victim),
                "{victim:?} is never killed"
            );
        }
    }

    #[test]
    fn in_a_fleet_no_mail_service_of_a_healthy_site_is_killed() {
        let window = Duration::from_secs(10);
        let some = of_fleet(1, 300, window, 40, &[3, 7]);
        assert_eq!(some, of_fleet(1, 300, window, 40, &[3, 7]));
        let victims: Vec<Victim> = some.iter().map(|kill| kill.victim).collect();
        assert!(victims.contains(&Victim::Controller));
        for server in [6, 7, 14, 15] {
            assert!(victims.contains(&Victim::Ims(server)), "{server}");
            assert!(victims.contains(&Victim::Agent(server)), "{server}");
        }
        for victim in victims {
            if let Victim::Ims(server) = victim {
                assert!([3, 7].contains(&(server / 2)), "{server} is healthy");
            }
        }
        for seed in 0..50 {
            let few = of_fleet(seed, 3, window, 40, &[3, 7]);
            assert!(few.is_sorted_by_key(|kill| kill.after));
            let of = |is: fn(&Victim) -> bool| few.iter().filter(|kill| is(&kill.victim)).count();
            assert_eq!(of(|victim| *victim == Victim::Controller), 1, "seed {seed}");
            assert_eq!(
                of(|victim| matches!(victim, Victim::Agent(_))),
                1,
                "seed {seed}"
            );
            assert_eq!(
                of(|victim| matches!(victim, Victim::Ims(_))),
                1,
                "seed {seed}"
            );
        }
        let none = of_fleet(1, 50, window, 40, &[]);
        assert!(
            !none
                .iter()
                .any(|kill| matches!(kill.victim, Victim::Ims(_)))
        );
    }

    #[test]
    fn the_server_that_is_ill_is_disturbed_more_often() {
        let window = Duration::from_secs(10);
        for (ill, server) in [(Direction::Both, 0), (Direction::Outbound, 1)] {
            let some = kills(1, 400, window, 2, ill);
            let of = |index| {
                let hit = [Victim::Agent(index), Victim::Ims(index)];
                some.iter()
                    .filter(|kill| hit.contains(&kill.victim))
                    .count()
            };
            assert!(of(server) > 2 * of(1 - server), "{ill:?}");
        }
    }
}
