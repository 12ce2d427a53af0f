//! What one scenario has that others have not.

use std::time::Duration;

use super::fleet::Guarded;
use super::ledger::Ledger;
use super::person::{Answer, Task};
use super::report::Report;
use super::stage::Stage;
use crate::clock_factor::ClockFactor;
use crate::lab_error::LabError;
use crate::programs::Programs;
use crate::server_dir::Direction;
use crate::truth::{self, Fate, Told};
use crate::world::{Server, SiteSpec};

/// What one scenario has that others have not. A room may keep what it did in itself; what is bad is known
/// to it and to the truth, never to agents or the controller.
pub trait Room {
    /// Changes what each of its sites is to be.
    fn site(&self, _spec: &mut SiteSpec) {}

    /// Changes the text of the shipped policy, where a time of life in it is too long to be played.
    ///
    /// # Errors
    /// Where the policy is not what the room knows.
    fn policy(&self, text: String, _factor: ClockFactor) -> Result<String, LabError> {
        Ok(text)
    }

    /// What differs in the guard file of a server.
    fn guard(&self, _server: &Server, _programs: &Programs) -> Guarded {
        Guarded::default()
    }

    /// Users send, and something goes wrong, before there are agents.
    ///
    /// # Errors
    /// Where the lab itself fails.
    fn break_site(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError>;

    /// Waits until the symptom stands, with the agents there. Returns how many messages are stuck.
    ///
    /// # Errors
    /// Where the lab itself fails, or the symptom does not come.
    fn await_symptom(&mut self, stage: &mut Stage<'_>) -> Result<usize, LabError>;

    /// How many messages users send while the site is being mended.
    fn late(&self) -> usize {
        0
    }

    /// A user sends one of them; `left` of them come after it.
    ///
    /// # Errors
    /// Where the lab itself fails.
    fn send_late(&mut self, _stage: &mut Stage<'_>, _left: usize) -> Result<(), LabError> {
        Ok(())
    }

    /// Called at every look while the rollout goes on.
    ///
    /// # Errors
    /// Where the lab itself fails.
    fn meanwhile(&mut self, _stage: &mut Stage<'_>, _elapsed: Duration) -> Result<(), LabError> {
        Ok(())
    }

    /// Whether the policy asks a person something. Where it does not, nobody looks for tasks.
    fn asks(&self) -> bool {
        false
    }

    /// What a person does and answers; `None` leaves the task open.
    ///
    /// # Errors
    /// Where the lab itself fails.
    fn answer(&mut self, _stage: &mut Stage<'_>, _task: &Task) -> Result<Option<Answer>, LabError> {
        Ok(None)
    }

    /// Which server of each site is ill, and is therefore disturbed more often: Server B unless told.
    fn ill(&self) -> Direction {
        Direction::Outbound
    }

    /// Whether the symptom still stands after a rollout: kills may have made it fail.
    ///
    /// # Errors
    /// Where the lab itself fails.
    fn still_ill(&self, stage: &Stage<'_>) -> Result<bool, LabError>;

    /// What the rollout must say at its end where the site is not to be mended by it; `None`: it is.
    fn rests_with(&self) -> Option<&'static str> {
        None
    }

    /// Whether the mail services can run at the end. Poison in the store can make that impossible.
    fn service_can_run(&self) -> bool {
        true
    }

    /// How many messages are still stuck at the end, when nothing moves any more.
    fn symptom_after(&self, told: &[Told]) -> usize {
        truth::count(told, Fate::Waiting)
    }

    /// Writes into the report what only this scenario has, when everything has ended.
    ///
    /// # Errors
    /// Where the lab itself fails.
    fn report(
        &mut self,
        _stage: &mut Stage<'_>,
        _told: &[Told],
        _ledger: &Ledger,
        _report: &mut Report,
    ) -> Result<(), LabError> {
        Ok(())
    }

    /// Asks agents and controller what the report needs, while they still run, before [`Self::report`].
    ///
    /// # Errors
    /// Where they cannot be asked.
    fn ask(&mut self, _stage: &mut Stage<'_>, _runs: &[String]) -> Result<(), LabError> {
        Ok(())
    }

    /// Whether agents still find the symptom at a site that the rollout has mended, and are to.
    fn symptom_stays(&self) -> bool {
        false
    }

    /// What stands against the outcome, besides what stands against any.
    fn against(&self, _report: &Report) -> Vec<String> {
        Vec::new()
    }
}
