//! What is believed now, and how documents change it.
//!
//! State and document in, state out. A refusal leaves what was believed as it was; only roots are taken one by
//! one, as each of them is whole in itself. Timestamp and catalogue are taken together or not at all, so that none
//! of them is ever kept because of the other and refused later.
//!
//! **Time.** The clock is an argument and may be wrong by years. What it is believed to say is never earlier than
//! the youngest timestamp was issued. A document that was once seen expired stays so, whatever the clock says
//! later, until a newer one takes its place, which is judged anew: one bad clock stops nobody for good. Of root and
//! catalogue it is only remembered while the clock agrees that the timestamp holds: a clock that runs years ahead
//! finds the timestamp expired too, and that is replaced by itself within its short life; the others need people.

mod kept;

use std::collections::BTreeMap;

use crate::digest::Sha256;
use crate::document::{Catalogue, Entry, Root, Timestamp};
use crate::kind::Kind;
use crate::refusal::{Denial, Refusal};
use crate::signature::Signed;

/// More roots in one offer than this are refused.
pub const MOST_ROOTS: usize = 256;

/// More names of policies than this are not remembered: a catalogue that would need it is refused.
const MOST_NAMES: usize = 4096;

/// What an agent believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// The digest of the root that the administrator pinned.
    pinned: Sha256,
    root: Held<Root>,
    current: Option<Current>,
    /// What was accepted of each policy, also of those that are listed no longer.
    floors: BTreeMap<String, Floor>,
    /// The time is at least this late, milliseconds since 1970 UTC: a timestamp was issued then.
    known_ms: i64,
    /// Which of the documents that are held were seen expired.
    expired: Expired,
}

/// A document and the bytes that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held<D> {
    signed: Signed,
    document: D,
}

/// Timestamp and catalogue; never one without the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Current {
    timestamp: Held<Timestamp>,
    catalogue: Held<Catalogue>,
}

/// What was accepted of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Older versions were withdrawn and never come back.
    pub lowest: u32,
    /// The highest version that was listed.
    pub highest: u32,
    /// Its text.
    pub sha256: Sha256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Expired {
    root: bool,
    catalogue: bool,
    timestamp: bool,
}

impl Expired {
    const fn of(self, kind: Kind) -> bool {
        match kind {
            Kind::Root => self.root,
            Kind::Catalogue => self.catalogue,
            Kind::Timestamp => self.timestamp,
        }
    }

    fn note(&mut self, kind: Kind, seen: bool) {
        match kind {
            Kind::Root => self.root = seen,
            Kind::Catalogue => self.catalogue = seen,
            Kind::Timestamp => self.timestamp = seen,
        }
    }
}

/// Documents that somebody offers; nothing of them is believed yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    /// Roots, in the order of their versions. Those that are trusted already may be among them.
    pub roots: Vec<Signed>,
    /// The timestamp; together with its catalogue, or neither.
    pub timestamp: Option<Signed>,
    /// The catalogue.
    pub catalogue: Option<Signed>,
}

/// What came of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is believed now.
    pub state: Trusted,
    /// What was refused, and why; what came before it in the offer was taken.
    pub refused: Option<Refusal>,
}

impl Trusted {
    /// Begins with the root that the administrator pinned: it is believed on that person's word.
    ///
    /// # Errors
    /// Where it is no root.
    pub fn pin(text: &[u8]) -> Result<Self, Refusal> {
        let signed = Signed {
            text: text.to_vec(),
            signatures: Vec::new(),
        };
        Ok(Self {
            pinned: Sha256::of(text),
            root: Held {
                document: Root::parse(text)?,
                signed,
            },
            current: None,
            floors: BTreeMap::new(),
            known_ms: 0,
            expired: Expired::default(),
        })
    }

    /// Takes another root on the administrator's word, whether or not it follows. What it still vouches for stays.
    ///
    /// # Errors
    /// Where it is no root.
    pub fn pin_again(&self, text: &[u8]) -> Result<Self, Refusal> {
        let Self { root, pinned, .. } = Self::pin(text)?;
        let mut state = Self {
            pinned,
            ..self.clone()
        };
        state.follow(root);
        Ok(state)
    }

    /// The digest of the root that was pinned.
    #[must_use]
    pub const fn pinned(&self) -> Sha256 {
        self.pinned
    }

    /// The root.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root.document
    }

    /// The root's exact text.
    #[must_use]
    pub fn root_text(&self) -> &[u8] {
        &self.root.signed.text
    }

    /// The timestamp; none was taken yet: `None`.
    #[must_use]
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.current
            .as_ref()
            .map(|current| &current.timestamp.document)
    }

    /// The catalogue; none was taken yet: `None`.
    #[must_use]
    pub fn catalogue(&self) -> Option<&Catalogue> {
        self.current
            .as_ref()
            .map(|current| &current.catalogue.document)
    }

    /// What was accepted of a policy.
    #[must_use]
    pub fn floor(&self, name: &str) -> Option<&Floor> {
        self.floors.get(name)
    }

    /// The version that is held of a kind; 0: none.
    #[must_use]
    pub fn version(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Root => self.root().version,
            Kind::Catalogue => self.catalogue().map_or(0, |one| one.version),
            Kind::Timestamp => self.timestamp().map_or(0, |one| one.version),
        }
    }

    /// What is held of a kind, with its signatures, to be passed on; a pinned root has none. `None`: none is held.
    #[must_use]
    pub fn signed(&self, kind: Kind) -> Option<&Signed> {
        let current = self.current.as_ref();
        match kind {
            Kind::Root => Some(&self.root.signed),
            Kind::Catalogue => current.map(|one| &one.catalogue.signed),
            Kind::Timestamp => current.map(|one| &one.timestamp.signed),
        }
    }

    /// When the time of what is held of a kind is over, milliseconds since 1970 UTC; `None`: none is held.
    #[must_use]
    pub fn expires_ms(&self, kind: Kind) -> Option<i64> {
        match kind {
            Kind::Root => Some(self.root().expires_ms),
            Kind::Catalogue => self.catalogue().map(|one| one.expires_ms),
            Kind::Timestamp => self.timestamp().map(|one| one.expires_ms),
        }
    }

    /// The same, after a look at the clock: what is expired now is remembered. Keep it before relying on it.
    #[must_use]
    pub fn seen(&self, now_ms: i64) -> Self {
        let mut state = self.clone();
        let at_ms = self.at_least(now_ms);
        let over = |kind| self.expires_ms(kind).is_some_and(|end| at_ms >= end);
        if self.current.is_none() || state.expired.timestamp {
            return state;
        }
        if over(Kind::Timestamp) {
            state.expired.timestamp = true;
            return state;
        }
        for kind in [Kind::Root, Kind::Catalogue] {
            if over(kind) {
                state.expired.note(kind, true);
            }
        }
        state
    }

    /// Whether new work may be begun at all: nothing that is held has expired.
    ///
    /// # Errors
    /// What has, or that there is no catalogue.
    pub fn fresh(&self, now_ms: i64) -> Result<(), Denial> {
        if self.current.is_none() {
            return Err(Denial::NoCatalogue);
        }
        let at_ms = self.at_least(now_ms);
        for kind in Kind::ALL {
            let expires_ms = self.expires_ms(kind).unwrap_or(i64::MIN);
            if self.expired.of(kind) || at_ms >= expires_ms {
                return Err(Denial::Expired {
                    kind,
                    version: self.version(kind),
                    expires_ms,
                });
            }
        }
        Ok(())
    }

    /// The entry of exactly these bytes, whether or not anything has expired.
    ///
    /// # Errors
    /// Where the catalogue does not list them, or there is none.
    pub fn listed(&self, text: &[u8]) -> Result<&Entry, Denial> {
        let catalogue = self.catalogue().ok_or(Denial::NoCatalogue)?;
        catalogue.entry_of(text).ok_or_else(|| Denial::NotListed {
            catalogue: catalogue.version,
            sha256: Sha256::of(text),
            bytes: text.len() as u64,
        })
    }

    /// Whether a policy with exactly these bytes may be begun now; its entry says under which name and version.
    ///
    /// # Errors
    /// Where it is not listed, or something has expired.
    pub fn permits(&self, text: &[u8], now_ms: i64) -> Result<&Entry, Denial> {
        let entry = self.listed(text)?;
        self.fresh(now_ms)?;
        Ok(entry)
    }

    /// Takes what is offered, as far as it can be believed.
    #[must_use]
    pub fn offered(&self, offer: &Offer, now_ms: i64) -> Step {
        let mut state = self.seen(now_ms);
        let refused = state.take(offer, now_ms).err();
        Step { state, refused }
    }

    fn take(&mut self, offer: &Offer, now_ms: i64) -> Result<(), Refusal> {
        if offer.roots.len() > MOST_ROOTS {
            return Err(Refusal::TooManyRoots {
                count: offer.roots.len(),
            });
        }
        for root in &offer.roots {
            self.take_root(root)?;
        }
        match (&offer.timestamp, &offer.catalogue) {
            (None, None) => Ok(()),
            (Some(timestamp), Some(catalogue)) => self.take_current(timestamp, catalogue, now_ms),
            _ => Err(Refusal::Incomplete),
        }
    }

    /// The next root. One that expired is taken as well: it may be on the way to one that has not.
    fn take_root(&mut self, signed: &Signed) -> Result<(), Refusal> {
        let kind = Kind::Root;
        signed.bounded(kind)?;
        if signed.text == self.root.signed.text {
            return Ok(());
        }
        let document = Root::parse(&signed.text)?;
        let (trusted, offered) = (self.root().version, document.version);
        if offered < trusted {
            // One of those that led here; nothing follows from it.
            return Ok(());
        }
        if offered == trusted {
            return Err(Refusal::Changed {
                kind,
                version: offered,
            });
        }
        if trusted.checked_add(1) != Some(offered) {
            return Err(Refusal::Gap { trusted, offered });
        }
        signed.verified(kind, self.root().role(kind), "the trusted root")?;
        signed.verified(kind, document.role(kind), "the new root")?;
        self.follow(Held {
            signed: signed.clone(),
            document,
        });
        Ok(())
    }

    /// Believes a root. What its keys do not vouch for is forgotten with all that followed from it: so a role
    /// whose key was stolen, and used to raise its version beyond reach, begins anew with its new keys.
    fn follow(&mut self, root: Held<Root>) {
        self.root = root;
        self.expired.root = false;
        let vouched = |kind, signed: &Signed| {
            let role = self.root.document.role(kind);
            signed.verified(kind, role, "the trusted root").is_ok()
        };
        let Some(current) = &self.current else { return };
        let catalogue = vouched(Kind::Catalogue, &current.catalogue.signed);
        let timestamp = vouched(Kind::Timestamp, &current.timestamp.signed);
        if !catalogue {
            self.floors.clear();
        }
        if !timestamp {
            self.known_ms = 0;
        }
        if !catalogue || !timestamp {
            self.current = None;
            self.expired = Expired::default();
        }
    }

    fn take_current(
        &mut self,
        timestamp: &Signed,
        catalogue: &Signed,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        if let Some(current) = &self.current
            && current.timestamp.signed.text == timestamp.text
            && current.catalogue.signed.text == catalogue.text
        {
            return Ok(());
        }
        let timestamp = self.new_timestamp(timestamp, now_ms)?;
        let catalogue = self.new_catalogue(catalogue, &timestamp.document, now_ms)?;
        let floors = self.risen(&catalogue.document)?;
        // What is new is judged by the clock anew.
        let is_new =
            |held: Option<&Signed>, now: &Signed| held.is_none_or(|held| held.text != now.text);
        let held = self.current.as_ref();
        if is_new(held.map(|one| &one.catalogue.signed), &catalogue.signed) {
            self.expired.catalogue = false;
        }
        if is_new(held.map(|one| &one.timestamp.signed), &timestamp.signed) {
            self.expired.timestamp = false;
        }
        self.floors = floors;
        self.known_ms = self.known_ms.max(timestamp.document.issued_ms);
        self.current = Some(Current {
            timestamp,
            catalogue,
        });
        Ok(())
    }

    fn new_timestamp(&self, signed: &Signed, now_ms: i64) -> Result<Held<Timestamp>, Refusal> {
        let kind = Kind::Timestamp;
        signed.bounded(kind)?;
        signed.verified(kind, self.root().role(kind), "the trusted root")?;
        let document = Timestamp::parse(&signed.text)?;
        self.not_older(kind, document.version, signed)?;
        if document.root > self.root().version {
            return Err(Refusal::RootWithheld {
                timestamp: document.version,
                named: document.root,
                trusted: self.root().version,
            });
        }
        self.in_time(kind, document.version, document.expires_ms, now_ms)?;
        Ok(Held {
            signed: signed.clone(),
            document,
        })
    }

    fn new_catalogue(
        &self,
        signed: &Signed,
        by: &Timestamp,
        now_ms: i64,
    ) -> Result<Held<Catalogue>, Refusal> {
        let kind = Kind::Catalogue;
        signed.bounded(kind)?;
        let mismatch = |why: String| {
            Err(Refusal::Mismatch {
                timestamp: by.version,
                why,
            })
        };
        if signed.text.len() as u64 != by.catalogue.bytes {
            return mismatch(format!(
                "it has {} bytes, not {}",
                signed.text.len(),
                by.catalogue.bytes
            ));
        }
        let sha256 = Sha256::of(&signed.text);
        if sha256 != by.catalogue.sha256 {
            return mismatch(format!(
                "its SHA-256 is {sha256}, not {}",
                by.catalogue.sha256
            ));
        }
        signed.verified(kind, self.root().role(kind), "the trusted root")?;
        let document = Catalogue::parse(&signed.text)?;
        if document.version != by.catalogue.version {
            return mismatch(format!(
                "it is version {}, not {}",
                document.version, by.catalogue.version
            ));
        }
        self.not_older(kind, document.version, signed)?;
        // It is at least as late as the timestamp was made.
        let at_ms = now_ms.max(by.issued_ms);
        self.in_time(kind, document.version, document.expires_ms, at_ms)?;
        Ok(Held {
            signed: signed.clone(),
            document,
        })
    }

    fn not_older(&self, kind: Kind, offered: u64, signed: &Signed) -> Result<(), Refusal> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let (trusted, text) = match kind {
            Kind::Timestamp => (
                current.timestamp.document.version,
                &current.timestamp.signed.text,
            ),
            _ => (
                current.catalogue.document.version,
                &current.catalogue.signed.text,
            ),
        };
        if offered < trusted {
            return Err(Refusal::Rollback {
                kind,
                trusted,
                offered,
            });
        }
        if offered == trusted && signed.text != *text {
            return Err(Refusal::Changed {
                kind,
                version: offered,
            });
        }
        Ok(())
    }

    fn in_time(
        &self,
        kind: Kind,
        version: u64,
        expires_ms: i64,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        // What was seen expired is the same document still: only a newer one is judged anew.
        let known = self.version(kind) == version && self.expired.of(kind);
        if known || self.at_least(now_ms) >= expires_ms {
            return Err(Refusal::Expired {
                kind,
                version,
                expires_ms,
            });
        }
        Ok(())
    }

    /// What was accepted of each policy, with this catalogue.
    fn risen(&self, catalogue: &Catalogue) -> Result<BTreeMap<String, Floor>, Refusal> {
        let mut listed: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in catalogue.entries() {
            listed.entry(&entry.name).or_default().push(entry);
        }
        let mut floors = self.floors.clone();
        for (name, mut entries) in listed {
            entries.sort_by_key(|entry| entry.version);
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                continue;
            };
            if let Some(floor) = self.floors.get(name) {
                let falls = |accepted, offered| Refusal::PolicyFalls {
                    name: name.to_owned(),
                    accepted,
                    offered,
                };
                if last.version < floor.highest {
                    return Err(falls(floor.highest, last.version));
                }
                if first.version < floor.lowest {
                    return Err(falls(floor.lowest, first.version));
                }
            }
            for entry in &entries {
                if self
                    .text_of(entry)
                    .is_some_and(|known| known != entry.sha256)
                {
                    return Err(Refusal::PolicyChanged {
                        name: name.to_owned(),
                        version: entry.version,
                    });
                }
            }
            floors.insert(
                name.to_owned(),
                Floor {
                    lowest: first.version,
                    highest: last.version,
                    sha256: last.sha256,
                },
            );
        }
        if floors.len() > MOST_NAMES {
            return Err(Refusal::Malformed {
                kind: Kind::Catalogue,
                why: format!(
                    "with it {} names of policies would have been used, at most {MOST_NAMES} are",
                    floors.len()
                ),
            });
        }
        Ok(floors)
    }

    /// The text that is known of a policy's version.
    fn text_of(&self, entry: &Entry) -> Option<Sha256> {
        let same = |one: &&Entry| one.name == entry.name && one.version == entry.version;
        let held = self
            .catalogue()
            .and_then(|held| held.entries().iter().find(same));
        let floor = self
            .floors
            .get(&entry.name)
            .filter(|floor| floor.highest == entry.version);
        held.map(|one| one.sha256)
            .or(floor.map(|floor| floor.sha256))
    }

    /// The clock, corrected by what a timestamp proves.
    fn at_least(&self, now_ms: i64) -> i64 {
        now_ms.max(self.known_ms)
    }
}
