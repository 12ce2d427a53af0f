//! The hash that ties each entry to all entries before it.

use std::fmt;
use std::str::FromStr;

use mailmend_proto::wire::TrailEntry;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

/// What every hash of the chain begins with, so that no hash made for another purpose fits.
pub const DOMAIN: &[u8] = b"mailmend audit v1\n";

/// A place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The entry; 0: before the first.
    pub seq: u64,
    /// The hash over everything up to it.
    pub hash: [u8; 32],
}

impl Head {
    /// Before the first entry.
    pub const NONE: Self = Self {
        seq: 0,
        hash: [0; 32],
    };

    /// The head after one more entry, whose exact bytes these are.
    #[must_use]
    pub fn after(&self, bytes: &[u8]) -> Self {
        let hash = Sha256::new_with_prefix(DOMAIN)
            .chain_update(self.hash)
            .chain_update(bytes);
        Self {
            seq: self.seq + 1,
            hash: hash.finalize().into(),
        }
    }
}

/// `SEQ:HASH`, as people write it down.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.hash))
    }
}

/// A text that is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a head is SEQ:HASH, a number and 64 hexadecimal digits, as `mailmend audit list` shows it"
)]
pub struct NoHead;

impl FromStr for Head {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Self, NoHead> {
        let (seq, hash) = text.split_once(':').ok_or(NoHead)?;
        let hash = unhex(hash).ok_or(NoHead)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| NoHead)?,
            hash: hash.try_into().map_err(|_| NoHead)?,
        })
    }
}

/// An entry from its exact bytes.
///
/// # Errors
/// Where they are none, or another encoding of one: then two texts would have one meaning.
pub fn entry(bytes: &[u8]) -> Result<TrailEntry, String> {
    let entry = TrailEntry::decode(bytes).map_err(|why| why.to_string())?;
    if entry.encode_to_vec() != bytes {
        return Err("it is not encoded as the format says".to_owned());
    }
    Ok(entry)
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// Bytes from lower-case hexadecimal digits; none where it is anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written_down_and_read_again() {
        let head = Head::NONE.after(b"one").after(b"two");
        assert_eq!(head.seq, 2);
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in [
            "",
            "2",
            "2:",
            "x:00",
            "2:zz",
            &format!("2:{}", "A".repeat(64)),
        ] {
            assert_eq!(bad.parse::<Head>(), Err(NoHead), "{bad}");
        }
    }

    #[test]
    fn the_hash_is_sha_256_over_domain_former_hash_and_bytes() {
        let by_hand = Sha256::digest([DOMAIN, &[0; 32], b"one"].concat());
        let by_hand: [u8; 32] = by_hand.into();
        assert_eq!(Head::NONE.after(b"one").hash, by_hand);
    }

    #[test]
    fn another_encoding_of_an_entry_is_none() {
        let bytes = TrailEntry {
            seq: 1,
            kind: "begun".to_owned(),
            ..TrailEntry::default()
        }
        .encode_to_vec();
        assert!(entry(&bytes).is_ok());
        // A default value that is written out, and a field that nobody knows.
        assert!(entry(&[bytes.as_slice(), &[0x10, 0]].concat()).is_err());
        assert!(entry(&[bytes.as_slice(), &[0x78, 1]].concat()).is_err());
    }
}
