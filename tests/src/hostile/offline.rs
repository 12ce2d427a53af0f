//! The keys that no controller has, and what is signed with them: the one thing that a thief of the controller lacks.

use mailmend_proto::convert::offer_to_wire;
use mailmend_proto::wire;
use mailmend_trust::{
    Catalogue, Entry, Holder, Kind, Named, Offer, Role, Root, SecretKey, Sha256, Signed, Timestamp,
};

use super::refused;
use crate::lab_error::LabError;

const DAY: i64 = 86_400_000;

/// People with keys, and the first root.
#[derive(Debug, Clone)]
pub struct Offline {
    root: String,
    began_ms: i64,
    /// Whose keys these are: a thief has some of his own.
    first: u8,
}

impl Offline {
    /// Makes the keys of some people, each set another one, and their root.
    ///
    /// # Errors
    /// Where the root makes no sense.
    pub fn new(first: u8, now_ms: i64) -> Result<Self, LabError> {
        let fail = |why: &dyn std::fmt::Debug| refused("make a root", format!("{why:?}"));
        let role = |keys: &[u8]| {
            let holder = |number: &u8| Holder {
                key: key(first, *number).public(),
                holder: format!("holder {number}"),
            };
            Role::new(1, keys.iter().map(holder).collect())
        };
        let roles = [
            role(&[1]).map_err(|why| fail(&why))?,
            role(&[2]).map_err(|why| fail(&why))?,
            role(&[3]).map_err(|why| fail(&why))?,
        ];
        let root = Root::new(1, now_ms + 365 * DAY, roles).map_err(|why| fail(&why))?;
        Ok(Self {
            root: root.write(),
            began_ms: now_ms,
            first,
        })
    }

    /// The root that agents are pinned to.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Everything that is signed: the root, and a catalogue with these policies alone.
    ///
    /// # Errors
    /// Where a document makes no sense.
    pub fn documents(
        &self,
        version: u64,
        policies: &[(&str, u32, &[u8])],
    ) -> Result<wire::TrustDocuments, LabError> {
        let entries = policies
            .iter()
            .map(|(name, version, text)| Entry::of(name, *version, text))
            .collect();
        let catalogue = Catalogue::new(version, self.began_ms + 90 * DAY, entries)
            .map_err(|why| refused("make a catalogue", format!("{why:?}")))?;
        let catalogue = self.signed(Kind::Catalogue, catalogue.write(), 2);
        let timestamp = Timestamp {
            version,
            issued_ms: self.began_ms,
            expires_ms: self.began_ms + 7 * DAY,
            root: 1,
            catalogue: Named {
                version,
                sha256: Sha256::of(&catalogue.text),
                bytes: catalogue.text.len() as u64,
            },
        };
        Ok(offer_to_wire(&Offer {
            roots: vec![self.signed(Kind::Root, self.root.clone(), 1)],
            timestamp: Some(self.signed(Kind::Timestamp, timestamp.write(), 3)),
            catalogue: Some(catalogue),
        }))
    }

    fn signed(&self, kind: Kind, text: String, number: u8) -> Signed {
        let text = text.into_bytes();
        let signatures = vec![key(self.first, number).sign(kind, &text)];
        Signed { text, signatures }
    }
}

fn key(first: u8, number: u8) -> SecretKey {
    SecretKey::of(&[first.wrapping_mul(10).wrapping_add(number); 32])
}
