//! Why a rollout waits: every waiting has a predicate, a holder and a command that releases it.

mod custody;
pub mod expected;
mod last_path;
mod waves;

pub use expected::Kind;

use std::collections::BTreeMap;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::plan::PlannedStep;
use mailmend_policy::step::Action;
use mailmend_proto::run::RunId;

use crate::decide::windows::{Fit, fit, longest_outage};
use crate::decide::{self, Fleet, next_group};
use crate::react::InHand;
use crate::rollout::{Part, Rollout, RolloutId, RolloutState, Run, RunPhase};

/// What is known beyond the rollout.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Which run of which rollout holds which site.
    pub locks: BTreeMap<SiteName, (RunId, Option<RolloutId>)>,
    /// The sites with a server that a person has in hand: which, and in whose.
    pub in_hand: BTreeMap<SiteName, (ServerName, InHand)>,
    /// The agents: whether each is connected, and when it was last heard (milliseconds since 1970
    /// UTC, 0: never).
    pub agents: BTreeMap<ServerName, (bool, i64)>,
    /// What decisions are made from.
    pub fleet: Fleet,
    /// Now, milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// When open rollouts entered their state, milliseconds since 1970 UTC.
    pub turned_ms: BTreeMap<RolloutId, i64>,
}

/// One thing that a rollout waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Of what kind it is.
    pub kind: Kind,
    /// The run; none: the rollout itself.
    pub run: Option<RunId>,
    /// The run's site.
    pub site: Option<SiteName>,
    /// What must become true.
    pub predicate: String,
    /// Who or what holds it.
    pub holder: String,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Until when it is expected to be over, milliseconds since 1970 UTC; none: nothing is expected of it,
    /// what it waits for is listed by itself.
    pub expected_ms: Option<i64>,
    /// The command that releases it, or what a person does.
    pub release: String,
}

impl Waiting {
    /// Whether it should be over by now.
    #[must_use]
    pub fn is_overdue(&self, now_ms: i64) -> bool {
        self.expected_ms
            .is_some_and(|expected_ms| expected_ms < now_ms)
    }

    /// The same, waited for since another moment.
    fn since(mut self, since_ms: i64) -> Self {
        self.since_ms = since_ms;
        self.expected_ms = self.kind.expected_ms(since_ms);
        self
    }

    /// The same, expected to be over by a moment that is known.
    fn expected(mut self, expected_ms: i64) -> Self {
        self.expected_ms = Some(expected_ms);
        self
    }
}

/// Everything that a rollout waits for. One that has ended waits for nothing but a person's word on the
/// messages that its runs keep in custody.
#[must_use]
pub fn explain(rollout: &Rollout, around: &Surroundings) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    if !rollout.state.is_final() {
        waiting.extend(itself(rollout, around));
    }
    for run in &rollout.runs {
        if run.phase.is_final() || run.phase == RunPhase::NeedsPerson {
            waiting.extend(custody::kept(rollout, run));
        }
        if rollout.state.is_final() {
            continue;
        }
        match run.phase {
            RunPhase::Waiting => waiting.extend(not_begun(rollout, run, around)),
            RunPhase::Assigned => waiting.extend(assigned(rollout, run, around)),
            RunPhase::Running => waiting.extend(running(rollout, run, around)),
            RunPhase::Unwinding => waiting.extend(unwinding(rollout, run, around)),
            RunPhase::NeedsPerson => waiting.push(person(rollout, run)),
            RunPhase::Succeeded | RunPhase::NotNeeded | RunPhase::Failed | RunPhase::Cancelled => {}
        }
    }
    waiting
}

/// Enough of an id to name it in a command.
fn short(id: impl ToString) -> String {
    id.to_string().chars().take(8).collect()
}

fn itself(rollout: &Rollout, around: &Surroundings) -> Option<Waiting> {
    let id = short(rollout.id);
    if rollout.state == RolloutState::Running {
        return waves::between(rollout, around);
    }
    let turned_ms = around.turned_ms.get(&rollout.id);
    let since_ms = turned_ms.copied().unwrap_or(rollout.started_ms);
    if let Some(waiting) = waves::stopped(rollout, since_ms) {
        return Some(waiting);
    }
    let (predicate, holder, release) = match rollout.state {
        RolloutState::Paused => (
            "the rollout is running, not paused".to_owned(),
            format!("whoever paused it: {}", reason(&rollout.why)),
            format!("mailmend rollout resume {id}"),
        ),
        RolloutState::Halted => {
            let failed: Vec<String> = rollout
                .runs
                .iter()
                .filter(|run| matches!(run.phase, RunPhase::Failed | RunPhase::NeedsPerson))
                .map(|run| format!("{} at {}", short(run.id), run.site))
                .collect();
            (
                format!(
                    "failed <= max_failed, but failed {} > {}",
                    decide::failed(rollout),
                    rollout.tolerance()
                ),
                format!("failed runs: {}", failed.join(", ")),
                format!(
                    "mailmend rollout resume {id} (accepts these failures), or mailmend rollout abort {id}"
                ),
            )
        }
        _ => return None,
    };
    let kind = match rollout.state {
        RolloutState::Halted => Kind::Halted,
        _ => Kind::Paused,
    };
    Some(Waiting {
        kind,
        run: None,
        site: None,
        predicate,
        holder,
        since_ms,
        expected_ms: kind.expected_ms(since_ms),
        release,
    })
}

fn reason(why: &str) -> &str {
    if why.is_empty() {
        "no reason was given"
    } else {
        why
    }
}

fn of(run: &Run, kind: Kind, predicate: String, holder: String, release: String) -> Waiting {
    Waiting {
        kind,
        run: Some(run.id),
        site: Some(run.site.clone()),
        predicate,
        holder,
        since_ms: run.since_ms,
        expected_ms: kind.expected_ms(run.since_ms),
        release,
    }
}

fn not_begun(rollout: &Rollout, run: &Run, around: &Surroundings) -> Vec<Waiting> {
    let id = short(rollout.id);
    if rollout.state != RolloutState::Running {
        return vec![of(
            run,
            Kind::RolloutState,
            format!("the rollout is running, not {}", rollout.state.name()),
            format!("the rollout: {}", reason(&rollout.why)),
            format!("mailmend rollout resume {id}"),
        )];
    }
    if let Some(waiting) = waves::held(rollout, run, around) {
        return vec![waiting];
    }
    if let Some(waiting) = in_hand(run, around) {
        return vec![waiting];
    }
    if let Some((holder, owner)) = around.locks.get(&run.site) {
        let (whose, release) = match owner {
            Some(owner) => (
                format!("run {} of rollout {}", short(holder), short(owner)),
                format!(
                    "it ends with that run; mailmend rollout explain {}",
                    short(owner)
                ),
            ),
            // A duty holds a site only while a person has its held mail released.
            None => (
                format!("run {}, whose held mail is released", short(holder)),
                format!(
                    "it ends with the release; mailmend run show {}",
                    short(holder)
                ),
            ),
        };
        return vec![of(
            run,
            Kind::SiteBusy,
            format!("no other run works at site {}", run.site),
            whose,
            release,
        )];
    }
    let away: Vec<&ServerName> = run
        .parts
        .keys()
        .filter(|agent| !around.agents.get(*agent).is_some_and(|(there, _)| *there))
        .collect();
    if let Some(first) = away.first() {
        let names: Vec<&str> = away.iter().map(|name| name.as_str()).collect();
        let heard = away.iter().filter_map(|name| around.agents.get(*name));
        let last_ms = heard.map(|(_, heard_ms)| *heard_ms).max().unwrap_or(0);
        let away = of(
            run,
            Kind::AgentAway,
            "all of its agents are connected".to_owned(),
            format!("not connected: {}", names.join(", ")),
            format!("start mailmend-agent there; mailmend agent show {first}"),
        )
        .since(run.since_ms.max(last_ms));
        return vec![away];
    }
    let last = around.fleet.mail_flow.beginning(run);
    if !last.is_empty() {
        return last_path::waiting(rollout, run, &last);
    }
    let busy: Vec<String> = rollout
        .runs
        .iter()
        .filter(|other| other.phase.holds_site())
        .map(|other| other.site.to_string())
        .collect();
    vec![of(
        run,
        Kind::SitesAtOnce,
        format!(
            "sites at work < sites_at_once, but {} >= {}",
            busy.len(),
            rollout.strategy.sites_at_once
        ),
        format!("sites at work: {}", busy.join(", ")),
        format!("it goes on when one of them ends; mailmend rollout watch {id}"),
    )]
}

/// A person has a server of the run's site in hand.
fn in_hand(run: &Run, around: &Surroundings) -> Option<Waiting> {
    let (server, hand) = around.in_hand.get(&run.site)?;
    let predicate = format!("no server of site {} is in a person's hand", run.site);
    let holder = format!("{}, who has {server} in hand: {}", hand.by, hand.why);
    let release = format!("mailmend agent give-back {server}");
    let waiting = of(run, Kind::InHand, predicate, holder, release);
    Some(waiting.since(hand.since_ms))
}

/// Who an agent is and whether it is there, and what can be done about it.
fn agent(run: &Run, name: &ServerName, around: &Surroundings, abort: &str) -> (String, String) {
    match around.agents.get(name) {
        Some((true, _)) => (
            format!("agent {name}, connected"),
            format!("nothing: it reports by itself; {abort}"),
        ),
        Some((false, heard)) if *heard > 0 => {
            let heard = jiff::Timestamp::from_millisecond(*heard)
                .map_or_else(|_| "long ago".to_owned(), |at| at.to_string());
            (
                format!("agent {name}, not connected, last heard {heard}"),
                format!("start mailmend-agent on {name}; mailmend agent show {name}"),
            )
        }
        _ => (
            format!("agent {name}, never heard"),
            format!(
                "mailmend agent token {name} --site {}; then enrol and start mailmend-agent on {name}",
                run.site
            ),
        ),
    }
}

fn assigned(rollout: &Rollout, run: &Run, around: &Surroundings) -> Vec<Waiting> {
    let abort = format!(
        "mailmend rollout abort {} (takes it back)",
        short(rollout.id)
    );
    let mut waiting = Vec::new();
    for (name, part) in &run.parts {
        if !part.told.begun && part.refused.is_none() {
            let (holder, release) = agent(run, name, around, &abort);
            let predicate = format!("{name} has written down that it takes the run on");
            waiting.push(of(run, Kind::Assignment, predicate, holder, release));
        }
    }
    waiting
}

fn running(rollout: &Rollout, run: &Run, around: &Surroundings) -> Vec<Waiting> {
    let id = short(rollout.id);
    let abort = format!("mailmend rollout abort {id} (takes the run back)");
    let Some(step) = run.plan.steps.iter().find(|step| !run.is_finished(step)) else {
        return closing(run, around, &abort, "closes its part");
    };
    let asked: Vec<Waiting> = run
        .plan
        .steps
        .iter()
        .filter(|step| run.asks(step))
        .filter_map(|step| asked(run, step))
        .collect();
    if !asked.is_empty() {
        return asked;
    }
    let released = run
        .parts
        .get(&step.server)
        .is_some_and(|part| part.through > step.index);
    if !released {
        if rollout.state == RolloutState::Running
            && let Some(waiting) = in_hand(run, around)
        {
            return vec![waiting];
        }
        let last = next_group(run, &rollout.strategy.windows).map_or_else(Vec::new, |group| {
            let steps = group.first..group.end;
            around.fleet.mail_flow.releasing(run, group.server, steps)
        });
        if rollout.state != RolloutState::Paused && !last.is_empty() {
            return last_path::waiting(rollout, run, &last);
        }
        if rollout.state != RolloutState::Paused && !rollout.strategy.windows.is_empty() {
            let outage = longest_outage(&run.plan).unwrap_or_default();
            let opens_ms = match fit(&rollout.strategy.windows, outage, around.now_ms) {
                Fit::Now => None,
                Fit::From(opens_ms) => Some(opens_ms),
            };
            let away = !around.fleet.connected.contains(&step.server);
            if opens_ms.is_none() && away {
                // A window is open; what is released is told when the agent comes back, whatever the time is
                // then, so nothing is released meanwhile.
                let (holder, release) = agent(run, &step.server, around, "");
                let predicate = format!("agent {} is connected", step.server);
                return vec![of(run, Kind::AgentAway, predicate, holder, release)];
            }
            return vec![waves::windows(rollout, run, opens_ms)];
        }
        return vec![of(
            run,
            Kind::RolloutState,
            format!("step {} on {} is released", step.id, step.server),
            format!(
                "the rollout is {}: {}",
                rollout.state.name(),
                reason(&rollout.why)
            ),
            format!("mailmend rollout resume {id}"),
        )];
    }
    let (holder, release) = agent(run, &step.server, around, &abort);
    let since_ms = expected::moved_ms(run);
    vec![
        of(
            run,
            Kind::Step,
            format!(
                "step {} on {} is done or skipped, within {}",
                step.id,
                step.server,
                mailmend_policy::units::write_duration(step.timeout)
            ),
            holder,
            release,
        )
        .since(since_ms)
        .expected(expected::step(run, step, since_ms)),
    ]
}

/// A person has to do something and say so.
fn asked(run: &Run, step: &PlannedStep) -> Option<Waiting> {
    let Action::HumanTask { ask, answers, .. } = &step.action else {
        return None;
    };
    let several = run.plan.steps.iter().filter(|step| run.asks(step)).count() > 1;
    let server = if several {
        format!("@{}", step.server)
    } else {
        String::new()
    };
    let since_ms = expected::moved_ms(run);
    let waiting = of(
        run,
        Kind::Answer,
        format!(
            "step {} on {} is answered, within {}",
            step.id,
            step.server,
            mailmend_policy::units::write_duration(step.timeout)
        ),
        format!(
            "a person: {}",
            ask.split_whitespace().collect::<Vec<_>>().join(" ")
        ),
        format!(
            "mailmend run answer {} --step {}{server} --answer {}",
            short(run.id),
            step.id,
            answers.join("|")
        ),
    );
    let expected_ms = expected::after(since_ms, step.timeout);
    Some(waiting.since(since_ms).expected(expected_ms))
}

fn unwinding(rollout: &Rollout, run: &Run, around: &Surroundings) -> Vec<Waiting> {
    let note = format!("mailmend run show {}", short(run.id));
    let open = |part: &Part| part.unwind.is_some() && !part.is_over();
    if run.parts.values().any(open) {
        return closing(
            run,
            around,
            &note,
            "takes back what it did and closes its part",
        );
    }
    vec![of(
        run,
        Kind::Controller,
        "unwinding is ordered".to_owned(),
        "the controller".to_owned(),
        format!(
            "it follows by itself; mailmend rollout watch {}",
            short(rollout.id)
        ),
    )]
}

fn closing(run: &Run, around: &Surroundings, note: &str, what: &str) -> Vec<Waiting> {
    let ordered = run.parts.values().any(|part| part.unwind.is_some());
    run.parts
        .iter()
        .filter(|(_, part)| !part.is_over() && (!ordered || part.unwind.is_some()))
        .map(|(name, part)| {
            let (holder, release) = agent(run, name, around, note);
            let kind = if part.unwind.is_some() {
                Kind::Unwinding
            } else {
                Kind::Closing
            };
            let since_ms = expected::moved_ms(run);
            let waiting = of(run, kind, format!("{name} {what}"), holder, release).since(since_ms);
            if kind == Kind::Unwinding {
                waiting.expected(expected::unwinding(run, part, since_ms))
            } else {
                waiting
            }
        })
        .collect()
}

fn person(rollout: &Rollout, run: &Run) -> Waiting {
    of(
        run,
        Kind::Person,
        "a person has looked at the servers and decided".to_owned(),
        format!("a person: {}", reason(&run.why)),
        format!(
            "mailmend run show {}; then mailmend rollout abort {} (takes back what can be taken back and \
             frees the site)",
            short(run.id),
            short(rollout.id)
        ),
    )
}

#[cfg(test)]
pub(crate) mod says;
#[cfg(test)]
mod tests;
