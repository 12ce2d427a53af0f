//! Lines of a log, one at a time, whatever its bytes are.

use std::io::{self, BufRead, BufReader, Read};

/// No line of these logs is longer; what is, is damage.
const LONGEST: usize = 64 * 1024;
/// How much of a damaged line is kept.
const KEPT: usize = 4 * 1024;
/// How many damaged lines of a log are kept; a log with more is damaged altogether.
pub(super) const DAMAGED: usize = 1000;

/// A line of a log that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The log's name.
    pub log: String,
    /// Its number, from 1.
    pub line: u64,
    /// Its text, undecodable bytes replaced, cut to 4 KiB.
    pub text: String,
    /// Whether the text is cut.
    pub cut: bool,
}

impl Malformed {
    pub(super) fn new(log: &str, line: u64, text: &str) -> Self {
        let mut end = text.len().min(KEPT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            log: log.to_owned(),
            line,
            text: text[..end].to_owned(),
            cut: end < text.len(),
        }
    }

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
        self.cut || self.text.contains(['\0', char::REPLACEMENT_CHARACTER])
    }
}

/// The damaged lines of a log: the first [`DAMAGED`], and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) lines: Vec<Malformed>,
    pub(super) more: usize,
}

impl Damage {
    pub(super) fn add(&mut self, log: &str, line: u64, text: &str) {
        if self.lines.len() < DAMAGED {
            self.lines.push(Malformed::new(log, line, text));
        } else {
            self.more += 1;
        }
    }
}

/// What takes the lines of one log, in order.
pub(crate) trait LineReader {
    /// A whole line: its number from 1, its text without its end, undecodable bytes replaced, cut to
    /// 64 KiB.
    fn line(&mut self, number: u64, text: &str);
}

/// How far a log was read: to the end of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) line: u64,
}

/// What is told the bytes of whole lines.
pub(super) trait Witness {
    /// The next bytes, and whether a line ends with them.
    fn saw(&mut self, bytes: &[u8], ends: bool);
}

impl Witness for () {
    fn saw(&mut self, _: &[u8], _: bool) {}
}

/// Gives every whole line to `reader`, and the bytes to `witness`; a last line without its end is still
/// being written and is left out. `at` moves on line by line.
pub(super) fn read<R: LineReader>(
    log: &mut dyn Read,
    at: &mut Position,
    reader: &mut R,
    witness: &mut impl Witness,
) -> io::Result<()> {
    let mut log = BufReader::with_capacity(256 * 1024, log);
    // The beginning of a line that did not fit into the buffer, cut, and its length.
    let mut begun: Vec<u8> = Vec::new();
    let mut length = 0u64;
    loop {
        let buffer = match log.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if buffer.is_empty() {
            return Ok(());
        }
        let mut rest = buffer;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            witness.saw(line, true);
            let text = &line[..end];
            at.line += 1;
            if begun.is_empty() {
                give(reader, at.line, &text[..end.min(LONGEST)]);
            } else {
                let room = LONGEST.saturating_sub(begun.len()).min(end);
                begun.extend_from_slice(&text[..room]);
                give(reader, at.line, &begun);
                begun.clear();
            }
            at.offset += length + line.len() as u64;
            length = 0;
            rest = after;
        }
        if !rest.is_empty() {
            witness.saw(rest, false);
            let room = LONGEST.saturating_sub(begun.len()).min(rest.len());
            begun.extend_from_slice(&rest[..room]);
            length += rest.len() as u64;
        }
        let used = buffer.len();
        log.consume(used);
    }
}

fn give(reader: &mut impl LineReader, number: u64, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    reader.line(number, text.strip_suffix('\r').unwrap_or(&text));
}

/// Gives every whole line of a log to `reader`.
pub(super) fn for_each(log: &mut dyn Read, reader: &mut impl LineReader) -> io::Result<()> {
    read(log, &mut Position::default(), reader, &mut ())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl LineReader for Vec<(u64, String)> {
        fn line(&mut self, number: u64, text: &str) {
            self.push((number, text.to_owned()));
        }
    }

    fn lines(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        for_each(&mut &*bytes, &mut found).unwrap();
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
        let kept = Malformed::new("x", 1, &found[0].1);
        assert!(kept.is_unreadable() && kept.text.len() <= KEPT);
    }

    #[test]
    fn a_place_in_a_log_is_right_whatever_the_buffer_cuts() {
        let bytes = [vec![b'y'; 300_000], b"\nz\nrest".to_vec()].concat();
        let (mut at, mut found) = (Position::default(), Vec::new());
        read(&mut &*bytes, &mut at, &mut found, &mut ()).unwrap();
        assert_eq!((at.line, at.offset), (2, 300_003));
        assert_eq!(found[1], (2, "z".into()));
    }
}
