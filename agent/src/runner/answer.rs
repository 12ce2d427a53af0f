//! Waiting for a person's answer: across restarts of the agent, until the step's time is over.

use std::time::Duration;

use mailmend_proto::run::Event;

use super::{Rest, Runner, Waiting};
use crate::journal::JournalError;
use crate::station::Trouble;

impl Runner {
    /// Waits on, or ends the step where its time is over.
    pub(super) fn await_answer(&self, step: u32) -> Result<Option<Rest>, Trouble> {
        let until = self.asked_until(step)?;
        if self.station.now().since_boot < until {
            return Ok(Some(Rest::Waiting {
                waiting: Waiting::Answer(step),
                until: Some(until),
            }));
        }
        self.carry_out(step, true)?;
        Ok(None)
    }

    /// When the time for an answer is over, as uptime. It runs from when the step was intended. Of what
    /// passed before this life of the agent only the wall clock tells, which may jump: a task of days must
    /// not begin anew with every restart, and no mail depends on when it ends.
    fn asked_until(&self, step: u32) -> Result<Duration, Trouble> {
        let mut asked = self
            .asked_until
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(until) = asked.get(&step) {
            return Ok(*until);
        }
        let clock = self.station.host.clock();
        let passed = self.intended_ms(step)?.map_or(Duration::ZERO, |then| {
            let ms = clock.wall_ms().saturating_sub(then).max(0);
            Duration::from_millis(ms.unsigned_abs()).mul_f64(clock.pace())
        });
        let left = self.step(step)?.timeout.saturating_sub(passed);
        let until = self.station.now().since_boot + left;
        asked.insert(step, until);
        Ok(until)
    }

    /// When the step was intended, by the wall clock of its record.
    fn intended_ms(&self, wanted: u32) -> Result<Option<i64>, JournalError> {
        let records = self.station.journal.records(self.run)?;
        let found = records.iter().rev().find(
            |record| matches!(record.event, Event::StepIntended { step, .. } if step == wanted),
        );
        Ok(found.map(|record| record.at_ms))
    }
}
