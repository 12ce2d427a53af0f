//! Fleet immunity on the controller's side: what a fingerprint is, and what is told of it. Pure.
//!
//! A fingerprint comes from proof alone: the verdict of a search, an event that names the file, or a person's word. It is
//! stored with the record that says so, told to every agent, and withdrawn by one command. What agents set aside because
//! of it is given back then by ordinary releases.

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_proto::convert::body_to_wire;
use mailmend_proto::run::{BatchId, BodyPrint, PoisonProof, RunId};
use mailmend_proto::wire;
use uuid::{Builder, Uuid};

/// So many stand at most; one more is refused, with an alarm. An agent takes no more.
pub const MOST: u64 = 4_000;

/// A body of fewer bytes tells nothing without its Message-ID.
const TELLING: u64 = 512;

/// The longest provenance that agents are told, bytes.
const LONGEST: usize = 400;

/// A fingerprint, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its id: the same for the same message, whoever finds it.
    pub id: Uuid,
    /// The digest of the whole file.
    pub hash: Digest,
    /// Its bytes.
    pub size: u64,
    /// What follows the header of its text.
    pub body: Option<BodyPrint>,
    /// Its Message-ID; empty where it has none.
    pub message_id: String,
    /// Who found it.
    pub agent: ServerName,
    /// In which run or duty.
    pub run: RunId,
    /// The batch of the message.
    pub batch: BatchId,
    /// The message in it.
    pub entry: u32,
    /// How it was proven.
    pub proof: PoisonProof,
    /// In words.
    pub how: String,
    /// The policy of the run and its version; empty: a duty.
    pub policy: String,
    /// When, by the agent's clock.
    pub found_ms: i64,
    /// How it stands.
    pub state: State,
    /// Since when it stands so.
    pub changed_ms: i64,
    /// Who changed that; empty: nobody.
    pub by: String,
    /// In that person's words.
    pub why: String,
}

/// How a fingerprint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Agents set aside what has it.
    Standing,
    /// They do not any more.
    Withdrawn,
    /// It was one too many.
    Refused,
}

impl State {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 3] = [
        ("standing", Self::Standing),
        ("withdrawn", Self::Withdrawn),
        ("refused", Self::Refused),
    ];

    /// The name for people, in rows and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// The id of a fingerprint: what is compared, and nothing else, so that the same message found twice is one fingerprint.
#[must_use]
pub fn id_of(hash: &Digest, size: u64, body: Option<&BodyPrint>, message_id: &str) -> Uuid {
    let mut hasher = blake3::Hasher::new_derive_key("mailmend fingerprint of poison");
    match body {
        Some(body) if body.bytes >= TELLING || !message_id.is_empty() => {
            hasher.update(b"body");
            hasher.update(body.hash.as_bytes());
            hasher.update(&body.bytes.to_le_bytes());
            if body.bytes < TELLING {
                hasher.update(message_id.as_bytes());
            }
        }
        _ => {
            hasher.update(b"file");
            hasher.update(hash.as_bytes());
            hasher.update(&size.to_le_bytes());
        }
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

impl Fingerprint {
    /// Where it comes from, in one line: agents keep it with what they set aside.
    #[must_use]
    pub fn provenance(&self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.found_ms).map_or_else(
            |_| self.found_ms.to_string(),
            |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        );
        let policy = match self.policy.as_str() {
            "" => String::new(),
            policy => format!(" of {policy}"),
        };
        let mut text = format!(
            "{} found it at {at} as {}/{} in run {}{policy}, by {}: {}",
            self.agent,
            self.batch,
            self.entry,
            self.run,
            self.proof.name(),
            self.how
        );
        let mut end = text.len().min(LONGEST);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    }

    /// As agents and operators are told it.
    #[must_use]
    pub fn to_wire(&self) -> wire::Fingerprint {
        let (body, body_bytes) = body_to_wire(self.body.as_ref());
        wire::Fingerprint {
            id: self.id.to_string(),
            hash: self.hash.as_bytes().to_vec(),
            size: self.size,
            body,
            body_bytes,
            message_id: self.message_id.clone(),
            provenance: self.provenance(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> BodyPrint {
        BodyPrint {
            hash: Digest::of(text.as_bytes()),
            bytes: text.len() as u64,
        }
    }

    #[test]
    fn the_same_message_found_on_two_servers_is_one_fingerprint_and_others_are_others() {
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let (long, short) = (body(&"x".repeat(600)), body("hello"));
        let long_id = id_of(&one, 900, Some(&long), "<1@x>");
        assert_eq!(long_id, id_of(&two, 901, Some(&long), "<1@x>"));
        assert_eq!(long_id, id_of(&two, 901, Some(&long), "<2@x>"));
        let short_id = id_of(&one, 90, Some(&short), "<1@x>");
        assert_eq!(short_id, id_of(&two, 91, Some(&short), "<1@x>"));
        assert_ne!(short_id, id_of(&two, 91, Some(&short), "<2@x>"));
        // Without an id a short body is known by its whole file alone.
        assert_ne!(
            id_of(&one, 90, Some(&short), ""),
            id_of(&two, 90, Some(&short), "")
        );
        assert_eq!(id_of(&one, 90, Some(&short), ""), id_of(&one, 90, None, ""));
    }

    #[test]
    fn the_longest_list_fits_into_one_message_to_an_agent() {
        let one = Fingerprint {
            id: Uuid::from_u128(1),
            hash: Digest::of(b"one"),
            size: u64::MAX,
            body: Some(body("x")),
            message_id: "<".repeat(256),
            agent: "A".parse().unwrap(),
            run: RunId(Uuid::from_u128(1)),
            batch: BatchId(Uuid::from_u128(2)),
            entry: 7,
            proof: PoisonProof::Search,
            how: "\u{fc}".repeat(4000),
            policy: "corrupt-message 1".to_owned(),
            found_ms: 1_780_000_000_000,
            state: State::Standing,
            changed_ms: 0,
            by: String::new(),
            why: String::new(),
        };
        let told = one.to_wire();
        assert!(told.provenance.len() <= LONGEST, "{}", told.provenance);
        assert!(
            told.provenance
                .starts_with("A found it at 2026-05-28T20:26:40Z as ")
        );
        let bytes = prost::Message::encoded_len(&told) as u64;
        assert!(bytes * MOST < 4 << 20, "{bytes} bytes each");
    }
}
