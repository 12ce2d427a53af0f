//! The agent's process: it dies when its time has come, alone or with its machine, and is started again.

use std::time::Duration;

use mailmend_proto::wire;

use super::{Life, OFF_MS, RESTART_MS, Server, Stream};
use crate::host::simulated::run_until_killed;
use crate::simulation::ground::Ground;

impl Server {
    /// Whatever is due of what goes wrong by itself.
    pub(super) fn misfortune(&mut self, now_ms: i64, answer: &mut wire::SimulationAnswer) {
        while let Some(jump) = self
            .of
            .jumps
            .first()
            .filter(|jump| jump.at_ms <= now_ms)
            .copied()
        {
            self.of.jumps.remove(0);
            if let Some(ground) = &self.ground {
                ground.world.shift_wall_clock(jump.by_ms);
            }
        }
        let due = |times: &mut Vec<i64>| {
            let due = times.first().is_some_and(|at| *at <= now_ms);
            if due {
                times.remove(0);
            }
            due
        };
        if due(&mut self.of.power_cuts_ms) && self.ground.is_some() {
            self.die(now_ms, true, answer);
        }
        if due(&mut self.of.crashes_ms) && !matches!(self.life, Life::Dead(_)) {
            self.die(now_ms, false, answer);
        }
        if let Life::Dead(until) = self.life
            && until <= now_ms
        {
            self.live(now_ms, answer);
        }
    }

    /// The agent's process ends, and perhaps the machine with it.
    pub(super) fn die(&mut self, now_ms: i64, power: bool, answer: &mut wire::SimulationAnswer) {
        self.deaths += 1;
        let mut until = now_ms + if power { OFF_MS } else { RESTART_MS };
        self.life = Life::Dead(until);
        if let Some(ground) = &mut self.ground {
            ground.catch_up(now_ms);
            ground.crash(power);
            until = until.max(ground.reached_ms());
            self.life = Life::Dead(until);
            let dead = u64::try_from(until - now_ms).unwrap_or(0);
            ground.dead += Duration::from_millis(dead);
        }
        self.inbox.clear();
        (self.run_due, self.watch_due) = (None, None);
        answer.hung_up |= !matches!(self.stream, Stream::Down { .. });
        self.stream = Stream::Down { dial_ms: until };
    }

    pub(super) fn live(&mut self, now_ms: i64, answer: &mut wire::SimulationAnswer) {
        let Some(ground) = &mut self.ground else {
            self.life = Life::Idle;
            return;
        };
        ground.catch_up(now_ms);
        let engine = ground.engine(&self.name);
        let Ok(engine) = engine else {
            let broken = vec!["I1: the journal does not read back as it was written".to_owned()];
            answer.state.get_or_insert_default().broken.extend(broken);
            return;
        };
        self.arm();
        let recovered = run_until_killed(|| engine.recover().is_ok());
        self.life = Life::Lives(engine);
        if recovered == Ok(true) {
            // Its watchdog looks at once.
            self.watch_due = Some(now_ms);
        } else {
            self.ended(answer);
        }
    }

    /// Lets the machine end the agent when its time has come, though a step is under way.
    pub(super) fn arm(&self) {
        if let Some(ground) = &self.ground {
            let deaths = [self.of.crashes_ms.first(), self.of.power_cuts_ms.first()];
            let next = deaths.into_iter().flatten().min();
            ground.world.dies_at(next.map(|at| ground.since_birth(*at)));
        }
    }

    /// The process ended while something was carried out: killed, or unable to write.
    pub(super) fn ended(&mut self, answer: &mut wire::SimulationAnswer) {
        let Some(reached) = self.ground.as_ref().map(Ground::reached_ms) else {
            return;
        };
        let due = |times: &mut Vec<i64>| {
            let due = times.first().is_some_and(|at| *at <= reached);
            if due {
                times.remove(0);
            }
            due
        };
        let power = due(&mut self.of.power_cuts_ms);
        if !power {
            due(&mut self.of.crashes_ms);
        }
        self.die(reached, power, answer);
    }

    /// Makes the machine, where nothing has needed it yet.
    pub(super) fn machine(&mut self, now_ms: i64) {
        if self.ground.is_some() || !matches!(self.life, Life::Idle) {
            return;
        }
        let ground = Ground::new(&self.of, self.seed, now_ms, &self.broken);
        let engine = ground.engine(&self.name);
        self.ground = Some(ground);
        if let Ok(engine) = engine {
            self.arm();
            // Nothing is open, so nothing is done.
            let _ = engine.recover();
            self.life = Life::Lives(engine);
            self.reporter(0);
        }
    }
}
