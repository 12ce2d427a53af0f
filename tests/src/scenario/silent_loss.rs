//! Q157684: the connector of Exchange 4.0 deletes a message without an event or a report.
//!
//! What vanishes is drawn by the seed, and so is its order among mail that comes and goes well. The first
//! has vanished before anybody looks; the others vanish while escrow is on. Only the truth knows which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::ledger::Ledger;
use super::operator::rows;
use super::person::{Answer, Task};
use super::room::Room;
use super::stage::{Draft, LIMIT, Stage};
use super::{Options, Report, Scenario};
use crate::awaited;
use crate::clock_factor::ClockFactor;
use crate::daemon::Daemon;
use crate::fault::{BadMessage, Effect, Faults, Place};
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::server_dir::{Direction, ServerDir};
use crate::smtp_log;
use crate::spool::{self, SpoolMessage};
use crate::tracking_log::{Befell, Record};
use crate::truth::{Fate, Told};
use crate::world::WorldSpec;

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
/// How long an agent has been there before it is held to what it must keep: by then it is told of new files.
const SETTLED_IN: Duration = Duration::from_secs(2);
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
    /// What vanishes and was sent while its agent was there and had been for a while: the server and its agent's
    /// process then.
    attended: BTreeMap<String, (usize, u32)>,
    /// The agents' processes, and since when they are seen.
    agents: BTreeMap<usize, (u32, Instant)>,
    /// Of the attended, those whose agent was there until after they were gone: their copies are demanded.
    demanded: BTreeSet<String>,
    /// When the mail of a server was sent while escrow was on.
    sent: BTreeMap<String, Instant>,
    /// What the reconciliations of all runs list, by run.
    listed: BTreeMap<String, Vec<Value>>,
    /// What had vanished when everything rested, before anything was given back: by the truth.
    gone: Vec<Told>,
    /// What was to vanish and was in the agent's custody by then: the service was killed, and what it may have
    /// handed over was set aside before it could delete it. The ledger names it.
    set_aside: BTreeSet<String>,
    /// What a person ordered to be given back: Message-IDs.
    given_back: BTreeSet<String>,
    /// What was refused to a person who asked for too much.
    refusals: usize,
    /// What stands against the giving back.
    complaints: Vec<String>,
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
            attended: BTreeMap::new(),
            agents: BTreeMap::new(),
            demanded: BTreeSet::new(),
            sent: BTreeMap::new(),
            listed: BTreeMap::new(),
            gone: Vec::new(),
            set_aside: BTreeSet::new(),
            given_back: BTreeSet::new(),
            refusals: 0,
            complaints: Vec::new(),
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
        for server in &stage.world.servers {
            write_past(&server.dir)?;
            faults.write(&server.dir)?;
            // It learns of them at its start.
            server.services().stop(ims::SERVICE, LIMIT)?;
            server.services().start(ims::SERVICE, LIMIT)?;
        }
        Ok(())
    }

    /// Notes which agents are there, and since when.
    fn look_at_agents(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let pids: Vec<Option<u32>> = stage.fleet()?.agents.iter_mut().map(running).collect();
        for (at, pid) in pids.into_iter().enumerate() {
            match pid {
                Some(pid) if self.agents.get(&at).is_some_and(|known| known.0 == pid) => {}
                Some(pid) => drop(self.agents.insert(at, (pid, Instant::now()))),
                None => drop(self.agents.remove(&at)),
            }
        }
        Ok(())
    }

    /// Notes whether the agent that is to keep a copy of this one is there.
    fn attend(&mut self, draft: &Draft) {
        let hash = spool::body_hash(&draft.message.text);
        if let Some((pid, since)) = self.agents.get(&draft.server)
            && self.vanishing.get(&hash) == Some(&true)
            && draft.inbound
            && since.elapsed() >= SETTLED_IN
        {
            self.attended.insert(hash, (draft.server, *pid));
        }
    }

    /// What was attended all the time: a copy of each must be there.
    fn demand(&mut self) {
        let there =
            |(server, pid): &(usize, u32)| self.agents.get(server).is_some_and(|now| now.0 == *pid);
        let all = std::mem::take(&mut self.attended);
        self.demanded.extend(
            all.into_iter()
                .filter(|(_, by)| there(by))
                .map(|(hash, _)| hash),
        );
    }

    /// A person has the server mended, and gives back what vanished: each run's messages by one order, after
    /// orders that ask for what cannot be given.
    fn recover(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        for server in &stage.world.servers {
            // Service Pack 3 is on: the next start of the service, which is the recovery's, deletes nothing.
            let mut faults = Faults::read(&server.dir)?;
            faults.messages.clear();
            faults.write(&server.dir)?;
        }
        for run in self.listed.keys().cloned().collect::<Vec<_>>() {
            let shown = stage.fleet()?.ask(&["run", "reconciled", &run])?;
            let copies: Vec<Value> = rows(&shown["messages"])
                .iter()
                .filter(|row| row["fate"] == "vanished" && row["escrow"].is_string())
                .cloned()
                .collect();
            let taken_up = copies.iter().any(|row| row["custody"].is_string());
            let why = "the service pack is on, and the recipients miss them";
            let all = ["custody", "recover", &run, "--why", why];
            if copies.is_empty() {
                self.is_refused(stage, &all, "C100-nothing-to-recover");
                continue;
            }
            if taken_up {
                // A run that had to be started again found the same messages.
                self.is_refused(stage, &all, "A092-recover-refused");
                continue;
            }
            let offered = format!("mailmend custody recover {run} --why ...");
            if shown["recover"] != offered.as_str() {
                let line = format!(
                    "`run reconciled` says {}, not `{offered}`",
                    shown["recover"]
                );
                self.complaints.push(line);
            }
            let stranger = [&all[..], &["--message", "<nobody@nowhere.example>"]].concat();
            self.is_refused(stage, &stranger, "C100-nothing-to-recover");
            let order = match stage.fleet()?.ask(&all) {
                Ok(order) => order,
                Err(error) => {
                    self.complaints.push(error.whole());
                    continue;
                }
            };
            stage.say(&format!("given back: {}", order["outcome"]));
            self.given_back.extend(
                copies
                    .iter()
                    .filter_map(|row| row["message_id"].as_str())
                    .map(str::to_owned),
            );
            // A second order finds nothing left.
            self.is_refused(stage, &all, "A092-recover-refused");
            let after = stage.fleet()?.ask(&["run", "reconciled", &run])?;
            let gone = rows(&after["messages"])
                .iter()
                .filter(|row| row["custody"] == "gone-with-evidence")
                .count();
            if gone != copies.len() || after["recoverable"] != 0 {
                self.complaints.push(format!(
                    "of {} messages that were given back, {gone} are gone with evidence",
                    copies.len()
                ));
            }
        }
        Ok(())
    }

    fn is_refused(&mut self, stage: &mut Stage<'_>, order: &[&str], code: &str) {
        let answered = stage.fleet().and_then(|fleet| fleet.ask(order));
        match answered {
            Err(error) if error.whole().contains(code) => self.refusals += 1,
            Err(error) => self
                .complaints
                .push(format!("not refused by {code}: {}", error.whole())),
            Ok(answer) => self
                .complaints
                .push(format!("not refused by {code}: {answer}")),
        }
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
    fn world(&self, spec: &mut WorldSpec) {
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
        let servers = stage.world.servers.len();
        for number in 0..stage.options.messages {
            // Server A takes mail and sends, Server B only sends; the servers take turns.
            let turn = number % (servers / 2 * 3);
            let (server, inbound) = (
                turn / 3 * 2 + usize::from(turn % 3 == 2),
                turn.is_multiple_of(3),
            );
            let draft = stage.draft(server, inbound);
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
        let told = stage.world.tell()?;
        Ok(self.vanished(&told).len())
    }

    fn asks(&self) -> bool {
        true
    }

    /// Lets mail run while copies are kept, and then deals with what the run lists.
    fn answer(&mut self, stage: &mut Stage<'_>, task: &Task) -> Result<Option<Answer>, LabError> {
        self.look_at_agents(stage)?;
        if task.step == "let-mail-run" {
            if let Some(sent) = self.sent.get(&task.server) {
                let old_enough = sent.elapsed() > GRACE.1 + STAMPS;
                if old_enough {
                    self.demand();
                }
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
                self.look_at_agents(stage)?;
                self.attend(draft);
                stage.send_draft(draft)?;
            }
            for (at, server) in stage.world.servers.iter().enumerate() {
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

    fn ill(&self) -> Direction {
        Direction::Both
    }

    fn still_ill(&self, _stage: &Stage<'_>) -> Result<bool, LabError> {
        // The version stays what it is: only the service pack mends.
        Ok(false)
    }

    /// Everything rests: what is gone now has vanished. What escrow kept of it is then given back.
    fn ask(&mut self, stage: &mut Stage<'_>, _runs: &[String]) -> Result<(), LabError> {
        for server in &stage.world.servers {
            self.set_aside
                .extend(in_custody(&server.dir.exchsrvr().join("mailmend-held"))?);
        }
        let told = stage.world.tell()?;
        let gone = self.vanished(&told);
        self.gone = gone.into_iter().cloned().collect();
        self.recover(stage)?;
        stage.await_services()?;
        stage.await_rest(REST)?;
        stage.fleet()?.await_reports(LIMIT)
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
        let row = |one: &Told| {
            let ids = [&one.submission.message_id, &one.submission.mts_id];
            listed.iter().copied().find(|row| is_about(row, ids))
        };
        let claimed = |row: &&Value| row["fate"] == "vanished";
        let claims = listed.iter().filter(|row| claimed(row)).count();
        let found = vanished
            .iter()
            .filter_map(|one| row(one))
            .filter(claimed)
            .count();
        let unlisted = vanished.iter().filter(|one| row(one).is_none()).count();
        let recovered = |one: &&&Told| row(one).is_some_and(|row| has_its_bytes(row, one));
        let recovered = vanished.iter().filter(recovered).count();
        let has_copy = |one: &&Told| row(one).is_some_and(|row| has_its_bytes(row, one));
        // Without kills every agent was there all the time.
        let kept = |one: &&&Told| {
            let hash = &one.submission.body_hash;
            self.vanishing.get(hash) == Some(&true)
                && (!self.disturbed || self.demanded.contains(hash))
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
        let ordered = |one: &&&Told| self.given_back.contains(&one.submission.message_id);
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
        extra("recoveries_refused", self.refusals);
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
            unless(
                found == truth,
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
        let recovered = number("recovered");
        unless(
            given == recovered || self.gaps,
            format!("{recovered} copies were found, and {given} messages given back"),
        );
        against.extend(self.complaints.iter().cloned());
        against
    }
}

/// The agent's process, while it runs.
fn running(agent: &mut Daemon) -> Option<u32> {
    agent.runs().then(|| agent.pid()).flatten()
}

/// The bodies that an agent holds in custody, by their hashes: on its disk, whatever it says. Escrow is no custody.
fn in_custody(held: &Path) -> Result<BTreeSet<String>, LabError> {
    let mut found = BTreeSet::new();
    let batches = std::fs::read_dir(held).into_iter().flatten().flatten();
    for batch in batches.filter(|batch| batch.file_name() != "escrow") {
        let files = std::fs::read_dir(batch.path()).into_iter().flatten();
        for file in files.flatten() {
            let bytes = std::fs::read(file.path())
                .attempting(|| format!("read `{}`", file.path().display()))?;
            if let Ok(message) = SpoolMessage::parse(&bytes) {
                found.insert(spool::body_hash(&message.text));
            }
        }
    }
    Ok(found)
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
    Path::new(row["escrow"].as_str()?).file_name()?.to_str()
}

/// Whether the copy that a line names is the message as it was sent.
fn has_its_bytes(row: &Value, one: &Told) -> bool {
    let Some(copy) = row["escrow"].as_str() else {
        return false;
    };
    let read = std::fs::read(copy).ok();
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
