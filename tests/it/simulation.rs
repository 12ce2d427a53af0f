//! Whole fleets, simulated: the controller's real decisions against real agents on simulated machines, in a
//! network that parts, loses, repeats and delays, with agents, machines and the controller dying. After every
//! event the invariants of `SAFETY.md` are checked.
//!
//! `MAILMEND_SIM_SEED=N cargo nextest run -p mailmend-lab simulation` plays only that seed of each storm and
//! writes its trace to the test's output.

use std::collections::BTreeSet;
use std::time::Duration;

use mailmend::mail_flow::FACT;
use mailmend::planning::{Overrides, planned};
use mailmend::simulation::{
    Agents, AgentsFault, Ending, Odds, Outcome, People, Program, Setup, Weather, generated,
    simulate,
};
use mailmend::store::PolicyRow;
use mailmend_agent::simulation::Servers;
use mailmend_lab::programs::Programs;
use mailmend_policy::plan::Server;
use mailmend_policy::{library, parse};
use mailmend_proto::wire;

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");

/// Agents in this process.
struct Here(Servers);

impl Agents for Here {
    fn answer(
        &mut self,
        request: wire::SimulationRequest,
    ) -> Result<wire::SimulationAnswer, AgentsFault> {
        Ok(self.0.answer(request))
    }
}

fn played(setup: &Setup) -> Outcome {
    simulate(setup, &mut Here(Servers::new())).unwrap()
}

/// A fleet, a strategy and what goes wrong.
struct Storm {
    policy: &'static str,
    servers: u32,
    sites: u32,
    strategy: &'static str,
    odds: Odds,
    weather: Weather,
    people: People,
    /// What every server that only sends states of address spaces.
    spaces: Option<&'static str>,
    seeds: std::ops::Range<u64>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Storm {
    fn new(policy: &'static str) -> Self {
        Self {
            policy,
            servers: 8,
            sites: 4,
            strategy: "sites_at_once = 2\nmax_failed = \"100%\"",
            odds: Odds {
                affected: 0.6,
                messages: 6,
                within: 20 * MINUTE,
                ..Odds::default()
            },
            weather: Weather {
                within: 20 * MINUTE,
                ..Weather::default()
            },
            people: People {
                resume: true,
                ..People::default()
            },
            spaces: None,
            seeds: 0..1,
        }
    }

    fn setup(&self, seed: u64) -> Setup {
        let source = library::find(self.policy).unwrap();
        let policy = parse::parse(&source).unwrap_or_else(|faults| panic!("{faults}"));
        let version = if self.policy == "sent-not-removed" {
            "5.5.1960.3"
        } else {
            "5.0.1460.8"
        };
        let actions: BTreeSet<String> = mailmend_agent::step::SUPPORTED
            .iter()
            .map(|one| (*one).to_owned())
            .collect();
        let mut servers = generated(self.servers, self.sites, version, &actions).unwrap();
        let outbound = |one: &&mut Server| one.labels["ims.direction"] == "outbound";
        for server in servers.iter_mut().filter(outbound) {
            let spaces = self
                .spaces
                .map(|spaces| (FACT.to_owned(), spaces.to_owned()));
            server.labels.extend(spaces);
        }
        let revision = PolicyRow {
            name: policy.name,
            version: policy.version,
            digest: source.digest(),
            title: policy.title,
            article: policy.source.article,
            text: source.bytes().to_vec(),
            published_ms: 0,
            by: "test".into(),
        };
        let overrides = Overrides {
            strategy: self.strategy.as_bytes(),
            ..Overrides::default()
        };
        let planned = planned(&revision, "site", &overrides, &servers).unwrap();
        Setup {
            seed,
            revision,
            planned,
            servers,
            odds: self.odds.clone(),
            weather: self.weather.clone(),
            people: self.people.clone(),
            healed_after: Some(90 * MINUTE),
            longest: Duration::from_secs(14 * 86_400),
            broken: Vec::new(),
            traced: only().is_some(),
        }
    }

    /// Plays every seed; none may break anything. What was simulated in all.
    fn blows(&self) -> Tally {
        let (mut tally, mut broken) = (Tally::default(), Vec::new());
        let seeds: Vec<u64> =
            only().map_or_else(|| self.seeds.clone().collect(), |seed| vec![seed]);
        for seed in seeds {
            let outcome = played(&self.setup(seed));
            if only().is_some() {
                println!("{}", outcome.trace.join("\n"));
            }
            let ended = matches!(
                outcome.ending,
                Ending::Succeeded | Ending::Failed | Ending::Aborted
            );
            if !ended || !outcome.broken.is_empty() {
                broken.push(told(self.policy, &outcome));
            }
            tally.add(&outcome);
        }
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        tally
    }
}

/// The one seed that is asked for.
fn only() -> Option<u64> {
    std::env::var("MAILMEND_SIM_SEED")
        .ok()
        .map(|seed| seed.parse().expect("MAILMEND_SIM_SEED is a number"))
}

/// What broke, and how to see it again.
fn told(policy: &str, outcome: &Outcome) -> String {
    format!(
        "`{policy}`, seed {}: {:?}, {}: {:?}\nagain: MAILMEND_SIM_SEED={} cargo nextest run -p mailmend-lab simulation",
        outcome.seed, outcome.ending, outcome.why, outcome.broken, outcome.seed
    )
}

#[derive(Default)]
struct Tally {
    hours: f64,
    counts: std::collections::BTreeMap<String, u64>,
    succeeded: u32,
    duplicates: u64,
    messages: u64,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.hours += outcome.duration_ms as f64 / 3_600_000.0;
        self.succeeded += outcome.runs.get("succeeded").copied().unwrap_or(0);
        self.messages += outcome.messages.0;
        self.duplicates += outcome.messages.2;
        for (what, count) in &outcome.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
    }

    fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// In calm weather a rollout is over when its work is: nobody may take hours for granted.
    fn tell(&self) {
        eprintln!(
            "{:.0} fleet hours, {} runs succeeded, {} messages, {} named duplicates, {:?}",
            self.hours, self.succeeded, self.messages, self.duplicates, self.counts
        );
    }
}

#[test]
fn in_calm_weather_every_affected_site_is_mended_and_no_other_is_touched() {
    for policy in ["stuck-outbound-routing", "corrupt-message", "stuck-message"] {
        let mut storm = Storm::new(policy);
        storm.seeds = 0..3;
        let tally = storm.blows();
        tally.tell();
        assert!(tally.succeeded > 0, "{policy}");
        // A search may send a message twice, and names it.
        let searches = policy == "corrupt-message";
        assert!(searches || tally.duplicates == 0, "{policy}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another_one() {
    let mut storm = Storm::new("stuck-outbound-routing");
    storm.weather.loses = 0.02;
    storm.odds.crashing = 0.5;
    let hash = |seed| played(&storm.setup(seed)).trace_hash;
    assert_eq!(hash(3), hash(3));
    assert_ne!(hash(3), hash(4));
}

#[test]
fn the_agents_program_gives_the_same_trace_as_agents_in_this_process() {
    let programs = Programs::built_beside(LAB.as_ref()).unwrap();
    let mut storm = Storm::new("stuck-outbound-routing");
    storm.weather.repeats = 0.1;
    storm.odds.crashing = 0.5;
    let setup = storm.setup(11);
    let mut there = Program::start(&programs.agent).unwrap();
    let there = simulate(&setup, &mut there).unwrap();
    assert_eq!(there.trace_hash, played(&setup).trace_hash);
    assert!(there.broken.is_empty(), "{}", told(storm.policy, &there));
}

#[test]
fn a_world_broken_on_purpose_is_noticed_and_the_seed_is_told_with_the_command_that_repeats_it() {
    let storm = Storm::new("stuck-outbound-routing");
    for way in ["lose-mail", "deliver-twice"] {
        let mut setup = storm.setup(5);
        setup.broken = vec![way.to_owned()];
        let outcome = played(&setup);
        let first = outcome.broken.first().expect("it is noticed");
        assert!(first.contains("I1: "), "{way}: {first}");
        let told = told(storm.policy, &outcome);
        assert!(
            told.contains("MAILMEND_SIM_SEED=5 cargo nextest run"),
            "{told}"
        );
        // The same seed without what was broken is whole.
        assert!(played(&storm.setup(5)).broken.is_empty());
    }
}

/// Everything at once, while the work is done and for hours after it.
fn heavy(policy: &'static str) -> Storm {
    let calm = Storm::new(policy);
    Storm {
        servers: 6,
        sites: 3,
        strategy: "waves = [\"1 site\", \"100%\"]\nsoak = \"20h\"\ngate = \"health\"\nsites_at_once = 2\nmax_failed = \"50%\"",
        odds: Odds {
            failing: 0.15,
            refusing: 0.03,
            unreachable: 0.03,
            slow: 0.1,
            crashing: 0.5,
            losing_power: 0.1,
            jumping: 0.2,
            within: 15 * MINUTE,
            ..calm.odds
        },
        weather: Weather {
            loses: 0.02,
            repeats: 0.05,
            reorders: 0.05,
            partitions: 2,
            deaths: 2,
            jumps: 1,
            within: 15 * MINUTE,
            ..calm.weather
        },
        ..calm
    }
}

/// The storms that make up the suite's fleet hours, each with the hours that it has at least.
const HOURS: [(&str, f64); 4] = [
    ("routing", 1000.0),
    ("corrupt", 500.0),
    ("stuck", 400.0),
    ("spread", 200.0),
];

fn lasts(storm: &str, tally: &Tally) {
    tally.tell();
    let (_, least) = HOURS.iter().find(|(name, _)| *name == storm).unwrap();
    // One seed on its own is for looking at.
    assert!(
        only().is_some() || tally.hours >= *least,
        "only {:.0} fleet hours",
        tally.hours
    );
}

#[test]
fn the_suite_simulates_two_thousand_fleet_hours() {
    assert!(HOURS.iter().map(|(_, hours)| hours).sum::<f64>() >= 2000.0);
}

#[test]
fn nothing_is_lost_and_everything_ends_in_heavy_weather_with_stuck_routing() {
    let mut storm = heavy("stuck-outbound-routing");
    storm.seeds = 100..170;
    let tally = storm.blows();
    lasts("routing", &tally);
    if only().is_none() {
        for what in [
            "messages lost",
            "messages repeated",
            "messages that may overtake",
            "partitions",
            "deaths of agents",
            "deaths of the controller",
            "clock jumps of the controller",
        ] {
            assert!(tally.count(what) > 0, "no {what}");
        }
        assert!(tally.succeeded > 0);
    }
}

#[test]
fn nothing_is_lost_and_everything_ends_in_heavy_weather_with_corrupt_messages() {
    let mut storm = heavy("corrupt-message");
    (storm.servers, storm.sites, storm.seeds) = (4, 2, 200..240);
    lasts("corrupt", &storm.blows());
}

#[test]
fn nothing_is_lost_and_everything_ends_in_heavy_weather_with_a_stuck_message() {
    let mut storm = heavy("stuck-message");
    (storm.servers, storm.sites, storm.seeds) = (4, 2, 300..340);
    lasts("stuck", &storm.blows());
}

#[test]
fn nothing_is_lost_where_it_goes_wrong_all_day_long() {
    let mut storm = heavy("stuck-outbound-routing");
    storm.seeds = 400..420;
    storm.odds.within = 1200 * MINUTE;
    storm.weather.within = 1200 * MINUTE;
    storm.weather.partitions = 12;
    storm.weather.deaths = 8;
    lasts("spread", &storm.blows());
}

#[test]
fn an_address_space_keeps_a_path_while_all_of_its_servers_are_mended() {
    let mut storm = heavy("stuck-outbound-routing");
    // Two paths, each at a site of its own, and both sites may be at work at once.
    (storm.servers, storm.sites, storm.seeds) = (4, 2, 600..620);
    storm.strategy = "sites_at_once = 2\nmax_failed = \"100%\"";
    storm.spaces = Some("SMTP:*;1");
    (storm.odds.affected, storm.odds.failing) = (1.0, 0.0);
    let tally = storm.blows();
    tally.tell();
    assert!(tally.succeeded > 0);
}

#[test]
fn a_rollout_that_is_aborted_or_paused_in_the_middle_leaves_nothing_half_done() {
    for (pause, abort) in [
        (Some(4 * MINUTE), None),
        (None, Some(3 * MINUTE)),
        (Some(MINUTE), Some(5 * MINUTE)),
    ] {
        let mut storm = heavy("stuck-outbound-routing");
        storm.seeds = 500..504;
        storm.strategy = "sites_at_once = 3\nmax_failed = \"100%\"";
        (storm.people.pause, storm.people.abort) = (pause, abort);
        storm.blows().tell();
    }
}

#[test]
fn sections_begin_only_while_a_window_is_open_for_long_enough() {
    let mut storm = Storm::new("stuck-outbound-routing");
    storm.strategy = "sites_at_once = 4\nmax_failed = \"100%\"\nwindows = [{ days = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"], from = \"22:00\", to = \"02:00\", zone = \"Europe/Oslo\" }]";
    let mut setup = storm.setup(7);
    setup.healed_after = None;
    setup.traced = true;
    let outcome = played(&setup);
    assert!(
        outcome.broken.is_empty(),
        "{}",
        told(storm.policy, &outcome)
    );
    assert_eq!(outcome.ending, Ending::Succeeded, "{}", outcome.why);
    // It begins at midnight UTC, an hour before the window ends in Oslo, which is too short: 21:00 UTC is next.
    let begun = outcome
        .trace
        .iter()
        .find(|line| line.contains("Advance"))
        .expect("something was released");
    assert!(outcome.gates.window > 0, "{begun}");
}

#[test]
fn people_are_asked_before_a_wave_and_a_rollout_that_halts_ends_there_where_nobody_resumes() {
    let mut storm = Storm::new("stuck-outbound-routing");
    storm.strategy = "waves = [\"1 site\", \"100%\"]\napprove = \"each-wave\"\nsites_at_once = 2";
    let mut setup = storm.setup(3);
    setup.healed_after = None;
    let outcome = played(&setup);
    assert_eq!(
        (outcome.ending, outcome.gates.approval),
        (Ending::Succeeded, 2),
        "{}",
        outcome.why
    );
    setup.people.resume = false;
    setup.odds.affected = 1.0;
    setup.odds.failing = 1.0;
    let outcome = played(&setup);
    assert!(
        outcome.broken.is_empty(),
        "{}",
        told(storm.policy, &outcome)
    );
    assert_eq!(outcome.ending, Ending::Halted, "{}", outcome.why);
    assert!(outcome.gates.max_failed > 0 && outcome.failed_before_halt > 0);
}

#[test]
fn people_answer_what_a_policy_asks() {
    let storm = Storm::new("sent-not-removed");
    let mut setup = storm.setup(2);
    setup.healed_after = None;
    let outcome = played(&setup);
    assert!(
        outcome.broken.is_empty(),
        "{}",
        told(storm.policy, &outcome)
    );
    assert!(
        outcome.runs.get("succeeded").copied().unwrap_or(0) > 0,
        "{:?}: {}",
        outcome.runs,
        outcome.why
    );
}
