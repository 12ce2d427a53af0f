//! The evidence readers against the corpus of the fuzz targets and against mutations of it. What must
//! hold stands in `tests/fuzz/src/lib.rs`, where `cargo fuzz` finds it too.

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library of its own for the fuzz targets")]
mod readers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fastrand::Rng;

/// Mutations of each file.
const MUTATIONS: u64 = 20;

type Reader = fn(&[u8]);

fn hold(target: &str, reader: Reader) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "the corpus of {target} is there");
    let contents: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    for (file, content) in files.iter().zip(&contents) {
        let name = file.display();
        let tried = |what: &str, bytes: &[u8]| {
            if catch_unwind(AssertUnwindSafe(|| reader(bytes))).is_err() {
                let kept = std::env::temp_dir().join(format!("mailmend-{target}-failed"));
                std::fs::write(&kept, bytes).unwrap();
                panic!(
                    "{what} of {name} does not hold; the bytes are in {}",
                    kept.display()
                );
            }
        };
        tried("the file", content);
        for seed in 0..MUTATIONS {
            let other = &contents[seed as usize % contents.len()];
            tried(&format!("mutation {seed}"), &mutated(content, other, seed));
        }
    }
}

/// Bytes with some flipped, cut, doubled or taken from elsewhere.
fn mutated(bytes: &[u8], other: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=bytes.len());
        let end = rng.usize(at..=bytes.len().min(at + 200));
        match rng.u32(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u32(0..8),
            1 if at < bytes.len() => {
                bytes[at] = *rng.choice(b"\n\r\t\0 :;,|[]<>.0aM\xFF".as_slice()).unwrap();
            }
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let from = rng.usize(0..=other.len());
                let to = rng.usize(from..=other.len().min(from + 200));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            5 => bytes.truncate(at),
            _ => bytes
                .splice(at..at, std::iter::repeat_n(b'x', rng.usize(0..70_000)))
                .for_each(drop),
        }
    }
    bytes
}

#[test]
fn the_tracking_log_reader_holds_for_the_corpus_and_its_mutations() {
    hold("tracking_log", readers::tracking_log);
}

#[test]
fn the_smtp_log_reader_holds_for_the_corpus_and_its_mutations() {
    hold("smtp_log", readers::smtp_log);
}

#[test]
fn the_event_log_reader_holds_for_the_corpus_and_its_mutations() {
    hold("event_log", readers::event_log);
}

#[test]
fn the_spool_file_reader_holds_for_the_corpus_and_its_mutations() {
    hold("spool_file", readers::spool_file);
}
