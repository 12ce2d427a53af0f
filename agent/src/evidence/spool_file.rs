//! A message's spool file: what it tells about itself.
//!
//! Only this much of its form is documented (Q190709, Q249273, Q230250): it begins with 0xF7 `ImCr`;
//! a header with the envelope and the MTS-ID follows, then `EwLs` and the plain RFC 822 text. The
//! MTS-ID ends with ten digits of time and the eight characters of the spool name. Everything else
//! is read where it has the shape that we know and left out where it has not.

use std::io::{self, Read};

/// How much of a file is looked at. Headers are small; a text that has no Message-ID in its first
/// part is treated as having none.
const LOOKED_AT: u64 = 256 * 1024;
/// No MTS-ID is longer; looking no further keeps the time linear whatever the bytes are.
const LONGEST_ID: usize = 256;
const BEGIN: &[u8] = b"\xF7ImCr";
const TEXT: &[u8] = b"EwLs";

/// What a spool file tells about its message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolHeader {
    /// Whether it begins and divides as a spool file does.
    pub recognised: bool,
    /// The MTS-ID.
    pub mts_id: Option<String>,
    /// The sender of the envelope; empty for reports.
    pub sender: Option<String>,
    /// The recipients of the envelope, blind copies among them.
    pub recipients: Option<Vec<String>>,
    /// The Message-ID of the text, angle brackets included.
    pub message_id: Option<String>,
}

/// Reads the beginning of a spool file. What is no spool file gives an empty header.
///
/// # Errors
/// Where reading fails.
pub fn read(file: &mut dyn Read) -> io::Result<SpoolHeader> {
    let mut bytes = Vec::new();
    file.take(LOOKED_AT).read_to_end(&mut bytes)?;
    Ok(parse(&bytes))
}

/// Reads the beginning of a spool file from memory.
#[must_use]
pub fn parse(bytes: &[u8]) -> SpoolHeader {
    let Some(rest) = bytes.strip_prefix(BEGIN) else {
        return SpoolHeader::default();
    };
    // First the strict way, for it knows where the header ends whatever the envelope holds.
    if let Some((sender, recipients, mts_id, text)) = envelope(rest) {
        let mts_id = find_mts_id(mts_id.as_bytes());
        if mts_id.is_some() {
            return SpoolHeader {
                recognised: true,
                mts_id,
                sender: Some(sender),
                recipients: Some(recipients),
                message_id: find_message_id(text),
            };
        }
    }
    let Some(at) = rest.windows(TEXT.len()).position(|four| four == TEXT) else {
        return SpoolHeader::default();
    };
    let (header, text) = rest.split_at(at);
    SpoolHeader {
        recognised: true,
        mts_id: find_mts_id(header),
        sender: None,
        recipients: None,
        message_id: find_message_id(&text[TEXT.len()..]),
    }
}

/// Where the RFC 822 text begins, in the beginning of a spool file; none in what is no spool file.
#[must_use]
pub fn text_at(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(BEGIN)?;
    if let Some((.., mts_id, text)) = envelope(rest)
        && find_mts_id(mts_id.as_bytes()).is_some()
    {
        return Some(bytes.len() - text.len());
    }
    let at = rest.windows(TEXT.len()).position(|four| four == TEXT)?;
    Some(BEGIN.len() + at + TEXT.len())
}

/// The header as version 1 has it: sender, recipients, MTS-ID; then the text.
fn envelope(mut rest: &[u8]) -> Option<(String, Vec<String>, String, &[u8])> {
    if number(&mut rest)? != 1 {
        return None;
    }
    let sender = text(&mut rest)?;
    let count = number(&mut rest)?;
    let recipients = (0..count)
        .map(|_| text(&mut rest))
        .collect::<Option<Vec<_>>>()?;
    let mts_id = text(&mut rest)?;
    Some((sender, recipients, mts_id, rest.strip_prefix(TEXT)?))
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    let (bytes, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_le_bytes(*bytes))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::from(number(rest)?);
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    String::from_utf8(bytes.to_vec()).ok()
}

/// Finds `c=..;a=..;p=..;l=<SERVER><ten digits><eight characters>`, whatever the case.
fn find_mts_id(bytes: &[u8]) -> Option<String> {
    (0..bytes.len()).find_map(|at| {
        let tail = &bytes[at..];
        if !tail.get(..2)?.eq_ignore_ascii_case(b"c=") {
            return None;
        }
        let printable = tail
            .iter()
            .take(LONGEST_ID)
            .take_while(|b| (0x20..0x7F).contains(*b))
            .count();
        let tail = std::str::from_utf8(&tail[..printable]).ok()?;
        let local = tail.to_ascii_lowercase().find(";l=")? + 3;
        // The local part has no `;`: one belongs to other bytes, or to an ID of its own.
        let tail = &tail[..tail[local..].find(';').map_or(tail.len(), |at| local + at)];
        // The name may be followed by other printable bytes: it ends where its shape does.
        (local + 18..=tail.len()).find_map(|end| {
            let id = tail.get(..end)?;
            let name = id.get(end - 8..)?;
            let digits = id.get(end - 18..end - 8)?;
            let follows = tail
                .as_bytes()
                .get(end)
                .is_some_and(u8::is_ascii_alphanumeric);
            let shape = name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
                && digits.bytes().all(|b| b.is_ascii_digit())
                && !follows;
            shape.then(|| id.to_owned())
        })
    })
}

/// The Message-ID of an RFC 822 text.
fn find_message_id(text: &[u8]) -> Option<String> {
    let mut lines = text
        .split(|&byte| byte == b'\n')
        .map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned());
    while let Some(line) = lines.next() {
        if line.is_empty() {
            return None;
        }
        if let Some(value) = message_id_value(&line) {
            let value = if value.is_empty() {
                lines.next()?.trim().to_owned()
            } else {
                value
            };
            return (!value.is_empty()).then_some(value);
        }
    }
    None
}

/// The value of a Message-ID header line; empty where it is folded to the next line.
pub(super) fn message_id_value(line: &str) -> Option<String> {
    let (name, value) = line.split_once(':')?;
    name.trim_end()
        .eq_ignore_ascii_case("message-id")
        .then(|| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MTS_ID: &str = "c=US;a= ;p=Contoso;l=RAYDEN9711051951WKA6D6YM";

    fn short(text: &str) -> Vec<u8> {
        let mut bytes = u16::try_from(text.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    }

    fn sample(sender: &str, recipients: &[String], text: &[u8]) -> Vec<u8> {
        let mut bytes = [BEGIN, &[1, 0]].concat();
        bytes.extend(short(sender));
        bytes.extend(u16::try_from(recipients.len()).unwrap().to_le_bytes());
        recipients
            .iter()
            .for_each(|recipient| bytes.extend(short(recipient)));
        bytes.extend(short(MTS_ID));
        bytes.extend(TEXT);
        bytes.extend(text);
        bytes
    }

    #[test]
    fn all_parts_of_a_known_header_are_read() {
        let people = ["b@x.example".to_owned(), "c@y.example".to_owned()];
        let header = parse(&sample(
            "a@x.example",
            &people,
            b"To: b\r\nmessage-id: <1@x>\r\n\r\n",
        ));
        assert!(header.recognised);
        assert_eq!(header.mts_id.as_deref(), Some(MTS_ID));
        assert_eq!(header.sender.as_deref(), Some("a@x.example"));
        assert_eq!(header.recipients.as_deref(), Some(&people[..]));
        assert_eq!(header.message_id.as_deref(), Some("<1@x>"));
    }

    #[test]
    fn of_an_unknown_header_the_documented_parts_are_read() {
        let mut bytes = b"\xF7ImCr\x07\x07\x07".to_vec();
        bytes.extend(
            b"\x00\x11whatever\x00C=US;A= ;P=Contoso;L=RAYDEN9711051951WKA6D6YM\x00\x01EwLs",
        );
        bytes.extend(b"Subject: x\r\nMessage-ID:\r\n <folded@x>\r\n\r\nMessage-ID: <body@x>");
        let header = parse(&bytes);
        assert!(header.recognised);
        assert_eq!(
            header.mts_id.as_deref(),
            Some("C=US;A= ;P=Contoso;L=RAYDEN9711051951WKA6D6YM")
        );
        assert_eq!((header.sender, header.recipients), (None, None));
        assert_eq!(header.message_id.as_deref(), Some("<folded@x>"));
    }

    #[test]
    fn what_is_no_spool_file_gives_nothing() {
        for bytes in [
            &b""[..],
            b"ImCr",
            b"\xF7ImCr",
            b"\xF7ImCr no divider",
            b"From: a\r\n\r\nEwLs",
        ] {
            assert_eq!(parse(bytes), SpoolHeader::default());
        }
        let only_body = sample("a", &[], b"Subject: x\r\n\r\nMessage-ID: <body@x>\r\n");
        assert_eq!(parse(&only_body).message_id, None, "the body is no header");
    }

    #[test]
    fn among_many_beginnings_of_an_id_only_a_whole_one_is_found() {
        // The last of these ends where the header does; all before it run into what follows them.
        let whole = "c=;l=1234567890ABCDEFGH";
        for (unit, found) in [("c=", None), ("c=;l=", None), (whole, Some(whole))] {
            let many = unit.repeat(200_000 / unit.len());
            let bytes = [BEGIN, many.as_bytes(), TEXT].concat();
            assert_eq!(parse(&bytes).mts_id.as_deref(), found, "{unit}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_even_where_the_envelope_looks_like_a_divider(
            sender in "[a-zEwLs@]{0,30}",
            people in proptest::collection::vec("[a-zéEwLs@;=]{0,30}", 0..10),
        ) {
            let header = parse(&sample(&sender, &people, b"Message-ID: <1@x>\r\n\r\n"));
            prop_assert_eq!(header.sender, Some(sender));
            prop_assert_eq!(header.recipients, Some(people));
            prop_assert_eq!(header.message_id.as_deref(), Some("<1@x>"));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
            let _ = parse(&[BEGIN, b"\x01\x00", &bytes].concat());
            let _ = parse(&[BEGIN, b"c=;l=", &bytes, TEXT].concat());
        }
    }
}
