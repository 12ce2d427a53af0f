//! What kinds of waiting there are, and until when each is expected to be over.
//!
//! An expectation moves nothing: no lock is freed and no step is given up because it has passed. It only
//! says when a person should look: `mailmend rollout explain`, `mailmend doctor` and the metric
//! `mailmend_overdue`. `docs/explain.md` has the table with the reason for each number; a test keeps both
//! equal.

use std::time::Duration;

use mailmend_policy::plan::PlannedStep;
use mailmend_policy::units::write_duration;

use crate::rollout::{Mark, Part, Run};

/// A span in minutes.
const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// A span in hours.
const fn hours(hours: u64) -> Duration {
    minutes(60 * hours)
}

/// A span in days.
const fn days(days: u64) -> Duration {
    hours(24 * days)
}

/// How much later than it must happen something may be told: a report that is on its way, a controller that
/// is just being started again.
pub const SLACK: Duration = minutes(2);

/// How long something of a kind may be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// So long after it began.
    Within(Duration),
    /// Until a moment that is known in each case: the end of a step, of a soak, the opening of a window.
    Moment(&'static str),
    /// For ever: what it waits for is listed by itself, with an expectation of its own.
    Open(&'static str),
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $patience:expr, $reason:literal;)+) => {
        /// A kind of waiting.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name for people, in JSON and as a label of metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// How long it may be waited for.
            #[must_use]
            pub const fn patience(self) -> Patience {
                match self { $(Self::$variant => $patience),+ }
            }

            /// Why so long.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason),+ }
            }
        }
    };
}

use Patience::{Moment, Open, Within};

kinds! {
    /// A person paused the rollout.
    Paused = "paused", Within(hours(24)),
        "who paused it comes back to it within a day, or has forgotten it";
    /// More runs failed than may.
    Halted = "halted", Within(hours(4)),
        "failed servers hold their budget, and a sender is first warned of delayed mail after about 4 hours";
    /// The gate after a wave was not good.
    Gate = "gate", Within(hours(4)),
        "as for a halted rollout";
    /// A server is not any more what its plan was made from.
    Drift = "drift", Within(hours(24)),
        "nothing is broken: somebody has to look at the plans anew";
    /// The rollout is aborted because its policy was recalled.
    Recall = "recall", Within(hours(1)),
        "a recalled policy is dangerous: it must stop everywhere within the hour";
    /// The sites of a wave are only watched.
    Soak = "soak", Moment("the end of the soak, and 2m"),
        "the strategy says how long";
    /// A person is asked before a wave.
    Approval = "approval", Within(hours(24)),
        "one working day, over a night";
    /// The wave has not begun.
    Wave = "wave", Open("what holds the wave before it is listed"),
        "the waves before it have expectations of their own";
    /// No maintenance window is open for long enough.
    Window = "window", Moment("the opening of the window, and 2m"),
        "the strategy says when";
    /// Too many servers are out of service.
    Budget = "budget", Within(hours(4)),
        "as for a halted rollout: servers that failed keep the budget until somebody mends them";
    /// An address space would lose its last live outbound path.
    LastPath = "last-path", Within(hours(4)),
        "as for a budget: the other paths stay down until somebody mends them";
    /// As many sites are at work as may be.
    SitesAtOnce = "sites-at-once", Open("each run at work is listed"),
        "the runs at work have expectations of their own";
    /// The rollout does not go on, so its run does not either.
    RolloutState = "rollout-state", Open("what holds the rollout is listed"),
        "the rollout itself has an expectation";
    /// A server of the site is in a person's hand.
    InHand = "in-hand", Within(hours(24)),
        "work by hand takes a day at most, or somebody has forgotten to give it back";
    /// Another run works at the site.
    SiteBusy = "site-busy", Open("the other run is listed with its rollout"),
        "the run that holds the site has an expectation of its own";
    /// An agent is not connected.
    AgentAway = "agent-away", Within(minutes(10)),
        "a server is started again within 10 minutes; an agent that is well dials again within one";
    /// An agent has not written down that it takes a run on.
    Assignment = "assignment", Within(SLACK),
        "a connected agent writes it down within seconds";
    /// A step is under way.
    Step = "step", Moment("its timeout, or its section's `max_outage` where that is shorter, and 2m"),
        "the policy says how long it may take; 2m are for the report";
    /// A person is asked by a step.
    Answer = "answer", Moment("the timeout of the step"),
        "the policy says how long it waits for an answer";
    /// An agent closes its part of a run that is at its end.
    Closing = "closing", Within(SLACK),
        "it only writes it down";
    /// An agent takes back what it did.
    Unwinding = "unwinding", Moment("the timeouts of the steps that it takes back, and 2m"),
        "to undo a step may take as long as the step";
    /// The controller is about to say what follows.
    Controller = "controller", Within(SLACK),
        "it decides within seconds";
    /// A run came to rest and a person has to look.
    Person = "person", Within(hours(1)),
        "its site is locked, and nobody knows what state its servers are in";
    /// Held mail is given back by an order.
    Release = "release", Within(hours(1)),
        "a release stops and starts the service once, and copies each message";
    /// Messages are held.
    Held = "held", Within(hours(24)),
        "mail that is a day late is missed";
    /// Messages vanished, and their copies are kept.
    Vanished = "vanished", Within(days(3)),
        "somebody has to ask whether they are still wanted";
    /// Messages of which nobody knows whether they were sent.
    InDoubt = "in-doubt", Within(days(3)),
        "recipients have to be asked; logs of the next hop are often kept for a few days only";
    /// Messages that crash the service.
    Poison = "poison", Within(days(7)),
        "nothing is urgent about them once they are set aside, but the sender should be told";
    /// A rollout is proposed.
    Proposal = "proposal", Within(hours(24)),
        "one working day, over a night; the symptom stands meanwhile";
    /// A person's order that its agent has not answered.
    Order = "order", Within(minutes(10)),
        "as for an agent that is not connected";
    /// A token was made and nobody has enrolled with it, or the agent never connected.
    NeverHeard = "never-heard", Within(hours(1)),
        "a token is good for an hour unless told otherwise";
    /// A certificate is near its end and was not renewed.
    Certificate = "certificate", Moment("a quarter of its life before its end"),
        "it is renewed at half its life, so by then half of the time to do so has passed in vain";
    /// An alarm stands.
    Alarm = "alarm", Open("nobody can say of an alarm that it is over"),
        "it is listed for 7 days after it was heard last, and never overdue";
    /// An agent runs another version than the controller.
    Version = "version", Open("an old agent does what it can do"),
        "a fleet is updated server by server";
    /// What an agent told of its queues is old.
    Telemetry = "telemetry", Within(minutes(30)),
        "it is told every 10 minutes at least; three in a row are missing";
    /// What is signed of policies is near its end.
    Signature = "signature", Moment("half of what was left when it is first told: 15d of a root or catalogue, a quarter of a timestamp's life"),
        "people with keys have to meet; after its end agents that take signed policies alone begin nothing new";
    /// An agent does not follow what is signed.
    Unfollowed = "unfollowed", Within(minutes(30)),
        "documents are sent at once; a clock that was wrong is looked at again within the minute";
    /// The disk of the controller's store is nearly full.
    Disk = "disk", Within(Duration::ZERO),
        "without a place to write nothing is decided any more";
}

impl Kind {
    /// Until when it is expected to be over, milliseconds since 1970 UTC, where that follows from its
    /// beginning alone.
    #[must_use]
    pub fn expected_ms(self, since_ms: i64) -> Option<i64> {
        match self.patience() {
            Within(span) => Some(after(since_ms, span)),
            Moment(_) | Open(_) => None,
        }
    }

    /// Its expectation in words, as the documentation has it.
    #[must_use]
    pub fn within(self) -> String {
        match self.patience() {
            Within(Duration::ZERO) => "at once".to_owned(),
            Within(span) => write_duration(span),
            Moment(what) => what.to_owned(),
            Open(why) => format!("none: {why}"),
        }
    }
}

/// A moment later.
#[must_use]
pub fn after(since_ms: i64, span: Duration) -> i64 {
    since_ms.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

/// Until when a released step is expected to be told of.
pub(super) fn step(run: &Run, step: &PlannedStep, since_ms: i64) -> i64 {
    let section = step
        .section
        .and_then(|index| run.plan.sections.iter().find(|one| one.index == index));
    // A search is a section by itself, and its budget is for each of its restarts.
    let budget = section
        .filter(|section| section.first != section.last)
        .map_or(step.timeout, |section| section.budget);
    after(since_ms, step.timeout.min(budget).saturating_add(SLACK))
}

/// Until when an agent is expected to have told the next of its unwinding.
pub(super) fn unwinding(run: &Run, part: &Part, since_ms: i64) -> i64 {
    let undone = run.plan.steps.iter().filter(|step| {
        matches!(
            part.told.steps.get(&step.index),
            Some(Mark::Intended | Mark::Done | Mark::Undoing)
        )
    });
    let longest: Duration = undone.map(|step| step.timeout).sum();
    after(since_ms, longest.saturating_add(SLACK))
}

/// Since when a run stands as it does: it entered its phase, or the newest record of it was taken in.
pub(super) fn moved_ms(run: &Run) -> i64 {
    let heard = run.parts.values().map(|part| part.told.heard_ms);
    heard.fold(run.since_ms, i64::max)
}

#[cfg(test)]
mod tests;
