//! Q157684: the connector of Exchange 4.0 deletes a message without an event or a report.
//!
//! What vanishes is drawn by the seed, and so is its order among mail that comes and goes well. The first
//! has vanished before anybody looks; the others vanish while escrow is on. Only the truth knows which.

mod giving_back;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use self::giving_back::{GivenBack, in_custody};
use self::watch::Watch;
use super::ledger::Ledger;
use super::operator::rows;
use super::person::{Answer, Task};
use super::room::Room;
use super::stage::{Draft, LIMIT, Stage};
use super::{Options, Report, Scenario};
use crate::awaited;
use crate::clock_factor::ClockFactor;
use crate::fault::{BadMessage, Effect, Faults, Place};
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::platform::wine;
use crate::server_dir::{Direction, ServerDir};
use crate::smtp_log;
use crate::spool::{self, SpoolMessage};
use crate::tracking_log::{Befell, Record};
use crate::truth::{Fate, Told};
use crate::world::SiteSpec;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "silent-loss",
    article: "Q157684",
    about: "the connector of Exchange 4.0 deletes mail without an event or a report",
    policy: "silent-loss",
    variants: &["inbound", "outbound", "gaps"],
    bad: 4,
    room: |options| Box::new(SilentLoss::new(options)),
};
/// Service Pack 2 of 4.0.
const BUILD: &str = "4.0.993";
/// The grace in the shipped policy, and how long it is here in real time: two days would be half an hour
/// even by the lab's clock.
const GRACE: (&str, Duration) = ("grace = \"48h\"", Duration::from_secs(2));
/// Stamps of the records are whole seconds.
const STAMPS: Duration = Duration::from_secs(1);
/// Queues in which nothing has moved for so long rest.
const REST: Duration = Duration::from_secs(2);
/// How far back the servers' own records reach, in days.
const PAST_DAYS: i64 = 5;
/// The number of the SMTP log of the time before.
const PAST_LOG: usize = 50;

struct SilentLoss {
    place: Place,
    gaps: bool,
    disturbed: bool,
    bad: usize,
    /// What was not sent yet.
    drafts: Vec<Draft>,
    /// The hashes of what vanishes, and whether escrow is on by then.
    vanishing: BTreeMap<String, bool>,
    /// Which copies the agents owe.
    watch: Watch,
    /// When the mail of a server was sent while escrow was on.
    sent: BTreeMap<String, Instant>,
    /// What the reconciliations of all runs list, by run.
    listed: BTreeMap<String, Vec<Value>>,
    /// What had vanished when everything rested, before anything was given back: by the truth.
    gone: Vec<Told>,
    /// What was to vanish and was in the agent's custody by then: the service was killed, and what it may have
    /// handed over was set aside before it could delete it. The ledger names it.
    set_aside: BTreeSet<String>,
    /// The hashes of what had vanished by then and has a copy with its bytes.
    copied: BTreeSet<String>,
    /// What a person gave back.
    given: GivenBack,
}

impl SilentLoss {
    fn new(options: &Options) -> Self {
        let variant = options.variant.as_deref().unwrap_or("inbound");
        let outbound = variant == "outbound";
        Self {
            place: if outbound { Place::MtsOut } else { Place::In },
            gaps: variant == "gaps",
            disturbed: options.kills > 0,
            bad: options.bad.unwrap_or(SCENARIO.bad),
            drafts: Vec::new(),
            vanishing: BTreeMap::new(),
            watch: Watch::default(),
            sent: BTreeMap::new(),
            listed: BTreeMap::new(),
            gone: Vec::new(),
            set_aside: BTreeSet::new(),
            copied: BTreeSet::new(),
            given: GivenBack::default(),
        }
    }

    /// Which of the drafts vanish. The last of each way of each server does not: what comes through after
    /// it shows that recording went on.
    fn draw(&self, seed: u64) -> BTreeSet<usize> {
        let way = |draft: &Draft| (draft.server, draft.inbound);
        let mut may: Vec<usize> = (0..self.drafts.len())
            .filter(|&at| self.drafts[at].inbound == (self.place == Place::In))
            .filter(|&at| {
                let later = &self.drafts[at + 1..];
                later.iter().any(|one| way(one) == way(&self.drafts[at]))
            })
            .collect();
        fastrand::Rng::with_seed(seed ^ 0x6c6f_7373).shuffle(&mut may);
        may.into_iter().take(self.bad).collect()
    }

    /// Says to each server what vanishes, and in `gaps` of which message the record is dropped.
    fn break_servers(
        &self,
        stage: &mut Stage<'_>,
        untracked: Option<&str>,
    ) -> Result<(), LabError> {
        let bad = BadMessage {
            place: self.place,
            effect: Effect::Vanish,
            named: false,
        };
        let faults = Faults {
            messages: self
                .vanishing
                .keys()
                .map(|hash| (hash.clone(), bad))
                .collect(),
            untracked: untracked.map(str::to_owned).into_iter().collect(),
            ..Faults::default()
        };
        for server in stage.servers() {
            write_past(&server.dir)?;
            faults.write(&server.dir)?;
            // It learns of them at its start.
            server.services().stop(ims::SERVICE, LIMIT)?;
            server.services().start(ims::SERVICE, LIMIT)?;
        }
        Ok(())
    }

    /// The line of the listings about a message.
    fn row(&self, one: &Told) -> Option<&Value> {
        let ids = [&one.submission.message_id, &one.submission.mts_id];
        let mut listed = self.listed.values().flatten();
        listed.find(|row| is_about(row, ids))
    }

    fn vanished<'t>(&self, told: &'t [Told]) -> Vec<&'t Told> {
        let gone = |one: &&Told| {
            self.vanishing.contains_key(&one.submission.body_hash)
                && !self.set_aside.contains(&one.submission.body_hash)
                && matches!(one.fate, Fate::Lost | Fate::Held)
        };
        told.iter().filter(gone).collect()
    }
}

impl Room for SilentLoss {
    fn site(&self, spec: &mut SiteSpec) {
        BUILD.clone_into(&mut spec.build);
        spec.stale_outbound = false;
        // Q157693: such a file leaves no archival copy. What is kept is the agent's doing alone.
        spec.archive = false;
    }

    fn policy(&self, text: String, factor: ClockFactor) -> Result<String, LabError> {
        let (shipped, real) = GRACE;
        if !text.contains(shipped) {
            return Err(LabError::Malformed {
                what: "the policy `silent-loss`".to_owned(),
                reason: format!("it has no `{shipped}`"),
            });
        }
        let grace = real.as_secs() * u64::from(factor.0);
        Ok(text.replace(shipped, &format!("grace = \"{grace}s\"")))
    }

    fn break_site(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let (first, servers) = (stage.both_way(0), stage.servers().len());
        for number in 0..stage.options.messages {
            // Server A takes mail and sends, Server B only sends; the servers take turns.
            let turn = number % (servers / 2 * 3);
            let (server, inbound) = (
                turn / 3 * 2 + usize::from(turn % 3 == 2),
                turn.is_multiple_of(3),
            );
            let draft = stage.draft(first + server, inbound);
            self.drafts.push(draft);
        }
        let drawn = self.draw(stage.options.seed);
        let first = drawn.first().copied();
        let hash = |at: usize| spool::body_hash(&self.drafts[at].message.text);
        self.vanishing = drawn
            .iter()
            .map(|&at| (hash(at), Some(at) != first))
            .collect();
        let good = |at: &usize| {
            let last = !self.drafts[at + 1..].iter().any(|one| one.inbound);
            self.drafts[*at].inbound && !drawn.contains(at) && !last
        };
        let untracked = (0..self.drafts.len()).rev().find(good).map(hash);
        let untracked = untracked.filter(|_| self.gaps);
        self.break_servers(stage, untracked.as_deref())?;
        let early = first.map_or(0, |at| at + 1);
        for draft in self.drafts.drain(..early) {
            stage.send_draft(&draft)?;
        }
        Ok(())
    }

    fn await_symptom(&mut self, stage: &mut Stage<'_>) -> Result<usize, LabError> {
        awaited::or_fail("the first message to vanish", LIMIT, || {
            stage.interrupted() || stage.waiting().is_ok_and(|waiting| waiting == 0)
        })?;
        stage.check_interrupted()?;
        self.watch.begin(stage)?;
        let told = stage.world.tell()?;
        Ok(self.vanished(&told).len())
    }

    fn asks(&self) -> bool {
        true
    }

    /// Lets mail run while copies are kept, and then deals with what the run lists.
    fn answer(&mut self, stage: &mut Stage<'_>, task: &Task) -> Result<Option<Answer>, LabError> {
        self.watch.look_after(stage)?;
        if task.step == "let-mail-run" {
            if let Some(sent) = self.sent.get(&task.server) {
                let old_enough = sent.elapsed() > GRACE.1 + STAMPS;
                return Ok((old_enough && stage.waiting()? == 0).then(|| Answer {
                    answer: "look".to_owned(),
                    note: String::new(),
                }));
            }
            let servers = &stage.world.servers;
            let Some(server) = servers.iter().position(|one| one.name == task.server) else {
                return Ok(None);
            };
            let all = std::mem::take(&mut self.drafts);
            // Outbound mail needs no copy, so that of the other servers need not wait for their turn.
            let (now, later): (Vec<Draft>, Vec<Draft>) = all
                .into_iter()
                .partition(|draft| draft.server == server || !draft.inbound);
            self.drafts = later;
            for draft in &now {
                // Nobody outside sends to a service that was just killed.
                stage.await_services()?;
                self.watch.look_after(stage)?;
                let hash = spool::body_hash(&draft.message.text);
                let vanishes = draft.inbound && self.vanishing.get(&hash) == Some(&true);
                let agent = self.watch.agent_of(draft.server).filter(|_| vanishes);
                let sent = stage.send_draft(draft)?;
                if let Some(agent) = agent {
                    self.watch.sent(&sent, draft.server, agent);
                }
            }
            for at in stage.server_indexes() {
                let server = &stage.world.servers[at];
                if self.drafts.iter().all(|draft| draft.server != at) {
                    let sent = self.sent.entry(server.name.clone());
                    sent.or_insert_with(Instant::now);
                }
            }
            return Ok(None);
        }
        let all = ["run", "reconciled", &task.run];
        let listed = stage.fleet()?.ask(&all)?;
        let listed = rows(&listed["messages"]).to_vec();
        let missing = listed
            .iter()
            .filter(|one| one["fate"] == "vanished")
            .count();
        let names: Vec<&str> = listed.iter().filter_map(copy_name).collect();
        let note = format!("{missing} vanished; copies: {}", names.join(", "));
        self.listed.insert(task.run.clone(), listed);
        let answer = if missing > 0 {
            "dealt-with"
        } else {
            "none-missing"
        };
        Ok(Some(Answer {
            answer: answer.to_owned(),
            note,
        }))
    }

    fn meanwhile(&mut self, stage: &mut Stage<'_>, _elapsed: Duration) -> Result<(), LabError> {
        self.watch.look_after(stage)
    }

    fn ill(&self) -> Direction {
        Direction::Both
    }

    fn still_ill(&self, _stage: &Stage<'_>) -> Result<bool, LabError> {
        // The version stays what it is: only the service pack mends.
        Ok(false)
    }

    /// Everything rests: what is gone now has vanished. What escrow kept of it is then given back.
    fn ask(&mut self, stage: &mut Stage<'_>, _runs: &[String]) -> Result<(), LabError> {
        for server in stage.servers() {
            self.set_aside
                .extend(in_custody(&server.dir.exchsrvr().join("mailmend-held"))?);
        }
        let told = stage.world.tell()?;
        let gone = self.vanished(&told);
        self.gone = gone.into_iter().cloned().collect();
        // What is given back and delivered needs no copy any more: the agent puts it elsewhere.
        let has_copy = |one: &&Told| self.row(one).is_some_and(|row| has_its_bytes(row, one));
        let hash = |one: &Told| one.submission.body_hash.clone();
        self.copied = self.gone.iter().filter(has_copy).map(hash).collect();
        self.given.recover(stage, self.listed.keys())?;
        stage.await_services()?;
        stage.await_rest(REST)?;
        stage.fleet()?.await_reports(LIMIT)
    }

    /// Its version is the symptom, and only the service pack changes that: a binding is to go on saying so.
    fn symptom_stays(&self) -> bool {
        true
    }

    fn report(
        &mut self,
        _stage: &mut Stage<'_>,
        told: &[Told],
        _ledger: &Ledger,
        report: &mut Report,
    ) -> Result<(), LabError> {
        let gone = std::mem::take(&mut self.gone);
        let vanished: Vec<&Told> = gone.iter().collect();
        let listed: Vec<&Value> = self.listed.values().flatten().collect();
        let row = |one: &Told| self.row(one);
        let claimed = |row: &&Value| row["fate"] == "vanished";
        let claims = listed.iter().filter(|row| claimed(row)).count();
        let found = vanished
            .iter()
            .filter_map(|one| row(one))
            .filter(claimed)
            .count();
        let unlisted = vanished.iter().filter(|one| row(one).is_none()).count();
        let untold = |row: &&Value| row["fate"] == "cannot-tell";
        let untold = vanished.iter().filter_map(|one| row(one)).filter(untold);
        let untold = untold.count();
        let has_copy = |one: &&Told| self.copied.contains(&one.submission.body_hash);
        let recovered = vanished.iter().copied().filter(has_copy);
        let recoverable = |one: &&Told| row(one).is_some_and(|row| claimed(&row));
        let recoverable = recovered.clone().filter(recoverable).count();
        let recovered = recovered.count();
        // Without kills every agent was there all the time.
        let kept = |one: &&&Told| {
            let hash = &one.submission.body_hash;
            self.vanishing.get(hash) == Some(&true) && (!self.disturbed || self.watch.owes(hash))
        };
        let (to_recover, missed) = match self.place {
            Place::In => (
                vanished.iter().filter(kept).count(),
                vanished
                    .iter()
                    .filter(kept)
                    .filter(|one| !has_copy(one))
                    .count(),
            ),
            // No file of it was ever in the spool.
            _ => (0, 0),
        };
        // What was given back, by what the recipients have now.
        let now = |one: &Told| {
            let same = |other: &&Told| other.submission.message_id == one.submission.message_id;
            told.iter().find(same).map(|other| other.fate)
        };
        let ordered = |one: &&&Told| self.given.messages.contains(&one.submission.message_id);
        let given: Vec<Option<Fate>> = vanished
            .iter()
            .filter(ordered)
            .map(|one| now(one))
            .collect();
        let once = given
            .iter()
            .filter(|fate| **fate == Some(Fate::DeliveredOnce))
            .count();
        report.bad = self.vanishing.len();
        // What the server deleted is its defect; whether it is named is judged below.
        let still = |one: &&&Told| now(one) == Some(Fate::Lost);
        report.vanished = vanished.iter().filter(still).count();
        report.lost -= report.vanished;
        let mut extra =
            |name: &str, value: usize| report.extras.insert(name.to_owned(), value.into());
        extra("vanished_truth", vanished.len());
        extra("vanished_found", found);
        extra("vanished_unlisted", unlisted);
        extra("false_claims", claims - found);
        extra("recovered", recovered);
        extra("vanished_cannot_tell", untold);
        extra("recoverable", recoverable);
        extra("to_recover", to_recover);
        extra("without_copy", missed);
        extra(
            "set_aside_before",
            self.vanishing
                .keys()
                .filter(|hash| self.set_aside.contains(*hash))
                .count(),
        );
        extra("given_back", given.len());
        extra("given_back_once", once);
        extra("recoveries_refused", self.given.refusals);
        Ok(())
    }

    fn against(&self, report: &Report) -> Vec<String> {
        let number = |name: &str| report.extras.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (truth, found) = (number("vanished_truth"), number("vanished_found"));
        let mut against = Vec::new();
        let mut unless = |good: bool, why: String| {
            if !good {
                against.push(why);
            }
        };
        let false_claims = number("false_claims");
        unless(
            false_claims == 0,
            format!("{false_claims} message(s) are called vanished and are not"),
        );
        if self.gaps {
            unless(
                found == 0,
                format!("{found} message(s) are called vanished although records were dropped"),
            );
        } else {
            // Where a kill had all later mail set aside, nothing shows that recording went on.
            let untold = number("vanished_cannot_tell");
            let cautious = self.disturbed && number("set_aside_before") > 0;
            unless(
                found == truth || (cautious && found + untold == truth),
                format!("{truth} message(s) vanished, {found} are called so"),
            );
        }
        let unlisted = number("vanished_unlisted");
        unless(
            unlisted == 0,
            format!("{unlisted} message(s) that vanished are named nowhere"),
        );
        // What vanishes while the agent is killed has no copy; what it was there for has.
        let (missed, kept) = (number("without_copy"), number("to_recover"));
        unless(
            missed == 0,
            format!(
                "of {kept} message(s) that vanished while copies were kept, {missed} have none"
            ),
        );
        let (given, once) = (number("given_back"), number("given_back_once"));
        unless(
            given == once,
            format!("of {given} message(s) that were given back, {once} have arrived once"),
        );
        let recoverable = number("recoverable");
        unless(
            given == recoverable,
            format!("{recoverable} copies could be given back, and {given} were"),
        );
        against.extend(self.given.complaints.iter().cloned());
        against
    }
}

/// Whether a line of the listing is about the message with one of these ids; they are written in the way
/// of the records.
fn is_about(row: &Value, ids: [&String; 2]) -> bool {
    let plain = |id: &str| id.replace(';', "%").replace(' ', "_").to_ascii_lowercase();
    [&row["message_id"], &row["mts_id"]]
        .into_iter()
        .filter_map(Value::as_str)
        .any(|own| {
            ids.iter()
                .any(|id| !id.is_empty() && plain(id) == plain(own))
        })
}

/// The name of the copy that a line of the listing names.
fn copy_name(row: &Value) -> Option<&str> {
    // As the agent writes it, which may be on Windows.
    row["escrow"].as_str()?.rsplit(['/', '\\']).next()
}

/// Whether the copy that a line names is the message as it was sent.
fn has_its_bytes(row: &Value, one: &Told) -> bool {
    let Some(copy) = row["escrow"].as_str() else {
        return false;
    };
    let read = std::fs::read(wine::here(copy)).ok();
    let message = read.and_then(|bytes| SpoolMessage::parse(&bytes).ok());
    message.is_some_and(|message| {
        spool::body_hash(&message.text) == one.submission.body_hash
            && message.recipients == one.submission.recipients
    })
}

/// The server was there before the lab: it has records of earlier days.
fn write_past(server: &ServerDir) -> Result<(), LabError> {
    let now = Timestamp::now();
    let day = SignedDuration::from_hours(24);
    for days in 1..=PAST_DAYS {
        let at = now - day * i32::try_from(days).unwrap_or(i32::MAX);
        let recipients = ["ada@contoso.example".to_owned()];
        let record = Record {
            befell: Befell::GatewayIn,
            mts_id: &format!("c=US;a= ;p=Contoso;l=PAST{days}"),
            partner: "",
            message_id: &format!("<{days}@past.example>"),
            spool_name: &format!("PAST000{days}"),
            originator: "bjarne@example.net",
            bytes: 1,
            recipients: &recipients,
        };
        let name = at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d.log");
        let path = server.tracking().join(name.to_string());
        std::fs::write(&path, record.lines(at))
            .attempting(|| format!("write `{}`", path.display()))?;
    }
    let then = now - day * i32::try_from(PAST_DAYS).unwrap_or(i32::MAX);
    let path = server.log().join(format!("L{PAST_LOG:07}.LOG"));
    let attempted = || format!("write `{}`", path.display());
    std::fs::write(&path, smtp_log::line(then, "<<< QUIT")).attempting(attempted)?;
    std::fs::File::options()
        .append(true)
        .open(&path)
        .and_then(|file| file.set_modified(SystemTime::from(then)))
        .attempting(attempted)
}
