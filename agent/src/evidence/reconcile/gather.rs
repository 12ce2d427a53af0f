//! Reading what a reconciliation is made from.
//!
//! Queues first, in the order in which mail flows, then custody, then the logs: a message that had left a
//! queue when that was read has its record by the time the logs are read, so that none falls between.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mailmend_policy::condition::{PathRoot, Queue};
use mailmend_proto::run::Custody;

use super::super::event_log::{self, IMS};
use super::super::{Direction, smtp_inbound, smtp_log, tracking_log};
use super::Window;
use super::facts::{Facts, Gap, Hint, Place, PlaceKind, StoreFolder};
use crate::condition::is_spool_name;
use crate::custody::ledger;
use crate::escrow;
use crate::host::{FileKind, Host, HostError, HostErrorKind};
use crate::journal::{Journal, JournalError};

const DAY_MS: i64 = 86_400_000;
/// Events of the service that tell what it did with a spool file: an NDR (3021), moved to an archive or to
/// BAD (4115, 4116, 4117, 4132, 4164), dropped on purpose (4123), left for the next start (4182), turfed
/// (4192).
const HINTS: [u32; 9] = [3021, 4115, 4116, 4117, 4123, 4132, 4164, 4182, 4192];
/// The one that says that the sender was told.
const NDR_SENT: u32 = 3021;

/// Reads everything. `listed` are the MTS-IDs in MTS-OUT, where a tool told them: it ran before this.
///
/// # Errors
/// Where the journal cannot be read. What of the server cannot be read is a gap, never an error.
pub fn gather(
    host: &dyn Host,
    journal: &Journal,
    window: Window,
    listed: Option<Vec<String>>,
) -> Result<Facts, JournalError> {
    let mut facts = Facts {
        mts_out: match listed {
            Some(ids) => StoreFolder::Listed(ids),
            None => counted(host, Queue::OutboundAwaitingConversion),
        },
        ..Facts::default()
    };
    let imcdata = match host.root(PathRoot::Imcdata) {
        Ok(imcdata) => Some(imcdata),
        Err(error) => {
            facts.gap(None, format!("the spool cannot be found: {error}"));
            None
        }
    };
    if let Some(imcdata) = &imcdata {
        for (folder, direction) in [
            ("Out", Direction::Outbound),
            ("Work", Direction::Inbound),
            ("In", Direction::Inbound),
        ] {
            facts.queue(host, &imcdata.join(folder), direction);
        }
    }
    facts.mts_in = counted(host, Queue::InboundAwaitingDelivery);
    facts.custody(journal)?;
    for folder in escrow::folders(journal)? {
        facts.copies(host, &folder);
    }
    if let Some(imcdata) = &imcdata {
        for folder in ["In/Archive", "Out/Archive"] {
            facts.archive(host, &imcdata.join(folder));
        }
    }
    facts.logs(host, imcdata.as_deref(), window);
    Ok(facts)
}

/// What the service counts in a folder of the store.
fn counted(host: &dyn Host, queue: Queue) -> StoreFolder {
    match host.counters().queued(queue) {
        Ok(count) => StoreFolder::Counted(count),
        Err(error) => StoreFolder::Unknown(error.to_string()),
    }
}

impl Facts {
    /// Nothing can be concluded from silence, about any time.
    fn gap(&mut self, direction: Option<Direction>, why: String) {
        self.gaps.push(Gap {
            to_ms: i64::MAX,
            direction,
            why,
        });
    }

    fn queue(&mut self, host: &dyn Host, folder: &Path, direction: Direction) {
        let files = match host.spool().list(folder) {
            Ok(files) => files,
            Err(error) => {
                return self.gap(Some(direction), format!("a queue cannot be read: {error}"));
            }
        };
        for file in files {
            if file.kind == FileKind::File && is_spool_name(&file.name) {
                let path = folder.join(&file.name);
                let what = format!("`{}` is in the queue", path.display());
                self.file(file.name, path, PlaceKind::Queue, what);
            }
        }
    }

    fn file(&mut self, spool_name: String, path: PathBuf, kind: PlaceKind, what: String) {
        self.places.push(Place {
            spool_name,
            mts_id: None,
            message_id: None,
            path,
            kind,
            what,
        });
    }

    fn custody(&mut self, journal: &Journal) -> Result<(), JournalError> {
        for line in ledger::of_server(journal)? {
            // A copy that could not be taken up is in escrow and nowhere else.
            let only_copy = line.copied_from.is_some() && line.custody == Custody::Live;
            if line.custody == Custody::GoneWithEvidence || only_copy {
                continue;
            }
            let what = format!(
                "`{}` is in custody, {}, in batch {} of run {}",
                line.name,
                line.custody.name(),
                line.batch,
                line.run
            );
            let known = |text: String| (!text.is_empty()).then_some(text);
            self.places.push(Place {
                spool_name: line.given_back_as.unwrap_or(line.name),
                mts_id: known(line.mts_id),
                message_id: known(line.message_id),
                path: line.held,
                kind: PlaceKind::Custody,
                what,
            });
        }
        Ok(())
    }

    fn copies(&mut self, host: &dyn Host, folder: &Path) {
        // A folder that is not there or cannot be read gives no copies back; nothing is concluded from it.
        for file in host.spool().list(folder).unwrap_or_default() {
            if let Some(name) = escrow::spool_name_of(&file.name) {
                let path = folder.join(&file.name);
                let what = format!("`{}` keeps its bytes", path.display());
                self.file(name.to_owned(), path, PlaceKind::Escrow, what);
            }
        }
    }

    fn archive(&mut self, host: &dyn Host, folder: &Path) {
        for file in host.spool().list(folder).unwrap_or_default() {
            if file.kind == FileKind::File && is_spool_name(&file.name) {
                let path = folder.join(&file.name);
                let what = format!("`{}` is the service's own archival copy", path.display());
                self.file(file.name, path, PlaceKind::Archive, what);
            }
        }
    }

    fn logs(&mut self, host: &dyn Host, imcdata: Option<&Path>, window: Window) {
        let since_ms = window
            .now_ms
            .saturating_sub(window.over_ms)
            .saturating_sub(window.apart_ms);
        let tracking = self.tracking(host, since_ms).unwrap_or_else(|error| {
            self.gap(None, format!("the tracking log cannot be read: {error}"));
            String::new()
        });
        let smtp = match imcdata.map(|imcdata| self.smtp(host, &imcdata.join("Log"), since_ms)) {
            Some(Ok(count)) => count,
            Some(Err(error)) => {
                self.gap(None, format!("the SMTP log cannot be read: {error}"));
                0
            }
            None => 0,
        };
        self.read = format!("{tracking} and {smtp} SMTP logs");
        match event_log::all_records_dropped(host.events(), since_ms) {
            Ok(dropped) => self
                .gaps
                .extend(dropped.into_iter().map(|(to_ms, why)| Gap {
                    to_ms,
                    direction: None,
                    why,
                })),
            Err(error) => self.gap(None, format!("the event log cannot be read: {error}")),
        }
        match host.events().read(IMS, since_ms) {
            Ok(events) => self.hints.extend(
                events
                    .into_iter()
                    .filter(|event| HINTS.contains(&event.id))
                    .map(|event| Hint {
                        text: event.description.to_ascii_uppercase(),
                        reported: event.id == NDR_SENT,
                        evidence: format!(
                            "event {} at {}: {}",
                            event.id,
                            event_log::time(event.at_ms),
                            event.description.trim()
                        ),
                    }),
            ),
            Err(error) => self.gap(None, format!("the event log cannot be read: {error}")),
        }
    }

    /// Reads the tracking logs of the window and of the day before; returns which, for people.
    fn tracking(&mut self, host: &dyn Host, since_ms: i64) -> Result<String, HostError> {
        let folder = host.root(PathRoot::Trackinglog)?;
        let mut days: Vec<String> = host
            .spool()
            .list(&folder)?
            .into_iter()
            .filter(|file| file.kind == FileKind::File && tracking_log::is_file_name(&file.name))
            .map(|file| file.name)
            .collect();
        days.sort_by_key(|name| name.to_ascii_lowercase());
        let first = tracking_log::file_name(since_ms.saturating_sub(DAY_MS));
        let known: BTreeSet<String> = days.iter().map(|name| name.to_ascii_lowercase()).collect();
        days.retain(|name| name.to_ascii_lowercase() >= first);
        let (Some(oldest), Some(newest)) = (days.first().cloned(), days.last().cloned()) else {
            self.gap(None, format!("`{}` has no tracking log", folder.display()));
            return Ok("no tracking log".to_owned());
        };
        for name in &days {
            let mut open = host.spool().open(&folder.join(name))?;
            let read = tracking_log::read(&mut *open, name)
                .map_err(|error| unreadable(&folder.join(name), &error))?;
            self.tracking.extend(read.records);
            self.malformed.extend(read.malformed);
        }
        // What stands before the first record was not recorded, or its log is gone.
        if !known.iter().any(|name| *name < first) {
            let began = self.tracking.iter().map(|record| record.at_ms).min();
            self.gaps.push(Gap {
                to_ms: began.map_or(i64::MAX, |began| began.saturating_sub(1)),
                direction: None,
                why: format!("the tracking logs begin with `{oldest}`"),
            });
        }
        for missing in days_missing(&known, since_ms, &newest) {
            self.gaps.push(missing);
        }
        Ok(format!("tracking logs {oldest} to {newest}"))
    }

    /// Reads the SMTP logs; returns how many.
    fn smtp(&mut self, host: &dyn Host, folder: &Path, since_ms: i64) -> Result<usize, HostError> {
        let mut numbers = BTreeSet::new();
        let mut began: Option<i64> = None;
        for file in host.spool().list(folder)? {
            if file.kind != FileKind::File || !smtp_log::is_file_name(&file.name) {
                continue;
            }
            let path = folder.join(&file.name);
            numbers.extend(file.name.get(1..8).and_then(|n| n.parse::<u32>().ok()));
            // Nothing of the window can be in what was last written before it.
            if file.modified_ms < since_ms {
                began = Some(i64::MIN);
                continue;
            }
            let whole = |error: std::io::Error| unreadable(&path, &error);
            let clock = host.log_times().smtp;
            let open = || host.spool().open(&path);
            let read = smtp_log::read_in(&mut *open()?, &file.name, clock).map_err(whole)?;
            let inbound = smtp_inbound::read(&mut *open()?, &file.name, clock).map_err(whole)?;
            began = match (began, inbound.began_ms) {
                (Some(began), Some(first)) => Some(began.min(first)),
                (began, first) => began.or(first),
            };
            self.sent.extend(read.transactions);
            self.malformed.extend(read.malformed);
            self.received.extend(inbound.received);
        }
        let Some(began) = began else {
            let folder = folder.display();
            self.gap(
                Some(Direction::Outbound),
                format!("`{folder}` has no SMTP log: set SMTP protocol logging of the service to its maximum"),
            );
            return Ok(numbers.len());
        };
        self.gaps.push(Gap {
            to_ms: began.saturating_sub(1),
            direction: Some(Direction::Outbound),
            why: "the SMTP logs begin only after it was accepted".to_owned(),
        });
        Ok(numbers.len())
    }
}

/// The days within the logs that have none: a log of a day that is over is not removed before older ones.
fn days_missing(known: &BTreeSet<String>, since_ms: i64, newest: &str) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut day_ms = since_ms.div_euclid(DAY_MS) * DAY_MS;
    while tracking_log::file_name(day_ms) < newest.to_ascii_lowercase() {
        let name = tracking_log::file_name(day_ms);
        if !known.contains(&name) {
            gaps.push(Gap {
                to_ms: day_ms.saturating_add(DAY_MS),
                direction: None,
                why: format!("the tracking log `{name}` is missing"),
            });
        }
        day_ms = day_ms.saturating_add(DAY_MS);
    }
    gaps
}

fn unreadable(path: &Path, error: &std::io::Error) -> HostError {
    HostError::unchanged(
        HostErrorKind::Io,
        format!("read `{}`", path.display()),
        error.to_string(),
    )
}
