//! Every single bit of a reference journal, flipped: at rest, and as a crash leaves it with its write-ahead log.
//! Each flip is refused at the next start, or what is read is what was written.

use super::*;

/// In memory where there is such a folder: thousands of journals are opened.
fn quick_place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.unwrap();
    let path = folder.path().join("journal.db");
    (folder, path)
}

/// The bytes of a closed reference journal, its records, and what else belongs to it.
pub(super) fn reference_files(checkpointed: bool) -> (Vec<(String, Vec<u8>)>, Vec<Record>) {
    let (keep, path) = quick_place();
    let journal = Journal::open(&path).unwrap();
    let records = reference(&journal);
    if checkpointed {
        // The last connection to close moves the write-ahead log into the file.
        drop(journal);
    }
    let mut files = Vec::new();
    for suffix in ["", "-wal", ".head"] {
        if let Ok(bytes) = std::fs::read(sqlite::beside(&path, suffix)) {
            files.push((suffix.to_owned(), bytes));
        }
    }
    drop(keep);
    (files, records)
}

fn laid(files: &[(String, Vec<u8>)]) -> (tempfile::TempDir, PathBuf) {
    let (keep, path) = quick_place();
    for (suffix, bytes) in files {
        std::fs::write(sqlite::beside(&path, suffix), bytes).unwrap();
    }
    (keep, path)
}

pub(super) fn opened(files: &[(String, Vec<u8>)]) -> Result<Vec<Record>, JournalError> {
    let (_keep, path) = laid(files);
    Journal::open(&path)?.after(0, usize::MAX)
}

/// Opens it; where it opens, it has the records, and those and one more after another append.
fn is_the_same_or_refused(files: &[(String, Vec<u8>)], records: &[Record], told: &str) -> bool {
    let (_keep, path) = laid(files);
    let Ok(journal) = Journal::open(&path) else {
        return false;
    };
    let Ok(read) = journal.after(0, usize::MAX) else {
        return false;
    };
    assert_eq!(read, records, "{told} changed what is read");
    // What carries nothing now must not break what is written next.
    let Ok(more) = journal.append(run(3), 50, vec![alarm("three")]) else {
        return false;
    };
    let id = journal.id();
    drop(journal);
    let Ok(journal) = Journal::open(&path) else {
        return false;
    };
    let read = journal.after(0, usize::MAX).unwrap();
    assert_eq!(journal.id(), id);
    assert_eq!(
        read,
        [records, &more].concat(),
        "{told} changed what is read later"
    );
    true
}

/// Where a page of a database holds neither headers nor cells: nothing reads it (SQLite file format §1.6). Every
/// page of the reference journal is a leaf of a table.
fn unallocated(page: &[u8], first: bool) -> std::ops::Range<usize> {
    let header = if first { 100 } else { 0 };
    assert_eq!(page[header], 13, "a leaf of a table");
    let number = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    let (freeblock, cells, content) = (number(header + 1), number(header + 3), number(header + 5));
    assert_eq!(freeblock, 0, "nothing was ever deleted");
    header + 8 + 2 * cells..content
}

/// The bits of these bytes of one file, flipped one at a time.
fn flip_each_bit(
    files: &mut [(String, Vec<u8>)],
    records: &[Record],
    file: usize,
    bytes: impl Iterator<Item = usize>,
) -> [u32; 2] {
    let (mut detected, mut harmless) = (0, 0);
    for at in bytes {
        for bit in 0..8 {
            files[file].1[at] ^= 1 << bit;
            let told = format!("bit {bit} of byte {at} of `journal{}`", files[file].0);
            if is_the_same_or_refused(files, records, &told) {
                harmless += 1;
            } else {
                detected += 1;
            }
            files[file].1[at] ^= 1 << bit;
        }
    }
    [detected, harmless]
}

/// The bytes of the database file that carry something, in two halves for two cores.
fn flipped_at_rest(half: usize) {
    const PAGE: usize = 4096;
    let (mut files, records) = reference_files(true);
    assert_eq!(opened(&files).unwrap(), records);
    let mut carrying = Vec::new();
    let mut scribbled = files.clone();
    for (number, page) in files[0].1.chunks(PAGE).enumerate() {
        let nothing = unallocated(page, number == 0);
        for at in 0..PAGE {
            if nothing.contains(&at) {
                scribbled[0].1[number * PAGE + at] ^= 0xFF;
            } else {
                carrying.push(number * PAGE + at);
            }
        }
    }
    // The rest carries nothing: all of it at once may be anything.
    assert!(is_the_same_or_refused(
        &scribbled,
        &records,
        "every unallocated bit"
    ));
    let middle = carrying.len() / 2;
    let mine = if half == 0 {
        &carrying[..middle]
    } else {
        &carrying[middle..]
    };
    let [detected, harmless] = flip_each_bit(&mut files, &records, 0, mine.iter().copied());
    eprintln!("half {half}: {detected} detected, {harmless} harmless");
    assert!(detected > 2000 && harmless < detected / 4);
}

#[test]
fn every_flipped_bit_of_a_journal_at_rest_is_detected_or_harmless_first_half() {
    flipped_at_rest(0);
}

#[test]
fn every_flipped_bit_of_a_journal_at_rest_is_detected_or_harmless_second_half() {
    flipped_at_rest(1);
}

#[test]
fn every_flipped_bit_of_the_mark_beside_a_journal_is_detected_or_harmless() {
    let (mut files, records) = reference_files(true);
    let file = files
        .iter()
        .position(|(suffix, _)| suffix == ".head")
        .unwrap();
    let length = files[file].1.len();
    let [detected, harmless] = flip_each_bit(&mut files, &records, file, 0..length);
    // A mark that is damaged says nothing; the one in the file still does.
    assert_eq!(detected + harmless, 8 * 72);
}

#[test]
fn flipped_bits_of_a_journal_after_a_crash_are_detected_or_harmless() {
    // The write-ahead log repeats whole pages, and each try replays it: one bit of every eleventh byte.
    let (mut files, records) = reference_files(false);
    let mut detected = 0;
    for file in 0..files.len() {
        for at in (0..files[file].1.len()).step_by(11) {
            files[file].1[at] ^= 1 << (at % 8);
            let told = format!("byte {at} of `journal{}`", files[file].0);
            detected += u32::from(!is_the_same_or_refused(&files, &records, &told));
            files[file].1[at] ^= 1 << (at % 8);
        }
    }
    assert!(detected > 100, "{detected} detected");
}
