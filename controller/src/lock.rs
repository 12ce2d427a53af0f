//! The lock of a site: who may disturb service there, and what ends that.
//!
//! Pure. The store asks these functions in the transaction that writes what they answer; the agent's side is
//! [`mailmend_proto::fence`], and `lock/model.rs` explores both together. Time plays no part: a lock is freed
//! by its holder's final report, or by what an agent has journaled of that very grant, and by nothing else.

use mailmend_proto::run::RunId;

use crate::rollout::Part;

/// What holds a site: one run, for itself, for a release of its held mail, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    /// The run.
    pub run: RunId,
    /// The fence of the run's own grant, until the run has ended.
    pub own: Option<u64>,
    /// The fence of the grant of a release, until its agent has closed or refused it.
    pub release: Option<u64>,
}

/// What a site is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To carry a run out.
    Run,
    /// To give back mail that a closed run holds, or that vanished from it.
    Release,
}

/// A site that was given away, and the fence of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Granted {
    /// What holds the site now.
    pub held: Held,
    /// The fence of this grant: never minted before.
    pub fence: u64,
}

/// A site that cannot be had now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Taken {
    /// Another run has it.
    Other(RunId),
    /// This run has it for the same purpose: what it was given it for is not over.
    Already,
}

/// Something by which a lock may come free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// The run has ended: every agent's part of it is over, see [`is_over`].
    Ended {
        /// The run.
        run: RunId,
    },
    /// The agent has closed a release. `fence` is the highest that it had journaled for the run by then.
    Closed {
        /// The run.
        run: RunId,
        /// The fence.
        fence: u64,
    },
    /// The agent refused a release, and will refuse it for ever.
    Refused {
        /// The run.
        run: RunId,
        /// The fence of the release that was refused.
        fence: u64,
    },
}

/// Gives a site to a run, with a new fence, above the last one that was `minted`.
///
/// # Errors
/// Where another run has it, or the same one for the same purpose.
pub fn take(
    held: Option<Held>,
    run: RunId,
    purpose: Purpose,
    minted: u64,
) -> Result<Granted, Taken> {
    let mut now = match held {
        Some(held) if held.run != run => return Err(Taken::Other(held.run)),
        Some(held) => held,
        None => Held {
            run,
            own: None,
            release: None,
        },
    };
    let fence = minted + 1;
    let place = match purpose {
        Purpose::Run => &mut now.own,
        Purpose::Release => &mut now.release,
    };
    if place.replace(fence).is_some() {
        return Err(Taken::Already);
    }
    Ok(Granted { held: now, fence })
}

/// What holds a site after a word; none: it is free. Words of other runs and of older grants change nothing.
#[must_use]
pub fn after(held: Held, word: Word) -> Option<Held> {
    let mut now = held;
    match word {
        Word::Ended { run } if run == held.run => now.own = None,
        Word::Closed { run, fence } if run == held.run => {
            now.release = held.release.filter(|grant| fence < *grant);
        }
        Word::Refused { run, fence } if run == held.run => {
            now.release = held.release.filter(|grant| fence != *grant);
        }
        Word::Ended { .. } | Word::Closed { .. } | Word::Refused { .. } => {}
    }
    (now.own.is_some() || now.release.is_some()).then_some(now)
}

/// Whether nothing more can come from an agent's part of a run: it closed, or never took the run on, or its
/// journal is gone and a person has to look.
#[must_use]
pub const fn is_over(closed: bool, lost: bool, refused: bool, begun: bool) -> bool {
    // One that took on what it had refused is closed again before it may do anything: nothing is
    // released before all have begun.
    closed || lost || (refused && !begun)
}

/// Whether a run may begin to move: every agent has taken it on. A refusal costs nothing until then.
pub fn may_begin<'a>(parts: impl IntoIterator<Item = &'a Part>) -> bool {
    all_begun(parts.into_iter().map(|part| part.told.begun))
}

/// The rule of [`may_begin`], over whether each agent has taken the run on.
pub fn all_begun(begun: impl IntoIterator<Item = bool>) -> bool {
    begun.into_iter().all(|begun| begun)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
