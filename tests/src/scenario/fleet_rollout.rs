//! A fleet: many sites, some of them faulty in several ways at once, mended by rollouts of all policies at the
//! same time, in waves, while agents, controller and mail services are killed.
//!
//! What is wrong at a site, what a person answers there and what a good end is, is the [`Room`](super::Room) of its article,
//! the same that plays it alone; each is turned to its own site. Nothing is wrong at the other sites, whose
//! users send too: they must be as untouched at the end as they were before.

mod course;
mod draw;
mod ending;
mod patient;
mod phase;
mod policies;
mod sum;
mod toll;
mod untouched;
mod users;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::course::Course;
use self::draw::Ill;
use self::patient::Patient;
use self::toll::Toll;
use self::untouched::Before;
use self::users::Users;
use super::fleet::Guarded;
use super::play::{self, Outcome};
use super::stage::Stage;
use super::{Options, Report, SCENARIOS};
use crate::chaos;
use crate::lab_error::LabError;
use crate::programs::Programs;
use crate::truth::Told;
use crate::world::{Server, SiteSpec, WorldSpec};

/// Its name on the command line.
pub const NAME: &str = "fleet";
/// What it is, for people.
pub const ABOUT: &str =
    "many sites, some faulty in several ways at once, mended in waves by all policies";
/// How many sites, how many of them faulty, and how many processes are killed, unless told.
pub const SITES: usize = 20;
/// See [`SITES`].
pub const FAULTY: usize = 7;
/// See [`SITES`].
pub const KILLS: usize = 8;
/// How many messages each site has, unless told.
pub const MESSAGES_EACH: usize = 12;
/// With fewer, some faults have no message to show themselves by.
const FEWEST_MESSAGES_EACH: usize = 8;

/// Within this time the rollouts are disturbed, once all are under way.
const KILL_WINDOW: Duration = Duration::from_secs(15);
/// The time between two messages that users send while the fleet is being mended.
const ARRIVALS: Duration = Duration::from_millis(200);
/// The time between two looks at a site where a person may be asked, and at a rollout.
const LOOKS: Duration = Duration::from_millis(150);
/// The time between two looks of the main loop.
const PAUSE: Duration = Duration::from_millis(20);
/// The time between two writings of `lab.json`.
const CHART: Duration = Duration::from_secs(5);
/// How many sites hand their mail to the same next hop.
const SITES_PER_PEER: usize = 5;

/// Plays it. `say` gets a line for people at each stage.
///
/// # Errors
/// Where that cannot be asked for, or the lab itself fails or is interrupted; what it started is then ended.
pub fn run(
    options: &Options,
    faulty: usize,
    programs: &Programs,
    say: &dyn Fn(&str),
) -> Result<Outcome, LabError> {
    check(options, faulty).map_err(|reason| LabError::Refused {
        attempted: "play a fleet".to_owned(),
        reason,
    })?;
    let begun = Instant::now();
    let ill = draw::faulty(options.seed, options.sites, faulty);
    let of = |site: usize| ill.iter().find(|ill| ill.site == site);
    let wards: Vec<Options> = (0..options.sites)
        .map(|site| draw::ward(options, site, of(site)))
        .collect();
    let sites = (0..options.sites).map(|site| site_spec(options, site, of(site), &wards[site]));
    let mut spec = WorldSpec {
        sites: sites.collect(),
        sites_per_peer: SITES_PER_PEER,
        clock_factor: options.clock_factor,
        platform: options.platform.clone(),
        ..WorldSpec::default()
    };
    if options.kills > 0 {
        spec.peer_latency = play::slow_peer(options.seed);
    }
    say(&format!("bringing up {} sites", options.sites));
    let stage = Stage::build(options, spec, programs, say)?;
    let patients: Vec<Patient<'_>> = ill
        .iter()
        .map(|ill| {
            let name = &stage.world.sites[ill.site].name;
            Patient::new(*ill, name, &wards[ill.site])
        })
        .collect();
    for patient in &patients {
        let Ill {
            scenario, variant, ..
        } = patient.ill;
        let line = format!(
            "{} is faulty: {} ({}), {variant}",
            patient.name, scenario.name, scenario.article
        );
        say(&line);
    }
    let healthy = (0..options.sites).filter(|site| of(*site).is_none());
    let mut play = Play {
        whole: options,
        wards: &wards,
        healthy: healthy.collect(),
        users: Users::new(options.seed),
        courses: Vec::new(),
        patients,
        stage,
        before: BTreeMap::new(),
        toll: Toll::default(),
    };
    let (mut report, told) = play.play(programs)?;
    report.seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    let folder = play.stage.folder.clone();
    Ok(Outcome {
        report,
        told,
        folder,
    })
}

/// Whether that can be asked for.
///
/// # Errors
/// With what is wrong and what to do.
pub fn check(options: &Options, faulty: usize) -> Result<(), String> {
    let sites = options.sites;
    if faulty > sites {
        return Err(format!(
            "{faulty} of {sites} sites cannot be faulty: give `--faulty` at most {sites}, or more `--sites`"
        ));
    }
    if faulty == 0 {
        return Err("with no faulty site nothing is mended: give `--faulty` at least 1".to_owned());
    }
    let fewest = FEWEST_MESSAGES_EACH * sites;
    if options.messages < fewest {
        return Err(format!(
            "{} messages are too few for {sites} sites: give `--messages` at least {fewest}",
            options.messages
        ));
    }
    Ok(())
}

fn site_spec(whole: &Options, site: usize, ill: Option<&Ill>, ward: &Options) -> SiteSpec {
    let Some(ill) = ill else {
        return draw::healthy(whole.seed, site);
    };
    let mut spec = SiteSpec::well();
    (ill.scenario.room)(ward).site(&mut spec);
    spec
}

struct Play<'a> {
    whole: &'a Options,
    wards: &'a [Options],
    /// The indexes of the sites in which nothing is wrong.
    healthy: Vec<usize>,
    users: Users,
    courses: Vec<Course>,
    patients: Vec<Patient<'a>>,
    stage: Stage<'a>,
    /// How each server of the healthy sites was before, by its name.
    before: BTreeMap<String, Before>,
    toll: Toll,
}

impl<'a> Play<'a> {
    fn play(&mut self, programs: &Programs) -> Result<(Report, Vec<Told>), LabError> {
        self.break_sites()?;
        self.stage.turn_to(0, self.whole);
        self.stage.say("starting the controller and the agents");
        let patients = &self.patients;
        let guard = |server: &Server| guard(server, patients, self.whole, programs);
        self.stage.start_fleet(programs, &guard)?;
        for patient in &mut self.patients {
            patient.enter(&mut self.stage);
            patient.symptom_before = patient.room.await_symptom(&mut self.stage)?;
            let line = format!(
                "{}: {} messages are stuck or gone",
                patient.name, patient.symptom_before
            );
            self.stage.say(&line);
        }
        self.stage.turn_to(0, self.whole);
        self.publish()?;
        self.look_at_healthy_sites()?;
        self.mend()?;
        self.settle()?;
        self.account()
    }

    /// Looks how the healthy sites are before any rollout comes to them.
    fn look_at_healthy_sites(&mut self) -> Result<(), LabError> {
        for site in &self.healthy {
            self.stage.turn_to(*site, &self.wards[*site]);
            for server in self.stage.servers() {
                let before = Before::look(server)?;
                self.before.insert(server.name.clone(), before);
            }
        }
        self.stage.turn_to(0, self.whole);
        Ok(())
    }

    /// Users send at healthy sites, and the others break.
    fn break_sites(&mut self) -> Result<(), LabError> {
        for site in &self.healthy {
            self.stage.turn_to(*site, &self.wards[*site]);
            self.users.begin_at(&mut self.stage, *site)?;
        }
        for patient in &mut self.patients {
            patient.enter(&mut self.stage);
            patient.room.break_site(&mut self.stage)?;
            self.users.come_later(patient.ill.site, patient.late);
        }
        self.users.mingle();
        Ok(())
    }

    /// Goes along with all rollouts until the last has ended.
    fn mend(&mut self) -> Result<(), LabError> {
        let begun = Instant::now();
        let until = begun + self.whole.patience;
        let ill: Vec<usize> = self
            .patients
            .iter()
            // Where nobody but a policy may start the service again, killing it is the fault itself.
            .filter(|patient| self.restarted_by_agent(patient))
            .map(|patient| patient.ill.site)
            .collect();
        let count = self.whole.kills;
        let servers = self.stage.world.servers.len();
        let kills = chaos::of_fleet(self.whole.seed, count, KILL_WINDOW, servers, &ill);
        let mut kills = kills.into_iter().peekable();
        let (mut arrival, mut chart) = (begun, begun);
        let mut look = begun;
        let mut disturbed_since: Option<Instant> = None;
        let mut turn = 0;
        while !self.courses.iter().all(Course::is_over) {
            self.stage.check_interrupted()?;
            let now = Instant::now();
            if now > until {
                for course in &mut self.courses {
                    course.give_up(&mut self.stage)?;
                }
                break;
            }
            // From when all rollouts are under way: starting them takes a while on a busy machine.
            if disturbed_since.is_none() && self.courses.iter().all(Course::has_begun) {
                disturbed_since = Some(now);
            }
            let elapsed = disturbed_since.map(|since| since.elapsed());
            while let Some(kill) = kills.next_if(|kill| Some(kill.after) <= elapsed) {
                let killed = self.stage.kill(&kill)?;
                self.toll.note(kill.victim, killed);
            }
            if self.stage.fleet()?.keep()? || now >= chart {
                self.stage.turn_to(0, self.whole);
                self.stage.chart()?;
                chart = Instant::now() + CHART;
            }
            if now >= arrival {
                arrival = now + ARRIVALS;
                self.arrive()?;
            }
            for patient in &mut self.patients {
                patient.enter(&mut self.stage);
                patient.room.meanwhile(&mut self.stage, begun.elapsed())?;
            }
            if now >= look {
                self.look(turn)?;
                turn += 1;
                look = Instant::now() + LOOKS;
            }
            std::thread::sleep(PAUSE);
        }
        while self.users.wait() {
            self.arrive()?;
        }
        self.toll.too_late = kills.count();
        Ok(())
    }

    /// Whether its agents start its mail services again by themselves.
    fn restarted_by_agent(&self, patient: &Patient<'_>) -> bool {
        patient.ill.scenario.name != super::corrupt_message::SCENARIO.name
    }

    /// Looks at one thing after the other: rollouts, and what people are asked.
    fn look(&mut self, turn: usize) -> Result<(), LabError> {
        let both = self.courses.len() + self.patients.len();
        let at = turn % both.max(1);
        match self.courses.get_mut(at) {
            Some(course) => course.look(&mut self.stage, &mut self.patients),
            None => self.patients[at - self.courses.len()].answer(&mut self.stage),
        }
    }

    /// A user sends a message somewhere.
    fn arrive(&mut self) -> Result<(), LabError> {
        let Some(site) = self.users.next() else {
            return Ok(());
        };
        let mut patients = self.patients.iter_mut();
        if let Some(patient) = patients.find(|patient| patient.ill.site == site) {
            patient.late = patient.late.saturating_sub(1);
            patient.enter(&mut self.stage);
            return patient.room.send_late(&mut self.stage, patient.late);
        }
        self.stage.turn_to(site, &self.wards[site]);
        self.users.send(&mut self.stage)
    }
}

/// What the guard file of a server says: every policy comes to every server, so each has the tools of all; what
/// else differs is its own room's.
fn guard(
    server: &Server,
    patients: &[Patient<'_>],
    whole: &Options,
    programs: &Programs,
) -> Guarded {
    let mut tools = BTreeMap::new();
    for scenario in SCENARIOS {
        // Later ones replace earlier ones of the same name: the last imcsave has a place for each saving.
        tools.extend((scenario.room)(whole).guard(server, programs).tools);
    }
    let patient = patients.iter().find(|patient| patient.name == server.site);
    let own = patient.map_or_else(Guarded::default, |patient| {
        patient.room.guard(server, programs)
    });
    Guarded { tools, ..own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_played_is_refused_with_what_to_do() {
        let options = |sites, messages| Options {
            sites,
            messages,
            ..Options::default()
        };
        assert_eq!(check(&options(20, 240), 7), Ok(()));
        assert_eq!(check(&options(7, 240), 7), Ok(()));
        let more = check(&options(7, 240), 9).unwrap_err();
        assert!(
            more.contains("9 of 7") && more.contains("--faulty"),
            "{more}"
        );
        assert!(check(&options(7, 240), 0).is_err());
        let few = check(&options(20, 40), 7).unwrap_err();
        assert!(few.contains("--messages"), "{few}");
    }
}
