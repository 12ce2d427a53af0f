//! The manifest of a batch: records of the journal, and a text beside the files for people.

use std::fmt::Write;

use mailmend_proto::run::{BatchId, Entry, Event};

/// The name of the text in the held folder.
pub const FILE: &str = "MANIFEST.tsv";

/// Entries in one record of the journal.
const CHUNK: usize = 500;

/// The entries as records.
#[must_use]
pub fn events(batch: BatchId, entries: &[Entry]) -> Vec<Event> {
    entries
        .chunks(CHUNK)
        .map(|chunk| Event::BatchEntries {
            batch,
            entries: chunk.to_vec(),
        })
        .collect()
}

/// The entries as a table for people, and for whoever has the held folder and no journal. Fields come
/// from the message, so tabs and line ends in them are escaped.
#[must_use]
pub fn table(source: &str, queue: &str, entries: &[Entry]) -> String {
    let mut table = format!(
        "# mailmend: files taken from the queue {queue}, folder {}\n\
         index\tname\tsize\tmodified-ms\tblake3\tmts-id\tmessage-id\n",
        escaped(source)
    );
    for entry in entries {
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}",
            entry.index,
            escaped(&entry.name),
            entry.size,
            entry.modified_ms,
            entry.hash,
            escaped(&entry.mts_id),
            escaped(&entry.message_id)
        );
    }
    table
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || character == '\\' {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailmend_policy::digest::Digest;
    use mailmend_proto::run::Custody;

    #[test]
    fn a_message_cannot_add_lines_or_columns_to_the_table() {
        let entry = Entry {
            index: 0,
            name: "ABCDEFGH".into(),
            file_id: 1,
            size: 2,
            modified_ms: 3,
            hash: Digest::of(b"x"),
            mts_id: "c=US;a=\t;".into(),
            message_id: "<a\r\n1\tEVIL@b>".into(),
            custody: Custody::Live,
        };
        let table = table("/spool/Out", "outbound", &[entry.clone(), entry]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(
            lines[1..].iter().all(|line| line.split('\t').count() == 7),
            "{table}"
        );
    }

    #[test]
    fn entries_are_cut_into_records_that_fit_and_none_is_missing() {
        let entries: Vec<Entry> = (0..1201)
            .map(|index| Entry {
                index,
                name: format!("{index:08}"),
                file_id: 1,
                size: 2,
                modified_ms: 3,
                hash: Digest::of(b"x"),
                mts_id: String::new(),
                message_id: String::new(),
                custody: Custody::Live,
            })
            .collect();
        let mut back = Vec::new();
        for event in events(BatchId(uuid::Uuid::nil()), &entries) {
            let Event::BatchEntries { entries, .. } = event else {
                unreachable!()
            };
            assert!(entries.len() <= 500);
            back.extend(entries);
        }
        assert_eq!(back, entries);
        assert!(events(BatchId(uuid::Uuid::nil()), &[]).is_empty());
    }
}
