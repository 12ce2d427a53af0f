//! A faulty site of a fleet: its room, what it was asked, and how it ended.

use serde_json::{Value, json};

use super::draw::Ill;
use super::phase::{did_nothing, is_final};
use crate::lab_error::LabError;
use crate::outage::Outages;
use crate::scenario::ledger::Ledger;
use crate::scenario::operator::rows;
use crate::scenario::person::{self, Answer, Task};
use crate::scenario::stage::Stage;
use crate::scenario::{Options, Report, Room, account};
use crate::truth::Told;

/// A faulty site.
pub(super) struct Patient<'a> {
    pub(super) ill: Ill,
    /// Its name.
    pub(super) name: String,
    /// How it is played.
    pub(super) options: &'a Options,
    pub(super) room: Box<dyn Room>,
    /// How many messages users send while it is being mended.
    pub(super) late: usize,
    /// How many messages were stuck before.
    pub(super) symptom_before: usize,
    /// What a person was asked there, and answered.
    answered: Vec<(Task, Answer)>,
    /// The runs of its policy there, of all rollouts, in order, each with how it stands.
    runs: Vec<(String, String)>,
    /// How the last of them that did anything stands, in the controller's words.
    ended: String,
    /// Whether that is as it should be; told once nothing moves any more.
    well: bool,
}

impl<'a> Patient<'a> {
    /// A site that is to be broken like that.
    pub(super) fn new(ill: Ill, name: &str, options: &'a Options) -> Self {
        let room = (ill.scenario.room)(options);
        Self {
            ill,
            name: name.to_owned(),
            options,
            late: room.late(),
            room,
            symptom_before: 0,
            answered: Vec::new(),
            runs: Vec::new(),
            ended: String::new(),
            well: false,
        }
    }

    /// Turns the stage to this site alone.
    pub(super) fn enter(&self, stage: &mut Stage<'a>) {
        stage.turn_to(self.ill.site, self.options);
    }

    /// Takes note of how the runs of its policy stand, as `rollout show` tells it.
    pub(super) fn note(&mut self, rollout: &Value) {
        for run in rows(&rollout["runs"]) {
            if run["site"] != self.name.as_str() {
                continue;
            }
            let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
            let (id, phase, why) = (text("id"), text("phase"), text("why"));
            match self.runs.iter_mut().find(|(known, _)| *known == id) {
                Some(known) => known.1.clone_from(&phase),
                None => self.runs.push((id, phase.clone())),
            }
            if !did_nothing(&phase) {
                self.ended = if why.is_empty() {
                    phase
                } else {
                    format!("{phase}: {why}")
                };
            }
        }
    }

    /// Its runs that are under way.
    fn open_runs(&self) -> impl Iterator<Item = &String> {
        let open = |(_, phase): &&(String, String)| phase != "waiting" && !is_final(phase);
        self.runs.iter().filter(open).map(|(id, _)| id)
    }

    /// Its runs that did anything.
    pub(super) fn runs(&self) -> Vec<String> {
        let worked = self.runs.iter().filter(|(_, phase)| !did_nothing(phase));
        worked.map(|(id, _)| id.clone()).collect()
    }

    /// Does what its open runs ask of a person, and answers.
    pub(super) fn answer(&mut self, stage: &mut Stage<'a>) -> Result<(), LabError> {
        if !self.room.asks() {
            return Ok(());
        }
        self.enter(stage);
        let open: Vec<String> = self.open_runs().cloned().collect();
        for run in open {
            let more = person::answer_run(stage, &mut *self.room, &run, &self.answered)?;
            self.answered.extend(more);
        }
        Ok(())
    }

    /// Whether it has ended as it should: mended, or at rest with the reason that its fault has.
    pub(super) fn ended_well(&self, stage: &mut Stage<'a>) -> Result<bool, LabError> {
        self.enter(stage);
        match self.room.rests_with() {
            Some(words) => Ok(self.ended.contains(words)),
            None => Ok(self.ended.starts_with("succeeded") && !self.room.still_ill(stage)?),
        }
    }

    /// Looks, before anything is ended, whether its end is as it should be.
    pub(super) fn judge(&mut self, stage: &mut Stage<'a>) -> Result<(), LabError> {
        self.well = self.ended_well(stage)?;
        Ok(())
    }

    /// The account of its messages, when everything has ended. `disturbed` is whether one of its own processes
    /// was killed.
    pub(super) fn report(
        &mut self,
        stage: &mut Stage<'a>,
        told: &[Told],
        ledger: &Ledger,
        outages: &[Outages],
        service_running: bool,
        disturbed: bool,
    ) -> Result<Report, LabError> {
        self.enter(stage);
        let mut report = Report {
            scenario: self.ill.scenario.name.to_owned(),
            policy: self.ill.scenario.policy.to_owned(),
            variant: self.ill.variant.to_owned(),
            seed: self.options.seed,
            symptom_before: self.symptom_before,
            symptom_after: self.room.symptom_after(told),
            service_running,
            rollout: self.ended.clone(),
            rests_with: self.room.rests_with().map(str::to_owned),
            service_can_run: self.room.service_can_run(),
            ..account::count(told, ledger, outages, &self.answered)
        };
        self.room.report(stage, told, ledger, &mut report)?;
        if self.well {
            report.against_scenario = self.room.against(&report);
            report.outcome = report.told();
        } else {
            // What was killed there may have left it to a person: then it is named, with the reason. A dead
            // controller is no such excuse: another one takes the rollout up where it was.
            let named = disturbed && self.ended.contains(": ");
            report.outcome = format!("at rest for a person: {}", self.ended);
            // Whether mail still waits there is said by its reason.
            report.rests_with = Some(String::new());
            if !named {
                let why = format!(
                    "neither mended nor at rest as it should be: `{}`",
                    self.ended
                );
                report.against_scenario = vec![why];
            }
        }
        Ok(report)
    }

    /// What is said of it in the whole's report.
    pub(super) fn row(&self, report: &Report) -> Value {
        json!({
            "site": self.name,
            "article": self.ill.scenario.article,
            "scenario": self.ill.scenario.name,
            "variant": self.ill.variant,
            "submitted": report.submitted,
            "delivered_once": report.delivered_once,
            "held": report.held,
            "restarts": report.restarts,
            "longest_outage_ms": report.longest_outage_ms,
            "outcome": report.outcome,
            "ended": self.ended,
            "against": report.against(),
        })
    }
}
