//! One policy's way through the fleet, with its operator: started, looked at, resumed where it halts, and
//! started again for the sites that are still ill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::patient::Patient;
use super::phase::{did_nothing, is_final};
use crate::lab_error::LabError;
use crate::scenario::operator::rows;
use crate::scenario::stage::Stage;

/// How often an operator starts a policy where kills make its rollouts fail, or a failure keeps one from its end.
const ROUNDS: usize = 6;
/// The time between the end of one rollout and the start of the next for what is still ill.
const AGAIN: Duration = Duration::from_secs(2);
/// After so long without a change its operator asks what a rollout waits for, and again as often.
const ASKS: Duration = Duration::from_secs(10);
/// After so long without a change that is told. Nothing else follows from it: a busy machine may be slow.
const STALLED: Duration = Duration::from_secs(60);
/// What holds no run by itself: messages that a run kept, and a wave that follows the one at work.
const FOLLOWS: [&str; 6] = ["held", "in-doubt", "poison", "vanished", "release", "wave"];
/// How many characters of an id commands show.
const SHORT: usize = 8;
/// How many of the things that a rollout waits for are told.
const TOLD: usize = 5;

/// A rollout that is open.
#[derive(Debug)]
struct Open {
    id: String,
    halts: usize,
    pauses: usize,
    /// How it stood at the last look, and since when.
    stands: String,
    since: Instant,
    /// When it was last asked what it waits for, or told.
    asked: Instant,
    told: Instant,
    /// What was told of its waves.
    wave: String,
    aborting: bool,
}

/// One policy's way through the fleet.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) policy: &'static str,
    /// The servers whose sites it goes through.
    selector: String,
    open: Option<Open>,
    begun: usize,
    /// Whether the last one was aborted because a failure of its own kept it from its end.
    cut_short: bool,
    not_before: Instant,
    over: bool,
    /// What came of each rollout.
    pub(super) ended: Vec<Value>,
    /// How often an operator had to look and resume.
    pub(super) halts: usize,
    /// The runs at healthy sites that found anything to do.
    pub(super) astray: BTreeSet<String>,
}

impl Course {
    /// A policy that goes through the sites of these servers.
    pub(super) fn new(policy: &'static str, selector: String) -> Self {
        Self {
            policy,
            selector,
            open: None,
            begun: 0,
            cut_short: false,
            not_before: Instant::now(),
            over: false,
            ended: Vec::new(),
            halts: 0,
            astray: BTreeSet::new(),
        }
    }

    /// Whether nothing more follows.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether its first rollout has been started.
    pub(super) fn has_begun(&self) -> bool {
        self.begun > 0
    }

    /// Looks at it as its operator would, and does what follows.
    pub(super) fn look<'a>(
        &mut self,
        stage: &mut Stage<'a>,
        patients: &mut [Patient<'a>],
    ) -> Result<(), LabError> {
        if self.over || Instant::now() < self.not_before {
            return Ok(());
        }
        let Some(open) = &mut self.open else {
            return self.start(stage);
        };
        let shown = stage.fleet()?.ask(&["rollout", "show", &open.id])?;
        let own = |patient: &&mut Patient<'_>| patient.ill.scenario.policy == self.policy;
        patients
            .iter_mut()
            .filter(own)
            .for_each(|patient| patient.note(&shown));
        self.note_astray(&shown, patients);
        self.tell_waves(stage, &shown);
        let state = shown["state"].as_str().unwrap_or_default();
        match state {
            "paused" | "halted" => self.resume(stage, &shown),
            "succeeded" | "failed" | "aborted" => self.close(stage, &shown, patients),
            _ => self.wait(stage, &shown),
        }
    }

    fn start(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        // Should the controller die before it answers, the same request starts nothing twice.
        let request = uuid::Uuid::now_v7().to_string();
        let started = stage.fleet()?.ask(&[
            "rollout",
            "start",
            self.policy,
            "-l",
            &self.selector,
            "--yes",
            "--request-id",
            &request,
        ])?;
        let id = started["id"].as_str().ok_or_else(|| LabError::Malformed {
            what: "the answer of `mailmend rollout start`".to_owned(),
            reason: format!("it has no `id`: {started}"),
        })?;
        self.begun += 1;
        self.cut_short = false;
        stage.say(&format!(
            "{}: rollout {id} of {} has started",
            self.policy, self.selector
        ));
        self.open = Some(Open {
            id: id.to_owned(),
            halts: 0,
            pauses: 0,
            stands: String::new(),
            since: Instant::now(),
            asked: Instant::now(),
            told: Instant::now(),
            wave: String::new(),
            aborting: false,
        });
        Ok(())
    }

    /// A healthy site has nothing to mend: a run there that ends otherwise has gone astray.
    fn note_astray(&mut self, shown: &Value, patients: &[Patient<'_>]) {
        for run in rows(&shown["runs"]) {
            let text = |name: &str| run[name].as_str().unwrap_or_default();
            let ill = patients.iter().any(|patient| patient.name == text("site"));
            let at_rest = is_final(text("phase")) || text("phase") == "needs-person";
            if !ill && at_rest && !did_nothing(text("phase")) {
                self.astray.insert(format!(
                    "{} at {}: {}: {}",
                    self.policy,
                    text("site"),
                    text("phase"),
                    text("why")
                ));
            }
        }
    }

    /// Says when it goes from one wave to the next.
    fn tell_waves(&mut self, stage: &Stage<'_>, shown: &Value) {
        let Some(open) = &mut self.open else {
            return;
        };
        let runs = rows(&shown["runs"]);
        let waves = rows(&shown["waves"]).len();
        let at = format!("{} of wave {}", shown["state"], shown["wave"]);
        if waves > 0 && open.wave != at {
            let over = |run: &&Value| is_final(run["phase"].as_str().unwrap_or_default());
            stage.say(&format!(
                "{}: {}, wave {} of {waves}; {} of {} runs have ended",
                self.policy,
                shown["state"].as_str().unwrap_or_default(),
                shown["wave"],
                runs.iter().filter(over).count(),
                runs.len()
            ));
            open.wave = at;
        }
    }

    /// It came to a halt by itself: its operator looks why, and lets it go on.
    fn resume(&mut self, stage: &mut Stage<'_>, shown: &Value) -> Result<(), LabError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let state = shown["state"].as_str().unwrap_or_default();
        stage.say(&format!(
            "{}: {state}: {}",
            self.policy,
            shown["why"].as_str().unwrap_or_default()
        ));
        explain(stage, &open.id)?;
        let why = "looked at: the sites that failed are known, and the others may go on";
        let resume = ["rollout", "resume", &open.id, "--why", why];
        if let Err(error) = stage.fleet()?.ask(&resume) {
            // It may have gone on already, the answer lost with the controller: the next look tells.
            stage.say(&error.whole());
            return Ok(());
        }
        match state {
            "halted" => {
                open.halts += 1;
                self.halts += 1;
            }
            _ => open.pauses += 1,
        }
        Ok(())
    }

    /// It goes on by itself, unless only a person could do anything more.
    fn wait(&mut self, stage: &mut Stage<'_>, shown: &Value) -> Result<(), LabError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let runs = rows(&shown["runs"]);
        let phase = |run: &Value| run["phase"].as_str().unwrap_or_default().to_owned();
        let stands = |run: &Value| format!("{} {}", run["phase"], run["finished"]);
        let stands: Vec<String> = runs.iter().map(stands).collect();
        let stands = format!("{} {} {}", shown["state"], shown["wave"], stands.join(","));
        let now = Instant::now();
        if stands != open.stands {
            open.stands = stands;
            (open.since, open.asked, open.told) = (now, now, now);
        }
        let person = runs.iter().any(|run| phase(run) == "needs-person")
            && runs
                .iter()
                .all(|run| is_final(&phase(run)) || phase(run) == "needs-person");
        if person {
            return self.abort(stage, "only a person could do more");
        }
        if now.duration_since(open.asked) > ASKS {
            open.asked = now;
            let waiting = stage.fleet()?.ask(&["rollout", "explain", &open.id])?;
            if ends_only_by_abort(rows(&waiting["waiting"]), &open.id) {
                self.cut_short = true;
                return self.abort(stage, "the site's other path is down until it is mended");
            }
        }
        if now.duration_since(open.told) > STALLED {
            open.told = now;
            let still = now.duration_since(open.since).as_secs();
            stage.say(&format!(
                "{}: nothing has changed for {still} s",
                self.policy
            ));
            explain(stage, &open.id)?;
        }
        Ok(())
    }

    /// It is told to unwind and end, once.
    fn abort(&mut self, stage: &mut Stage<'_>, why: &str) -> Result<(), LabError> {
        let Some(open) = self.open.as_mut().filter(|open| !open.aborting) else {
            return Ok(());
        };
        stage.say(&format!("{}: {why}; it is aborted", self.policy));
        explain(stage, &open.id)?;
        match stage
            .fleet()?
            .ask(&["rollout", "abort", &open.id, "--why", why])
        {
            Ok(_) => open.aborting = true,
            // It may have ended meanwhile: the next look tells.
            Err(error) => stage.say(&error.whole()),
        }
        Ok(())
    }

    /// It has ended: what came of it, and whether it is started again for what is still ill.
    fn close<'a>(
        &mut self,
        stage: &mut Stage<'a>,
        shown: &Value,
        patients: &[Patient<'a>],
    ) -> Result<(), LabError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let mut phases: BTreeMap<&str, usize> = BTreeMap::new();
        for run in rows(&shown["runs"]) {
            *phases
                .entry(run["phase"].as_str().unwrap_or_default())
                .or_default() += 1;
        }
        let sites = |wave: &Value| rows(&wave["sites"]).len();
        let waves: Vec<usize> = rows(&shown["waves"]).iter().map(sites).collect();
        stage.say(&format!(
            "{}: {}, {} {phases:?}",
            self.policy,
            shown["state"].as_str().unwrap_or_default(),
            shown["why"].as_str().unwrap_or_default(),
        ));
        self.ended.push(json!({
            "policy": self.policy,
            "rollout": open.id,
            "state": shown["state"],
            "why": shown["why"],
            "sites_per_wave": waves,
            "begun": shown["wave"],
            "runs": phases,
            "halts": open.halts,
            "pauses": open.pauses,
        }));
        let mut ill = Vec::new();
        for patient in patients {
            if patient.ill.scenario.policy == self.policy && !patient.ended_well(stage)? {
                ill.push(patient.name.as_str());
            }
        }
        // Without kills a rollout that could go to its end has one chance.
        let again = stage.options.kills > 0 || self.cut_short;
        if ill.is_empty() || !again || self.begun == ROUNDS {
            self.over = true;
            return Ok(());
        }
        self.selector = format!("site in ({})", ill.join(","));
        self.not_before = Instant::now() + AGAIN;
        Ok(())
    }

    /// Says what an open rollout waits for; it is not looked at any more.
    pub(super) fn give_up(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        self.over = true;
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        stage.say(&format!("{}: it did not end", self.policy));
        self.ended.push(json!({
            "policy": self.policy,
            "rollout": open.id,
            "state": "did not end",
            "halts": open.halts,
            "pauses": open.pauses,
        }));
        explain(stage, &open.id)
    }
}

/// Whether all that keeps a rollout's runs from going on is a path that a run of its own left down: that counts
/// as down until the rollout ends.
fn ends_only_by_abort(waiting: &[Value], id: &str) -> bool {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let of_runs: Vec<&Value> = waiting
        .iter()
        .filter(|row| !FOLLOWS.contains(&text(row, "kind").as_str()))
        .collect();
    let own = format!("rollout abort {}", &id[..SHORT.min(id.len())]);
    let held_by_own =
        |row: &&Value| text(row, "kind") == "last-path" && text(row, "release").contains(&own);
    !of_runs.is_empty() && of_runs.iter().all(held_by_own)
}

/// Says what a rollout waits for, as `mailmend rollout explain` tells it.
fn explain(stage: &mut Stage<'_>, id: &str) -> Result<(), LabError> {
    let told = stage.fleet()?.ask(&["rollout", "explain", id])?;
    let waiting = rows(&told["waiting"]);
    for row in &waiting[..waiting.len().min(TOLD)] {
        let text = |name: &str| row[name].as_str().unwrap_or("-");
        stage.say(&format!(
            "    it waits{}: {}; held by {}; released by `{}`",
            row["site"]
                .as_str()
                .map(|site| format!(" at {site}"))
                .unwrap_or_default(),
            text("predicate"),
            text("holder"),
            text("release")
        ));
    }
    if waiting.len() > TOLD {
        stage.say(&format!("    and for {} more", waiting.len() - TOLD));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_is_aborted_where_nothing_but_its_own_failure_holds_it() {
        const OWN: &str = "8a2c3a9c-cfe4-47f9-acc8-0bb8f3ab55d5";
        let row = |kind: &str, release: &str| json!({"kind": kind, "release": release});
        let own = row(
            "last-path",
            "mend site-18-a; mailmend run show 20f05c1e; then mailmend rollout abort 8a2c3a9c; start it anew",
        );
        let of_another = row(
            "last-path",
            "mend site-18-a and end the rollout of run 20f05c1e",
        );
        let kept = row("poison", "mailmend custody settle 37fe1e9c");
        let at_work = row(
            "step",
            "nothing: it reports by itself; mailmend rollout abort 8a2c3a9c",
        );
        let ends = |rows: &[&Value]| {
            let rows: Vec<Value> = rows.iter().map(|row| (*row).clone()).collect();
            ends_only_by_abort(&rows, OWN)
        };
        let later = row(
            "wave",
            "it goes on by itself; mailmend rollout show 8a2c3a9c",
        );
        assert!(ends(&[&own]) && ends(&[&own, &kept, &later]));
        assert!(!ends(&[&later]));
        assert!(!ends(&[&own, &at_work]), "another run goes on");
        assert!(!ends(&[&of_another]), "the other rollout has to end");
        assert!(!ends(&[&kept]) && !ends(&[]));
    }
}
