//! Q168883: a corrupt message ends the IMS each time it comes upon it: event 4037, error 1067.
//!
//! Mail lies in `In` and in `Out` of Server A; some of it, anywhere in both, is bad. With no bad message the
//! IMS hung once for another reason, and the search has to find nothing. The variants:
//!
//! - `crash`: the process ends as it begins to convert the message, or to send its text;
//! - `unlogged`: it ends before the SMTP log has a word of the message;
//! - `named`: event 4182 names the file before the end;
//! - `locked`: the process does not end: it hangs with the file open and locked, and hears no stop;
//! - `flaky`: the message ends the process sometimes;
//! - `watched`: as `crash`, and the agent starts the IMS again by itself, what it may have been sending set aside:
//!   in the others the guard file does not let it;
//! - `store`: the message is in the store's MTS-OUT, so that the IMS dies with an empty spool too.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::bad_mail::{self, Lying};
use super::fleet::Guarded;
use super::ledger::Ledger;
use super::operator::rows;
use super::report::Report;
use super::room::Room;
use super::stage::{LIMIT, Stage};
use super::{Options, Scenario};
use crate::awaited;
use crate::fault::{BadMessage, Effect, Faults, Place};
use crate::lab_error::LabError;
use crate::load::{Begins, Submission};
use crate::programs::Programs;
use crate::server_dir::{Direction, spooled};
use crate::truth::Told;
use crate::world::Server;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "corrupt-message",
    article: "Q168883",
    about: "the IMS dies each time it reads a corrupt message in its spool",
    policy: "corrupt-message",
    variants: &[
        "crash", "unlogged", "named", "locked", "flaky", "store", "watched",
    ],
    bad: 1,
    room: |options| Box::new(CorruptMessage::new(options)),
};
/// When mail counts as stuck: as the policy says, in time of life.
const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);

struct CorruptMessage {
    effect: Effect,
    named: bool,
    in_store: bool,
    watched: bool,
    bad: usize,
    late: usize,
    /// The bad messages.
    culprits: Vec<Submission>,
    found: Searches,
}

/// What the searches of all runs came to, as `mailmend run show` tells it.
#[derive(Debug, Clone, Default)]
struct Searches {
    restarts: u64,
    /// None where a search ended without a finding, or is not over.
    bound: Option<u64>,
    information: u64,
    crashes: u64,
    /// Each search by itself: the queues are searched apart.
    parts: Vec<Value>,
}

impl CorruptMessage {
    fn new(options: &Options) -> Self {
        let variant = options.variant.as_deref().unwrap_or("crash");
        Self {
            effect: match variant {
                "unlogged" => Effect::CrashUnlogged,
                "locked" => Effect::Hang,
                "flaky" => Effect::Crash { percent: 50 },
                _ => Effect::Crash { percent: 100 },
            },
            named: variant == "named",
            in_store: variant == "store",
            watched: variant == "watched",
            bad: options.bad.unwrap_or(SCENARIO.bad),
            late: (options.messages / 10).min(5),
            culprits: Vec::new(),
            found: Searches::default(),
        }
    }

    fn bad_at(&self, place: Place) -> BadMessage {
        BadMessage {
            place,
            effect: self.effect,
            named: self.named,
        }
    }

    /// The mail of a server: every second message is inbound; of several bad ones, some are in each
    /// direction.
    fn mail(&self, seed: u64, count: usize, bad: usize) -> Vec<Lying> {
        let inbound_first = seed.is_multiple_of(2);
        let inbound = count / 2;
        let bad_inbound = (bad + usize::from(inbound_first)) / 2;
        let bad_inbound = if self.in_store {
            0
        } else {
            bad_inbound.min(inbound)
        };
        let bad_outbound = bad - bad_inbound;
        let mut bad_in = bad_mail::drawn(seed, inbound, bad_inbound).into_iter();
        let mut bad_out = bad_mail::drawn(seed + 1, count - inbound, bad_outbound).into_iter();
        (0..count)
            .map(|number| {
                let (mut begins, bad) = if number % 2 == 1 {
                    (Begins::Received, bad_in.next())
                } else {
                    (Begins::Converted, bad_out.next())
                };
                let bad = bad.unwrap_or_default();
                if bad && self.in_store {
                    begins = Begins::Sent;
                }
                Lying {
                    begins,
                    bad: bad.then(|| self.bad_at(bad_mail::place(begins))),
                }
            })
            .collect()
    }
}

impl Room for CorruptMessage {
    fn guard(&self, _server: &Server, _programs: &Programs) -> Guarded {
        Guarded {
            watchdog: self.watched,
            ..Guarded::default()
        }
    }

    fn break_site(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let options = stage.options;
        let factor = stage.world.spec.clock_factor;
        let waited = if options.waited_before {
            factor.shorten(STUCK_AFTER + STUCK_AFTER / 5)
        } else {
            Duration::ZERO
        };
        let since = SystemTime::now() - waited;
        let first = options.messages - self.late;
        for site in 0..options.sites {
            let share = |all: usize| all / options.sites + usize::from(site < all % options.sites);
            let (server, count) = (stage.both_way(site), share(first));
            let mail = self.mail(
                options.seed + site as u64,
                count,
                share(self.bad).min(count),
            );
            if self.bad == 0 {
                let faults = Faults {
                    hangs_at_start: Some(1),
                    ..Faults::default()
                };
                faults.write(&stage.world.servers[server].dir)?;
            }
            let sent = bad_mail::lay(stage, server, &mail, since)?;
            let bad = mail
                .iter()
                .zip(sent)
                .filter(|(lying, _)| lying.bad.is_some());
            self.culprits.extend(bad.map(|(_, sent)| sent));
        }
        Ok(())
    }

    fn await_symptom(&mut self, stage: &mut Stage<'_>) -> Result<usize, LabError> {
        let factor = stage.world.spec.clock_factor;
        let too_long = factor.shorten(STUCK_AFTER);
        awaited::or_fail("the symptom", too_long + LIMIT, || {
            let ill = |server: &Server| match self.watched {
                // The agent may have mended it before anybody looks.
                true => bad_mail::events(&server.dir, &[4037]).is_ok_and(|events| events > 0),
                false => ill(server, too_long),
            };
            stage.interrupted() || stage.both_ways().all(ill)
        })?;
        stage.check_interrupted()?;
        Ok(stage.waiting()?.max(self.culprits.len()))
    }

    fn late(&self) -> usize {
        self.late
    }

    fn send_late(&mut self, stage: &mut Stage<'_>, left: usize) -> Result<(), LabError> {
        stage.send(stage.both_way(0) + left % stage.servers().len(), None)
    }

    fn ill(&self) -> Direction {
        Direction::Both
    }

    fn still_ill(&self, stage: &Stage<'_>) -> Result<bool, LabError> {
        let factor = stage.world.spec.clock_factor;
        let too_long = factor.shorten(STUCK_AFTER);
        Ok(stage.both_ways().any(|server| ill(server, too_long)))
    }

    fn rests_with(&self) -> Option<&'static str> {
        self.in_store.then_some("`start-empty`")
    }

    fn service_can_run(&self) -> bool {
        !self.in_store
    }

    fn ask(&mut self, stage: &mut Stage<'_>, runs: &[String]) -> Result<(), LabError> {
        for run in runs {
            let shown = stage.fleet()?.ask(&["run", "show", run])?;
            self.found.add(&shown);
        }
        Ok(())
    }

    fn report(
        &mut self,
        _stage: &mut Stage<'_>,
        _told: &[Told],
        ledger: &Ledger,
        report: &mut Report,
    ) -> Result<(), LabError> {
        let found = &self.found;
        report.bad = self.culprits.len();
        report.search_restarts = Some(found.restarts);
        report.restarts_bound = found.bound;
        report.restarts_information = Some(found.information);
        // What was in flight when the service died is in doubt, and is not given to the search.
        let named = |culprit: &&Submission| ledger.accounts_for(culprit.spool_name.as_str());
        let named = self.culprits.iter().filter(named).count();
        let mut extra =
            |name: &str, value: u64| report.extras.insert(name.to_owned(), value.into());
        extra("culprits_named", named as u64);
        extra("search_crashes", found.crashes);
        extra("may_be_sent_twice", ledger.twice.len() as u64);
        let parts = Value::Array(found.parts.clone());
        report.extras.insert("searches".to_owned(), parts);
        Ok(())
    }

    fn against(&self, report: &Report) -> Vec<String> {
        let mut against = Vec::new();
        let innocent = report.poison.saturating_sub(self.culprits.len());
        if innocent > 0 {
            against.push(format!("{innocent} innocent message(s) are called poison"));
        }
        let Searches {
            restarts, bound, ..
        } = self.found;
        if let Some(bound) = bound.filter(|bound| restarts > *bound) {
            against.push(format!(
                "the search took {restarts} restarts, more than its bound {bound}"
            ));
        }
        against
    }
}

impl Searches {
    /// Adds what `mailmend run show` says of the searches of a run.
    fn add(&mut self, run: &Value) {
        let whole = &run["search"];
        if !whole.is_object() {
            return;
        }
        let number = |name: &str| whole[name].as_u64();
        let bound = number("restarts_bound");
        self.bound = match (self.parts.is_empty(), self.bound) {
            (true, _) => bound,
            (false, before) => before.zip(bound).map(|(before, bound)| before + bound),
        };
        self.restarts += number("restarts").unwrap_or_default();
        self.information += number("restarts_information").unwrap_or_default();
        self.crashes += number("crashes").unwrap_or_default();
        for step in rows(&run["steps"]) {
            if let Some(search) = step["search"].as_object() {
                let mut part = search.clone();
                part.insert("server".to_owned(), step["server"].clone());
                part.insert("step".to_owned(), step["id"].clone());
                self.parts.push(json!(part));
            }
        }
    }
}

/// Whether event 4037 stands, and the IMS is down or mail waits too long.
fn ill(server: &Server, too_long: Duration) -> bool {
    let events = bad_mail::events(&server.dir, &[4037]).unwrap_or_default();
    let now = SystemTime::now();
    let waited = |written| now.duration_since(written).is_ok_and(|age| age > too_long);
    let files = [server.dir.inbound(), server.dir.outbound()];
    let waits = files
        .iter()
        .filter_map(|folder| spooled(folder).ok())
        .flatten()
        .any(|file| waited(file.written));
    events > 0 && (waits || !server.ims_runs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_search_says_at_its_end_is_counted() {
        let search = |restarts, bound: Option<u64>, information| {
            json!({"messages": 9, "poison": 1, "restarts": restarts, "restarts_bound": bound,
                "restarts_information": information, "crashes": 2, "may_be_sent_twice": 0})
        };
        let run = |whole: Value| {
            json!({"search": whole, "steps": [
                {"id": "stop-ims", "server": "a", "search": null},
                {"id": "search-inbound", "server": "a", "search": search(1, Some(4), 0)},
                {"id": "search-outbound", "server": "a", "search": search(3, Some(9), 4)},
            ]})
        };
        let mut found = Searches::default();
        found.add(&json!({"search": null, "steps": []}));
        found.add(&run(search(4, Some(13), 5)));
        assert_eq!(
            (found.restarts, found.bound, found.information),
            (4, Some(13), 5)
        );
        assert_eq!((found.parts.len(), found.crashes), (2, 2));
        assert_eq!(found.parts[1]["step"], "search-outbound");
        found.add(&run(search(2, None, 5)));
        assert_eq!((found.restarts, found.bound), (6, None), "one has no bound");
        found.add(&run(search(2, Some(5), 5)));
        assert_eq!(found.bound, None);
    }

    #[test]
    fn several_bad_messages_are_in_both_directions_and_of_one_the_seed_decides() {
        let room = CorruptMessage::new(&Options::default());
        let bad = |seed, bad| {
            let mail = room.mail(seed, 40, bad);
            let of = |begins| {
                let of = |one: &&Lying| one.begins == begins && one.bad.is_some();
                mail.iter().filter(of).count()
            };
            (of(Begins::Received), of(Begins::Converted))
        };
        assert_eq!((bad(1, 0), bad(1, 1), bad(2, 1)), ((0, 0), (0, 1), (1, 0)));
        assert_eq!((bad(1, 5), bad(2, 5)), ((2, 3), (3, 2)));
    }
}
