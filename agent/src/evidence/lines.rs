//! Lines of a log, one at a time, whatever its bytes are.

use std::io::{self, BufRead, BufReader, Read};

/// No line of these logs is longer; what is, is damage.
const LONGEST: usize = 64 * 1024;

/// A line of a log that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The log's name.
    pub log: String,
    /// Its number, from 1.
    pub line: u64,
    /// Its text, undecodable bytes replaced, cut to 64 KiB.
    pub text: String,
}

impl Malformed {
    /// Where it stands, for people.
    #[must_use]
    pub fn place(&self) -> String {
        format!("line {} of `{}`", self.line, self.log)
    }

    /// Whether it mentions this id, whatever the case.
    #[must_use]
    pub fn mentions(&self, id: &str) -> bool {
        !id.is_empty() && super::fold(&self.text).contains(&super::fold(id))
    }

    /// Whether it is damaged so much that it might be about anything.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.text.len() >= LONGEST || self.text.contains(['\0', char::REPLACEMENT_CHARACTER])
    }
}

/// Calls `each` with the number and text of every whole line; a last line without its end is still
/// being written and is left out. Bytes beyond the longest line are skipped.
pub(super) fn for_each(log: &mut dyn Read, mut each: impl FnMut(u64, &str)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(256 * 1024, log);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let mut whole = false;
        loop {
            let buffer = match reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            if buffer.is_empty() {
                break;
            }
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let used = end.unwrap_or(buffer.len());
            let room = LONGEST.saturating_sub(bytes.len());
            bytes.extend_from_slice(&buffer[..used.min(room)]);
            reader.consume(used + usize::from(end.is_some()));
            if end.is_some() {
                whole = true;
                break;
            }
        }
        if !whole {
            break;
        }
        let text = String::from_utf8_lossy(&bytes);
        each(number, text.strip_suffix('\r').unwrap_or(&text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        for_each(&mut &*bytes, |number, text| {
            found.push((number, text.to_owned()));
        })
        .unwrap();
        found
    }

    #[test]
    fn lines_are_numbered_and_the_one_in_the_making_is_left_out() {
        assert_eq!(
            lines(b"a\r\n\nb\nhalf"),
            [(1, "a".into()), (2, String::new()), (3, "b".into())]
        );
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_the_longest() {
        let mut bytes = vec![b'x'; 1_000_000];
        bytes.extend(b"\nnext\n");
        let found = lines(&bytes);
        assert_eq!(found[0].1.len(), LONGEST);
        assert_eq!(found[1], (2, "next".into()));
    }
}
