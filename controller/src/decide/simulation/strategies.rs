//! The same storms under random strategies: whatever is lost, late or repeated, nothing begins beyond its
//! wave, its budget, its window or a person's word, and in the end every site has had its turn.

use mailmend_policy::strategy::{Approve, Day, Gate, MaxUnavailable, Window, opening};

use super::*;
use crate::decide::budgets::disturbed;
use crate::decide::gate::Health;
use crate::decide::windows::{Fit, fit, longest_outage};
use crate::rollout::Approval;

const HOUR: i64 = 3_600_000;

/// Sites, each with a run that disturbs one of its two servers.
fn plans(sites: u32) -> Vec<Arc<Plan>> {
    let shapes = [
        "A:detect A:stop A:hold A:start B:check",
        "A:detect B:check A:check A:stop A:hold A:start A:check",
    ];
    (0..sites)
        .map(|site| plan_of(&format!("site{site:02}"), shapes[site as usize % 2]))
        .collect()
}

fn strategy(random: &mut fastrand::Rng, sites: u32) -> Strategy {
    let mut waves: Vec<Share> = Vec::new();
    if random.bool() {
        let first = random.u32(1..=sites / 2);
        waves.push(Share::Count(first));
        waves.push(Share::Count(random.u32(first..=sites)));
    }
    waves.push(Share::Percent(100));
    let windows = if random.bool() {
        let from = random.u32(0..24);
        vec![Window {
            days: Day::ALL.to_vec(),
            from: format!("{from:02}:00").parse().unwrap(),
            to: format!("{:02}:30", (from + 3) % 24).parse().unwrap(),
            zone: "Europe/Oslo".parse().unwrap(),
        }]
    } else {
        Vec::new()
    };
    Strategy {
        waves,
        soak: std::time::Duration::from_secs(random.u64(0..7200)),
        gate: *random.choice(&[Gate::None, Gate::Health]).unwrap(),
        sites_at_once: random.u32(1..=sites),
        max_failed: Share::Count(random.u32(0..3)),
        max_unavailable: MaxUnavailable {
            site: Share::Percent(100),
            fleet: Share::Count(random.u32(1..=4)),
        },
        windows,
        approve: *random
            .choice(&[
                Approve::None,
                Approve::BeforeFirst,
                Approve::AfterFirst,
                Approve::EachWave,
            ])
            .unwrap(),
        ..Strategy::default()
    }
}

/// A world whose decisions are watched.
struct Watched {
    world: World,
    health: BTreeMap<ServerName, Health>,
    away: BTreeSet<ServerName>,
    drift: BTreeMap<RunId, String>,
    /// How often something was begun or released while it was watched.
    begun: usize,
}

impl Watched {
    fn fleet(&self) -> Fleet {
        let rollout = &self.world.rollout;
        Fleet {
            locks: self.world.books.locks(),
            connected: self
                .world
                .agents
                .keys()
                .filter(|name| !self.away.contains(*name))
                .cloned()
                .collect(),
            servers: rollout
                .runs
                .iter()
                .flat_map(|run| {
                    run.parts
                        .keys()
                        .map(|name| (name.clone(), run.site.clone()))
                })
                .collect(),
            health: self.health.clone(),
            drift: self.drift.clone(),
            ..Fleet::default()
        }
    }

    /// One round of the orchestrator; each action is held against the strategy before it is carried out.
    fn decide(&mut self) -> bool {
        let fleet = self.fleet();
        let decision = decide(&self.world.rollout, &fleet, self.world.now_ms);
        for action in &decision.actions {
            self.check(action);
            self.world.carry_out(action);
            self.check_budget();
        }
        self.world.check();
        if decision.actions.is_empty() {
            let (rollout, now_ms) = (&self.world.rollout, self.world.now_ms);
            crate::explain::says::everything(rollout, &fleet, now_ms);
        }
        // What time alone may release is never waited for without being told when.
        let silent = decision.actions.is_empty() && decision.due_ms.is_none();
        assert!(!(silent && self.waits_for_time()), "it never wakes");
        !decision.actions.is_empty()
    }

    fn waits_for_time(&self) -> bool {
        let rollout = &self.world.rollout;
        let soak = i64::try_from(rollout.strategy.soak.as_millis()).unwrap();
        rollout.state == RolloutState::Running
            && rollout
                .wave_ended_ms
                .is_some_and(|ended| self.world.now_ms < ended + soak)
            && rollout
                .runs
                .iter()
                .all(|run| run.phase.is_final() || rollout.waves().of(&run.site) > rollout.wave)
            && rollout.is_approved(rollout.wave)
    }

    fn check(&mut self, action: &Action) {
        let now_ms = self.world.now_ms;
        let rollout = &self.world.rollout;
        let windows = &rollout.strategy.windows;
        match action {
            Action::Assign { run } => {
                self.begun += 1;
                let run = rollout.runs.iter().find(|other| other.id == *run).unwrap();
                let wave = rollout.waves().of(&run.site);
                assert!(wave <= rollout.wave, "a run began before its wave");
                assert!(rollout.is_approved(rollout.wave), "nobody approved it");
                assert!(!self.drift.contains_key(&run.id), "it has drifted");
                assert_eq!(rollout.state, RolloutState::Running);
                assert!(super::super::failed(rollout) <= rollout.max_failed());
                let outage = longest_outage(&run.plan).unwrap();
                assert_eq!(fit(windows, outage, now_ms), Fit::Now, "no window");
            }
            Action::Advance {
                run,
                server,
                through,
            } if !windows.is_empty() => {
                let run = rollout.runs.iter().find(|other| other.id == *run).unwrap();
                let before = run.parts[server].through;
                let opened = run.plan.sections.iter().find(|section| {
                    section.server == *server && (before..*through).contains(&section.first)
                });
                if opened.is_some() && !run.plan.steps.iter().all(|step| run.is_finished(step)) {
                    let open = opening(windows, now_ms);
                    assert!(
                        matches!(open, mailmend_policy::strategy::Opening::Open { .. }),
                        "a section was released outside of a window"
                    );
                    assert!(!self.away.contains(server), "it would be told later");
                }
            }
            Action::BeginWave { wave } => {
                assert_eq!(rollout.wave + 1, *wave);
                let ended = rollout.wave_ended_ms.unwrap();
                let soak = i64::try_from(rollout.strategy.soak.as_millis()).unwrap();
                assert!(now_ms >= ended + soak, "the soak was cut short");
                assert!(rollout.is_approved(*wave), "nobody approved it");
                if rollout.strategy.gate == Gate::Health
                    && !rollout.accepted.contains(&rollout.wave)
                {
                    for server in crate::decide::gate::mended(rollout) {
                        assert_eq!(self.health.get(server), Some(&Health::Good));
                    }
                }
            }
            _ => {}
        }
    }

    /// The budget of the fleet holds at each beginning: those at work and those that failed.
    fn check_budget(&self) {
        let rollout = &self.world.rollout;
        let out: usize = rollout
            .runs
            .iter()
            .map(|run| match run.phase {
                RunPhase::Assigned | RunPhase::Running | RunPhase::Unwinding => 1,
                RunPhase::Failed | RunPhase::NeedsPerson => disturbed(&run.plan).len(),
                _ => 0,
            })
            .sum();
        let Share::Count(limit) = rollout.strategy.max_unavailable.fleet else {
            return;
        };
        assert!(
            out <= limit as usize,
            "{out} out of service, {limit} may be"
        );
    }

    fn approve(&mut self, wave: u32) {
        let approval = Approval {
            digest: self.world.rollout.wave_digest(wave),
            generation: 1,
            by: "ada".into(),
            at_ms: self.world.now_ms,
            why: String::new(),
        };
        self.world.rollout.approvals.entry(wave).or_insert(approval);
    }

    fn storm(&mut self, events: u32) {
        let names: Vec<ServerName> = self.world.agents.keys().cloned().collect();
        for _ in 0..events {
            let name = names[self.world.random.usize(..names.len())].clone();
            match self.world.random.u8(..12) {
                0 | 1 => {
                    self.decide();
                }
                2 | 3 if !self.away.contains(&name) => self.world.tell(&name),
                4..=6 => {
                    self.world.act(&name);
                }
                7 | 8 if !self.away.contains(&name) => {
                    let most = self.world.random.usize(1..4);
                    self.world.report(&name, most);
                }
                9 => {
                    if !self.away.remove(&name) && self.away.len() < 2 {
                        self.away.insert(name);
                    }
                }
                10 => self.world.now_ms += self.world.random.i64(0..HOUR),
                _ => {
                    let health = match self.world.random.u8(..4) {
                        0 => Health::Bad("3 wait".into()),
                        1 => Health::CannotTell("not told".into()),
                        _ => Health::Good,
                    };
                    self.health.insert(name, health);
                }
            }
        }
    }

    /// Everybody is there and well, people say yes, and time goes by until nothing is left to do.
    fn calm(&mut self) {
        let names: Vec<ServerName> = self.world.agents.keys().cloned().collect();
        self.away.clear();
        self.drift.clear();
        for name in &names {
            self.health.insert(name.clone(), Health::Good);
        }
        for _ in 0..20_000 {
            let mut moved = self.decide();
            for name in &names {
                self.world.tell(name);
                moved |= self.world.act(name);
                moved |= self.world.report(name, usize::MAX);
            }
            if self.world.rollout.state.is_final() {
                return;
            }
            if moved {
                continue;
            }
            let waves = self.world.rollout.waves().count();
            (0..waves).for_each(|wave| self.approve(wave));
            match self.world.rollout.state {
                RolloutState::Running => {
                    let due = decide(&self.world.rollout, &self.fleet(), self.world.now_ms).due_ms;
                    match due {
                        Some(due) => self.world.now_ms = self.world.now_ms.max(due),
                        None if self.stuck() => return,
                        None => {}
                    }
                }
                _ => self.world.wish(Wish::Resume),
            }
        }
        panic!("it never comes to rest: {:?}", self.world.rollout.why);
    }

    /// Whether only failed runs stand in the way: they hold the budget until the rollout ends.
    fn stuck(&self) -> bool {
        let rollout = &self.world.rollout;
        let phases: Vec<RunPhase> = rollout.runs.iter().map(|run| run.phase).collect();
        let fleet = self.fleet();
        let beginning =
            crate::decide::begin::Beginning::of(rollout, &phases, &fleet, self.world.now_ms);
        rollout
            .runs
            .iter()
            .filter(|run| run.phase == RunPhase::Waiting)
            .any(|run| {
                matches!(
                    beginning.obstacle(run),
                    Some(crate::decide::begin::Obstacle::Budget(_))
                )
            })
    }
}

fn watched(seed: u64, fails: bool) -> Watched {
    let mut random = fastrand::Rng::with_seed(seed);
    let sites = random.u32(2..9);
    let strategy = strategy(&mut random, sites);
    let bad = random.u32(0..sites);
    let ends: Ends = Arc::new(move |server, step, undo| {
        let here = server.as_str().starts_with(&format!("site{bad:02}"));
        if fails && here && !undo && step.index > 0 && step.index % 3 == 0 {
            Outcome::NoEffect
        } else {
            Outcome::Done
        }
    });
    Watched {
        world: World::under(&plans(sites), strategy, &ends, seed),
        health: BTreeMap::new(),
        away: BTreeSet::new(),
        drift: BTreeMap::new(),
        begun: 0,
    }
}

#[test]
fn under_any_strategy_nothing_begins_beyond_what_it_allows_and_in_the_end_every_site_was_mended() {
    let mut begun = 0;
    for seed in 0..400 {
        let mut watched = watched(seed, false);
        watched.storm(600);
        watched.calm();
        let rollout = &watched.world.rollout;
        let bad_gate = rollout.why.contains("the gate after the last wave");
        assert!(
            rollout.state == RolloutState::Succeeded || bad_gate,
            "seed {seed}: {:?} {}",
            rollout.state,
            rollout.why
        );
        let mended = |run: &Run| run.phase == RunPhase::Succeeded;
        assert!(rollout.runs.iter().all(mended), "seed {seed}");
        begun += watched.begun;
    }
    assert!(begun > 1000, "{begun} beginnings were watched");
}

#[test]
fn with_failures_too_the_tolerance_and_the_budget_hold_and_what_is_stuck_says_why() {
    let mut failed = 0;
    for seed in 0..400 {
        let mut watched = watched(seed, true);
        watched.storm(600);
        watched.calm();
        let rollout = &watched.world.rollout;
        failed += rollout
            .runs
            .iter()
            .filter(|run| run.phase == RunPhase::Failed)
            .count();
        assert!(
            rollout.state.is_final() || watched.stuck(),
            "seed {seed}: {:?} {}",
            rollout.state,
            rollout.why
        );
    }
    assert!(failed > 50, "{failed} runs failed");
}

#[test]
fn nothing_of_the_waves_at_work_begins_once_something_of_them_has_drifted() {
    for seed in 0..200 {
        let mut watched = watched(seed, false);
        watched.storm(u32::try_from(seed).unwrap());
        let rollout = &watched.world.rollout;
        let waves = rollout.waves();
        let drifted = rollout
            .runs
            .iter()
            .find(|run| run.phase == RunPhase::Waiting && waves.of(&run.site) <= rollout.wave);
        let Some(run) = drifted.map(|run| run.id) else {
            continue;
        };
        watched.drift.insert(run, "it was renamed".into());
        let begun = watched.begun;
        watched.decide();
        watched.storm(200);
        assert_eq!(watched.begun, begun, "seed {seed}");
    }
}
