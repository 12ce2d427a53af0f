//! Fingerprints, and which message has one. Pure.

use std::collections::{BTreeSet, HashMap};

use mailmend_policy::digest::Digest;
use mailmend_proto::convert::{WireFault, body_from_wire, digest_from_wire, uuid_from_wire};
use mailmend_proto::run::BodyPrint;
use mailmend_proto::wire;
use uuid::Uuid;

/// More fingerprints than this are not taken.
pub const MOST: usize = 4_000;

/// A body of fewer bytes tells nothing by itself: many messages say no more than `see you then`. It counts only
/// together with the same Message-ID.
pub const TELLING: u64 = 512;

/// The longest provenance that is kept, bytes.
const LONGEST: usize = 512;

/// What a poison message is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its id.
    pub id: Uuid,
    /// The file that was proven to be poison.
    pub print: Print,
    /// Who found it, where, when and how.
    pub provenance: String,
}

/// What is compared of a message file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Print {
    /// The digest of the whole file.
    pub hash: Digest,
    /// Its bytes.
    pub size: u64,
    /// What follows the header of its text; none where the file shows none.
    pub body: Option<BodyPrint>,
    /// Its Message-ID.
    pub message_id: Option<String>,
}

/// By what a message has a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// The file is the same, byte for byte.
    File,
    /// Message-ID and body are the same: the same message, with the envelope and the transport headers of another server.
    Message,
    /// The body is the same, and long enough to be told by.
    Body,
}

impl Likeness {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "the same file",
            Self::Message => "the same message",
            Self::Body => "the same body",
        }
    }
}

impl Print {
    /// By what the other file is like this one; none: it is another message.
    #[must_use]
    pub fn likeness(&self, other: &Self) -> Option<Likeness> {
        if self.hash == other.hash && self.size == other.size {
            return Some(Likeness::File);
        }
        let body = self.body.filter(|body| other.body == Some(*body))?;
        if self.message_id.is_some() && self.message_id == other.message_id {
            return Some(Likeness::Message);
        }
        (body.bytes >= TELLING).then_some(Likeness::Body)
    }
}

impl Fingerprint {
    /// From the wire.
    ///
    /// # Errors
    /// Where a field makes no sense.
    pub fn from_wire(told: &wire::Fingerprint) -> Result<Self, WireFault> {
        let mut provenance = told.provenance.clone();
        let mut end = provenance.len().min(LONGEST);
        while !provenance.is_char_boundary(end) {
            end -= 1;
        }
        provenance.truncate(end);
        Ok(Self {
            id: uuid_from_wire("fingerprint.id", &told.id)?,
            print: Print {
                hash: digest_from_wire("fingerprint.hash", &told.hash)?,
                size: told.size,
                body: body_from_wire("fingerprint.body", &told.body, told.body_bytes)?,
                message_id: (!told.message_id.is_empty()).then(|| told.message_id.clone()),
            },
            provenance,
        })
    }

    /// What is written down with a message that has it.
    #[must_use]
    pub fn evidence(&self, likeness: Likeness) -> String {
        format!(
            "{} as fingerprint {}: {}",
            likeness.name(),
            self.id,
            self.provenance
        )
    }
}

/// The fingerprints that stand.
#[derive(Debug, Default)]
pub struct Known {
    /// Their generation in the controller's store; 0: it has told none yet.
    pub generation: u64,
    /// A person has the server in hand.
    pub in_hand: bool,
    fingerprints: Vec<Fingerprint>,
    by_file: HashMap<(Digest, u64), usize>,
    by_body: HashMap<BodyPrint, Vec<usize>>,
    sizes: BTreeSet<u64>,
    bodies: BTreeSet<u64>,
}

impl Known {
    /// These fingerprints.
    #[must_use]
    pub fn new(generation: u64, in_hand: bool, fingerprints: Vec<Fingerprint>) -> Self {
        let mut known = Self {
            generation,
            in_hand,
            ..Self::default()
        };
        for (at, one) in fingerprints.iter().enumerate() {
            let print = &one.print;
            known.by_file.insert((print.hash, print.size), at);
            known.sizes.insert(print.size);
            if let Some(body) = print.body {
                known.by_body.entry(body).or_default().push(at);
                known.bodies.insert(body.bytes);
            }
        }
        known.fingerprints = fingerprints;
        known
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fingerprints.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fingerprints.len()
    }

    /// Whether one of this id stands.
    #[must_use]
    pub fn has(&self, id: Uuid) -> bool {
        self.fingerprints.iter().any(|one| one.id == id)
    }

    /// Whether a file of this size, with so many bytes of body, can have one: only then it has to be read whole.
    #[must_use]
    pub fn may_be(&self, size: u64, body: Option<u64>) -> bool {
        self.sizes.contains(&size) || body.is_some_and(|bytes| self.bodies.contains(&bytes))
    }

    /// The fingerprint that a file has, the one that says most.
    #[must_use]
    pub fn find(&self, print: &Print) -> Option<(&Fingerprint, Likeness)> {
        let same = self.by_file.get(&(print.hash, print.size));
        if let Some(found) = same.and_then(|at| self.fingerprints.get(*at)) {
            return Some((found, Likeness::File));
        }
        let alike = self.by_body.get(&print.body?)?;
        let alike = alike.iter().filter_map(|at| self.fingerprints.get(*at));
        let mut found: Vec<(&Fingerprint, Likeness)> = alike
            .filter_map(|one| Some((one, one.print.likeness(print)?)))
            .collect();
        found.sort_by_key(|(one, likeness)| (*likeness != Likeness::Message, one.id));
        found.into_iter().next()
    }
}
