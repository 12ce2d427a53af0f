//! Power lost at every point of quarantine, replay and settling: every disk that the model allows to be left
//! is recovered from.
//!
//! The journal is taken for what SQLite promises: of an append nothing or all is there (the point before it
//! and the point after it), and nothing that was durable is lost. The cuts of a real ext4 in the lab
//! prove that for SQLite's own file.

use std::sync::Arc;
use std::time::Duration;

use super::site::{Site, balances};
use crate::host::Clock;
use crate::host::simulated::{SimWorld, run_until_killed};

/// Every world that a power loss can leave of a site, with its journal, at the moment of the kill.
fn left_of(site: &Site, starts_at_boot: bool) -> Vec<Site> {
    let left = |world: SimWorld| {
        if !starts_at_boot {
            // A person starts what the service needs, and leaves the service to the agent.
            for service in ["SA", "DS", "IS", "MTA"] {
                world.by_hand(&format!("MSExchange{service}"), true);
                world.advance(Duration::from_secs(5));
            }
        }
        let switch = world.kill_switch();
        let kept = site.kept.fork();
        let kept = kept.with_hook(Arc::new(move |point| switch.point(point)));
        Site { world, kept }
    };
    site.world.power_cuts().into_iter().map(left).collect()
}

fn boot_of(site: &Site) -> String {
    site.world.host().uptime().boot
}

fn check(left: &Site, context: &str, starts_at_boot: bool) {
    balances(left, context, starts_at_boot);
    assert!(
        left.world.is_running("MSExchangeIMC"),
        "{context}: left stopped"
    );
}

/// Kills the agent and the machine at each point, and lets an agent live on in every world that can be left.
/// Returns how many points and worlds there were.
fn cut_everywhere(messages: usize, starts_at_boot: bool) -> (u64, u64) {
    let boot = boot_of(&Site::new(1, messages, starts_at_boot));
    let (mut points, mut worlds) = (0, 0);
    for point in 1.. {
        let site = Site::new(1, messages, starts_at_boot);
        let Err(kill) = run_until_killed(|| site.life(&boot, point)) else {
            break;
        };
        points += 1;
        for (number, left) in left_of(&site, starts_at_boot).into_iter().enumerate() {
            left.life(&boot, 0);
            let context = format!("{messages} messages, power lost at {kill:?}, remains {number}");
            check(&left, &context, starts_at_boot);
            worlds += 1;
        }
    }
    eprintln!("{messages} messages: {points} points, {worlds} worlds");
    (points, worlds)
}

#[test]
fn whatever_a_power_loss_leaves_of_up_to_three_messages_nothing_is_lost() {
    for messages in 1..=3 {
        let (points, worlds) = cut_everywhere(messages, false);
        assert!(points > 80 && worlds > points + 50);
    }
}

#[test]
fn whatever_a_power_loss_leaves_of_four_messages_nothing_is_lost() {
    let (points, worlds) = cut_everywhere(4, false);
    assert!(points > 200 && worlds > 1000);
}

#[test]
fn whatever_a_power_loss_leaves_under_a_service_that_starts_with_the_machine_nothing_is_lost() {
    let (points, worlds) = cut_everywhere(3, true);
    assert!(points > 150 && worlds > 500);
}

/// The second loss falls into the life that mends what the first left; all its points are reached, each
/// after other first ones.
#[test]
fn whatever_a_second_power_loss_leaves_of_two_messages_nothing_is_lost() {
    const EVERY: u64 = 29;
    let boot = boot_of(&Site::new(1, 2, false));
    let mut worlds = 0;
    for first in 1.. {
        let site = Site::new(1, 2, false);
        let Err(kill) = run_until_killed(|| site.life(&boot, first)) else {
            break;
        };
        for number in 0..left_of(&site, false).len() {
            for second in (1 + (first + number as u64) % EVERY..).step_by(EVERY as usize) {
                let left = left_of(&site, false).remove(number);
                let Err(again) = run_until_killed(|| left.life(&boot, second)) else {
                    break;
                };
                for (last, left) in left_of(&left, false).into_iter().enumerate() {
                    left.life(&boot, 0);
                    let context =
                        format!("power lost at {kill:?} ({number}), then at {again:?} ({last})");
                    check(&left, &context, false);
                    worlds += 1;
                }
            }
        }
    }
    eprintln!("two losses: {worlds} worlds");
    assert!(worlds > 1500);
}
