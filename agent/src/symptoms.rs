//! Symptoms: which watched policies' symptoms stand on this server, since when, and by what evidence.
//!
//! The controller says which policies to watch; the agent keeps them and goes on looking while the
//! controller is away. Looking changes nothing, by construction: it goes through `ReadOnly` in `look`.
//! What cannot be told stands nowhere: it keeps no symptom standing and raises none.

mod disturbed;
mod look;
#[cfg(test)]
mod tests;
mod watcher;
mod watchlist;

use std::time::Duration;

use mailmend_policy::digest::Digest;
use mailmend_proto::wire;

pub use watcher::Watcher;
pub(crate) use watcher::pause_after;
pub use watchlist::{Watched, Watchlist, WatchlistError};

/// How a symptom stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is known not to stand.
    Absent,
    /// All of its conditions hold.
    Stands,
    /// It cannot be told.
    CannotTell,
}

/// Which policy a symptom belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Of {
    /// The policy's name, as the controller sent it.
    pub policy: String,
    /// Its version.
    pub version: u32,
    /// The digest of its exact text.
    pub digest: Digest,
}

/// What one look found about one policy that applies here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The policy.
    pub of: Of,
    /// How its symptom stands.
    pub standing: Standing,
    /// Facts with their places, or why it cannot be told.
    pub evidence: Vec<String>,
}

/// One policy's symptom on this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// The policy.
    pub of: Of,
    /// How it stands.
    pub standing: Standing,
    /// Since which look it has stood so without a break, wall clock, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Facts with their places.
    pub evidence: Vec<String>,
    /// When it was looked at last, wall clock, milliseconds since 1970 UTC.
    pub looked_ms: i64,
}

/// What the symptoms are after a look. A symptom has stood since the first look of an unbroken row of
/// looks that all found it so: a look that cannot tell breaks the row, another text of the policy too.
#[must_use]
pub fn after(previous: &[Symptom], judgements: Vec<Judged>, now_ms: i64) -> Vec<Symptom> {
    judgements
        .into_iter()
        .map(|judged| {
            let before = previous
                .iter()
                .find(|symptom| symptom.of == judged.of && symptom.standing == judged.standing);
            Symptom {
                // A wall clock that was set back must not make a symptom older than it is told to be.
                since_ms: before.map_or(now_ms, |symptom| symptom.since_ms.min(now_ms)),
                of: judged.of,
                standing: judged.standing,
                evidence: judged.evidence,
                looked_ms: now_ms,
            }
        })
        .collect()
}

/// What a look saw, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// One for each watched policy that applies here, in the order in which they are watched.
    pub symptoms: Vec<Symptom>,
    /// The highest seq of the journal when the look began: what was journaled later was not seen.
    pub head: u64,
    /// When the look was made, wall clock, milliseconds since 1970 UTC; 0: none was made yet.
    pub looked_ms: i64,
}

/// After so long the controller hears of a look that found nothing new, so that it knows that somebody
/// still looks.
pub const STILL_LOOKING: Duration = Duration::from_secs(600);

/// Whether the controller is to hear of a look. `told` is what this session told last.
///
/// The evidence of a symptom that does not stand changes with every look (how many messages wait, how
/// long the oldest has), and is not worth a message of its own.
#[must_use]
pub fn worth_telling(told: Option<&Seen>, seen: &Seen) -> bool {
    if seen.looked_ms == 0 {
        return false;
    }
    let Some(told) = told else {
        return true;
    };
    let key = |symptom: &Symptom| (symptom.of.clone(), symptom.standing, symptom.since_ms);
    let standing = |seen: &Seen| -> Vec<Vec<String>> {
        let stand = seen.symptoms.iter();
        stand
            .filter(|symptom| symptom.standing == Standing::Stands)
            .map(|symptom| symptom.evidence.clone())
            .collect()
    };
    let still = i64::try_from(STILL_LOOKING.as_millis()).unwrap_or(i64::MAX);
    // What a run has just done is judged by the first look after it.
    told.head != seen.head
        || !told
            .symptoms
            .iter()
            .map(key)
            .eq(seen.symptoms.iter().map(key))
        || standing(told) != standing(seen)
        || seen.looked_ms.saturating_sub(told.looked_ms).abs() >= still
}

impl Seen {
    /// As it is told to the controller.
    #[must_use]
    pub fn to_wire(&self) -> wire::Symptoms {
        let symptoms = self.symptoms.iter().map(|symptom| wire::Symptom {
            policy: symptom.of.policy.clone(),
            version: symptom.of.version,
            digest: symptom.of.digest.as_bytes().to_vec(),
            state: match symptom.standing {
                Standing::Absent => wire::SymptomState::Absent,
                Standing::Stands => wire::SymptomState::Stands,
                Standing::CannotTell => wire::SymptomState::CannotTell,
            }
            .into(),
            since_ms: symptom.since_ms,
            evidence: symptom.evidence.clone(),
            looked_ms: symptom.looked_ms,
        });
        wire::Symptoms {
            symptoms: symptoms.collect(),
        }
    }
}
