//! Decisions against simulated agents, with messages lost, repeated and late, in many random orders:
//! what must always hold is asserted after every event, and every run must come to its end.

mod strategies;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::{Plan, PlannedStep};
use mailmend_policy::strategy::{Share, Strategy};
use mailmend_proto::run::{Ended, Event, Outcome, RunId, RunState, StepState};
use uuid::Uuid;

use super::{Action, Fleet, decide};
use crate::mail_flow::MailFlow;
use crate::rollout::{
    Books, Cause, Part, Refusal, Rollout, RolloutId, RolloutState, Run, RunPhase, Told, Wish,
};
use crate::simulated_agent::{Ends, SimulatedAgent, plan_of, resolved};

/// What the controller has taken in of one agent.
#[derive(Default)]
struct Taken {
    seq: usize,
    states: BTreeMap<RunId, RunState>,
}

pub(crate) struct World {
    pub(crate) rollout: Rollout,
    books: Books,
    pub(super) now_ms: i64,
    /// What the servers state of address spaces.
    pub(crate) mail_flow: MailFlow,
    pub(super) agents: BTreeMap<ServerName, SimulatedAgent>,
    taken: BTreeMap<ServerName, Taken>,
    random: fastrand::Rng,
    /// Undos in the order in which they were begun.
    undone: Vec<(RunId, u32)>,
}

impl World {
    pub(crate) fn new(
        plans: &[Arc<Plan>],
        sites_at_once: u32,
        max_failed: u32,
        ends: &Ends,
        seed: u64,
    ) -> Self {
        let strategy = Strategy {
            sites_at_once,
            max_failed: Share::Count(max_failed),
            ..Strategy::default()
        };
        Self::under(plans, strategy, ends, seed)
    }

    pub(crate) fn under(plans: &[Arc<Plan>], strategy: Strategy, ends: &Ends, seed: u64) -> Self {
        let mut agents = BTreeMap::new();
        let mut runs = Vec::new();
        for (position, plan) in plans.iter().enumerate() {
            for server in plan.servers() {
                agents
                    .entry(server.clone())
                    .or_insert_with(|| SimulatedAgent::new(server.as_str(), ends.clone()));
            }
            runs.push(Run {
                id: RunId(Uuid::from_u128(position as u128 + 1)),
                site: plan.site.clone(),
                subject: None,
                plan: plan.clone(),
                phase: RunPhase::Waiting,
                fence: None,
                why: String::new(),
                since_ms: 0,
                started_ms: None,
                ended_ms: None,
                parts: plan
                    .servers()
                    .into_iter()
                    .map(|server| (server, Part::default()))
                    .collect(),
            });
        }
        Self {
            rollout: Rollout {
                id: RolloutId(Uuid::from_u128(99)),
                policy: "test".parse().unwrap(),
                version: 1,
                selector: "site".into(),
                state: RolloutState::Running,
                started_ms: 0,
                ended_ms: None,
                resolved: resolved(&strategy, plans.iter().map(AsRef::as_ref)),
                strategy,
                accepted_failures: 0,
                generation: 1,
                wave: 0,
                wave_ended_ms: None,
                approvals: BTreeMap::new(),
                accepted: BTreeSet::new(),
                retry_of: None,
                why: String::new(),
                cause: Cause::None,
                by: "test".into(),
                revision: 0,
                runs,
            },
            books: Books::default(),
            now_ms: 0,
            mail_flow: MailFlow::default(),
            agents,
            taken: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
            undone: Vec::new(),
        }
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        if let Ok(state) = self.rollout.state.after(wish) {
            self.rollout.state = state;
            if wish == Wish::Resume {
                self.rollout.accepted_failures = super::failed(&self.rollout);
                if self.rollout.cause == Cause::Gate {
                    self.rollout.accepted.insert(self.rollout.wave);
                }
            }
        }
    }

    /// One round of the orchestrator, as the store carries it out. Answers whether anything followed.
    fn controller(&mut self) -> bool {
        let fleet = Fleet {
            locks: self.books.locks(),
            connected: self.agents.keys().cloned().collect(),
            mail_flow: self.live(),
            ..Fleet::default()
        };
        let actions = decide(&self.rollout, &fleet, self.now_ms).actions;
        if actions.is_empty() {
            crate::explain::says::everything(&self.rollout, &fleet, self.now_ms);
        }
        for action in &actions {
            self.carry_out(action);
        }
        self.check();
        !actions.is_empty()
    }

    fn live(&self) -> MailFlow {
        let connected = self.agents.keys().cloned().collect();
        let stated = self.mail_flow.clone();
        if stated.constrains_nothing() {
            return stated;
        }
        let runs = self.rollout.runs.iter();
        runs.fold(stated.connected(&connected), MailFlow::with_run)
    }

    /// How many servers have a section open, in truth.
    pub(crate) fn in_section(&self) -> usize {
        let open = |agent: &&SimulatedAgent| {
            let mut runs = agent.runs.values();
            runs.any(|(_, state)| state.section.is_some())
        };
        self.agents.values().filter(open).count()
    }

    fn run(&mut self, id: RunId) -> &mut Run {
        self.rollout
            .runs
            .iter_mut()
            .find(|run| run.id == id)
            .unwrap()
    }

    /// Carries an action out, and asserts what no decision may ever ask for.
    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Assign { run } => assert_eq!(self.run(*run).phase, RunPhase::Waiting),
            Action::Advance {
                run,
                server,
                through,
            } => {
                let part = &self.run(*run).parts[server];
                assert!(
                    *through > part.through,
                    "the watermark fell or was repeated"
                );
                assert_eq!(part.unwind, None, "advanced while unwinding");
            }
            Action::Unwind { run, server, order } => {
                if let Some(before) = self.run(*run).parts[server].unwind {
                    assert!(order.down_to <= before.down_to, "unwinding rose");
                    assert_ne!(*order, before, "nothing new was ordered");
                    assert!(!before.last || order.last, "the last order was taken back");
                }
            }
            Action::Enter { run, .. } => {
                assert!(!self.run(*run).phase.is_final(), "a run left its end");
            }
            Action::Turn { state, .. } => assert_ne!(self.rollout.state, *state),
            Action::EndWave { wave } => {
                assert_eq!(
                    (self.rollout.wave, self.rollout.wave_ended_ms),
                    (*wave, None)
                );
            }
            Action::BeginWave { wave } => assert_eq!(self.rollout.wave + 1, *wave),
        }
        let one = std::slice::from_ref(action);
        let now_ms = self.now_ms;
        let carried = self.rollout.carry_out(&mut self.books, one, now_ms);
        carried.expect("the site was held");
    }

    /// Tells an agent everything that it must know, as a session does when it begins or is woken.
    fn tell(&mut self, name: &ServerName) {
        let mut refused = Vec::new();
        for run in &self.rollout.runs {
            let (Some(part), Some(fence)) = (run.parts.get(name), run.fence) else {
                continue;
            };
            let begun = part.told.begun;
            if part.told.closed.is_some()
                || (!begun && (part.refused.is_some() || run.phase.is_final()))
            {
                continue;
            }
            let agent = self.agents.get_mut(name).unwrap();
            if !begun && !agent.assign(run.id, fence, &run.plan) {
                refused.push(run.id);
                continue;
            }
            match part.unwind {
                Some(order) => agent.unwind(run.id, fence, order),
                None if part.through > 0 => agent.advance(run.id, fence, part.through),
                None => {}
            }
        }
        for run in refused {
            let part = self.run(run).parts.get_mut(name).unwrap();
            part.refused.get_or_insert(Refusal {
                code: "A000-no".into(),
                why: "no".into(),
            });
        }
    }

    /// An agent writes its next record; what it does is held against the truth of all agents.
    fn act(&mut self, name: &ServerName) -> bool {
        let Some((run, event)) = self.agents.get_mut(name).unwrap().go_on() else {
            return false;
        };
        let plan = self.run(run).plan.clone();
        match event {
            Event::StepIntended { step, .. } => {
                for earlier in &plan.steps[..step as usize] {
                    assert!(
                        matches!(
                            self.truth(run, earlier),
                            Some(
                                StepState::Skipped
                                    | StepState::Finished {
                                        outcome: Outcome::Done,
                                        ..
                                    }
                            )
                        ),
                        "step {step} began before step {} was finished",
                        earlier.index
                    );
                }
            }
            Event::UndoIntended { step } => {
                for later in &plan.steps[step as usize + 1..] {
                    if self.at_rest(run, later) {
                        // Nothing can be asked of that agent any more; a person said to go on.
                        continue;
                    }
                    let state = self.truth(run, later);
                    let done = state
                        == Some(&StepState::Finished {
                            attempt: 1,
                            outcome: Outcome::Done,
                        });
                    assert!(
                        !(done && later.action.has_undo()),
                        "step {step} was undone before step {}",
                        later.index
                    );
                    assert!(
                        !(done && later.point_of_no_return),
                        "step {step} is before the point of no return, step {}",
                        later.index
                    );
                    assert!(
                        !matches!(state, Some(StepState::Intended { .. } | StepState::Undoing)),
                        "step {step} was undone while step {} acted",
                        later.index
                    );
                }
                self.undone.push((run, step));
            }
            _ => {}
        }
        true
    }

    fn at_rest(&self, run: RunId, step: &PlannedStep) -> bool {
        let (_, state) = &self.agents[&step.server].runs[&run];
        state.closed == Some(Ended::AtRest)
    }

    fn truth(&self, run: RunId, step: &PlannedStep) -> Option<&StepState> {
        self.agents[&step.server]
            .runs
            .get(&run)?
            .1
            .steps
            .get(&step.index)
    }

    /// The controller takes in some of an agent's journal, as a report does.
    fn report(&mut self, name: &ServerName, most: usize) -> bool {
        let taken = self.taken.entry(name.clone()).or_default();
        let journal = &self.agents[name].journal;
        let records: Vec<_> = journal.iter().skip(taken.seq).take(most).cloned().collect();
        taken.seq += records.len();
        for record in &records {
            let state = taken.states.remove(&record.run).unwrap_or_default();
            let state = state.after(&record.event).unwrap();
            let run = self
                .rollout
                .runs
                .iter_mut()
                .find(|run| run.id == record.run)
                .unwrap();
            let part = run.parts.get_mut(name).unwrap();
            part.told = std::mem::take(&mut part.told).after(&state, &record.event);
            taken.states.insert(record.run, state);
        }
        !records.is_empty()
    }

    fn check(&self) {
        let mut sites = BTreeMap::new();
        for run in self
            .rollout
            .runs
            .iter()
            .filter(|run| run.phase.holds_site())
        {
            assert_eq!(
                sites.insert(&run.site, run.id),
                None,
                "two runs at one site"
            );
            assert_eq!(
                self.books.held.get(&run.site).map(|held| held.run),
                Some(run.id),
                "a run without its lock"
            );
        }
        assert!(sites.len() <= self.rollout.strategy.sites_at_once as usize);
        for agent in self.agents.values() {
            let open = agent
                .runs
                .values()
                .filter(|(_, state)| state.closed.is_none())
                .count();
            assert!(open <= 1, "an agent has two open runs");
        }
        for run in &self.rollout.runs {
            let over = |part: &Part| part.is_over();
            if run.phase.is_final() && run.fence.is_some() {
                assert!(
                    run.parts.values().all(over),
                    "a run ended before its agents"
                );
            }
        }
    }

    /// Random events: everything may be late, lost or repeated.
    pub(crate) fn storm(&mut self, events: u32) {
        let names: Vec<ServerName> = self.agents.keys().cloned().collect();
        for _ in 0..events {
            let name = names[self.random.usize(..names.len())].clone();
            match self.random.u8(..6) {
                0 => {
                    self.controller();
                }
                1 | 2 => self.tell(&name),
                3 | 4 => {
                    self.act(&name);
                }
                _ => {
                    let most = self.random.usize(1..4);
                    self.report(&name, most);
                }
            }
        }
    }

    /// Everything gets through until nothing happens any more.
    pub(crate) fn calm(&mut self) {
        let names: Vec<ServerName> = self.agents.keys().cloned().collect();
        for _ in 0..10_000 {
            let mut moved = self.controller();
            for name in &names {
                self.tell(name);
                moved |= self.act(name);
                moved |= self.report(name, usize::MAX);
            }
            if !moved {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    pub(super) fn told(&self, run: usize) -> Vec<&Told> {
        self.rollout.runs[run]
            .parts
            .values()
            .map(|part| &part.told)
            .collect()
    }
}

const SHAPES: [&str; 6] = [
    "A:detect A:stop A:hold A:start A:check",
    "A:detect B:check A:check A:stop A:hold A:start A:check",
    "A:detect B:stop B:hold B:start A:stop A:hold A:start B:check",
    "A:detect A:stop A:hold A:start B:stop B:hold B:start! A:stop A:hold A:start",
    "A:detect A:stop A:hold! A:start A:stop A:hold A:start C:check B:check",
    "A:detect B:hold A:hold B:hold A:hold C:hold! B:hold A:hold",
];

fn ending(fails: Option<(u32, Outcome)>, undo_fails: bool) -> Ends {
    Arc::new(move |_, step, undo| match fails {
        Some((index, outcome)) if !undo && step.index == index => outcome,
        _ if undo && undo_fails => Outcome::Unknown,
        _ => Outcome::Done,
    })
}

fn every_failure(test: impl Fn(&Arc<Plan>, u32, Outcome, u64)) {
    for shape in SHAPES {
        let plan = plan_of("oslo", shape);
        for index in 0..u32::try_from(plan.steps.len()).unwrap() {
            for outcome in [Outcome::NoEffect, Outcome::Unknown] {
                for seed in 0..25 {
                    test(&plan, index, outcome, seed);
                }
            }
        }
    }
}

#[test]
fn a_run_whose_steps_are_done_succeeds_however_messages_are_lost_repeated_and_late() {
    for shape in SHAPES {
        let plan = plan_of("oslo", shape);
        for seed in 0..100 {
            let mut world = World::new(
                std::slice::from_ref(&plan),
                1,
                0,
                &ending(None, false),
                seed,
            );
            world.storm(300);
            world.calm();
            assert_eq!(world.rollout.runs[0].phase, RunPhase::Succeeded, "{shape}");
            assert_eq!(world.rollout.state, RolloutState::Succeeded);
            assert!(world.undone.is_empty());
        }
    }
}

#[test]
fn a_failed_run_is_unwound_in_reverse_across_servers_and_not_past_the_point_of_no_return() {
    every_failure(|plan, index, outcome, seed| {
        if outcome != Outcome::NoEffect {
            return;
        }
        let ends = ending(Some((index, outcome)), false);
        let mut world = World::new(std::slice::from_ref(plan), 1, 0, &ends, seed);
        world.storm(300);
        world.calm();
        let expected = if index == 0 {
            RunPhase::NotNeeded
        } else {
            RunPhase::Failed
        };
        assert_eq!(
            world.rollout.runs[0].phase, expected,
            "{}",
            world.rollout.runs[0].why
        );
        assert!(world.books.held.is_empty());
        let floor = plan.steps[..index as usize]
            .iter()
            .filter(|step| step.point_of_no_return)
            .map(|step| step.index + 1)
            .max()
            .unwrap_or(0);
        let mut undone: Vec<u32> = world.undone.iter().map(|(_, step)| *step).collect();
        undone.reverse();
        let due: Vec<u32> = plan.steps[floor as usize..index as usize]
            .iter()
            .filter(|step| step.action.has_undo())
            .map(|step| step.index)
            .collect();
        assert_eq!(undone, due, "step {index} failed");
        let state = if index == 0 {
            RolloutState::Succeeded
        } else {
            RolloutState::Failed
        };
        assert_eq!(world.rollout.state, state);
    });
}

#[test]
fn an_unknown_outcome_unwinds_nothing_keeps_its_site_and_waits_for_a_person_until_an_abort() {
    every_failure(|plan, index, outcome, seed| {
        if outcome != Outcome::Unknown {
            return;
        }
        let ends = ending(Some((index, outcome)), false);
        let mut world = World::new(std::slice::from_ref(plan), 1, 0, &ends, seed);
        world.storm(300);
        world.calm();
        assert_eq!(world.rollout.runs[0].phase, RunPhase::NeedsPerson);
        assert_eq!(world.books.held.len(), 1, "it keeps its site");
        assert!(world.undone.is_empty(), "unknown unwinds nothing by itself");
        assert_eq!(world.rollout.state, RolloutState::Halted);
        world.wish(Wish::Abort);
        world.storm(50);
        world.calm();
        assert_eq!(world.rollout.runs[0].phase, RunPhase::Failed);
        assert_eq!(world.rollout.state, RolloutState::Aborted);
        assert!(world.books.held.is_empty());
    });
}

#[test]
fn a_failed_undo_comes_to_rest_visibly_and_an_abort_still_ends_the_run() {
    for shape in &SHAPES[1..] {
        let plan = plan_of("oslo", shape);
        let last = u32::try_from(plan.steps.len() - 1).unwrap();
        for seed in 0..50 {
            let ends = ending(Some((last, Outcome::NoEffect)), true);
            let mut world = World::new(std::slice::from_ref(&plan), 1, 0, &ends, seed);
            world.storm(300);
            world.calm();
            let run = &world.rollout.runs[0];
            if world.undone.is_empty() {
                assert_eq!(
                    run.phase,
                    RunPhase::Failed,
                    "nothing above the point of no return"
                );
                continue;
            }
            assert_eq!(run.phase, RunPhase::NeedsPerson, "{shape}");
            assert!(run.why.contains("could not be undone") || run.why.contains("came to rest"));
            world.wish(Wish::Abort);
            world.calm();
            assert_eq!(world.rollout.state, RolloutState::Aborted, "{shape}");
        }
    }
}

#[test]
fn an_abort_at_any_moment_ends_the_run_whole_one_way_or_the_other() {
    for shape in SHAPES {
        let plan = plan_of("oslo", shape);
        for seed in 0..400 {
            let mut world = World::new(
                std::slice::from_ref(&plan),
                1,
                0,
                &ending(None, false),
                seed,
            );
            world.storm(u32::try_from(seed).unwrap());
            world.wish(Wish::Abort);
            world.storm(100);
            world.calm();
            let run = &world.rollout.runs[0];
            match run.phase {
                RunPhase::Succeeded => {
                    assert!(world.undone.is_empty(), "{shape}: committed and undone");
                    assert!(run.plan.steps.iter().all(|step| run.is_finished(step)));
                }
                RunPhase::Failed | RunPhase::Cancelled => {
                    let passed = run.plan.steps.iter().any(|step| {
                        step.point_of_no_return
                            && run.mark(step) == Some(crate::rollout::Mark::Done)
                    });
                    let left = run.plan.steps.iter().any(|step| {
                        step.action.has_undo() && run.mark(step) == Some(crate::rollout::Mark::Done)
                    });
                    assert!(passed || !left, "{shape}: something stayed done");
                }
                other => panic!("{shape}: {other:?}"),
            }
            assert!(world.rollout.state.is_final());
        }
    }
}

#[test]
fn a_pause_releases_nothing_new_and_a_resumed_rollout_ends() {
    for shape in SHAPES {
        let plan = plan_of("oslo", shape);
        for seed in 0..100 {
            let mut world = World::new(
                std::slice::from_ref(&plan),
                1,
                0,
                &ending(None, false),
                seed,
            );
            world.storm(u32::try_from(seed).unwrap());
            world.wish(Wish::Pause);
            let through = world.rollout.runs[0].through();
            let finished = world.rollout.runs[0].finished();
            world.storm(100);
            world.calm();
            let run = &world.rollout.runs[0];
            assert!(
                run.through() == through || run.finished() == run.steps(),
                "{shape}: released while paused"
            );
            assert!(run.finished() >= finished);
            assert!(
                world.told(0).iter().all(|told| told.open_section.is_none()),
                "{shape}: a section stays open"
            );
            world.wish(Wish::Resume);
            world.calm();
            assert_eq!(world.rollout.state, RolloutState::Succeeded);
        }
    }
}

#[test]
fn a_refusal_fails_the_run_before_anybody_has_begun() {
    for seed in 0..100 {
        let plan = plan_of("oslo", SHAPES[2]);
        let mut world = World::new(
            std::slice::from_ref(&plan),
            1,
            0,
            &ending(None, false),
            seed,
        );
        world
            .agents
            .get_mut(&"oslo-B".parse().unwrap())
            .unwrap()
            .refuses = true;
        world.storm(200);
        world.calm();
        let run = &world.rollout.runs[0];
        assert_eq!(run.phase, RunPhase::Failed);
        assert!(run.why.contains("refused"), "{}", run.why);
        assert!(world.told(0).iter().all(|told| told.steps.is_empty()));
    }
}

#[test]
fn a_rollout_goes_through_many_sites_in_waves_and_halts_at_the_first_failure_too_many() {
    for seed in 0..40 {
        let plans: Vec<Arc<Plan>> = (0..12)
            .map(|site| plan_of(&format!("site{:02}", site / 2), SHAPES[1]))
            .collect();
        let ends: Ends = Arc::new(|server, step, undo| {
            let fails =
                server.as_str().starts_with("site01") || server.as_str().starts_with("site03");
            if fails && !undo && step.index == 3 {
                Outcome::NoEffect
            } else {
                Outcome::Done
            }
        });
        let mut world = World::new(&plans, 3, 1, &ends, seed);
        world.storm(2000);
        world.calm();
        assert_eq!(world.rollout.state, RolloutState::Halted, "seed {seed}");
        assert!(
            world
                .rollout
                .runs
                .iter()
                .any(|run| run.phase == RunPhase::Waiting)
        );
        for _ in 0..4 {
            world.wish(Wish::Resume);
            world.calm();
        }
        assert_eq!(world.rollout.state, RolloutState::Failed);
        let count = |phase| {
            world
                .rollout
                .runs
                .iter()
                .filter(|run| run.phase == phase)
                .count()
        };
        assert_eq!(
            (count(RunPhase::Failed), count(RunPhase::Succeeded)),
            (4, 8)
        );
    }
}
