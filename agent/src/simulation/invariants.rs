//! What must hold on one server after everything that happens to it: the invariants of `SAFETY.md` that one
//! server can be held to. Pure: what the world says and what the journal says are arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{Custody, Event, Record, RunId, ServiceChange};

use crate::host::simulated::{Account, Balance};

/// How much longer than its budget service may be down: the exit's own start, and what a death of the agent
/// in it costs.
pub const SLACK: Duration = Duration::from_secs(120);

/// What the journal says of the files that are or were in custody: the states of each name, over all batches.
pub type Kept = BTreeMap<String, Vec<Custody>>;

/// What the agent has said may have been delivered twice.
#[derive(Debug, Default)]
pub struct Named {
    /// The names of files.
    files: BTreeSet<String>,
    /// What was said of messages that a service sent again by itself, by their ids.
    texts: Vec<String>,
}

impl Named {
    fn has(&self, account: &Account) -> bool {
        let ids = [&account.message_id, &account.mts_id];
        let said = |text: &String| ids.iter().any(|id| text.contains(id.as_str()));
        self.files.contains(&account.spool_name) || self.texts.iter().any(said)
    }
}

/// I1: no message is nowhere, none was altered, none was delivered twice without being named. `yet`: whether
/// the agent has had the time to name what the service sent again by itself when the machine started.
pub fn conservation(
    balance: &Balance,
    kept: &Kept,
    named: &Named,
    yet: bool,
    found: &mut Vec<String>,
) {
    for account in &balance.accounts {
        let name = &account.spool_name;
        let states = kept.get(name).map_or(&[][..], Vec::as_slice);
        if account.is_lost() {
            found.push(format!("I1: `{name}` is lost; custody says {states:?}"));
        }
        if !account.altered.is_empty() {
            found.push(format!(
                "I1: bytes of `{name}` changed: {:?}",
                account.altered
            ));
        }
        let doubt = states.contains(&Custody::InDoubt);
        if account.delivered > 1 && !doubt && yet && !named.has(account) {
            found.push(format!(
                "I1: `{name}` was delivered {} times and is not named",
                account.delivered
            ));
        }
    }
    for (name, states) in kept {
        if balance.by_spool_name(name).is_none() {
            found.push(format!(
                "I1: custody of `{name}`, which never was: {states:?}"
            ));
        }
    }
}

/// I1, where nothing is on its way: each message in custody is where its state says, in one place.
pub fn custody(balance: &Balance, kept: &Kept, named: &Named, found: &mut Vec<String>) {
    for account in &balance.accounts {
        let name = &account.spool_name;
        for state in kept.get(name).map_or(&[][..], Vec::as_slice) {
            if let Some(what) = misplaced(account, *state, named.has(account)) {
                found.push(format!(
                    "I1: `{name}` is `{}` and {what}: delivered {}, live {:?}, elsewhere {:?}",
                    state.name(),
                    account.delivered,
                    account.live,
                    account.elsewhere
                ));
            }
        }
        if account.live.len() > 1 {
            found.push(format!(
                "I1: `{name}` is in its queue twice: {:?}",
                account.live
            ));
        }
    }
}

fn misplaced(account: &Account, state: Custody, named: bool) -> Option<&'static str> {
    let (live, held) = (!account.live.is_empty(), !account.elsewhere.is_empty());
    match state {
        Custody::Held if !held => Some("held nowhere"),
        Custody::Held if live => Some("in its queue"),
        Custody::Held if account.delivered > 0 && !named => Some("was delivered, and is not named"),
        Custody::GoneWithEvidence if account.delivered == 0 => Some("was never delivered"),
        Custody::GoneWithEvidence if live => Some("may be sent again"),
        Custody::Replaying if !live && account.delivered == 0 => {
            Some("neither in its queue nor delivered")
        }
        Custody::InDoubt if live => Some("in its queue"),
        _ => None,
    }
}

/// What is remembered of a journal to judge its next records.
#[derive(Debug, Default)]
pub struct Memory {
    fence: u64,
    run_fences: BTreeMap<RunId, u64>,
    intended: BTreeSet<(RunId, u32, u32)>,
    placed: BTreeMap<(RunId, String, u32), u32>,
    open: BTreeMap<RunId, u32>,
    ended: BTreeSet<(RunId, u32)>,
    /// The last change of a service that an agent made, and whether a person was called since.
    pub last_change: Option<ServiceChange>,
    /// Whether an alarm was raised since that change.
    pub alarmed: bool,
    /// Starts in the order of their records.
    pub starts: u32,
    /// The budget of the section that was opened last.
    pub budget: Duration,
    /// What is named as perhaps delivered twice.
    pub named: Named,
    batches: BTreeMap<(RunId, String), Vec<String>>,
}

impl Memory {
    #[expect(
        clippy::collapsible_match,
        reason = "what is remembered is changed inside the arm, not in its guard"
    )]
    /// I3, I5, I6 and I9, over the next record.
    pub fn take(&mut self, record: &Record, service: &ServiceName, found: &mut Vec<String>) {
        let run = record.run;
        match &record.event {
            Event::Admitted { fence, .. } => {
                if *fence <= self.fence {
                    found.push(format!(
                        "I6: run {run} was taken on with fence {fence} after {}",
                        self.fence
                    ));
                }
                self.fenced(run, *fence, found);
            }
            Event::Advanced { fence, .. }
            | Event::Fenced { fence }
            | Event::UnwindOrdered { fence, .. } => {
                self.fenced(run, *fence, found);
            }
            Event::StepIntended { step, attempt } => {
                if !self.intended.insert((run, *step, *attempt)) {
                    found.push(format!("I5: step {step} of run {run} acts a second time"));
                }
            }
            Event::ReplayIntended { batch, entries, .. } => {
                for entry in entries.iter().flat_map(|(first, last)| *first..=*last) {
                    *self
                        .placed
                        .entry((run, batch.to_string(), entry))
                        .or_default() += 1;
                }
            }
            Event::SectionBegan {
                section, budget_ms, ..
            } => {
                if self.open.insert(run, *section).is_some() {
                    found.push(format!(
                        "I9: section {section} of run {run} began in another"
                    ));
                }
                self.budget = Duration::from_millis(*budget_ms);
            }
            Event::SectionEnded { section, .. } => {
                if self.open.remove(&run) != Some(*section) || !self.ended.insert((run, *section)) {
                    found.push(format!(
                        "I9: section {section} of run {run} ended a second time, or never began"
                    ));
                }
            }
            Event::Closed { .. } if self.open.contains_key(&run) => {
                found.push(format!("I9: run {run} was closed with a section open"));
            }
            Event::ServiceChanged {
                service: other,
                change,
                ..
            } if other == service => {
                self.last_change = Some(*change);
                self.alarmed = false;
                self.starts += u32::from(*change == ServiceChange::StartIntended);
            }
            Event::BatchEntries { batch, entries } => {
                let names = self.batches.entry((run, batch.to_string())).or_default();
                names.extend(entries.iter().map(|entry| entry.name.clone()));
            }
            Event::Settled { batch, entries } => {
                // What is held again was taken back before anybody read it, or a person said so.
                for one in entries.iter().filter(|one| one.custody == Custody::Held) {
                    self.placed.remove(&(run, batch.to_string(), one.index));
                }
                let names = self.batches.get(&(run, batch.to_string()));
                let again = entries
                    .iter()
                    .filter(|one| one.evidence.contains("may be sent twice"));
                let again = again.filter_map(|one| names?.get(one.index as usize).cloned());
                self.named.files.extend(again);
            }
            Event::Alarm { code, text } => {
                self.alarmed = true;
                if code == "A111-inbound-again" {
                    let files = text.split('`').skip(1).step_by(2).map(str::to_owned);
                    self.named.files.extend(files);
                }
                if code == "A110-sent-again" {
                    self.named.texts.push(text.clone());
                }
            }
            _ => {}
        }
    }

    fn fenced(&mut self, run: RunId, fence: u64, found: &mut Vec<String>) {
        let before = self.run_fences.entry(run).or_default();
        if fence < *before {
            found.push(format!(
                "I6: the fence of run {run} fell from {before} to {fence}"
            ));
        }
        *before = fence;
        self.fence = self.fence.max(fence);
    }

    /// The highest fence.
    #[must_use]
    pub const fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether a section is open.
    #[must_use]
    pub fn in_section(&self) -> bool {
        !self.open.is_empty()
    }

    /// I3: nothing was given back twice that was not taken back in between.
    pub fn replays(&self, found: &mut Vec<String>) {
        let twice = self.placed.iter().filter(|(_, times)| **times > 1);
        for ((run, batch, entry), times) in twice {
            found.push(format!(
                "I3: entry {entry} of batch {batch} of run {run} was given back {times} times"
            ));
        }
    }

    /// I8: what the agent stopped is up again within its budget, or a person was called.
    pub fn service(&self, down: Option<Duration>, dead: Duration, found: &mut Vec<String>) {
        let ours = matches!(
            self.last_change,
            Some(
                ServiceChange::StopIntended
                    | ServiceChange::Stopped
                    | ServiceChange::KillIntended
                    | ServiceChange::Killed
            )
        );
        let allowed = self.budget + dead + SLACK;
        if let Some(down) = down
            && ours
            && !self.alarmed
            && down > allowed
        {
            found.push(format!(
                "I8: service is down for {down:.0?} after the agent stopped it, {:?} are allowed, and nobody was called",
                self.budget
            ));
        }
    }
}

/// I12: no more starts within an hour than the guard file allows.
pub fn restarts(used: u32, allowed: u32, found: &mut Vec<String>) {
    if used > allowed {
        found.push(format!(
            "I12: services were started {used} times within an hour, {allowed} are allowed"
        ));
    }
}

#[cfg(test)]
mod tests;
