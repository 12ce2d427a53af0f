//! What the event log says about the service and about the other records.

use jiff::Timestamp;

use crate::host::{EventRecord, Events, HostError};

/// The source of the Internet Mail Service's events.
pub const IMS: &str = "MSExchangeIMC";
/// The service has started; its text has the build.
pub const STARTED: u32 = 1000;
/// A message was sent and could not be removed from MTS-OUT: it is sent again at the next start.
pub const NOT_REMOVED: u32 = 3038;

/// Events that say that records were dropped, with their source and what was dropped.
const DROPPED: [(&str, u32); 4] = [
    ("MSExchangeSA", 5007),
    (IMS, 3016),
    ("MSExchangeMTA", 2026),
    ("MSExchangeMTA", 2028),
];

/// The last start of a source, the event that it writes then; `None` where it never did.
///
/// # Errors
/// Where the log cannot be read.
pub fn last_start(events: &dyn Events, source: &str) -> Result<Option<EventRecord>, HostError> {
    let all = events.read(source, i64::MIN)?;
    Ok(all.into_iter().rev().find(|event| event.id == STARTED))
}

/// Events 3038 since the service last started. While one stands, a stop and start sends mail twice.
///
/// # Errors
/// Where the log cannot be read.
pub fn sent_but_not_removed(events: &dyn Events) -> Result<Vec<EventRecord>, HostError> {
    let since = last_start(events, IMS)?.map_or(i64::MIN, |event| event.at_ms);
    let mut found = events.read(IMS, since)?;
    found.retain(|event| event.id == NOT_REMOVED);
    Ok(found)
}

/// The first event since `since_ms` that says that tracking records were dropped, for people.
///
/// # Errors
/// Where the log cannot be read.
pub fn records_dropped(events: &dyn Events, since_ms: i64) -> Result<Option<String>, HostError> {
    for (source, id) in DROPPED {
        if let Some(event) = events
            .read(source, since_ms)?
            .iter()
            .find(|event| event.id == id)
        {
            return Ok(Some(format!(
                "event {id} of {source} at {} says that tracking records were dropped",
                time(event.at_ms)
            )));
        }
    }
    Ok(None)
}

/// Every event since `since_ms` that says that tracking records were dropped: when, and for people.
///
/// # Errors
/// Where the log cannot be read.
pub fn all_records_dropped(
    events: &dyn Events,
    since_ms: i64,
) -> Result<Vec<(i64, String)>, HostError> {
    let mut found = Vec::new();
    for (source, id) in DROPPED {
        for event in events.read(source, since_ms)? {
            if event.id == id {
                let text = format!(
                    "event {id} of {source} at {} says that tracking records were dropped",
                    time(event.at_ms)
                );
                found.push((event.at_ms, text));
            }
        }
    }
    Ok(found)
}

/// A moment for people: RFC 3339, UTC.
pub(crate) fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| format!("{at_ms} ms"), |at| at.to_string())
}
