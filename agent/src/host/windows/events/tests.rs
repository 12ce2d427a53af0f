use super::*;

fn log(folder: &std::path::Path, machine: Machine) -> EventLog {
    EventLog::of(machine, folder.join("events"))
}

const LATER_MS: i64 = 3_600_000;

#[test]
fn a_windows_without_query_is_read_in_the_old_way_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path(), Machine::Local);
    let later = jiff::Timestamp::now().as_millisecond() + LATER_MS;
    assert!(log.read("MSExchangeIMC", later).is_ok());
    let mut asked = rendered::Asked::of(APPLICATION);
    let answered = crate::host::event_log::RecordLog::span(&mut asked).is_ok();
    // Wine refuses and says no number; a Windows answers.
    assert_eq!(log.without_query.get().is_some(), !answered);
    if let Some(why) = log.without_query.get() {
        assert!(!why.is_empty());
    }
    // Once known, it is not asked again, and the answer stays the same.
    assert!(log.read("MSExchangeIMC", later).is_ok());
    assert!(folder.path().join("events.application.jsonl").exists());
}

#[test]
fn another_machine_is_read_in_the_old_way_alone() {
    let folder = tempfile::tempdir().unwrap();
    let there = Machine::Remote("mailmend-nowhere".parse().unwrap());
    let log = log(folder.path(), there);
    let mut followed = Followed::kept_in(folder.path().join("x.jsonl"));
    let _ = log.follow(&mut followed, APPLICATION);
    assert_eq!(log.without_query.get(), None);
}
