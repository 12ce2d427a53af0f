//! What must hold of the evidence readers for any bytes. The fuzz targets call these functions, and so does
//! the test `fuzz` of the lab, with every file of the corpus and mutations of it.
//!
//! Each panics where something does not hold.

mod memory;

use std::io::Cursor;
use std::path::Path;

use mailmend_agent::evidence::event_text;
use mailmend_agent::evidence::log_time::LogTime;
use mailmend_agent::evidence::smtp_log::{self, End, SmtpLog};
use mailmend_agent::evidence::spool_file;
use mailmend_agent::evidence::tracking_log::{self, TrackingLog};
use mailmend_agent::evidence::{Direction, MessageKey, what_was_sent};

use self::memory::MemoryHost;

/// The whole lines of a log, as the readers number them.
fn lines(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    // What stands after the last line end is no line yet.
    lines.pop();
    let text = |line: &&[u8]| {
        let line = String::from_utf8_lossy(&line[..line.len().min(64 * 1024)]);
        line.strip_suffix('\r').unwrap_or(&line).to_owned()
    };
    lines.iter().map(text).collect()
}

fn line(lines: &[String], number: u64) -> &str {
    let at = usize::try_from(number).expect("a number of a line") - 1;
    lines.get(at).expect("a fact's line is there")
}

/// Places to cut at: wherever the input has a byte that is a multiple of 7, at most eight.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at].is_multiple_of(7))
        .step_by(1 + bytes.len() / 64)
        .take(8)
        .collect();
    cuts.push(bytes.len());
    cuts
}

/// The messages that the corpus speaks of, and one that nothing speaks of.
fn keys() -> Vec<MessageKey> {
    let key = |name: &str, mts_id: Option<&str>, message_id: Option<&str>, direction| MessageKey {
        spool_name: name.to_owned(),
        mts_id: mts_id.map(str::to_owned),
        message_id: message_id.map(str::to_owned),
        sender: None,
        recipients: Some(vec!["b@y".to_owned()]),
        written_ms: 0,
        direction,
    };
    vec![
        key(
            "PBZ70AAB",
            Some("c=US;a= ;p=X;l=S-1"),
            Some("<1@x>"),
            Direction::Outbound,
        ),
        key("PBZ70AAB", None, None, Direction::Outbound),
        key(
            "WKA6D6YM",
            Some("c=US;a= ;p=X;l=S-2"),
            Some("<2@x>"),
            Direction::Inbound,
        ),
        key("NOBODY00", None, Some("<nobody@x>"), Direction::Outbound),
    ]
}

/// Lets a log grow piece by piece, rotate and shrink, and compares at each step what is said with
/// bookmarks to what a reader says that reads all.
fn reading_on_is_reading_whole(file: &Path, bytes: &[u8]) {
    let keys = keys();
    let followed = MemoryHost::with_bookmarks();
    for cut in cuts(bytes) {
        followed.put(file, &bytes[..cut]);
        let whole = MemoryHost::without_bookmarks();
        whole.put(file, &bytes[..cut]);
        assert_eq!(
            what_was_sent(&followed, 0, &keys),
            what_was_sent(&whole, 0, &keys)
        );
    }
    // Written anew, in place: half of it, from the middle on.
    let other = &bytes[bytes.len() / 2..];
    followed.put(file, other);
    let whole = MemoryHost::without_bookmarks();
    whole.put(file, other);
    assert_eq!(
        what_was_sent(&followed, 0, &keys),
        what_was_sent(&whole, 0, &keys)
    );
}

/// The message tracking log.
pub fn tracking_log(bytes: &[u8]) {
    const NAME: &str = "19960701.log";
    let read = |bytes: &[u8]| -> TrackingLog {
        tracking_log::read(&mut Cursor::new(bytes), NAME).expect("memory can be read")
    };
    let found = read(bytes);
    let lines = lines(bytes);
    for record in &found.records {
        let mut fields = line(&lines, record.line).split('\t');
        assert_eq!(fields.next(), Some(record.mts_id.as_str()));
        assert_eq!(
            fields.next().and_then(|event| event.parse().ok()),
            Some(record.event)
        );
        for (after, recipient) in (1..).zip(&record.recipients) {
            let stands = line(&lines, record.line + after).split('\t').next();
            assert_eq!(stands, Some(recipient.as_str()));
        }
        assert!(!record.evidence().contains('\n'));
    }
    for malformed in &found.malformed {
        assert!(line(&lines, malformed.line).starts_with(&malformed.text));
    }
    // What was said of a part is said of the whole, but for a record in the making.
    for cut in cuts(bytes) {
        let part = read(&bytes[..cut]);
        assert!(found.records.starts_with(&part.records));
    }
    let whole_lines = bytes.len()
        - bytes
            .iter()
            .rev()
            .take_while(|&&byte| byte != b'\n')
            .count();
    assert_eq!(
        read(&bytes[..whole_lines]),
        found,
        "a torn line is not there yet"
    );
    reading_on_is_reading_whole(&MemoryHost::tracking().join(NAME), bytes);
}

/// The SMTP protocol log.
pub fn smtp_log(bytes: &[u8]) {
    const NAME: &str = "L0000000.LOG";
    let read = |bytes: &[u8], clock| -> SmtpLog {
        smtp_log::read_in(&mut Cursor::new(bytes), NAME, clock).expect("memory can be read")
    };
    let found = read(bytes, LogTime::Utc);
    let lines = lines(bytes);
    let mut before = 0;
    for transaction in &found.transactions {
        assert!(transaction.line > before);
        before = transaction.line;
        let data = line(&lines, transaction.line)
            .trim_end()
            .to_ascii_uppercase();
        assert!(data.ends_with("DATA"), "{data}");
        if let End::Accepted { reply, line: at } | End::Refused { reply, line: at } =
            &transaction.end
        {
            assert!(*at > transaction.line);
            assert!(line(&lines, *at).contains(reply.as_str()));
            let accepted = matches!(transaction.end, End::Accepted { .. });
            assert_eq!(reply.starts_with('2'), accepted, "{reply}");
        }
        assert!(
            transaction
                .message_id
                .as_ref()
                .is_none_or(|id| !id.is_empty())
        );
        assert!(!transaction.evidence().contains('\n'));
    }
    for malformed in &found.malformed {
        assert!(line(&lines, malformed.line).starts_with(&malformed.text));
    }
    for cut in cuts(bytes) {
        let part = read(&bytes[..cut], LogTime::Utc);
        for (early, late) in part.transactions.iter().zip(&found.transactions) {
            assert_eq!((early.line, early.at_ms), (late.line, late.at_ms));
            assert!(
                early.end == End::Unanswered || early.end == late.end,
                "an answer stands"
            );
            assert!(!early.doubtful || late.doubtful, "doubt stays");
        }
        assert!(part.transactions.len() <= found.transactions.len());
    }
    // The clock moves moments and nothing else.
    let moved = read(bytes, LogTime::Fixed(3600));
    for (here, there) in found.transactions.iter().zip(&moved.transactions) {
        assert_eq!(here.at_ms, there.at_ms + 3_600_000);
        assert_eq!((here.line, &here.end), (there.line, &there.end));
    }
    assert_eq!(found.transactions.len(), moved.transactions.len());
    reading_on_is_reading_whole(&MemoryHost::smtp().join(NAME), bytes);
}

/// The event log in its forms as text.
pub fn event_log(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        event_text::read(&mut Cursor::new(bytes), LogTime::Utc).expect("memory can be read")
    };
    let (events, damaged) = read(bytes);
    let lines = lines(bytes);
    assert!(events.len() <= lines.len());
    if let Some(number) = damaged {
        assert!(!line(&lines, number).is_empty());
    }
    for event in &events {
        let source = event.source.as_str();
        assert!(lines.iter().any(|line| line.contains(source)), "{source}");
        assert!(event.description.len() <= 2 * 64 * 1024);
    }
    // Of a part the same events are known, but that the last one's description may go on.
    for cut in cuts(bytes) {
        let (part, _) = read(&bytes[..cut]);
        for (at, (early, late)) in part.iter().zip(&events).enumerate() {
            assert_eq!(
                (early.at_ms, early.id, &early.source),
                (late.at_ms, late.id, &late.source)
            );
            let same = early.description == late.description;
            let goes_on = at + 1 == part.len() && late.description.starts_with(&early.description);
            assert!(same || goes_on);
        }
        assert!(part.len() <= events.len());
    }
}

/// A spool file.
pub fn spool_file(bytes: &[u8]) {
    let header = spool_file::parse(bytes);
    let read = spool_file::read(&mut Cursor::new(bytes)).expect("memory can be read");
    if bytes.len() <= 256 * 1024 {
        assert_eq!(read, header);
    }
    let nothing = header.mts_id.is_none()
        && header.sender.is_none()
        && header.recipients.is_none()
        && header.message_id.is_none();
    assert!(
        header.recognised || nothing,
        "what is no spool file tells nothing"
    );
    assert!(!header.recognised || bytes.starts_with(b"\xF7ImCr"));
    if let Some(id) = &header.mts_id {
        assert!(bytes.windows(id.len()).any(|there| there == id.as_bytes()));
        assert!(id.to_ascii_lowercase().starts_with("c=") && id.len() >= 18);
    }
    if let Some(id) = &header.message_id {
        assert!(!id.is_empty() && !id.contains('\n'));
    }
    if let Some(recipients) = &header.recipients {
        assert!(recipients.iter().map(String::len).sum::<usize>() <= bytes.len());
    }
}
