//! Crash everywhere and repeat everywhere, for every shipped policy: [`each`] has the tests.
//!
//! The agent is killed before and after every journal record and every call to the machine, again
//! while it recovers, and loses its power; every order is given twice, and all former ones again.
//! Each time it must end in balance, with service running.

mod each;

use std::collections::BTreeSet;
use std::time::Duration;

use mailmend_agent::host::simulated::{Crash, run_until_killed};
use mailmend_agent::runner::{Rest, Waiting};
use mailmend_proto::run::Event;

use crate::policies::Case;
use crate::site::{IMC, Site};

const SEED: u64 = 1;

impl Case {
    fn made(&self) -> Site {
        let site = (self.site)(SEED);
        assert_eq!(site.plan.policy.as_str(), self.policy);
        site
    }

    /// How many points the agent passes in a run that nothing disturbs.
    fn points(&self) -> u64 {
        let site = self.made();
        let before = site.switch().passed();
        let (killed, _) = site.live(&[]);
        assert!(killed.is_empty());
        let points = site.switch().passed() - before;
        assert!(points >= self.least_points, "only {points} points");
        points
    }

    /// The end of a run that nothing disturbs.
    fn undisturbed(&self) {
        let site = self.made();
        site.live(&[]);
        self.check_end(&site, "undisturbed");
    }

    fn check_end(&self, site: &Site, told: &str) {
        site.check(told);
        assert!(
            site.ended().is_some_and(|end| self.ends.contains(&end)),
            "{told}: ended {:?}: {:?} {:?}",
            site.ended(),
            site.failures(),
            site.alarms()
        );
        (self.check)(site, told);
    }

    /// Lives and dies at these points; the end must balance. Returns how often it was killed.
    fn die_at(&self, deaths: &[u64]) -> usize {
        let site = self.made();
        let (killed, _) = site.live(deaths);
        self.check_end(&site, &format!("killed at {deaths:?}: {killed:?}"));
        killed.len()
    }

    /// Lives once, and dies at this point.
    fn killed_at(&self, point: u64) -> Site {
        let site = self.made();
        let life = run_until_killed(|| {
            let engine = site.engine(point);
            engine.recover().expect("recovery writes its records");
            site.control(&engine);
        });
        assert!(life.is_err(), "nobody died at point {point}");
        site
    }

    /// Killed once, at every point; shares are for the cores.
    fn killed_anywhere(&self, share: u64, shares: u64) {
        let points = self.points();
        let mut killed = 0;
        for point in (1..=points).filter(|point| point % shares == share) {
            assert_eq!(self.die_at(&[point]), 1, "nobody died at point {point}");
            killed += 1;
        }
        eprintln!(
            "{}: killed at {killed} of {points} points, share {share} of {shares}",
            self.policy
        );
        assert!(killed > 0);
    }

    /// Killed at every n-th of the places whose deaths differ, and again at every point of the recovery from
    /// that ([`Again`]). What a death leaves that another has left before, but for the clock's reading, is not
    /// lived again.
    fn killed_in_recovery(&self, share: u64, shares: u64) {
        let site = self.made();
        let (firsts, points) = site.deaths_in(&mut BTreeSet::new(), |site| drop(site.live(&[])));
        let (mut chosen, mut deaths, mut lived) = (0, 0, 0);
        let mut seconds = BTreeSet::new();
        let all = firsts.len();
        for (at, left) in (0..).zip(firsts) {
            if at % (self.again.every * shares) != share * self.again.every {
                continue;
            }
            chosen += 1;
            let (again, passed) = left.deaths_in(&mut seconds, |left| {
                let engine = left.engine(0);
                engine.recover().expect("recovery writes its records");
                if self.again.in_run {
                    left.control(&engine);
                }
            });
            deaths += passed;
            for again in again {
                again.live(&[]);
                lived += 1;
                let told = format!(
                    "{}: killed at place {at}, and again at {lived}",
                    self.policy
                );
                // Each death between a start and its record costs one start of those that the policy allows.
                let used_up = |why: &String| why.contains("A052-restarts-used-up");
                if again.failures().iter().any(used_up) {
                    again.check(&told);
                    assert!(again.ended().is_some(), "{told}: the run does not end");
                } else {
                    self.check_end(&again, &told);
                }
            }
        }
        eprintln!(
            "{}: deaths at {points} points leave {all} sites; from {chosen} of them {deaths} second deaths, {lived} lived on, share {share} of {shares}",
            self.policy
        );
        assert!(lived > 0);
    }

    /// Killed at every second point, and again early in the life that mends what that left, or soon after
    /// its recovery: a sample.
    fn killed_again(&self) {
        let points = self.points();
        let mut rng = fastrand::Rng::with_seed(SEED);
        let (mut twice, mut tried) = (0, 0);
        for first in (1..=points).step_by(2) {
            tried += 1;
            // A short run has few points left in its second life.
            let early = 60.min(points / 4);
            twice += usize::from(self.die_at(&[first, rng.u64(1..early)]) == 2);
        }
        eprintln!("{}: killed twice in {twice} of {tried} runs", self.policy);
        assert!(twice * 10 >= tried * 8, "{twice} of {tried}");
    }

    /// Power is lost at every point: services end too, names that were not synced may be gone, the machine
    /// comes up two minutes later and starts its services by itself. Which of the names are left is drawn;
    /// every combination is in [`crate::whole`] and in the tests of custody.
    fn power_lost(&self) {
        let points = self.points();
        let mut lost = BTreeSet::new();
        for point in 1..=points {
            let site = self.killed_at(point);
            if !lost.insert(site.likeness()) {
                continue;
            }
            site.world.crash(Crash::Power);
            site.world.advance(Duration::from_secs(30));
            let (_, engine) = site.live(&[]);
            engine.watch().expect("the watchdog writes its records");
            let told = format!("{}: power lost at {point}", self.policy);
            site.check_after_power(&told);
            assert!(site.ended().is_some(), "{told}: the run does not end");
        }
        eprintln!(
            "{}: power lost at {points} points, which leave {} sites",
            self.policy,
            lost.len()
        );
        assert!(!lost.is_empty());
    }

    /// Every order twice and all former ones again, at every turn, and once more after the end: the
    /// records are those of a run that was told everything once.
    fn repeated(&self) {
        let plain = self.made();
        plain.live(&[]);
        let site = self.made();
        let engine = site.engine(0);
        let all = u32::try_from(site.plan.steps.len()).unwrap();
        let mut marks = vec![0];
        for _ in 0..200 {
            (site.people)(&site, &engine);
            if site.state().closed.is_some() {
                break;
            }
            for _ in 0..2 {
                engine.admit(&site.assignment).unwrap();
                for mark in &marks {
                    engine.advance(site.run, 1, *mark).unwrap();
                }
                engine.fence(site.run, 1).unwrap();
                (site.people)(&site, &engine);
            }
            let rest = engine.carry_on(site.run).unwrap();
            if let Rest::Waiting {
                waiting: Waiting::Answer(_),
                ..
            } = rest
            {
                // The controller hears of the answer first.
                continue;
            }
            marks.push(site.next_watermark(*marks.last().unwrap()));
        }
        self.check_end(&site, "repeated");
        let names =
            |site: &Site| -> Vec<&'static str> { site.events().iter().map(Event::name).collect() };
        assert_eq!(names(&plain), names(&site));
        let before = site.events().len();
        let starts = site.world.starts(IMC);
        engine.admit(&site.assignment).unwrap();
        engine.advance(site.run, 1, all).unwrap();
        engine.unwind(site.run, 1, 0, true).unwrap();
        (site.people)(&site, &engine);
        assert_eq!(engine.carry_on(site.run).unwrap(), Rest::Over);
        assert_eq!(site.events().len(), before, "it is over");
        assert_eq!(site.world.starts(IMC), starts);
    }
}
