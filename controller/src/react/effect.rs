//! What came of a run: not whether its steps succeeded, but whether mail flows again.

use std::str::FromStr;

use super::known::{Binding, Known, Past, QueueWord, Standing, Word};
use super::waits::span;
use crate::rollout::RunPhase;
use mailmend_policy::name::ServerName;

/// How much longer than it takes to settle an effect is waited for before nobody can tell,
/// milliseconds.
const PATIENCE_MS: i64 = 3_600_000;

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The symptom has stayed away, and mail was delivered since or waits no more.
    MailFlows,
    /// The symptom stands again, or still.
    CameBack,
    /// Neither is known.
    CannotTell,
}

/// A text that names no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no effect")]
pub struct NotAnEffect(pub String);

impl Effect {
    /// Its name for people and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MailFlows => "mail flows",
            Self::CameBack => "came back",
            Self::CannotTell => "cannot tell",
        }
    }
}

impl FromStr for Effect {
    type Err = NotAnEffect;

    fn from_str(text: &str) -> Result<Self, NotAnEffect> {
        [Self::MailFlows, Self::CameBack, Self::CannotTell]
            .into_iter()
            .find(|effect| effect.name() == text)
            .ok_or_else(|| NotAnEffect(text.to_owned()))
    }
}

pub(super) fn words(effect: Effect, why: &str) -> String {
    if why.is_empty() {
        effect.name().to_owned()
    } else {
        format!("{}: {why}", effect.name())
    }
}

/// What is known of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judged {
    Is(Effect, String),
    NotYet { due_ms: i64, why: String },
}

/// Judges what came of a run that was carried out to its end; nothing of one that was not.
pub(super) fn judge(past: &Past, binding: &Binding, known: &Known, now_ms: i64) -> Option<Judged> {
    let ended_ms = past.ended_ms?;
    if past.phase != RunPhase::Succeeded || past.servers.is_empty() {
        return None;
    }
    let mut least: Option<Judged> = None;
    for server in &past.servers {
        let one = judge_at(past, ended_ms, server, binding, known, now_ms);
        // What is worst of any server holds of the run.
        let rank = |judged: &Judged| match judged {
            Judged::Is(Effect::CameBack, _) => 0,
            Judged::NotYet { .. } => 1,
            Judged::Is(Effect::CannotTell, _) => 2,
            Judged::Is(Effect::MailFlows, _) => 3,
        };
        if least.as_ref().is_none_or(|least| rank(&one) < rank(least)) {
            least = Some(one);
        }
    }
    least
}

fn judge_at(
    past: &Past,
    ended_ms: i64,
    server: &ServerName,
    binding: &Binding,
    known: &Known,
    now_ms: i64,
) -> Judged {
    let settle_ms = binding.throttle.settle_ms;
    let member = known.fleet.get(server);
    let connected = member.is_some_and(|member| member.connected);
    let gives_up_ms = ended_ms + settle_ms + settle_ms.max(PATIENCE_MS);
    let not_known = |why: String| {
        if now_ms >= gives_up_ms {
            Judged::Is(Effect::CannotTell, why)
        } else {
            Judged::NotYet {
                due_ms: gives_up_ms,
                why: format!("not known yet: {why}"),
            }
        }
    };
    let Some(word) = known.word(&past.policy, server) else {
        return not_known(format!("{server} tells nothing of this symptom"));
    };
    match word.standing {
        Standing::Stands if word.heard_ms > ended_ms => Judged::Is(
            Effect::CameBack,
            format!("on {server}: {}", word.evidence.join("; ")),
        ),
        Standing::Stands => not_known(format!("{server} has told nothing since the run ended")),
        Standing::CannotTell => not_known(format!("on {server}: {}", word.evidence.join("; "))),
        // Until its run the symptom stood, so this was told while the run was at work or later.
        Standing::Absent if word.heard_ms >= past.began_ms => {
            let away = word.age_ms(connected, now_ms).min(now_ms - ended_ms);
            if away >= settle_ms {
                flows(past, server, word, known, away)
            } else if connected {
                Judged::NotYet {
                    due_ms: now_ms + (settle_ms - away),
                    why: format!(
                        "not known yet: the symptom has been away for {} of {}",
                        span(away),
                        span(settle_ms)
                    ),
                }
            } else {
                not_known(format!("{server} is not connected"))
            }
        }
        Standing::Absent => not_known(format!("{server} has told nothing since the run began")),
    }
}

/// The symptom has stayed away; a queue is empty also where its mail is held, so what shows that mail
/// went out counts, and nothing else.
fn flows(past: &Past, server: &ServerName, word: &Word, known: &Known, away_ms: i64) -> Judged {
    let away = format!("the symptom has been away for {}", span(away_ms));
    if past.kept > 0 {
        let why = format!(
            "{away}, and {} messages that the run took are still held",
            past.kept
        );
        return Judged::Is(Effect::CannotTell, why);
    }
    if past.delivered > 0 {
        let why = format!("{away}, {} messages delivered by evidence", past.delivered);
        return Judged::Is(Effect::MailFlows, why);
    }
    // By the agent's clock, as the queues are.
    let queues = known.fleet.get(server).map_or(&[][..], |m| &m.queues);
    let waits_longer = |oldest: i64| oldest != 0 && oldest < word.since_ms;
    let counted = queues.iter().filter(|queue| queue.at_ms >= word.since_ms);
    let mut counted = counted.peekable();
    if counted.peek().is_none() {
        let why = format!("{away}, and nothing shows that mail was delivered since");
        return Judged::Is(Effect::CannotTell, why);
    }
    // The store keeps two queues, where nobody sees how long a message has waited.
    let untold = |queue: &&QueueWord| queue.messages > 0 && queue.oldest_ms == 0;
    match counted.find(|queue| untold(queue) || waits_longer(queue.oldest_ms)) {
        Some(queue) if untold(&queue) => {
            let why = format!(
                "{away}, and how long the {} messages of a queue in the store have waited cannot be told",
                queue.messages
            );
            Judged::Is(Effect::CannotTell, why)
        }
        Some(queue) => {
            let why = format!(
                "{away}, and a queue of {} messages has not moved since",
                queue.messages
            );
            Judged::Is(Effect::CannotTell, why)
        }
        None => Judged::Is(
            Effect::MailFlows,
            format!("{away}, what waited then has left the queues"),
        ),
    }
}
