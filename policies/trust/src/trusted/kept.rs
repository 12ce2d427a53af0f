//! The state as text, to be kept where only the agent and its administrator can write.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Current, Expired, Floor, Held, Trusted};
use crate::document::{Catalogue, Root, Timestamp};
use crate::kind::Kind;
use crate::refusal::{Damaged, Refusal};
use crate::signature::{Signature, Signed};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    pinned: String,
    known_ms: i64,
    expired: Vec<String>,
    root: Document,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<Document>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    catalogue: Option<Document>,
    #[serde(default)]
    accepted: BTreeMap<String, Accepted>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    text: String,
    signatures: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    lowest: u32,
    highest: u32,
    sha256: String,
}

impl Trusted {
    /// The state as text.
    ///
    /// # Errors
    /// Where it cannot be written as text; no state that was read or made here is so.
    pub fn write(&self) -> Result<String, Damaged> {
        let current = self.current.as_ref();
        let kept = Kept {
            format: 1,
            pinned: self.pinned.to_string(),
            known_ms: self.known_ms,
            expired: Kind::ALL
                .into_iter()
                .filter(|kind| self.expired.of(*kind))
                .map(|kind| kind.name().to_owned())
                .collect(),
            root: document(&self.root.signed)?,
            timestamp: current
                .map(|one| document(&one.timestamp.signed))
                .transpose()?,
            catalogue: current
                .map(|one| document(&one.catalogue.signed))
                .transpose()?,
            accepted: self.floors.iter().map(accepted).collect(),
        };
        toml::to_string(&kept).map_err(|why| Damaged(why.to_string()))
    }

    /// Reads the state again; the documents are verified by the root that was kept with them.
    ///
    /// # Errors
    /// Where it is not what [`Self::write`] wrote.
    pub fn read(text: &str) -> Result<Self, Damaged> {
        let kept: Kept = toml::from_str(text).map_err(|why| Damaged(why.to_string()))?;
        if kept.format != 1 {
            return Err(Damaged(format!(
                "its format is {}, and 1 is known",
                kept.format
            )));
        }
        let refused = |why: Refusal| Damaged(why.to_string());
        let mut expired = Expired::default();
        for name in &kept.expired {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            expired.note(
                kind.ok_or_else(|| Damaged(format!("`{name}` is no kind")))?,
                true,
            );
        }
        let signed = read(kept.root)?;
        let root = Held {
            document: Root::parse(&signed.text).map_err(refused)?,
            signed,
        };
        let vouched = |kind: Kind, signed: Signed| {
            signed.bounded(kind).map_err(refused)?;
            let role = root.document.role(kind);
            signed
                .verified(kind, role, "the kept root")
                .map_err(refused)?;
            Ok(signed)
        };
        let current = match (kept.timestamp, kept.catalogue) {
            (None, None) => None,
            (Some(timestamp), Some(catalogue)) => {
                let timestamp = vouched(Kind::Timestamp, read(timestamp)?)?;
                let catalogue = vouched(Kind::Catalogue, read(catalogue)?)?;
                Some(Current {
                    timestamp: Held {
                        document: Timestamp::parse(&timestamp.text).map_err(refused)?,
                        signed: timestamp,
                    },
                    catalogue: Held {
                        document: Catalogue::parse(&catalogue.text).map_err(refused)?,
                        signed: catalogue,
                    },
                })
            }
            _ => {
                return Err(Damaged(
                    "it has a timestamp or a catalogue alone".to_owned(),
                ));
            }
        };
        let floors = kept.accepted.into_iter().map(|(name, one)| {
            let sha256 = one.sha256.parse();
            let floor = Floor {
                lowest: one.lowest,
                highest: one.highest,
                sha256: sha256.map_err(|why| Damaged(format!("`{name}`: {why}")))?,
            };
            Ok((name, floor))
        });
        Ok(Self {
            pinned: kept
                .pinned
                .parse()
                .map_err(|why| Damaged(format!("{why}")))?,
            floors: floors.collect::<Result<_, Damaged>>()?,
            known_ms: kept.known_ms,
            expired,
            root,
            current,
        })
    }
}

fn document(signed: &Signed) -> Result<Document, Damaged> {
    let text = String::from_utf8(signed.text.clone());
    Ok(Document {
        text: text.map_err(|why| Damaged(why.to_string()))?,
        signatures: Signature::write_all(&signed.signatures),
    })
}

fn read(document: Document) -> Result<Signed, Damaged> {
    let signatures = Signature::read_all(&document.signatures);
    Ok(Signed {
        text: document.text.into_bytes(),
        signatures: signatures.map_err(|why| Damaged(why.to_string()))?,
    })
}

fn accepted((name, floor): (&String, &Floor)) -> (String, Accepted) {
    let accepted = Accepted {
        lowest: floor.lowest,
        highest: floor.highest,
        sha256: floor.sha256.to_string(),
    };
    (name.clone(), accepted)
}
