use super::*;

/// A log that holds some records.
#[derive(Default)]
struct Log {
    records: Vec<Record>,
    next: u64,
}

const HOUR: i64 = 3_600_000;

impl Log {
    fn write(&mut self, at_ms: i64, id: u32) {
        self.next += 1;
        self.records.push(Record {
            number: self.next,
            at_ms,
            source: "MSExchangeIMC".into(),
            id,
            text: format!("event {id}"),
        });
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl RecordLog for Log {
    fn span(&mut self) -> Result<Option<(u64, u64)>, HostError> {
        let ends = self.records.first().zip(self.records.last());
        Ok(ends.map(|(first, last)| (first.number, last.number)))
    }

    fn read(&mut self, from: u64) -> Result<Vec<Record>, HostError> {
        let wanted = |record: &&Record| record.number >= from;
        Ok(self.records.iter().filter(wanted).cloned().collect())
    }
}

fn ids(followed: &Followed, since_ms: i64) -> Result<Vec<u32>, String> {
    let found = followed.since("msexchangeimc", since_ms)?;
    Ok(found.into_iter().map(|event| event.id).collect())
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.application.jsonl");
    (folder, file)
}

#[test]
fn what_the_log_has_written_over_is_still_known_also_after_a_restart() {
    let (_folder, file) = place();
    let mut log = Log::default();
    log.write(HOUR, 1000);
    log.write(2 * HOUR, 3038);
    let mut followed = Followed::kept_in(file.clone());
    followed.follow(&mut log).unwrap();
    // The log wraps: what was read is gone from it, what follows is not.
    log.records.clear();
    log.write(3 * HOUR, 1001);
    let mut again = Followed::kept_in(file.clone());
    again.follow(&mut log).unwrap();
    assert_eq!(ids(&again, HOUR), Ok(vec![1000, 3038, 1001]));
    // Nothing is read twice, however often it is read.
    again.follow(&mut log).unwrap();
    assert_eq!(ids(&again, 2 * HOUR + 1000), Ok(vec![1001]));
    assert_eq!(
        ids(&Followed::kept_in(file), HOUR),
        Ok(vec![1000, 3038, 1001])
    );
}

#[test]
fn records_that_went_before_they_were_read_are_an_error_and_not_an_empty_answer() {
    let (_folder, file) = place();
    let mut log = Log::default();
    log.write(HOUR, 1000);
    let mut followed = Followed::kept_in(file.clone());
    assert!(ids(&followed, HOUR).is_err(), "nothing was read yet");
    followed.follow(&mut log).unwrap();
    log.write(2 * HOUR, 3038);
    log.write(3 * HOUR, 1001);
    log.records.drain(..2);
    let mut again = Followed::kept_in(file);
    again.follow(&mut log).unwrap();
    let why = ids(&again, HOUR).unwrap_err();
    assert!(why.contains("1970-01-01T03:00:00Z"), "{why}");
    assert_eq!(ids(&again, 3 * HOUR), Ok(vec![1001]));
}

#[test]
fn a_log_that_was_cleared_is_noticed_whether_it_is_empty_or_has_grown_again() {
    let (_folder, file) = place();
    let mut log = Log::default();
    log.write(HOUR, 1000);
    log.write(2 * HOUR, 3038);
    let mut followed = Followed::kept_in(file.clone());
    followed.follow(&mut log).unwrap();
    log.clear();
    log.write(4 * HOUR, 1);
    log.write(5 * HOUR, 2);
    log.write(6 * HOUR, 3);
    followed.follow(&mut log).unwrap();
    assert!(ids(&followed, 2 * HOUR).is_err());
    assert_eq!(ids(&followed, 4 * HOUR), Ok(vec![1, 2, 3]));
    log.clear();
    followed.follow(&mut log).unwrap();
    assert!(ids(&followed, 6 * HOUR).is_err());
    let later = now_ms() + HOUR;
    assert_eq!(ids(&followed, later), Ok(vec![]));
}

#[test]
fn an_event_of_the_very_second_counts_because_records_bear_whole_seconds() {
    let (_folder, file) = place();
    let mut log = Log::default();
    log.write(HOUR, 1000);
    log.write(2 * HOUR, 3038);
    let mut followed = Followed::kept_in(file);
    followed.follow(&mut log).unwrap();
    assert_eq!(ids(&followed, 2 * HOUR + 999), Ok(vec![3038]));
    assert_eq!(ids(&followed, 2 * HOUR + 1000), Ok(vec![]));
}

#[test]
fn a_file_that_was_cut_anywhere_costs_a_reading_and_nothing_else() {
    let (_folder, file) = place();
    let mut log = Log::default();
    for id in 0..4 {
        log.write(HOUR + i64::from(id), 1000 + id);
    }
    Followed::kept_in(file.clone()).follow(&mut log).unwrap();
    let whole = std::fs::read(&file).unwrap();
    for end in 0..whole.len() {
        std::fs::write(&file, &whole[..end]).unwrap();
        let mut followed = Followed::kept_in(file.clone());
        followed.follow(&mut log).unwrap();
        assert_eq!(
            ids(&followed, HOUR),
            Ok(vec![1000, 1001, 1002, 1003]),
            "{end}"
        );
        // What is appended to the cut file is read again as it was meant, or from the log.
        let mut again = Followed::kept_in(file.clone());
        again.follow(&mut log).unwrap();
        assert_eq!(ids(&again, HOUR), Ok(vec![1000, 1001, 1002, 1003]), "{end}");
    }
}

#[test]
fn more_than_can_be_kept_is_forgotten_from_its_beginning_and_said_so() {
    let (_folder, file) = place();
    let mut log = Log::default();
    for at in 0..=i64::try_from(MOST).unwrap() {
        log.write(at * 1000, 1);
    }
    let mut followed = Followed::kept_in(file);
    followed.follow(&mut log).unwrap();
    assert!(ids(&followed, 0).is_err());
    let whole = followed.state.whole_since_ms.unwrap();
    let kept = ids(&followed, whole).unwrap().len();
    assert!(kept > MOST / 2 - 3 && kept <= MOST / 2, "{kept}");
}

#[test]
fn a_log_that_is_read_in_the_other_way_goes_on_where_the_first_one_stopped() {
    let (_folder, file) = place();
    let mut log = Log::default();
    log.write(HOUR, 1000);
    log.write(2 * HOUR, 1001);
    let mut followed = Followed::kept_in(file.clone());
    followed.follow(&mut log).unwrap();
    // The other way tells parts of a second, and puts the text together in its own way.
    for record in &mut log.records {
        record.at_ms += 417;
        record.text = format!("{} ", record.text);
        record.source = record.source.to_ascii_uppercase();
    }
    log.write(3 * HOUR + 5, 1002);
    let mut other = Followed::kept_in(file.clone());
    other.follow(&mut log).unwrap();
    assert_eq!(ids(&other, HOUR), Ok(vec![1000, 1001, 1002]));
    // And back.
    for record in &mut log.records {
        record.at_ms -= record.at_ms.rem_euclid(1000);
    }
    log.write(4 * HOUR, 1003);
    let mut back = Followed::kept_in(file);
    back.follow(&mut log).unwrap();
    assert_eq!(ids(&back, HOUR), Ok(vec![1000, 1001, 1002, 1003]));
}

#[test]
fn a_cleared_log_that_has_grown_beyond_the_bookmark_is_read_anew_in_either_way() {
    for other_id in [false, true] {
        let (_folder, file) = place();
        let mut log = Log::default();
        log.write(HOUR, 1000);
        log.write(2 * HOUR, 1001);
        let mut followed = Followed::kept_in(file.clone());
        followed.follow(&mut log).unwrap();
        log.clear();
        log.write(5 * HOUR + 1, 2000);
        log.write(6 * HOUR + 1, if other_id { 2001 } else { 1001 });
        log.write(7 * HOUR + 1, 2002);
        let mut again = Followed::kept_in(file);
        again.follow(&mut log).unwrap();
        let last = if other_id { 2001 } else { 1001 };
        assert_eq!(ids(&again, 5 * HOUR + 1), Ok(vec![2000, last, 2002]));
        // What went before it was read is not taken for silence.
        assert!(ids(&again, 4 * HOUR).is_err());
    }
}

#[test]
fn a_time_that_is_known_to_the_millisecond_is_not_stretched_to_its_second() {
    let (_folder, file) = place();
    let mut log = Log::default();
    log.write(HOUR, 1000);
    log.write(2 * HOUR + 300, 1001);
    log.write(3 * HOUR, 1002);
    let mut followed = Followed::kept_in(file);
    followed.follow(&mut log).unwrap();
    assert_eq!(ids(&followed, 2 * HOUR + 300), Ok(vec![1001, 1002]));
    assert_eq!(ids(&followed, 2 * HOUR + 301), Ok(vec![1002]));
    assert_eq!(ids(&followed, 3 * HOUR + 999), Ok(vec![1002]));
}

/// A log that writes over its oldest records between the two calls.
struct Hurried(Log);

impl RecordLog for Hurried {
    fn span(&mut self) -> Result<Option<(u64, u64)>, HostError> {
        let span = self.0.span();
        self.0.records.remove(0);
        span
    }

    fn read(&mut self, from: u64) -> Result<Vec<Record>, HostError> {
        self.0.read(from)
    }
}

#[test]
fn a_record_that_is_written_over_while_the_log_is_read_leaves_no_silent_gap() {
    let (_folder, file) = place();
    let mut log = Log::default();
    log.write(HOUR, 1000);
    let mut followed = Followed::kept_in(file);
    followed.follow(&mut log).unwrap();
    log.records.clear();
    log.write(2 * HOUR, 1001);
    log.write(3 * HOUR, 1002);
    // It says that it begins with 1001, right behind what was read; when it is read, that is gone.
    followed.follow(&mut Hurried(log)).unwrap();
    assert!(ids(&followed, HOUR).is_err());
    assert_eq!(ids(&followed, 3 * HOUR), Ok(vec![1002]));
}
