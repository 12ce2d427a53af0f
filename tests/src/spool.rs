//! The spool file: one message of the IMS with its envelope.
//!
//! Documented of the real one (Q190709, Q249273, Q230250): eight characters for a name, a short binary
//! header that begins with 0xF7 `ImCr`, the envelope, the MTS-ID, then `EwLs` and the plain RFC 822
//! text. The exact shape of the header is the lab's own.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::lab_error::LabError;

/// What every spool file begins with.
pub const BEGIN: &[u8] = b"\xF7ImCr";
/// What stands between the envelope and the RFC 822 text.
pub const TEXT_FOLLOWS: &[u8] = b"EwLs";
const FORMAT: u16 = 1;

/// The name of a spool file: eight upper-case letters and digits, no extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpoolName(String);

impl SpoolName {
    /// Takes a file name for a spool name where it has the shape of one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let fits = name.len() == 8
            && name
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        fits.then(|| Self(name.to_owned()))
    }

    /// Makes a new name.
    pub fn make(random: &mut fastrand::Rng) -> Self {
        const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        Self(
            (0..8)
                .map(|_| LETTERS[random.usize(..LETTERS.len())] as char)
                .collect(),
        )
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The MTS-ID of a message: who made it, when, and under which spool name.
#[must_use]
pub fn mts_id(server: &str, at: Timestamp, name: &SpoolName) -> String {
    let stamp = at.to_zoned(TimeZone::UTC).strftime("%y%m%d%H%M");
    format!(
        "c=US;a= ;p=Contoso;l={}{stamp}{name}",
        server.to_ascii_uppercase()
    )
}

/// A message as the IMS spools it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolMessage {
    /// The envelope's sender; empty for reports.
    pub sender: String,
    /// The envelope's recipients, blind copies among them.
    pub recipients: Vec<String>,
    /// The MTS-ID.
    pub mts_id: String,
    /// The RFC 822 text, lines ended by CR LF.
    pub text: Vec<u8>,
}

impl SpoolMessage {
    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.text.len() + 256);
        bytes.extend_from_slice(BEGIN);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        put_text(&mut bytes, &self.sender);
        // An envelope of more than 65 535 recipients has no place in the format; event 3041 stands
        // for it in life, at 32 766 already.
        let count = u16::try_from(self.recipients.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        for recipient in self.recipients.iter().take(usize::from(count)) {
            put_text(&mut bytes, recipient);
        }
        put_text(&mut bytes, &self.mts_id);
        bytes.extend_from_slice(TEXT_FOLLOWS);
        bytes.extend_from_slice(&self.text);
        bytes
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// Where they are not a spool file, with what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, LabError> {
        let mut rest = Rest(bytes);
        rest.expect(BEGIN, "it does not begin with 0xF7 `ImCr`")?;
        if rest.number()? != FORMAT {
            return Err(malformed("its header has an unknown version"));
        }
        let sender = rest.text()?;
        let count = rest.number()?;
        let recipients = (0..count)
            .map(|_| rest.text())
            .collect::<Result<Vec<_>, _>>()?;
        let mts_id = rest.text()?;
        rest.expect(TEXT_FOLLOWS, "`EwLs` does not follow the envelope")?;
        Ok(Self {
            sender,
            recipients,
            mts_id,
            text: rest.0.to_vec(),
        })
    }

    /// The Message-ID in the RFC 822 header, angle brackets included.
    #[must_use]
    pub fn message_id(&self) -> Option<String> {
        message_id(&self.text)
    }
}

/// The header lines of an RFC 822 text, without their line ends.
pub fn header_lines(text: &[u8]) -> impl Iterator<Item = String> + '_ {
    text[..body_begins(text)]
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
        .filter(|line| !line.is_empty())
}

/// The Message-ID of an RFC 822 text, angle brackets included.
#[must_use]
pub fn message_id(text: &[u8]) -> Option<String> {
    header_lines(text).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("message-id")
            .then(|| value.trim().to_owned())
    })
}

/// The BLAKE3 hash of the body of an RFC 822 text, in hex. Relays add header lines; the body must
/// arrive as it was written, byte by byte.
#[must_use]
pub fn body_hash(text: &[u8]) -> String {
    blake3::hash(&text[body_begins(text)..])
        .to_hex()
        .to_string()
}

fn body_begins(text: &[u8]) -> usize {
    text.windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(text.len(), |at| at + 4)
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

fn malformed(reason: &str) -> LabError {
    LabError::Malformed {
        what: "the spool file".to_owned(),
        reason: reason.to_owned(),
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], LabError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| malformed("it ends within its header"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn expect(&mut self, mark: &[u8], otherwise: &str) -> Result<(), LabError> {
        self.0 = self
            .0
            .strip_prefix(mark)
            .ok_or_else(|| malformed(otherwise))?;
        Ok(())
    }

    fn number(&mut self) -> Result<u16, LabError> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn text(&mut self) -> Result<String, LabError> {
        let length = usize::from(self.number()?);
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| malformed("a text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> SpoolMessage {
        SpoolMessage {
            sender: "ada@contoso.example".to_owned(),
            recipients: vec!["bob@example.net".to_owned(), "eve@example.org".to_owned()],
            mts_id: "c=US;a= ;p=Contoso;l=OSLO-B9711051951WKA6D6YM".to_owned(),
            text: b"From: ada\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n".to_vec(),
        }
    }

    #[test]
    fn a_file_begins_and_divides_as_documented() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..7], b"\xF7ImCr\x01\x00");
        let divider = bytes.windows(4).position(|four| four == b"EwLs").unwrap();
        assert_eq!(&bytes[divider + 4..], sample().text);
        assert!(
            bytes[..divider]
                .windows(8)
                .any(|eight| eight == b"WKA6D6YM"),
            "the MTS-ID stands in the header part"
        );
    }

    #[test]
    fn every_truncation_within_the_header_is_refused() {
        let bytes = sample().encode();
        let header = bytes.len() - sample().text.len();
        for end in 0..header {
            assert!(
                SpoolMessage::parse(&bytes[..end]).is_err(),
                "{end} bytes were accepted"
            );
        }
    }

    #[test]
    fn names_have_eight_upper_case_letters_and_digits() {
        for bad in [
            "",
            "ABCDEFG",
            "ABCDEFGHI",
            "abcdefgh",
            "ABCD.FGH",
            "Archive1",
        ] {
            assert_eq!(SpoolName::parse(bad), None, "{bad}");
        }
        let made = SpoolName::make(&mut fastrand::Rng::with_seed(1));
        assert_eq!(SpoolName::parse(made.as_str()), Some(made));
    }

    #[test]
    fn the_mts_id_ends_with_server_minute_and_spool_name() {
        let at: Timestamp = "1997-11-05T19:51:07Z".parse().unwrap();
        let name = SpoolName::parse("WKA6D6YM").unwrap();
        assert_eq!(
            mts_id("rayden", at, &name),
            "c=US;a= ;p=Contoso;l=RAYDEN9711051951WKA6D6YM"
        );
    }

    #[test]
    fn the_body_hash_ignores_added_header_lines() {
        let text = sample().text;
        let relayed = [b"Received: by peer\r\n".as_slice(), &text].concat();
        assert_eq!(body_hash(&text), body_hash(&relayed));
        assert_eq!(message_id(&relayed).as_deref(), Some("<1@x>"));
        assert_ne!(body_hash(&text), body_hash(b"A: b\r\n\r\nBody\r\n"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            sender in "[a-z@.]{0,40}",
            recipients in proptest::collection::vec("[a-zé@.]{1,40}", 0..20),
            text in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let message = SpoolMessage { sender, recipients, mts_id: sample().mts_id, text };
            prop_assert_eq!(SpoolMessage::parse(&message.encode()).unwrap(), message);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = SpoolMessage::parse(&[BEGIN, &bytes].concat());
        }
    }
}
