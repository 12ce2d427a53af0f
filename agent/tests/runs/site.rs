//! A simulated server B with mail stuck in its queue, its agent, and a controller played by the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailmend_agent::engine::Engine;
use mailmend_agent::guard::Guard;
use mailmend_agent::host::simulated::{
    Account, KillSwitch, SimSettings, SimWorld, SimulatedKill, run_until_killed,
};
use mailmend_agent::inbox::Refusal;
use mailmend_agent::journal::{Journal, MemoryJournal};
use mailmend_agent::runner::{Rest, Waiting};
use mailmend_agent::step::SUPPORTED;
use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_policy::plan::{Plan, Server, plan};
use mailmend_policy::source::PolicySource;
use mailmend_policy::step::Action;
use mailmend_policy::{library, parse};
use mailmend_proto::convert::server_to_wire;
use mailmend_proto::run::{
    Custody, Ended, Event, Outcome, RunId, RunState, SectionEnd, ServiceChange, StepState,
};
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use uuid::Uuid;

pub(crate) const IMC: &str = "MSExchangeIMC";

pub(crate) const GUARD: &str = r#"
policies = "unsigned"
roots = ["/exchsrvr"]
services = ["MSExchangeIMC"]

[tools.recalculate-routing]
program = "/tools/mailmend-lab"
arguments = ["recalculate"]

[tools.submit-test-mail]
program = "/tools/mailmend-lab"
arguments = ["submit"]
flags = { to = { flag = "--to", pattern = "address" } }

[limits]
restarts_per_hour = 40
sections_per_hour = 40

[watchdog]
services = ["MSExchangeIMC"]
"#;

/// What a person and a controller do between two turns of the agent: answers, releases, orders.
pub(crate) type People = fn(&Site, &Engine);

/// What outlives the agent, and the test's own knowledge.
pub(crate) struct Site {
    /// Called before each look at what the run waits for; must do nothing the second time.
    pub(crate) people: People,
    pub(crate) world: SimWorld,
    pub(crate) storage: MemoryJournal,
    pub(crate) guard: Arc<Guard>,
    pub(crate) plan: Plan,
    pub(crate) assignment: wire::Assignment,
    pub(crate) run: RunId,
}

/// The text of a shipped policy with each text replaced by the other.
pub(crate) fn changed(policy: &str, edits: &[(&str, &str)]) -> PolicySource {
    let source = library::find(policy).unwrap();
    let mut text = String::from_utf8(source.bytes().to_vec()).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "the policy has no `{from}`");
        text = text.replace(from, to);
    }
    PolicySource::new(source.name(), text)
}

fn server(name: &str, direction: &str) -> Server {
    Server {
        name: name.parse().unwrap(),
        site: "SITE".parse().unwrap(),
        labels: BTreeMap::from([
            ("ims.direction".to_owned(), direction.to_owned()),
            ("exchange.version".to_owned(), "5.0.1460.8".to_owned()),
        ]),
        actions: SUPPORTED.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// The plan of a policy; each policy is read and planned once for all lives of a test.
fn planned(source: &PolicySource, servers: &[Server]) -> Plan {
    static PLANS: Mutex<BTreeMap<Digest, Plan>> = Mutex::new(BTreeMap::new());
    let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let policy = parse::parse(source).unwrap_or_else(|faults| panic!("{faults}"));
        let plans = plan(&policy, source.digest(), servers).unwrap();
        let ours = |plan: &Plan| plan.subject.as_ref().is_none_or(|subject| *subject == me());
        plans.into_iter().find(ours).unwrap()
    };
    plans.entry(source.digest()).or_insert_with(make).clone()
}

/// What makes the shipped policy quick: a canary of two and short watching.
const SMALL: [(&str, &str); 2] = [
    ("first = 10", "first = 2"),
    ("observe = \"30s\"", "observe = \"10s\""),
];

pub(crate) fn me() -> ServerName {
    "B".parse().unwrap()
}

impl Site {
    /// A server whose outbound mail has waited for 16 minutes.
    pub(crate) fn new(seed: u64, messages: usize) -> Self {
        let source = library::find("stuck-outbound-routing").unwrap();
        let settings = SimSettings {
            seed,
            ..SimSettings::default()
        };
        Self::with(settings, messages, &source)
    }

    /// Few messages, a canary of two and short watching: the same steps with fewer looks.
    pub(crate) fn small(seed: u64) -> Self {
        Self::with_policy(seed, 5, &SMALL)
    }

    /// The same with the shipped policy changed: each text is replaced by the other.
    pub(crate) fn with_policy(seed: u64, messages: usize, edits: &[(&str, &str)]) -> Self {
        let settings = SimSettings {
            seed,
            ..SimSettings::default()
        };
        Self::with(
            settings,
            messages,
            &changed("stuck-outbound-routing", edits),
        )
    }

    /// A server whose mail flows.
    pub(crate) fn healthy(seed: u64) -> Self {
        let mut site = Self::small(1);
        site.world = SimWorld::new(SimSettings {
            seed,
            stale_routes: false,
            ..SimSettings::default()
        });
        site
    }

    /// A server whose uptime runs so many times faster than its wall clock, as in the lab.
    pub(crate) fn hurried(seed: u64, clock_factor: u32) -> Self {
        let settings = SimSettings {
            seed,
            clock_factor,
            ..SimSettings::default()
        };
        Self::with(settings, 5, &changed("stuck-outbound-routing", &SMALL))
    }

    fn with(settings: SimSettings, messages: usize, source: &PolicySource) -> Self {
        let seed = settings.seed;
        let world = SimWorld::new(settings);
        world.add_outbound(messages, 300);
        for file in world
            .balance()
            .accounts
            .iter()
            .flat_map(|account| &account.live)
        {
            world.set_age(file, Duration::from_secs(16 * 60));
        }
        Self::on(world, seed, source, GUARD)
    }

    /// A run of this policy on server B, which is this world; A stands by as relay where the policy has
    /// one.
    pub(crate) fn on(world: SimWorld, seed: u64, source: &PolicySource, guard: &str) -> Self {
        let servers = [server("A", "both"), server("B", "outbound")];
        let plan = planned(source, &servers);
        let run = RunId(Uuid::from_u128(u128::from(seed) + 1));
        let assignment = wire::Assignment {
            run: run.to_string(),
            fence: 1,
            policy_name: plan.policy.to_string(),
            policy_text: source.bytes().to_vec(),
            plan_digest: plan.digest().as_bytes().to_vec(),
            site: "SITE".into(),
            subject: "B".into(),
            servers: servers.iter().map(server_to_wire).collect(),
            traceparent: String::new(),
        };
        Self {
            people: |_, _| {},
            world,
            storage: MemoryJournal::new(Uuid::from_u128(7)),
            guard: Arc::new(Guard::parse("guard.toml", guard).unwrap()),
            plan,
            assignment,
            run,
        }
    }

    /// Every site that a power loss can leave now.
    pub(crate) fn power_cuts(&self) -> Vec<Self> {
        let worlds = self.world.power_cuts().into_iter();
        worlds.map(|world| self.with_world(world)).collect()
    }

    /// Does something, and returns what a death at each point of it would leave: each once that is not in
    /// `known`, where those count as one that differ in nothing but their clock's reading. Beside them how many
    /// points there were.
    pub(crate) fn deaths_in(
        &self,
        known: &mut BTreeSet<(Digest, Digest)>,
        act: impl FnOnce(&Self),
    ) -> (Vec<Self>, u64) {
        let (world, storage) = (self.world.clone(), self.storage.clone());
        let left = Arc::new(Mutex::new((std::mem::take(known), Vec::new(), 0)));
        let seen = Arc::clone(&left);
        self.switch().watch(Some(Arc::new(move || {
            let mut seen = seen.lock().unwrap();
            let (known, left, points) = &mut *seen;
            *points += 1;
            if known.insert((world.likeness(), storage.likeness())) {
                left.push((world.fork(), storage.fork()));
            }
        })));
        act(self);
        self.switch().watch(None);
        let mut left = left.lock().unwrap();
        let (seen, left, points) = &mut *left;
        *known = std::mem::take(seen);
        let site = |(world, storage)| Self {
            storage,
            ..self.with_world(world)
        };
        (left.drain(..).map(site).collect(), *points)
    }

    fn with_world(&self, world: SimWorld) -> Self {
        Self {
            people: self.people,
            world,
            storage: self.storage.fork(),
            guard: Arc::clone(&self.guard),
            plan: self.plan.clone(),
            assignment: self.assignment.clone(),
            run: self.run,
        }
    }

    /// The same for sites that differ in nothing but their clock's reading.
    pub(crate) fn likeness(&self) -> (Digest, Digest) {
        (self.world.likeness(), self.storage.likeness())
    }

    pub(crate) fn switch(&self) -> KillSwitch {
        self.world.kill_switch()
    }

    /// A new life of the agent: dies at its n-th point, 0 for never.
    pub(crate) fn engine(&self, dies_at: u64) -> Engine {
        let host = Arc::new(self.world.host());
        self.world.kill_at(dies_at);
        let switch = self.switch();
        let storage = self
            .storage
            .clone()
            .with_hook(Arc::new(move |what| switch.point(what)));
        let journal = Journal::memory(&storage).expect("the journal reads back");
        Engine::by_hand(host, journal, Arc::clone(&self.guard), me()).expect("a journal")
    }

    /// As [`Self::engine`], with something that happens in the world at each point of the journal.
    pub(crate) fn engine_with(&self, at_point: Arc<dyn Fn(&'static str) + Send + Sync>) -> Engine {
        let host = Arc::new(self.world.host());
        let storage = self.storage.clone().with_hook(at_point);
        let journal = Journal::memory(&storage).expect("the journal reads back");
        Engine::by_hand(host, journal, Arc::clone(&self.guard), me()).expect("a journal")
    }

    /// One life to the end, in which something happens in the world at the n-th point of the journal.
    /// Returns whether there was such a point.
    pub(crate) fn live_while(
        &self,
        n: u64,
        happens: impl Fn(&SimWorld) + Send + Sync + 'static,
    ) -> bool {
        let passed = Arc::new(AtomicU64::new(0));
        let (world, counter) = (self.world.clone(), Arc::clone(&passed));
        let engine = self.engine_with(Arc::new(move |_| {
            if counter.fetch_add(1, Ordering::SeqCst) + 1 == n {
                happens(&world);
            }
        }));
        engine.recover().expect("recovery writes its records");
        self.control(&engine);
        for _ in 0..3 {
            engine.watch().expect("the watchdog writes its records");
            self.world.advance(Duration::from_secs(10));
        }
        passed.load(Ordering::SeqCst) >= n
    }

    /// Lives until the run is closed; where the journal fails the agent is started again, as its service
    /// manager would. Returns how often it was.
    pub(crate) fn live_through_failures(&self) -> u32 {
        for restarts in 0..5 {
            let engine = self.engine(0);
            if engine.recover().is_ok() && self.try_control(&engine).is_ok() {
                return restarts;
            }
            self.is_up_or_comes_up();
        }
        panic!("it never gets through");
    }

    /// An agent that had to end has not left service down.
    pub(crate) fn is_up_or_comes_up(&self) {
        assert!(
            self.world.is_running(IMC) || self.starting() || self.bad_in_a_queue(),
            "the journal failed and service was left down"
        );
    }

    /// Whether what keeps ending the service is still in one of its queues: nobody can keep it up then.
    pub(crate) fn bad_in_a_queue(&self) -> bool {
        let accounts = self.world.balance().accounts;
        accounts
            .iter()
            .any(|one| one.poison && !one.live.is_empty())
    }

    fn starting(&self) -> bool {
        self.world.advance(Duration::from_secs(10));
        self.world.is_running(IMC)
    }

    /// Lives one after another until one is not killed: the n-th dies at its `deaths[n]`-th point.
    /// Returns where each died, and the last one's engine.
    pub(crate) fn live(&self, deaths: &[u64]) -> (Vec<SimulatedKill>, Engine) {
        let mut killed = Vec::new();
        let mut deaths = deaths.iter().copied();
        loop {
            let dies_at = deaths.next().unwrap_or(0);
            let life = run_until_killed(|| {
                let engine = self.engine(dies_at);
                engine.recover().expect("recovery writes its records");
                self.control(&engine);
                engine
            });
            match life {
                Ok(engine) => return (killed, engine),
                Err(kill) => killed.push(kill),
            }
        }
    }

    /// Plays the controller until the run is closed: gives the assignment, raises the watermark as steps
    /// end (A's are taken as done), orders to unwind where a step failed.
    pub(crate) fn control(&self, engine: &Engine) {
        let rest = self.try_control(engine).expect("the run goes on");
        assert_eq!(rest, Rest::Over, "nobody shut the agent down");
    }

    /// As [`Self::control`], for an agent that is told to end meanwhile.
    pub(crate) fn control_until_stopped(&self, engine: &Engine) -> Rest {
        self.try_control(engine).expect("the run goes on")
    }

    fn try_control(&self, engine: &Engine) -> Result<Rest, String> {
        let text = |refusal: Refusal| refusal.to_string();
        engine.admit(&self.assignment).map_err(text)?;
        for _ in 0..200 {
            (self.people)(self, engine);
            let state = engine.state(self.run).unwrap();
            if state.closed.is_some() {
                return Ok(Rest::Over);
            }
            let rest = engine.carry_on(self.run);
            match rest.map_err(|error| error.to_string())? {
                rest @ (Rest::Over | Rest::Stopped) => return Ok(rest),
                Rest::Waiting {
                    waiting: Waiting::Unwinding | Waiting::Further,
                    ..
                } => engine.unwind(self.run, 1, 0, true).map_err(text)?,
                Rest::Waiting {
                    waiting: Waiting::Answer(step),
                    ..
                } => {
                    // Whoever has to do something before that answer does it now.
                    (self.people)(self, engine);
                    engine.order(&self.accepted(step)).map_err(text)?;
                }
                Rest::Waiting { .. } => {
                    let through = engine.state(self.run).unwrap().through;
                    let through = self.next_watermark(through);
                    engine.advance(self.run, 1, through).map_err(text)?;
                }
            }
        }
        panic!("the run does not end");
    }

    /// A person's order, for this run.
    pub(crate) fn order(&self, id: u128, what: What) -> wire::Order {
        wire::Order {
            id: Uuid::from_u128(id).to_string(),
            run: self.run.to_string(),
            by: "anna".into(),
            why: "seen by a person".into(),
            what: Some(what),
            fence: 0,
        }
    }

    /// The answer with which a `human.task` step is done.
    pub(crate) fn accepted(&self, step: u32) -> wire::Order {
        let Action::HumanTask { accept, .. } = &self.plan.steps[step as usize].action else {
            panic!("step {step} asks nobody");
        };
        self.answer(step, &accept[0])
    }

    /// An answer to a `human.task` step.
    pub(crate) fn answer(&self, step: u32, answer: &str) -> wire::Order {
        let answer = answer.to_owned();
        let id = 0xA000 + u128::from(step);
        self.order(id, What::Answer(wire::AnswerTask { step, answer }))
    }

    /// The next watermark: a section is released whole, everything else step by step.
    pub(crate) fn next_watermark(&self, through: u32) -> u32 {
        let section = self
            .plan
            .sections
            .iter()
            .find(|section| section.first <= through && through <= section.last);
        let all = u32::try_from(self.plan.steps.len()).unwrap();
        section
            .map_or(through + 1, |section| section.last + 1)
            .min(all)
    }

    pub(crate) fn index(&self, id: &str) -> u32 {
        let step = self.plan.steps.iter().find(|step| step.id.as_str() == id);
        step.unwrap_or_else(|| panic!("no step `{id}`")).index
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal::memory(&self.storage).expect("the journal reads back")
    }

    pub(crate) fn state(&self) -> Arc<RunState> {
        self.journal().state(self.run).unwrap().unwrap_or_default()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let records = self.journal().after(0, usize::MAX).unwrap();
        records.into_iter().map(|record| record.event).collect()
    }

    /// Codes of all alarms, over all runs and duties.
    pub(crate) fn alarms(&self) -> Vec<String> {
        let alarm = |event: Event| match event {
            Event::Alarm { code, .. } => Some(code),
            _ => None,
        };
        self.events().into_iter().filter_map(alarm).collect()
    }

    /// The texts of the alarms of this code, over all runs and duties.
    pub(crate) fn alarms_of(&self, wanted: &str) -> Vec<String> {
        let alarm = |event: Event| match event {
            Event::Alarm { code, text } if code == wanted => Some(text),
            _ => None,
        };
        self.events().into_iter().filter_map(alarm).collect()
    }

    pub(crate) fn step_state(&self, id: &str) -> Option<StepState> {
        self.state().steps.get(&self.index(id)).copied()
    }

    pub(crate) fn detail(&self, id: &str) -> String {
        let wanted = self.index(id);
        let events = self.events().into_iter().rev();
        let mut details = events.filter_map(|event| match event {
            Event::StepFinished { step, detail, .. } if step == wanted => Some(detail),
            _ => None,
        });
        details.next().unwrap_or_default()
    }

    /// Asserts the promises: nothing is lost or altered, what was delivered twice is named, every entry
    /// in custody is where its state says, no section is open, service runs.
    pub(crate) fn check(&self, told: &str) {
        self.check_mail(told);
        assert!(self.world.is_running(IMC), "{told}: service is down");
        for run in self.journal().runs() {
            let state = self.journal().state(run).unwrap().unwrap();
            assert!(state.section.is_none(), "{told}: a section is open");
        }
    }

    /// As [`Self::check`], where the service came up with the machine before anybody could look: what
    /// it then sends again is not the agent's to prevent.
    pub(crate) fn check_after_power(&self, told: &str) {
        self.world.advance(Duration::from_secs(60));
        let balance = self.world.balance();
        let lost: Vec<_> = balance.lost().iter().map(|a| a.mts_id.clone()).collect();
        assert!(lost.is_empty(), "{told}: lost {lost:?}");
        assert!(balance.altered().is_empty(), "{told}: altered");
        // What crashes the service at its start with the machine is still in its queue: then somebody is called.
        let called = self.alarms().iter().any(|code| {
            [
                "A054-service-left-down",
                "A055-service-dead",
                "A056-watchdog-gave-up",
            ]
            .contains(&code.as_str())
        });
        let up = self.world.is_running(IMC);
        assert!(
            up || called,
            "{told}: service is down, {:?}",
            self.failures()
        );
    }

    pub(crate) fn check_mail(&self, told: &str) {
        // What is on its way gets there.
        self.world.advance(Duration::from_secs(60));
        let balance = self.world.balance();
        let lost: Vec<_> = balance.lost().iter().map(|a| a.mts_id.clone()).collect();
        assert!(lost.is_empty(), "{told}: lost {lost:?}");
        assert!(balance.altered().is_empty(), "{told}: altered");
        assert_eq!(self.world.strangers_sent(), 0, "{told}: half files sent");
        let mut kept: BTreeMap<String, Vec<Custody>> = BTreeMap::new();
        let journal = self.journal();
        for run in journal.runs() {
            let state = journal.state(run).unwrap().unwrap();
            for entry in state.batches.values().flat_map(|batch| &batch.entries) {
                kept.entry(entry.name.clone())
                    .or_default()
                    .push(entry.custody);
            }
        }
        // Each start is announced before it counts: what was placed may be read from then on.
        for run in journal.runs() {
            let mut last = BTreeMap::new();
            for record in journal.records(run).unwrap() {
                if let Event::ServiceChanged {
                    service, change, ..
                } = record.event
                {
                    let before = last.insert(service, change);
                    let announced = matches!(
                        before,
                        Some(ServiceChange::StartIntended | ServiceChange::Started)
                    );
                    assert!(
                        change != ServiceChange::Started || announced,
                        "{told}: started after {before:?}"
                    );
                }
            }
        }
        let named = self.named_as_perhaps_twice();
        for account in &balance.accounts {
            let states = kept.remove(&account.spool_name).unwrap_or_default();
            consistent(account, &states, named.contains(&account.spool_name), told);
        }
        assert!(
            kept.is_empty(),
            "{told}: custody of what never was: {kept:?}"
        );
    }

    /// The names of the messages of which a search says that it may have sent them twice, or an alarm that the
    /// store may get them twice.
    pub(crate) fn named_as_perhaps_twice(&self) -> BTreeSet<String> {
        let state = self.state();
        let mut named = BTreeSet::new();
        for event in self.events() {
            if let Event::Alarm { code, text } = &event
                && code == "A111-inbound-again"
            {
                named.extend(text.split('`').skip(1).step_by(2).map(str::to_owned));
            }
            if let Event::Settled { batch, entries } = event
                && let Some(batch) = state.batches.get(&batch)
            {
                let again = entries
                    .iter()
                    .filter(|one| one.evidence.contains("may be sent twice"));
                named.extend(again.map(|one| batch.entries[one.index as usize].name.clone()));
            }
        }
        named
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.state().closed
    }

    /// How each section of the run ended.
    pub(crate) fn sections(&self) -> Vec<SectionEnd> {
        self.state().ended_sections.values().copied().collect()
    }

    /// The details of the steps that failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = |event| match event {
            Event::StepFinished {
                outcome, detail, ..
            } if outcome != Outcome::Done => Some(detail),
            _ => None,
        };
        self.events().into_iter().filter_map(failed).collect()
    }

    pub(crate) fn failed_steps(&self) -> Vec<(u32, Outcome)> {
        let state = self.state();
        let failed = state.steps.iter().filter_map(|(step, state)| match state {
            StepState::Finished { outcome, .. } if *outcome != Outcome::Done => {
                Some((*step, *outcome))
            }
            _ => None,
        });
        failed.collect()
    }
}

/// One message: what the world says against what custody says of it.
fn consistent(account: &Account, states: &[Custody], named: bool, told: &str) {
    let name = &account.spool_name;
    let say = |what: &str| {
        format!(
            "{told}: `{name}` {what}: custody {states:?}, delivered {}, live {:?}, elsewhere {:?}",
            account.delivered, account.live, account.elsewhere
        )
    };
    let any = |custody| states.contains(&custody);
    assert!(
        account.delivered <= 1 || named || any(Custody::InDoubt),
        "{}",
        say("was delivered twice and is not named")
    );
    assert!(account.live.len() <= 1, "{}", say("is in the queue twice"));
    for custody in states {
        match custody {
            Custody::Held => {
                assert!(!account.elsewhere.is_empty(), "{}", say("is held nowhere"));
                assert!(
                    account.live.is_empty(),
                    "{}",
                    say("counts as held and is in the queue")
                );
                assert!(
                    account.delivered == 0 || named,
                    "{}",
                    say("counts as held and was delivered, and is not named")
                );
            }
            Custody::GoneWithEvidence => {
                assert!(account.delivered >= 1, "{}", say("was never delivered"));
                assert!(account.live.is_empty(), "{}", say("may be sent again"));
            }
            Custody::Replaying => {
                assert!(
                    !account.live.is_empty() || account.delivered > 0,
                    "{}",
                    say("is neither in the queue nor delivered")
                );
            }
            Custody::InDoubt => {
                assert!(
                    account.live.is_empty(),
                    "{}",
                    say("is in doubt and in the queue")
                );
            }
            Custody::Live | Custody::Poison => {}
        }
    }
}
