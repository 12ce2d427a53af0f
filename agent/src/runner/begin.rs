//! Before a step, and before a section: what may not be begun is found while nothing has changed.

use mailmend_policy::plan::Section;
use mailmend_policy::step::Action;
use mailmend_proto::run::Event;

use super::{Runner, failed, intended, millis};
use crate::condition::Verdict;
use crate::journal::JournalError;
use crate::station::Trouble;
use crate::step::{self, StepEnd, Work};

impl Runner {
    /// Prepares every step of a section while service still runs, then opens it and carries out its
    /// first step.
    pub(super) fn begin(&self, index: u32) -> Result<(), Trouble> {
        let section = usize::try_from(index)
            .ok()
            .and_then(|index| self.plan.sections.get(index));
        let Some(section) = section else {
            return Ok(());
        };
        let first = self.step(section.first)?;
        let alone = self.station.disturb();
        self.ready.clear();
        let prepare_until = self.station.now().since_boot + first.timeout;
        if let Some(events) = self.not_now(&self.work(first, prepare_until))? {
            return Ok(self.record(events)?);
        }
        if let Some(why) = self.no_room(section)? {
            return Ok(self.record(failed(section.first, StepEnd::no_effect(why)))?);
        }
        for index in section.first..=section.last {
            let step = self.step(index)?;
            let work = self.work(step, prepare_until);
            // What is to be skipped, or cannot be told yet, is judged again when its turn comes.
            if !work.judge_all(&step.when)?.holds() {
                continue;
            }
            let refused = match work.forbidden(false)? {
                Some(why) => Some(why),
                None => step::prepare(&work)?.err(),
            };
            if let Some(why) = refused {
                let why = format!("{why} (found before anything was stopped)");
                return Ok(self.record(failed(index, StepEnd::no_effect(why)))?);
            }
        }
        let now = self.station.now();
        self.record(vec![
            Event::SectionBegan {
                section: section.index,
                service: section.service.clone(),
                boot: now.boot.clone(),
                since_boot_ms: millis(now.since_boot),
                budget_ms: millis(section.budget),
            },
            intended(section.first),
        ])?;
        let state = self.station.state(self.run)?;
        let work = self.work(first, self.until(first, &state));
        drop(state);
        // A search takes the lock by itself, from start to start.
        let _alone = (!matches!(first.action, Action::QueueSearch { .. })).then_some(alone);
        let end = step::apply(&work)?;
        Ok(self.finish(first, end)?)
    }

    /// Why a section may not be opened now: another is open here, or an allowance is used up that its
    /// own start would need.
    fn no_room(&self, section: &Section) -> Result<Option<String>, JournalError> {
        let station = &self.station;
        for other in station.journal.open_runs() {
            if other != self.run && station.state(other)?.section.is_some() {
                return Ok(Some(format!(
                    "A053-section-refused: run `{other}` has a section open on this server"
                )));
            }
        }
        let limits = station.guard.limits();
        let (sections, restarts) = (station.sections_this_hour(), station.restarts_this_hour());
        if sections >= limits.sections_per_hour {
            return Ok(Some(format!(
                "A053-section-refused: {sections} sections were begun within an hour, the guard file allows {}",
                limits.sections_per_hour
            )));
        }
        let starts = (section.first..=section.last)
            .filter_map(|index| self.step(index).ok())
            .filter(|step| matches!(step.action, Action::ServiceStart { .. }))
            .count();
        let starts = u32::try_from(starts).unwrap_or(u32::MAX).max(1);
        if restarts.saturating_add(starts) > limits.restarts_per_hour {
            return Ok(Some(format!(
                "A052-restarts-used-up: {restarts} starts within an hour and {starts} more in this section; the guard file allows {}",
                limits.restarts_per_hour
            )));
        }
        let used = station.state(self.run)?.restarts;
        let most = self.plan.limits.max_restarts;
        if used.saturating_add(starts) > most {
            return Ok(Some(format!(
                "A052-restarts-used-up: {used} starts in this run and {starts} more in this section; its policy allows {most}"
            )));
        }
        Ok(None)
    }

    /// What is written down of a step that does not run: its `when` does not hold, or a `forbid` does.
    pub(super) fn not_now(&self, work: &Work<'_>) -> Result<Option<Vec<Event>>, JournalError> {
        let index = work.step.index;
        let judged = work.judge_all(&work.step.when)?;
        match judged.verdict {
            Verdict::True => {}
            Verdict::False => {
                return Ok(Some(vec![Event::StepSkipped {
                    step: index,
                    why: judged.evidence,
                }]));
            }
            Verdict::CannotTell => {
                let why = format!(
                    "A058-cannot-tell: whether the step is to run: {}",
                    judged.evidence
                );
                return Ok(Some(failed(index, StepEnd::no_effect(why))));
            }
        }
        Ok(work
            .forbidden(true)?
            .map(|why| failed(index, StepEnd::no_effect(why))))
    }
}
