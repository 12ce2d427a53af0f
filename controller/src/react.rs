//! What follows from symptoms: one pure function, and all that lets a policy act by itself.
//!
//! It is called after every change and when a time has come. What it answers is stored before anything
//! comes of it: a rollout and the decision to start it are one write, so that a controller that dies at
//! any point starts it once. Time is an argument.

mod by_site;
mod effect;
mod known;
mod throttle;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::{PolicyName, ServerName, SiteName};
use mailmend_proto::run::RunId;
use uuid::Uuid;

pub(crate) use by_site::BySite;
pub use effect::{Effect, NotAnEffect};
pub use known::{
    Answer, Binding, Busy, Decided, InHand, Known, Member, NotAStanding, NotAnAnswer, Past,
    Proposal, QueueWord, Shape, Standing, Word,
};
pub use throttle::{GIVES_UP_AFTER, Throttle, delay};
pub use waits::Wait;

use effect::Judged;
use throttle::Ledger;

/// Something that follows. Storing it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// Start a rollout for these servers of a site.
    Start {
        /// The binding that acts.
        policy: PolicyName,
        /// Where.
        site: SiteName,
        /// Where the symptom stands and nothing holds the binding back.
        servers: BTreeSet<ServerName>,
    },
    /// Propose one, and wait for a person's word.
    Propose {
        /// The binding that proposes.
        policy: PolicyName,
        /// Where.
        site: SiteName,
        /// Where the symptom stands.
        servers: BTreeSet<ServerName>,
        /// Why it is not started; empty: the policy is bound so.
        why: String,
    },
    /// The symptom stands on other servers of the site than the proposal names.
    Revise {
        /// The proposal.
        proposal: Uuid,
        /// Where the symptom stands now.
        servers: BTreeSet<ServerName>,
    },
    /// A proposal stands no more: its symptom has gone, or its binding.
    Lapse {
        /// The proposal.
        proposal: Uuid,
    },
    /// What came of a run is known.
    Judge {
        /// The run.
        run: RunId,
        /// What came of it.
        effect: Effect,
        /// By what that is known.
        why: String,
    },
}

/// What follows, and why nothing follows where nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// What follows, in order.
    pub reactions: Vec<Reaction>,
    /// Why nothing is done about a symptom that stands or cannot be told.
    pub waits: BTreeMap<(PolicyName, ServerName), Wait>,
    /// What came of the last run for a symptom, where that is known or awaited: in words.
    pub effects: BTreeMap<RunId, String>,
    /// When something may follow though nothing changes, milliseconds since 1970 UTC.
    pub due_ms: Option<i64>,
}

impl Answers {
    fn due(&mut self, at_ms: i64) {
        self.due_ms = Some(self.due_ms.map_or(at_ms, |due| due.min(at_ms)));
    }
}

/// Whether anything may follow at all, now or later, from less than all that is known: where nothing stands that is
/// answered, no run is to be judged and nothing is proposed, [`react`] answers nothing whatever the fleet is like.
#[must_use]
pub fn may_follow<'w>(
    bindings: &BTreeMap<PolicyName, Binding>,
    mut words: impl Iterator<Item = &'w Word>,
    history: &[Past],
    proposals: &[Proposal],
) -> bool {
    let acts = |policy| {
        let binding = bindings.get(policy);
        binding.is_some_and(|binding| binding.answer != Answer::Observe)
    };
    !proposals.is_empty()
        || words.any(|word| word.standing == Standing::Stands && acts(&word.policy))
        || history.iter().any(|past| {
            let open = past.effect.is_none() && past.ended_ms.is_some();
            open && bindings.contains_key(&past.policy)
        })
}

/// What follows from what is known.
#[must_use]
pub fn react(known: &Known, now_ms: i64) -> Answers {
    let mut answers = Answers::default();
    let mut ledger = Ledger::of(known, now_ms);
    judge_effects(known, now_ms, &mut ledger, &mut answers);
    lapse(known, &mut answers);
    let cases = cases(known, now_ms);
    if cases.is_empty() {
        return answers;
    }
    let by_site = BySite::of(known);
    for case in cases {
        let looked = Looked {
            known,
            by_site: &by_site,
            now_ms,
        };
        answer(looked, &case, &mut ledger, &mut answers);
    }
    answers
}

/// What every case is answered from.
#[derive(Clone, Copy)]
struct Looked<'k> {
    known: &'k Known,
    by_site: &'k BySite<'k>,
    now_ms: i64,
}

fn judge_effects(known: &Known, now_ms: i64, ledger: &mut Ledger<'_>, answers: &mut Answers) {
    for past in known.history.iter() {
        if let Some(effect) = past.effect {
            answers
                .effects
                .insert(past.run, effect::words(effect, &past.effect_why));
            continue;
        }
        let Some(binding) = known.bindings.get(&past.policy) else {
            continue;
        };
        match effect::judge(past, binding, known, now_ms) {
            None => {}
            Some(Judged::Is(effect, why)) => {
                answers
                    .effects
                    .insert(past.run, effect::words(effect, &why));
                ledger.judged(past.run, effect);
                answers.reactions.push(Reaction::Judge {
                    run: past.run,
                    effect,
                    why,
                });
            }
            Some(Judged::NotYet { due_ms, why }) => {
                answers.effects.insert(past.run, why);
                answers.due(due_ms);
            }
        }
    }
}

/// Ends proposals whose symptom is known to be gone from all of their servers, and those whose binding
/// would not propose any more.
fn lapse(known: &Known, answers: &mut Answers) {
    for proposal in &known.proposals {
        let gone = proposal.servers.iter().all(|server| {
            known
                .word(&proposal.policy, server)
                .is_none_or(|word| word.standing == Standing::Absent)
        });
        let unbound = !known.bindings.contains_key(&proposal.policy);
        let observed = known
            .bindings
            .get(&proposal.policy)
            .is_some_and(|binding| binding.answer == Answer::Observe);
        if gone || unbound || observed {
            answers.reactions.push(Reaction::Lapse {
                proposal: proposal.id,
            });
        }
    }
}

/// A binding and a site at which its symptom stands somewhere.
struct Case<'a> {
    binding: &'a Binding,
    site: &'a SiteName,
    /// Where it stands, with how long it has, milliseconds.
    standing: BTreeMap<&'a ServerName, i64>,
}

/// Every case, the one whose symptom has stood longest first: what comes later waits for a site that
/// what came first has taken.
fn cases(known: &Known, now_ms: i64) -> Vec<Case<'_>> {
    let mut cases: BTreeMap<(&PolicyName, &SiteName), Case<'_>> = BTreeMap::new();
    for word in known.words.values().flat_map(BTreeMap::values) {
        let (Some(binding), Some(member)) = (
            known.bindings.get(&word.policy),
            known.fleet.get(&word.agent),
        ) else {
            continue;
        };
        let case = cases
            .entry((&word.policy, &member.site))
            .or_insert_with(|| Case {
                binding,
                site: &member.site,
                standing: BTreeMap::new(),
            });
        // One that cannot be told waits too, and its words say so.
        let age = match word.standing {
            Standing::Stands => word.age_ms(member.connected, now_ms),
            Standing::CannotTell => -1,
            Standing::Absent => continue,
        };
        case.standing.insert(&word.agent, age);
    }
    let mut cases: Vec<Case<'_>> = cases
        .into_values()
        .filter(|case| !case.standing.is_empty())
        .collect();
    cases.sort_by_key(|case| {
        let oldest = case.standing.values().copied().max().unwrap_or(0);
        (
            std::cmp::Reverse(oldest),
            case.binding.policy.clone(),
            case.site.clone(),
        )
    });
    cases
}

fn answer<'k>(looked: Looked<'k>, case: &Case<'k>, ledger: &mut Ledger<'k>, answers: &mut Answers) {
    let binding = case.binding;
    if binding.answer == Answer::Observe {
        return;
    }
    let mut ready = BTreeSet::new();
    for (&server, &age_ms) in &case.standing {
        match common(looked, case, server, age_ms, ledger) {
            None => {
                ready.insert(server);
            }
            Some(wait) => {
                if let Some(at_ms) = wait.until_ms() {
                    answers.due(at_ms);
                }
                answers
                    .waits
                    .insert((binding.policy.clone(), server.clone()), wait);
            }
        }
    }
    if ready.is_empty() {
        return;
    }
    let worst = ready
        .iter()
        .map(|server| ledger.streak(binding, server))
        .max()
        .unwrap_or(0);
    if binding.answer == Answer::Propose || worst >= GIVES_UP_AFTER {
        let why = if binding.answer == Answer::Propose {
            String::new()
        } else {
            format!("{worst} runs in a row did not hold: the binding acts no more here by itself")
        };
        propose(looked, case, &ready, why, answers);
    } else {
        start(looked, case, &ready, ledger, answers);
    }
}

/// What holds any answer back, proposals too.
fn common<'k>(
    looked: Looked<'k>,
    case: &Case<'k>,
    server: &'k ServerName,
    age_ms: i64,
    ledger: &Ledger<'k>,
) -> Option<Wait> {
    let Looked { known, now_ms, .. } = looked;
    let binding = case.binding;
    let word = known.word(&binding.policy, server)?;
    let member = known.fleet.get(server)?;
    if word.standing == Standing::CannotTell {
        return Some(Wait::CannotTell);
    }
    if word.version != binding.version {
        return Some(Wait::OtherVersion {
            looked: word.version,
            bound: binding.version,
        });
    }
    if !member.connected {
        return Some(Wait::NotConnected(server.clone()));
    }
    if age_ms < binding.throttle.stands_for_ms {
        return Some(Wait::StandsFor {
            stood_ms: age_ms,
            asked_ms: binding.throttle.stands_for_ms,
            until_ms: now_ms + (binding.throttle.stands_for_ms - age_ms),
        });
    }
    if let Some((name, hand)) = looked.by_site.in_hand(case.site) {
        return Some(Wait::InHand {
            server: name.clone(),
            hand: hand.clone(),
        });
    }
    if let Some(busy) = ledger.busy(case.site) {
        return Some(Wait::Busy {
            site: case.site.clone(),
            busy,
        });
    }
    if let Some(Err(why)) = known
        .shapes
        .get(&(binding.policy.clone(), case.site.clone()))
    {
        return Some(Wait::NoPlan(why.clone()));
    }
    ledger.settling(binding, server, now_ms)
}

fn propose<'k>(
    looked: Looked<'k>,
    case: &Case<'k>,
    ready: &BTreeSet<&ServerName>,
    why: String,
    answers: &mut Answers,
) {
    let policy = &case.binding.policy;
    let mut wait = |wait: Wait| {
        for &server in ready {
            answers
                .waits
                .insert((policy.clone(), server.clone()), wait.clone());
        }
    };
    let Some(open) = looked.by_site.proposal(policy, case.site) else {
        answers.reactions.push(Reaction::Propose {
            policy: policy.clone(),
            site: case.site.clone(),
            servers: ready.iter().copied().cloned().collect(),
            why,
        });
        return;
    };
    match open.decided {
        Some(Decided::Refused) => wait(Wait::Refused {
            proposal: open.id,
            by: open.by.clone(),
        }),
        _ => wait(Wait::Proposed { proposal: open.id }),
    }
    let stands: BTreeSet<ServerName> = case
        .standing
        .iter()
        .filter(|(_, age)| **age >= 0)
        .map(|(server, _)| (*server).clone())
        .collect();
    if stands != open.servers && open.decided.is_none() {
        answers.reactions.push(Reaction::Revise {
            proposal: open.id,
            servers: stands,
        });
    }
}

fn start<'k>(
    looked: Looked<'k>,
    case: &Case<'k>,
    ready: &BTreeSet<&ServerName>,
    ledger: &mut Ledger<'k>,
    answers: &mut Answers,
) {
    let Looked { known, now_ms, .. } = looked;
    let binding = case.binding;
    let key = (binding.policy.clone(), case.site.clone());
    let shapes = match known.shapes.get(&key) {
        Some(Ok(shapes)) => &shapes[..],
        _ => &[],
    };
    let mut chosen = BTreeSet::new();
    for shape in shapes {
        if !shape.looks.iter().any(|server| ready.contains(server)) {
            continue;
        }
        match shape_held(looked, case, shape, ready, ledger) {
            None => {
                ledger.begin(binding, case.site, &shape.looks, now_ms);
                chosen.extend(shape.looks.iter().cloned());
            }
            Some(wait) => {
                if let Some(at_ms) = wait.until_ms() {
                    answers.due(at_ms);
                }
                for &server in ready.iter().filter(|server| shape.looks.contains(**server)) {
                    answers
                        .waits
                        .insert((binding.policy.clone(), server.clone()), wait.clone());
                }
            }
        }
    }
    for &server in ready {
        if !shapes.iter().any(|shape| shape.looks.contains(server)) {
            let why = "no plan of this site has the server in the role that detects".to_owned();
            answers
                .waits
                .insert((binding.policy.clone(), server.clone()), Wait::NoPlan(why));
        }
    }
    if chosen.is_empty() {
        return;
    }
    ledger.opened(binding, case.site);
    if let Some(open) = looked.by_site.proposal(&binding.policy, case.site) {
        answers
            .reactions
            .push(Reaction::Lapse { proposal: open.id });
    }
    answers.reactions.push(Reaction::Start {
        policy: binding.policy.clone(),
        site: case.site.clone(),
        servers: chosen,
    });
}

/// What holds one plan back: a server that it needs, or a throttle.
fn shape_held<'k>(
    looked: Looked<'k>,
    case: &Case<'k>,
    shape: &'k Shape,
    ready: &BTreeSet<&ServerName>,
    ledger: &Ledger<'k>,
) -> Option<Wait> {
    let Looked { known, now_ms, .. } = looked;
    let binding = case.binding;
    for server in &shape.servers {
        if !known
            .fleet
            .get(server)
            .is_some_and(|member| member.connected)
        {
            return Some(Wait::NotConnected(server.clone()));
        }
    }
    // A plan for several servers goes on when none of those where the symptom stands is held back.
    let held_back =
        |server: &&ServerName| case.standing.contains_key(*server) && !ready.contains(*server);
    if let Some(server) = shape.looks.iter().find(held_back) {
        return Some(Wait::Companion(server.clone()));
    }
    ledger.throttled(binding, case.site, &shape.looks, now_ms)
}

#[cfg(test)]
mod tests;
