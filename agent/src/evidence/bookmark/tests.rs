//! Reading on from bookmarks beside reading whole, over real files.

#![expect(
    clippy::disallowed_methods,
    reason = "logs are rotated here as whoever owns them does, replacing what is there"
)]

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::evidence::lines::for_each;
use crate::host::{Host, real_files as host};

#[derive(Debug, Clone, Default, PartialEq)]
struct Found(Vec<(u64, String)>);

impl LineReader for Found {
    fn line(&mut self, number: u64, text: &str) {
        self.0.push((number, text.to_owned()));
    }
}

fn whole(path: &Path) -> Found {
    let mut found = Found::default();
    for_each(&mut &*fs::read(path).unwrap(), &mut found).unwrap();
    found
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn what_was_read_is_not_read_again_and_what_was_rotated_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("x.log");
    let host = host();
    let open = || host.spool().open_log(&path);
    append(&path, b"one\ntwo\nhal");
    let first = follow(&path, &open, None, &Found::default).unwrap();
    assert_eq!((first.at.line, first.at.offset), (2, 8));
    append(&path, b"f\n");
    // A reader that begins anew would be this one: it is not asked for.
    let anew = || Found(vec![(0, "anew".into())]);
    let second = follow(&path, &open, Some(first), &anew).unwrap();
    assert_eq!(second.reader, whole(&path));
    fs::rename(&path, path.with_extension("old")).unwrap();
    append(&path, b"one\ntwo\nhalf\nthree\n");
    let third = follow(&path, &open, Some(second.clone()), &anew).unwrap();
    assert_eq!(
        third.reader.0[0].1, "anew",
        "the same bytes in another file"
    );
    fs::write(&path, b"on").unwrap();
    let fourth = follow(&path, &open, Some(third.clone()), &anew).unwrap();
    assert_eq!(fourth.reader.0.len(), 1, "it was truncated");
    fs::write(&path, b"ONE\ntwo\nhalf\nthree\nfour\n").unwrap();
    let fifth = follow(&path, &open, Some(third), &anew).unwrap();
    assert_eq!(
        fifth.reader.0[0].1, "anew",
        "it was written anew and is longer"
    );
}

type Happening = Box<dyn FnOnce() + Send>;

/// Files to which something happens before each listing and each opening.
struct Restless {
    real: Box<dyn Host>,
    before: Mutex<VecDeque<Happening>>,
}

impl Restless {
    fn new(happenings: Vec<Happening>) -> Self {
        Self {
            real: Box::new(host()),
            before: Mutex::new(happenings.into()),
        }
    }

    fn happen(&self) -> &dyn Spool {
        let next = self.before.lock().unwrap().pop_front();
        if let Some(next) = next {
            next();
        }
        self.real.spool()
    }
}

impl Spool for Restless {
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError> {
        self.happen().list(folder)
    }
    fn open_log(&self, path: &Path) -> Result<(FileInfo, Box<dyn LogFile>), HostError> {
        self.happen().open_log(path)
    }
    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError> {
        self.real.spool().look(path)
    }
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError> {
        self.real.spool().open(path)
    }
    fn probe_exclusive(&self, _: &Path) -> Result<(), HostError> {
        panic!("logs are only read")
    }
    fn move_new(&self, _: &Path, _: &Path) -> Result<(), HostError> {
        panic!("logs are only read")
    }
    fn link_new(&self, _: &Path, _: &Path) -> Result<(), HostError> {
        panic!("logs are only read")
    }
    fn write_new(&self, _: &Path, _: &[u8]) -> Result<(), HostError> {
        panic!("logs are only read")
    }
    fn make_folder(&self, _: &Path) -> Result<(), HostError> {
        panic!("logs are only read")
    }
    fn sync_folder(&self, _: &Path) -> Result<(), HostError> {
        panic!("logs are only read")
    }
    fn remove(&self, _: &Path) -> Result<(), HostError> {
        panic!("logs are only read")
    }
    fn free_bytes(&self, _: &Path) -> Result<u64, HostError> {
        panic!("logs are only read")
    }
    fn same_volume(&self, _: &Path, _: &Path) -> Result<bool, HostError> {
        panic!("logs are only read")
    }
}

fn lines_of(readers: Vec<Found>) -> Vec<String> {
    let lines = readers.into_iter().flat_map(|found| found.0);
    lines.map(|(_, text)| text).collect()
}

#[test]
fn a_log_that_is_renamed_between_listing_and_opening_is_read_once_and_the_new_one_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    append(&folder.join("a.log"), b"old\n");
    append(&folder.join("b.log"), b"other\n");
    let (here, there) = (folder.clone(), folder.clone());
    let spool = Restless::new(vec![
        Box::new(|| {}),
        Box::new(move || {
            fs::rename(here.join("a.log"), here.join("z.log")).unwrap();
        }),
        Box::new(move || append(&there.join("a.log"), b"new\n")),
    ]);
    let shelf = Shelf::default();
    let read = || {
        read_folder(&spool, &folder, Some(&shelf), &|_| true, &|_| {
            Found::default()
        })
    };
    let mut first = lines_of(read().unwrap());
    first.sort();
    assert_eq!(first, ["new", "old", "other"]);
    append(&folder.join("z.log"), b"late\n");
    let mut second = lines_of(read().unwrap());
    second.sort();
    assert_eq!(second, ["late", "new", "old", "other"]);
}

#[test]
fn a_log_that_vanishes_is_no_error_and_a_folder_that_never_rests_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    append(&folder.join("a.log"), b"one\n");
    append(&folder.join("b.log"), b"two\n");
    let here = folder.clone();
    let spool = Restless::new(vec![
        Box::new(|| {}),
        Box::new(move || fs::remove_file(here.join("a.log")).unwrap()),
    ]);
    let read =
        |spool: &dyn Spool| read_folder(spool, &folder, None, &|_| true, &|_| Found::default());
    assert_eq!(lines_of(read(&spool).unwrap()), ["two"]);
    let happenings = (0..20).map(|n| -> Happening {
        let path = folder.join(format!("{n}.log"));
        Box::new(move || append(&path, b"x\n"))
    });
    let error = read(&Restless::new(happenings.collect())).unwrap_err();
    assert!(error.to_string().contains("while it was read"), "{error}");
}

#[derive(Debug, Clone)]
enum Step {
    /// Append lines of these lengths to a log, the last one torn where told.
    Append(usize, Vec<usize>, bool),
    /// Give a log a name that rotation would.
    Rotate(usize, usize),
    Truncate(usize, u64),
    WriteAnew(usize, Vec<usize>),
    Remove(usize),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let lengths =
        || proptest::collection::vec(prop_oneof![8 => 0usize..30, 1 => 3000usize..9000], 1..5);
    prop_oneof![
        6 => (0usize..4, lengths(), any::<bool>()).prop_map(|(n, l, torn)| Step::Append(n, l, torn)),
        1 => (0usize..4, 0usize..4).prop_map(|(a, b)| Step::Rotate(a, b)),
        1 => (0usize..4, 0u64..12_000).prop_map(|(n, to)| Step::Truncate(n, to)),
        1 => (0usize..4, lengths()).prop_map(|(n, l)| Step::WriteAnew(n, l)),
        1 => (0usize..4).prop_map(Step::Remove),
        4 => Just(Step::Read),
    ]
}

/// Lines that differ, as the lines of a log do: each has its moment.
fn text(count: &mut u32, lengths: &[usize]) -> String {
    let line = |&length: &usize| {
        *count += 1;
        format!("{count}{}\n", "x".repeat(length))
    };
    lengths.iter().map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn reading_on_says_what_reading_whole_says_whatever_befalls_the_logs(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let path = |n: usize| folder.join(format!("{n}.log"));
        let host = host();
        let shelf = Shelf::default();
        let read = |shelf| {
            read_folder(host.spool(), &folder, shelf, &|_| true, &|_| Found::default()).unwrap()
        };
        let mut count = 0;
        for step in steps {
            match step {
                Step::Append(n, lengths, torn) => {
                    let text = text(&mut count, &lengths);
                    let end = text.len() - usize::from(torn);
                    append(&path(n), &text.as_bytes()[..end]);
                }
                Step::Rotate(from, to) => {
                    let _ = fs::rename(path(from), path(to));
                }
                Step::Truncate(n, to) => {
                    if let Ok(file) = OpenOptions::new().write(true).open(path(n)) {
                        let length = file.metadata().unwrap().len();
                        file.set_len(to.min(length)).unwrap();
                    }
                }
                Step::WriteAnew(n, lengths) => fs::write(path(n), text(&mut count, &lengths)).unwrap(),
                Step::Remove(n) => {
                    let _ = fs::remove_file(path(n));
                }
                Step::Read => prop_assert_eq!(read(Some(&shelf)), read(None)),
            }
        }
        prop_assert_eq!(read(Some(&shelf)), read(None));
    }
}
