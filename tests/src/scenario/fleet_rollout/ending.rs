//! The end of a fleet: everything comes to rest, and every message of every site is accounted for.

use std::time::Duration;

use super::patient::Patient;
use super::{Play, sum};
use crate::lab_error::LabError;
use crate::scenario::ledger::Ledger;
use crate::scenario::stage::{STILL, Stage};
use crate::scenario::{Report, account};
use crate::truth::Told;
use crate::world::Server;

/// How long nothing may move in queues that are to stay as they are, before they count as at rest.
const STAYS: Duration = Duration::from_secs(1);
/// How long agents may take to report the last of what they did, on a busy machine.
const REPORTS: Duration = Duration::from_secs(120);

impl Play<'_> {
    /// Waits until every mail service runs and nothing moves any more.
    pub(super) fn settle(&mut self) -> Result<(), LabError> {
        self.stage.turn_to(0, self.whole);
        self.stage.say("waiting until everything rests");
        self.stage.await_services()?;
        for site in 0..self.whole.sites {
            self.stage.turn_to(site, &self.wards[site]);
            let patient = self.patients.iter().find(|one| one.ill.site == site);
            let still = match patient {
                Some(patient) if !patient.ended_well(&mut self.stage)? => STAYS,
                Some(patient) if patient.room.rests_with().is_some() => STAYS,
                _ => STILL,
            };
            self.stage.await_rest(still)?;
        }
        if let Err(error) = self.stage.fleet()?.await_reports(REPORTS) {
            // The account rests on the truth; only duplicates would then stand unnamed.
            self.stage.say(&error.whole());
        }
        for patient in &mut self.patients {
            patient.enter(&mut self.stage);
            let runs = patient.runs();
            patient.room.ask(&mut self.stage, &runs)?;
        }
        self.stage.turn_to(0, self.whole);
        self.stage.await_services()?;
        Ok(())
    }

    /// Accounts for every message of every site, and ends everything.
    pub(super) fn account(&mut self) -> Result<(Report, Vec<Told>), LabError> {
        let runs: Vec<String> = self.patients.iter().flat_map(Patient::runs).collect();
        let ledger = Ledger::read(self.stage.fleet()?, &runs)?;
        let told = self.stage.world.tell()?;
        let kept = Ledger::kept_of(self.stage.fleet()?)?;
        let mut touched: Vec<String> = Vec::new();
        for server in &self.stage.world.servers {
            if let Some(before) = self.before.get(&server.name) {
                let kept = kept.get(&server.name).copied().unwrap_or_default();
                touched.extend(before.touched(server, &told, kept)?);
            }
        }
        for course in &self.courses {
            touched.extend(course.astray.iter().cloned());
        }
        for patient in &mut self.patients {
            patient.judge(&mut self.stage)?;
        }
        let ended_by_themselves = self.stage.fleet()?.ended_by_themselves();
        let stubborn = self.stage.fleet()?.stop();
        let mut outages = Vec::new();
        let mut running = Vec::new();
        for site in 0..self.whole.sites {
            self.stage.turn_to(site, &self.wards[site]);
            outages.push(self.stage.outages()?);
            running.push(self.stage.servers().iter().all(Server::ims_runs));
        }
        self.end(&stubborn);
        // Nothing moves any more.
        let told = self.stage.world.tell()?;
        let mut parts = Vec::new();
        let mut rows = Vec::new();
        for site in 0..self.whole.sites {
            self.stage.turn_to(site, &self.wards[site]);
            let name = &self.stage.world.sites[site].name;
            let of_site: Vec<Told> = told
                .iter()
                .filter(|one| one.submission.site == *name)
                .cloned()
                .collect();
            let own = ledger.of(self.stage.servers(), &of_site);
            let patient = self.patients.iter_mut().find(|one| one.ill.site == site);
            let part = match patient {
                Some(patient) => {
                    let part = patient.report(
                        &mut self.stage,
                        &of_site,
                        &own,
                        &outages[site],
                        running[site],
                        self.toll.at(site),
                    )?;
                    rows.push(patient.row(&part));
                    part
                }
                None => Report {
                    service_running: running[site],
                    ..account::count(&of_site, &own, &outages[site], &[])
                },
            };
            parts.push((name_of(&self.stage, site), part));
        }
        let whole = sum::Whole {
            options: self.whole,
            faulty: rows,
            courses: &self.courses,
            touched: &touched,
            toll: &self.toll,
            ended_by_themselves: &ended_by_themselves,
        };
        Ok((sum::of(whole, &parts), told))
    }

    fn end(&mut self, stubborn: &[String]) {
        let orderly = self.stage.world.stop();
        if !orderly || !stubborn.is_empty() {
            let line = format!("had to be killed at the end: {}", stubborn.join(", "));
            self.stage.say(&line);
        }
    }
}

fn name_of(stage: &Stage<'_>, site: usize) -> String {
    stage.world.sites[site].name.clone()
}
