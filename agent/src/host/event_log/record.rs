//! A record of an event log, and the bytes in which Windows hands it out.

use serde::{Deserialize, Serialize};

use crate::host::{EventRecord, HostError};

/// No text is longer; what is, is cut.
const LONGEST: usize = 64 * 1024;

/// A record that tells whole seconds may be later by this than it says.
pub(super) const SECOND_MS: i64 = 999;

/// A log whose records are numbered without gaps. Numbers begin anew when it is cleared; the oldest records
/// go when it is full.
pub(in crate::host) trait RecordLog {
    /// The numbers of the oldest and the newest record; `None` where there is none.
    fn span(&mut self) -> Result<Option<(u64, u64)>, HostError>;
    /// The records from that number on, which has to be within the span.
    fn read(&mut self, from: u64) -> Result<Vec<Record>, HostError>;
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::host) struct Record {
    /// Its place in the log.
    pub(in crate::host) number: u64,
    /// When it was written, in milliseconds since 1970 UTC. The old way of reading tells the beginning of its
    /// second.
    pub(super) at_ms: i64,
    pub(super) source: String,
    /// The number of the event, without what Windows puts before it.
    pub(super) id: u32,
    /// What was inserted into the sentence of the event, separated by spaces: the sentences stand in
    /// Exchange's own files.
    pub(super) text: String,
}

impl From<&Record> for EventRecord {
    fn from(record: &Record) -> Self {
        Self {
            at_ms: record.at_ms,
            source: record.source.clone(),
            id: record.id,
            description: record.text.clone(),
        }
    }
}

/// The fixed part: fourteen numbers of 32 bits, of which the seventh and eighth hold two each.
const FIXED: usize = 56;

impl Record {
    /// The records in what `ReadEventLogW` filled; `None` where the bytes make no sense.
    pub(in crate::host) fn parse_all(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let length = usize::try_from(number(bytes, 0)?).ok()?;
            if length < FIXED {
                return None;
            }
            records.push(Self::parse(bytes.get(..length)?)?);
            bytes = bytes.get(length..)?;
        }
        Some(records)
    }

    fn parse(record: &[u8]) -> Option<Self> {
        let (source, _) = text(record, FIXED)?;
        let count = u16::from_le_bytes(record.get(26..28)?.try_into().ok()?);
        let mut at = usize::try_from(number(record, 36)?).ok()?;
        let mut inserted = Vec::new();
        for _ in 0..count {
            let (one, next) = text(record, at)?;
            inserted.push(one);
            at = next;
        }
        Some(Self::new(
            number(record, 8)?.into(),
            i64::from(number(record, 16)?) * 1000,
            source,
            number(record, 20)? & 0xFFFF,
            &inserted,
        ))
    }

    pub(super) fn new(
        number: u64,
        at_ms: i64,
        source: String,
        id: u32,
        inserted: &[String],
    ) -> Self {
        let mut text = inserted.join(" ");
        text.truncate(text.floor_char_boundary(LONGEST));
        Self {
            number,
            at_ms,
            source,
            id,
            text,
        }
    }

    /// Whether both are the same record of the log, however each was read: one way tells a time to the second,
    /// and a text may be put together in another way.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.number == other.number
            && self.id == other.id
            && self.at_ms.div_euclid(1000) == other.at_ms.div_euclid(1000)
            && self.source.eq_ignore_ascii_case(&other.source)
    }

    /// The latest moment at which it may have been written.
    pub(super) fn latest_ms(&self) -> i64 {
        if self.at_ms.rem_euclid(1000) == 0 {
            self.at_ms.saturating_add(SECOND_MS)
        } else {
            self.at_ms
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

/// The text that begins there, and where the next one does.
fn text(bytes: &[u8], at: usize) -> Option<(String, usize)> {
    let letters = bytes
        .get(at..)?
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]));
    let letters: Vec<u16> = letters.take_while(|letter| *letter != 0).collect();
    let next = at + 2 * (letters.len() + 1);
    (next <= bytes.len()).then(|| (String::from_utf16_lossy(&letters), next))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn letters(text: &str) -> Vec<u8> {
        text.encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect()
    }

    /// A record as Windows lays it out.
    pub(in crate::host) fn bytes(
        number: u32,
        at_s: u32,
        source: &str,
        id: u32,
        inserted: &[&str],
    ) -> Vec<u8> {
        let mut names = letters(source);
        names.extend(letters("OSLO-B"));
        let strings = FIXED + names.len();
        let tail: Vec<u8> = inserted.iter().flat_map(|one| letters(one)).collect();
        let length = (strings + tail.len() + 4).next_multiple_of(4);
        let mut record = Vec::new();
        let mut push = |number: u32| record.extend(number.to_le_bytes());
        push(u32::try_from(length).unwrap());
        push(0x654C_664C);
        push(number);
        push(at_s);
        push(at_s);
        push(0xC000_0000 | id);
        push(1 | u32::try_from(inserted.len()).unwrap() << 16);
        push(0);
        push(0);
        push(u32::try_from(strings).unwrap());
        for _ in 0..4 {
            push(0);
        }
        record.extend(names);
        record.extend(tail);
        record.resize(length - 4, 0);
        record.extend(u32::try_from(length).unwrap().to_le_bytes());
        record
    }

    #[test]
    fn records_are_read_as_windows_lays_them_out() {
        let mut all = bytes(
            7,
            900_000_000,
            "MSExchangeIMC",
            3038,
            &["MAIL0001", "two words"],
        );
        all.extend(bytes(8, 900_000_001, "MSExchangeSA", 5000, &[]));
        let records = Record::parse_all(&all).unwrap();
        assert_eq!(
            records[0],
            Record {
                number: 7,
                at_ms: 900_000_000_000,
                source: "MSExchangeIMC".into(),
                id: 3038,
                text: "MAIL0001 two words".into(),
            }
        );
        assert_eq!((records[1].number, records[1].text.as_str()), (8, ""));
    }

    #[test]
    fn bytes_that_make_no_sense_are_no_records_wherever_they_end() {
        let whole = bytes(7, 900_000_000, "MSExchangeIMC", 3038, &["MAIL0001"]);
        for end in 1..whole.len() {
            assert_eq!(Record::parse_all(&whole[..end]), None, "{end}");
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0xFF;
            // Whatever it says, it says it without a panic.
            let _ = Record::parse_all(&bent);
        }
    }
}
