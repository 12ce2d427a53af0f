use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::rollout::{RolloutId, RunPhase};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const START: i64 = 1_780_000_000_000;

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn binding(policy: &str, answer: Answer) -> Binding {
    Binding {
        policy: name(policy),
        version: 1,
        selector: String::new(),
        answer,
        throttle: Throttle::default(),
        bound_ms: START,
        by: "anna".into(),
    }
}

/// Sites with one server A, which relays, and one server B, which looks, each.
struct World {
    known: Known,
    now_ms: i64,
    rollouts: u128,
}

impl World {
    fn new(sites: &[&str], policies: &[Binding]) -> Self {
        let mut known = Known::default();
        for site in sites {
            for server in ["a", "b"] {
                let member = Member {
                    site: name(site),
                    connected: true,
                    in_hand: None,
                    queues: Vec::new(),
                };
                known
                    .fleet
                    .insert(name(&format!("{site}-{server}")), member);
            }
        }
        let mut world = Self {
            known,
            now_ms: START + HOUR,
            rollouts: 0,
        };
        for binding in policies {
            world.bind(binding.clone());
        }
        world
    }

    fn bind(&mut self, binding: Binding) {
        let sites: BTreeSet<SiteName> = self.known.fleet.values().map(|m| m.site.clone()).collect();
        for site in sites {
            let (a, b) = (name(&format!("{site}-a")), name(&format!("{site}-b")));
            let shape = Shape {
                servers: BTreeSet::from([a, ServerName::clone(&b)]),
                looks: BTreeSet::from([b]),
            };
            self.known
                .shapes
                .insert((binding.policy.clone(), site), Ok(vec![shape]));
        }
        self.known.bindings.insert(binding.policy.clone(), binding);
    }

    /// The agent says how a symptom stands, and since when.
    fn say(&mut self, agent: &str, policy: &str, standing: Standing, for_ms: i64) {
        let word = Word {
            agent: name(agent),
            policy: name(policy),
            version: 1,
            standing,
            since_ms: self.now_ms - for_ms,
            looked_ms: self.now_ms,
            heard_ms: self.now_ms,
            evidence: vec!["40 messages wait".into()],
        };
        self.known.tell(Arc::new(word));
    }

    fn react(&self) -> Answers {
        let answers = react(&self.known, self.now_ms);
        assert_eq!(answers, react(&self.known, self.now_ms), "the same again");
        let known = &self.known;
        let words = known.words.values().flat_map(BTreeMap::values);
        let words = words.map(AsRef::as_ref);
        if !may_follow(&known.bindings, words, &known.history, &known.proposals) {
            assert_eq!(answers.reactions, [], "nothing could follow");
            assert_eq!(answers.due_ms, None, "nothing could follow later");
        }
        answers
    }

    /// Carries out what follows, as the store does, until nothing does.
    fn settle(&mut self) -> Vec<Reaction> {
        let mut all = Vec::new();
        loop {
            let reactions = self.react().reactions;
            if reactions.is_empty() {
                return all;
            }
            assert!(all.len() < 100, "it does not come to rest: {all:?}");
            for reaction in reactions {
                self.carry_out(&reaction);
                all.push(reaction);
            }
        }
    }

    fn carry_out(&mut self, reaction: &Reaction) {
        match reaction {
            Reaction::Start {
                policy,
                site,
                servers,
            } => {
                self.check(policy, site, servers);
                self.begin(policy, site, servers.clone(), true);
            }
            Reaction::Propose {
                policy,
                site,
                servers,
                why,
            } => {
                let open = |open: &Proposal| (&open.policy, &open.site) == (policy, site);
                assert!(!self.known.proposals.iter().any(open), "a second one");
                self.known.proposals.push(Proposal {
                    id: Uuid::from_u128(u128::from(fastrand::u64(..))),
                    policy: policy.clone(),
                    version: 1,
                    site: site.clone(),
                    servers: servers.clone(),
                    why: why.clone(),
                    proposed_ms: self.now_ms,
                    decided: None,
                    by: String::new(),
                    rollout: None,
                });
            }
            Reaction::Revise { proposal, servers } => {
                for open in &mut self.known.proposals {
                    if open.id == *proposal {
                        open.servers = servers.clone();
                    }
                }
            }
            Reaction::Lapse { proposal } => {
                self.known.proposals.retain(|open| open.id != *proposal);
            }
            Reaction::Judge { run, effect, why } => {
                for past in Arc::make_mut(&mut self.known.history) {
                    if past.run == *run {
                        assert_eq!(past.effect, None, "judged twice");
                        past.effect = Some(*effect);
                        past.effect_why = why.clone();
                    }
                }
            }
        }
    }

    fn begin(
        &mut self,
        policy: &PolicyName,
        site: &SiteName,
        servers: BTreeSet<ServerName>,
        by_itself: bool,
    ) {
        self.rollouts += 1;
        let rollout = RolloutId(Uuid::from_u128(self.rollouts));
        let busy = Busy {
            rollout: Some(rollout),
        };
        self.known.busy.insert(site.clone(), busy);
        Arc::make_mut(&mut self.known.history).push(Past {
            run: RunId(Uuid::from_u128(1000 + self.rollouts)),
            rollout,
            policy: policy.clone(),
            site: site.clone(),
            servers,
            by_itself,
            began_ms: self.now_ms,
            ended_ms: None,
            phase: RunPhase::Running,
            delivered: 0,
            kept: 0,
            effect: None,
            effect_why: String::new(),
        });
    }

    /// Ends the run that is open at a site.
    fn end(&mut self, site: &str, phase: RunPhase, delivered: u64) {
        let site: SiteName = name(site);
        self.known.busy.remove(&site);
        for past in Arc::make_mut(&mut self.known.history) {
            if past.site == site && past.ended_ms.is_none() {
                past.phase = phase;
                past.ended_ms = Some(self.now_ms);
                past.delivered = delivered;
            }
        }
    }

    /// What must hold of every start, whatever led to it; told from the history alone.
    fn check(&self, policy: &PolicyName, site: &SiteName, servers: &BTreeSet<ServerName>) {
        let binding = &self.known.bindings[policy];
        assert_eq!(binding.answer, Answer::Auto);
        assert!(!self.known.busy.contains_key(site), "the site was taken");
        for member in self.known.fleet.values().filter(|m| m.site == *site) {
            assert_eq!(member.in_hand, None, "a server is in hand");
        }
        let day = |past: &&Past| {
            past.policy == *policy && past.by_itself && past.began_ms > self.now_ms - 24 * HOUR
        };
        let count = |wanted: &dyn Fn(&Past) -> bool| {
            let begun = self.known.history.iter().filter(day);
            u32::try_from(begun.filter(|past| wanted(past)).count()).unwrap()
        };
        let throttle = binding.throttle;
        for server in servers {
            assert!(count(&|past| past.servers.contains(server)) < throttle.per_server_per_day);
            let word = self.known.word(policy, server).unwrap();
            assert_eq!(word.standing, Standing::Stands);
            assert!(word.age_ms(true, self.now_ms) >= throttle.stands_for_ms);
            assert!(self.known.fleet[server].connected);
            let ended = self.known.history.iter().filter(|past| {
                past.policy == *policy && past.servers.contains(server) && past.ended_ms.is_some()
            });
            for past in ended.filter(|past| past.phase != RunPhase::Cancelled) {
                let rested = self.now_ms - past.ended_ms.unwrap();
                assert!(rested >= throttle.settle_ms, "it had not settled");
            }
        }
        assert!(count(&|past| past.site == *site) < throttle.per_site_per_day);
        assert!(count(&|_| true) < throttle.per_fleet_per_day);
        let open: BTreeSet<RolloutId> = self
            .known
            .history
            .iter()
            .filter(|past| past.policy == *policy && past.by_itself && !past.phase.is_final())
            .map(|past| past.rollout)
            .collect();
        assert!(open.len() < throttle.at_once as usize, "too many at once");
    }

    fn wait(&self, agent: &str, policy: &str) -> String {
        let answers = self.react();
        assert!(answers.reactions.is_empty(), "{:?}", answers.reactions);
        let wait = answers.waits.get(&(name(policy), name(agent)));
        wait.unwrap_or_else(|| panic!("{agent} waits for nothing: {answers:?}"))
            .to_string()
    }
}

fn started(reactions: &[Reaction]) -> Vec<String> {
    let starts = reactions.iter().filter_map(|reaction| match reaction {
        Reaction::Start { policy, site, .. } => Some(format!("{policy} at {site}")),
        _ => None,
    });
    starts.collect()
}

fn auto() -> World {
    World::new(&["oslo"], &[binding("stuck", Answer::Auto)])
}

#[test]
fn a_symptom_that_has_stood_long_enough_is_answered_as_its_policy_is_bound() {
    for (answer, expected) in [
        (Answer::Observe, None),
        (Answer::Propose, Some("Propose")),
        (Answer::Auto, Some("Start")),
    ] {
        let mut world = World::new(&["oslo"], &[binding("stuck", answer)]);
        world.say("oslo-b", "stuck", Standing::Stands, 4 * MINUTE);
        if answer != Answer::Observe {
            assert_eq!(
                world.wait("oslo-b", "stuck"),
                "it has stood for 4m, 5m are asked for"
            );
            assert_eq!(world.react().due_ms, Some(world.now_ms + MINUTE));
        }
        world.now_ms += MINUTE;
        let reactions = world.settle();
        match expected {
            None => assert_eq!(reactions, []),
            Some(word) => {
                assert_eq!(reactions.len(), 1, "{reactions:?}");
                assert!(format!("{:?}", reactions[0]).starts_with(word));
            }
        }
        assert_eq!(world.settle(), [], "once");
    }
}

#[test]
fn what_cannot_be_told_raises_nothing_and_neither_does_another_version() {
    let mut world = auto();
    world.say("oslo-b", "stuck", Standing::CannotTell, HOUR);
    assert_eq!(
        world.wait("oslo-b", "stuck"),
        "cannot tell whether it stands"
    );
    world.say("oslo-b", "stuck", Standing::Stands, HOUR);
    world
        .known
        .bindings
        .get_mut(&name("stuck"))
        .unwrap()
        .version = 2;
    assert!(world.wait("oslo-b", "stuck").contains("version 2 is bound"));
    world.say("oslo-b", "stuck", Standing::Absent, HOUR);
    assert_eq!(world.react(), Answers::default());
}

#[test]
fn nothing_begins_where_a_server_of_the_site_is_in_hand_or_an_agent_away_or_the_site_busy() {
    let mut world = auto();
    world.say("oslo-b", "stuck", Standing::Stands, HOUR);
    let hand = InHand {
        by: "anna".into(),
        why: "new disk".into(),
        since_ms: START,
    };
    let relay: ServerName = name("oslo-a");
    world.known.fleet.get_mut(&relay).unwrap().in_hand = Some(hand);
    assert_eq!(
        world.wait("oslo-b", "stuck"),
        "oslo-a is in the hand of anna: new disk; mailmend agent give-back oslo-a"
    );
    world.known.fleet.get_mut(&relay).unwrap().in_hand = None;
    world.known.fleet.get_mut(&relay).unwrap().connected = false;
    assert!(
        world
            .wait("oslo-b", "stuck")
            .starts_with("the agent of oslo-a is not")
    );
    world.known.fleet.get_mut(&relay).unwrap().connected = true;
    world
        .known
        .busy
        .insert(name("oslo"), Busy { rollout: None });
    assert_eq!(world.wait("oslo-b", "stuck"), "site oslo is busy");
    world.known.busy.clear();
    world
        .known
        .shapes
        .insert((name("stuck"), name("oslo")), Err("no relay".into()));
    assert_eq!(
        world.wait("oslo-b", "stuck"),
        "no plan can be made: no relay"
    );
}

#[test]
fn the_site_goes_to_the_symptom_that_has_stood_longest() {
    let policies = [
        binding("first", Answer::Auto),
        binding("second", Answer::Auto),
    ];
    let mut world = World::new(&["oslo"], &policies);
    world.say("oslo-b", "first", Standing::Stands, HOUR);
    world.say("oslo-b", "second", Standing::Stands, 2 * HOUR);
    assert_eq!(started(&world.settle()), ["second at oslo"]);
    assert!(
        world
            .wait("oslo-b", "first")
            .starts_with("site oslo is busy")
    );
}

#[test]
fn one_rollout_of_a_policy_is_open_at_a_time_unless_more_are_allowed() {
    let mut bound = binding("stuck", Answer::Auto);
    let sites = ["bergen", "oslo", "tromso"];
    for (at_once, expected) in [(1, 1), (2, 2), (9, 3)] {
        bound.throttle.at_once = at_once;
        let mut world = World::new(&sites, &[bound.clone()]);
        for site in sites {
            world.say(&format!("{site}-b"), "stuck", Standing::Stands, HOUR);
        }
        assert_eq!(started(&world.settle()).len(), expected);
        if expected == 1 {
            assert!(
                world
                    .wait("oslo-b", "stuck")
                    .contains("1 rollouts of the policy are open, 1 may")
            );
        }
    }
}

#[test]
fn a_run_after_which_the_symptom_stays_away_and_mail_was_delivered_is_one_after_which_mail_flows() {
    for (delivered, kept, expected) in [
        (40, 0, Effect::MailFlows),
        (0, 0, Effect::CannotTell),
        (40, 3, Effect::CannotTell),
    ] {
        let mut world = auto();
        world.say("oslo-b", "stuck", Standing::Stands, HOUR);
        world.settle();
        world.now_ms += MINUTE;
        world.end("oslo", RunPhase::Succeeded, delivered);
        Arc::make_mut(&mut world.known.history)[0].kept = kept;
        world.say("oslo-b", "stuck", Standing::Absent, 0);
        assert_eq!(world.settle(), []);
        assert!(
            world.react().effects[&world.known.history[0].run].contains("not known yet"),
            "{:?}",
            world.react()
        );
        world.now_ms += 31 * MINUTE;
        world.say("oslo-b", "stuck", Standing::Absent, 31 * MINUTE);
        world.settle();
        assert_eq!(world.known.history[0].effect, Some(expected));
    }
}

#[test]
fn queues_that_moved_are_evidence_and_one_that_did_not_is_none() {
    for (messages, oldest_after_ms, expected) in [
        (4, Some(5 * MINUTE), Effect::MailFlows),
        (0, None, Effect::MailFlows),
        (4, Some(-5 * MINUTE), Effect::CannotTell),
        // In the store: nobody knows how long they have waited.
        (4, None, Effect::CannotTell),
    ] {
        let mut world = auto();
        world.say("oslo-b", "stuck", Standing::Stands, HOUR);
        world.settle();
        world.end("oslo", RunPhase::Succeeded, 0);
        let ended_ms = world.now_ms;
        world.now_ms += 31 * MINUTE;
        world.say("oslo-b", "stuck", Standing::Absent, 31 * MINUTE);
        let queue = QueueWord {
            messages,
            oldest_ms: oldest_after_ms.map_or(0, |after| ended_ms + after),
            at_ms: world.now_ms,
        };
        let server: ServerName = name("oslo-b");
        world.known.fleet.get_mut(&server).unwrap().queues = vec![queue];
        world.settle();
        assert_eq!(
            world.known.history[0].effect,
            Some(expected),
            "{oldest_after_ms:?}"
        );
    }
}

#[test]
fn a_symptom_that_comes_back_doubles_the_rest_and_after_three_runs_a_person_decides() {
    let mut world = auto();
    world
        .known
        .bindings
        .get_mut(&name("stuck"))
        .unwrap()
        .throttle
        .per_server_per_day = 10;
    let mut rests = Vec::new();
    for round in 0..3 {
        world.say("oslo-b", "stuck", Standing::Stands, HOUR);
        assert_eq!(started(&world.settle()).len(), 1, "round {round}");
        world.now_ms += MINUTE;
        world.end("oslo", RunPhase::Succeeded, 40);
        let ended_ms = world.now_ms;
        world.now_ms += MINUTE;
        world.say("oslo-b", "stuck", Standing::Stands, 6 * MINUTE);
        let reactions = world.settle();
        assert_eq!(
            world.known.history[round].effect,
            Some(Effect::CameBack),
            "{reactions:?}"
        );
        if round < 2 {
            let due_ms = world.react().due_ms.unwrap();
            rests.push(due_ms - ended_ms);
            assert!(
                world
                    .wait("oslo-b", "stuck")
                    .contains("in a row did not hold")
            );
            world.now_ms = due_ms;
        }
    }
    assert_eq!(rests, [HOUR, 2 * HOUR]);
    assert_eq!(world.known.proposals.len(), 1);
    assert!(
        world.known.proposals[0]
            .why
            .starts_with("3 runs in a row did not hold"),
        "{:?}",
        world.known.proposals
    );
    assert!(world.wait("oslo-b", "stuck").starts_with("proposed"));
    world.now_ms += 48 * HOUR;
    world.say("oslo-b", "stuck", Standing::Stands, 48 * HOUR);
    assert_eq!(world.settle(), [], "it acts no more by itself");

    // Whoever binds it anew lets it act again.
    let bound_ms = world.now_ms;
    world
        .known
        .bindings
        .get_mut(&name("stuck"))
        .unwrap()
        .bound_ms = bound_ms;
    assert_eq!(started(&world.settle()).len(), 1);
    assert!(world.known.proposals.is_empty());
}

#[test]
fn a_failed_run_did_not_hold_and_one_that_was_not_needed_counts_neither_way() {
    for (phase, rest) in [(RunPhase::Failed, HOUR), (RunPhase::NotNeeded, HOUR / 2)] {
        let mut world = auto();
        world.say("oslo-b", "stuck", Standing::Stands, HOUR);
        world.settle();
        world.end("oslo", phase, 0);
        assert_eq!(world.react().due_ms, Some(world.now_ms + rest), "{phase:?}");
    }
}

#[test]
fn a_proposal_stands_once_lapses_with_its_symptom_and_a_refused_one_is_not_made_again() {
    let mut world = World::new(&["oslo"], &[binding("stuck", Answer::Propose)]);
    world.say("oslo-b", "stuck", Standing::Stands, HOUR);
    world.settle();
    let first = world.known.proposals[0].id;
    assert!(
        world
            .wait("oslo-b", "stuck")
            .contains("mailmend proposal start")
    );
    // What cannot be told for a while neither ends nor repeats it.
    world.say("oslo-b", "stuck", Standing::CannotTell, 0);
    assert_eq!(world.settle(), []);
    world.say("oslo-b", "stuck", Standing::Absent, 0);
    assert_eq!(world.settle(), [Reaction::Lapse { proposal: first }]);
    world.say("oslo-b", "stuck", Standing::Stands, HOUR);
    world.settle();
    world.known.proposals[0].decided = Some(Decided::Refused);
    world.known.proposals[0].by = "anna".into();
    world.now_ms += 24 * HOUR;
    world.say("oslo-b", "stuck", Standing::Stands, 24 * HOUR);
    assert!(world.wait("oslo-b", "stuck").starts_with("anna refused"));
    world.say("oslo-b", "stuck", Standing::Absent, 0);
    assert_eq!(world.settle().len(), 1);
    world.say("oslo-b", "stuck", Standing::Stands, HOUR);
    assert!(matches!(world.settle()[..], [Reaction::Propose { .. }]));
}

#[test]
fn a_throttle_says_when_it_frees_again_and_then_the_symptom_is_answered() {
    let mut world = auto();
    let mut first = None;
    for _ in 0..2 {
        world.say("oslo-b", "stuck", Standing::Stands, HOUR);
        assert_eq!(started(&world.settle()).len(), 1);
        first.get_or_insert(world.now_ms);
        world.end("oslo", RunPhase::NotNeeded, 0);
        world.now_ms += 2 * HOUR;
    }
    world.say("oslo-b", "stuck", Standing::Stands, HOUR);
    let wait = world.wait("oslo-b", "stuck");
    assert!(
        wait.starts_with("2 runs began on server oslo-b within 24 hours, 2 may; again from"),
        "{wait}"
    );
    let due_ms = world.react().due_ms.unwrap();
    assert_eq!(due_ms, first.unwrap() + 24 * HOUR);
    world.now_ms = due_ms;
    world.say("oslo-b", "stuck", Standing::Stands, HOUR);
    assert_eq!(started(&world.settle()).len(), 1);
}

#[test]
fn clocks_that_differ_do_not_make_a_symptom_older_or_younger() {
    let word = |since_ms, looked_ms, heard_ms| Word {
        agent: name("oslo-b"),
        policy: name("stuck"),
        version: 1,
        standing: Standing::Stands,
        since_ms,
        looked_ms,
        heard_ms,
        evidence: Vec::new(),
    };
    // The agent's clock is a day ahead.
    let ahead = word(START + 24 * HOUR, START + 24 * HOUR + MINUTE, START);
    assert_eq!(ahead.age_ms(true, START + MINUTE), 2 * MINUTE);
    assert_eq!(ahead.age_ms(false, START + MINUTE), MINUTE, "nobody looks");
    assert_eq!(
        ahead.age_ms(true, START + 24 * HOUR),
        16 * MINUTE,
        "an agent that says nothing is not believed for ever"
    );
}

/// What may happen in a fleet.
#[derive(Debug, Clone)]
enum Happens {
    Time(i64),
    Says(usize, usize, Standing),
    Hand(usize, bool),
    Away(usize, bool),
    Ends(usize, RunPhase, u64),
    Person(usize),
    Bound(usize, Answer),
}

fn happens() -> impl Strategy<Value = Happens> {
    let standing = prop_oneof![
        2 => Just(Standing::Stands),
        1 => Just(Standing::Absent),
        1 => Just(Standing::CannotTell)
    ];
    let phase = prop_oneof![
        3 => Just(RunPhase::Succeeded),
        1 => Just(RunPhase::Failed),
        1 => Just(RunPhase::NotNeeded),
        1 => Just(RunPhase::Cancelled)
    ];
    let answer = prop_oneof![
        3 => Just(Answer::Auto),
        1 => Just(Answer::Propose),
        1 => Just(Answer::Observe)
    ];
    prop_oneof![
        3 => (MINUTE..6 * HOUR).prop_map(Happens::Time),
        5 => (0..3_usize, 0..2_usize, standing).prop_map(|(s, p, how)| Happens::Says(s, p, how)),
        1 => (0..3_usize, any::<bool>()).prop_map(|(s, how)| Happens::Hand(s, how)),
        1 => (0..3_usize, any::<bool>()).prop_map(|(s, how)| Happens::Away(s, how)),
        4 => (0..3_usize, phase, 0..2_u64).prop_map(|(s, how, n)| Happens::Ends(s, how, n)),
        1 => (0..3_usize).prop_map(Happens::Person),
        1 => (0..2_usize, answer).prop_map(|(p, how)| Happens::Bound(p, how)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_begins_above_a_throttle_or_where_a_server_is_in_hand_whatever_happens(
        all in proptest::collection::vec(happens(), 1..80),
        (per_server, per_site, per_fleet, at_once) in (1..4_u32, 1..4_u32, 1..6_u32, 1..3_u32),
    ) {
        const SITES: [&str; 3] = ["bergen", "oslo", "tromso"];
        const POLICIES: [&str; 2] = ["corrupt", "stuck"];
        let throttle = Throttle {
            per_server_per_day: per_server,
            per_site_per_day: per_site,
            per_fleet_per_day: per_fleet,
            at_once,
            ..Throttle::default()
        };
        let bound = |policy: &str, answer| Binding { throttle, ..binding(policy, answer) };
        let mut world = World::new(&SITES, &POLICIES.map(|policy| bound(policy, Answer::Auto)));
        let mut begun = 0;
        for one in all {
            match one {
                Happens::Time(later) => world.now_ms += later,
                Happens::Says(site, policy, standing) => {
                    world.say(&format!("{}-b", SITES[site]), POLICIES[policy], standing, HOUR);
                }
                Happens::Hand(site, held) => {
                    let server: ServerName = name(&format!("{}-a", SITES[site]));
                    world.known.fleet.get_mut(&server).unwrap().in_hand = held.then(|| InHand {
                        by: "anna".into(),
                        why: "work".into(),
                        since_ms: world.now_ms,
                    });
                }
                Happens::Away(site, away) => {
                    let server: ServerName = name(&format!("{}-b", SITES[site]));
                    world.known.fleet.get_mut(&server).unwrap().connected = !away;
                }
                Happens::Ends(site, phase, delivered) => world.end(SITES[site], phase, delivered),
                Happens::Person(site) => {
                    let site: SiteName = name(SITES[site]);
                    if !world.known.busy.contains_key(&site) {
                        let servers = BTreeSet::from([name(&format!("{site}-b"))]);
                        world.begin(&name("stuck"), &site, servers, false);
                    }
                }
                Happens::Bound(policy, answer) => {
                    let bound_ms = world.now_ms;
                    world.bind(Binding { bound_ms, ..bound(POLICIES[policy], answer) });
                }
            }
            // Every start is held against the throttles when it is carried out.
            begun += started(&world.settle()).len();
        }
        prop_assert!(begun <= world.known.history.len());
    }

    #[test]
    fn the_rest_after_a_run_never_shrinks_with_another_that_did_not_hold(
        settle_ms in 1000..100 * HOUR,
        streak in 0..100_u32,
    ) {
        let (one, more) = (delay(settle_ms, streak), delay(settle_ms, streak + 1));
        prop_assert!(one <= more && settle_ms <= one);
        prop_assert!(more <= settle_ms.max(24 * HOUR));
    }
}
