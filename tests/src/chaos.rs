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
