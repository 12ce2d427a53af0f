//! What goes wrong with the network and the controller, drawn beforehand, and how it ends.

use mailmend_proto::wire::simulation_step::What;

use super::{Engine, Happens, START_MS, ms};
use crate::rollout::Wish;
use crate::simulation::agents::AgentsFault;

impl Engine<'_> {
    /// Draws what goes wrong, and sends everybody to work.
    pub(super) fn foresee(&mut self) {
        for server in 0..self.lines.len() {
            // Agents that come up together would dial together.
            let at = self.now_ms + self.random.i64(0..2_000);
            self.lines[server].wake = 1;
            self.at(at, Happens::Wake { server, number: 1 });
        }
        let weather = &self.setup.weather;
        let within = ms(weather.within).max(1);
        let (partitions, deaths, jumps) = (weather.partitions, weather.deaths, weather.jumps);
        let (parted, away) = (ms(weather.parted).max(1), ms(weather.away).max(1));
        for _ in 0..partitions {
            let (at, for_ms) = (self.random.i64(1..=within), self.random.i64(1..=parted));
            self.at(START_MS + at, Happens::Parted { for_ms });
        }
        for _ in 0..deaths {
            let (at, for_ms) = (self.random.i64(1..=within), self.random.i64(1..=away));
            let place = self.random.u8(1..=4);
            self.at(START_MS + at, Happens::Doomed { place, for_ms });
        }
        for _ in 0..jumps {
            let (at, by_ms) = (
                self.random.i64(1..=within),
                self.random.i64(-3_600_000..=3_600_000),
            );
            self.at(START_MS + at, Happens::Jumps { by_ms });
        }
        let people = &self.setup.people;
        if let Some(after) = people.pause {
            let (at, again) = (START_MS + ms(after), START_MS + ms(after + people.after));
            self.at(at, Happens::Wishes(Wish::Pause));
            self.at(again, Happens::Wishes(Wish::Resume));
        }
        if let Some(after) = people.abort {
            self.at(START_MS + ms(after), Happens::Wishes(Wish::Abort));
        }
        if let Some(after) = self.setup.healed_after {
            self.at(START_MS + ms(after), Happens::Healed);
        }
    }

    pub(super) fn part(&mut self, for_ms: i64) {
        self.parts += 1;
        let number = self.parts;
        let share = self.setup.weather.cut_off;
        self.note(|| format!("partition {number} for {for_ms} ms"));
        self.count("partitions");
        for server in 0..self.lines.len() {
            if self.random.f64() < share {
                self.lines[server].parted = number;
                let (here, there) = (
                    self.random.i64(1_000..20_000),
                    self.random.i64(1_000..20_000),
                );
                self.break_off(server, here, there);
            }
        }
        self.at(self.now_ms + for_ms, Happens::Joined { number });
    }

    pub(super) fn heal(&mut self) -> Result<(), AgentsFault> {
        self.note(|| "healed".to_owned());
        self.healed_ms = Some(self.now_ms);
        self.doomed = None;
        for server in 0..self.lines.len() {
            self.lines[server].parted = 0;
            self.lines[server].unreachable = false;
            self.step(server, What::Heal(true))?;
        }
        self.changed();
        Ok(())
    }
}
