//! Verifying exported files: nothing is believed but what follows from their bytes.
//!
//! A trail is checked entry by entry ([`Trail`]), each agent's journal record by record ([`Journal`]), and then both
//! against each other ([`compare`]): neither could be written anew without the other showing it.

mod compare;
mod journal;

use std::collections::BTreeMap;

use mailmend_proto::wire;
use mailmend_proto::wire::trail_item::What;

pub use compare::compare;
pub use journal::{HEADER_START, Journal};

use super::{Head, item, line};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: an entry of the trail, or a record of a journal.
    pub place: String,
    /// What is wrong there.
    pub what: String,
    /// What that means.
    pub means: String,
}

impl Finding {
    pub(super) fn new(
        place: impl Into<String>,
        what: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
            means: means.into(),
        }
    }
}

/// A run and an agent of it, or an agent and its journal.
type Pair = (String, String);
/// An entry, a fence, and a watermark or how far down.
type Limit = (u64, u64, u32);
/// An entry that tells of a record, the record, and the journal's hash there.
type Seen = (u64, u64, Vec<u8>);

/// A trail that is being verified, with what the checks of journals need of it.
#[derive(Debug, Clone)]
pub struct Trail {
    head: Head,
    /// The hash at each entry, from the first on.
    hashes: Vec<[u8; 32]>,
    pub(super) allowed: Allowed,
    /// By agent and journal.
    pub(super) seen: BTreeMap<Pair, Vec<Seen>>,
    /// By agent and journal: the last record that is older than the trail.
    pub(super) older: BTreeMap<Pair, u64>,
}

/// What agents were allowed to do: each with the entry that says so.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed {
    /// By run and agent: entry and fence.
    pub(super) assigned: BTreeMap<Pair, Vec<(u64, u64)>>,
    /// By run and agent: entry, fence and watermark.
    pub(super) advanced: BTreeMap<Pair, Vec<Limit>>,
    /// By run and agent: entry, fence and how far down.
    pub(super) unwound: BTreeMap<Pair, Vec<Limit>>,
    /// By order: entry, run and agent.
    pub(super) ordered: BTreeMap<String, (u64, String, String)>,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            head: Head::NONE,
            hashes: Vec::new(),
            allowed: Allowed::default(),
            seen: BTreeMap::new(),
            older: BTreeMap::new(),
        }
    }
}

const CHANGED: &str = "the entry was changed, or damaged, after it was written";
const MOVED: &str = "entries were removed, put in or put in another order after they were written";

impl Trail {
    /// Where it ends, as far as it was verified.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Takes the next line of an exported trail, after its header.
    ///
    /// # Errors
    /// What is wrong with it; nothing after it can be verified.
    pub fn line(&mut self, text: &str) -> Result<(), Finding> {
        let place = format!("line {} of the trail", self.head.seq + 2);
        let (entry, bytes, head) =
            line::read(text).map_err(|why| Finding::new(place, why, CHANGED))?;
        self.entry(&entry, &bytes, head)
    }

    /// Takes the next entry with its exact bytes, and where it says that it stands.
    ///
    /// # Errors
    /// What is wrong with it; nothing after it can be verified.
    pub fn entry(
        &mut self,
        entry: &wire::TrailEntry,
        bytes: &[u8],
        says: Head,
    ) -> Result<(), Finding> {
        let place = format!("entry {} of the trail", says.seq);
        let next = self.head.after(bytes);
        if says.seq != next.seq {
            let what = format!("it follows on entry {}", self.head.seq);
            return Err(Finding::new(place, what, MOVED));
        }
        if entry.seq != says.seq {
            let what = format!("its text says that it is entry {}", entry.seq);
            return Err(Finding::new(place, what, MOVED));
        }
        if says.hash != next.hash {
            let what = "its hash is not the one that follows from it and from the entries before";
            return Err(Finding::new(place, what, CHANGED));
        }
        let items =
            item::decoded(&entry.detail).map_err(|why| Finding::new(place, why, CHANGED))?;
        self.head = next;
        self.hashes.push(next.hash);
        for what in items {
            self.note(what);
        }
        Ok(())
    }

    fn note(&mut self, what: What) {
        let seq = self.head.seq;
        let Allowed {
            assigned,
            advanced,
            unwound,
            ordered,
        } = &mut self.allowed;
        match what {
            What::Assigned(one) => {
                for agent in one.agents {
                    let key = (one.run.clone(), agent);
                    assigned.entry(key).or_default().push((seq, one.fence));
                }
            }
            What::Advanced(one) => {
                let key = (one.run, one.agent);
                let all = advanced.entry(key).or_default();
                all.push((seq, one.fence, one.through));
            }
            What::Unwound(one) => {
                let key = (one.run, one.agent);
                let all = unwound.entry(key).or_default();
                all.push((seq, one.fence, one.down_to));
            }
            What::Ordered(one) => {
                ordered.insert(one.order, (seq, one.run, one.agent));
            }
            What::HeadSeen(one) if one.before => {
                self.older.insert((one.agent, one.journal), one.seq);
            }
            What::HeadSeen(one) => {
                let all = self.seen.entry((one.agent, one.journal)).or_default();
                all.push((seq, one.seq, one.hash));
            }
            What::Begun(_)
            | What::Started(_)
            | What::Entered(_)
            | What::Turned(_)
            | What::WaveEnded(_)
            | What::WaveBegan(_)
            | What::Approved(_) => {}
        }
    }

    /// Whether a head that somebody noted is a part of it; what that means where it is not.
    ///
    /// # Errors
    /// Where the trail is shorter, or another one there.
    pub fn witnessed(&self, noted: Head, by: &str) -> Result<(), Finding> {
        if noted.seq == 0 {
            return Ok(());
        }
        let place = format!("entry {} of the trail", noted.seq);
        let index = usize::try_from(noted.seq - 1).unwrap_or(usize::MAX);
        match self.hashes.get(index) {
            Some(hash) if *hash == noted.hash => Ok(()),
            Some(_) => Err(Finding::new(
                place,
                format!("{by} saw another hash there"),
                "the trail was written anew from some entry up to this one on, or put back from a backup and continued",
            )),
            None => Err(Finding::new(
                place,
                format!(
                    "{by} saw it, and the trail ends with entry {}",
                    self.head.seq
                ),
                "the end of the trail was cut off, or it was exported before, or put back from a backup",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
