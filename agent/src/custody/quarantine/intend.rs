//! What is written down before the first file moves, and which files are left out because somebody has them open.

use std::collections::BTreeMap;
use std::time::Duration;

use mailmend_proto::run::Event;

use super::super::halves::on_two_threads;
use super::super::survey::{Surveyed, Suspect};
use super::super::{CustodyError, Desk, manifest, text};
use super::{Take, Verdict};
use crate::host::{HostError, HostErrorKind};

/// How often a file that somebody has open is tried, and the wait before each further try.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// What is written down before files are taken: the batch, its manifest, and what is settled by evidence or by a
/// fingerprint with it.
pub(in crate::custody) fn intend(
    take: &Take,
    files: Vec<(Surveyed, Verdict)>,
) -> Result<Vec<Event>, CustodyError> {
    let mut entries = Vec::with_capacity(files.len());
    let (mut settlements, mut marked) = (Vec::new(), Vec::new());
    for (index, (file, verdict)) in (0..).zip(files) {
        entries.push(file.entry(index));
        if let Verdict::Known { fingerprint, .. } = &verdict {
            marked.push((index, *fingerprint));
        }
        settlements.extend(verdict.settlement(index));
    }
    let mut events = vec![Event::BatchIntended {
        batch: take.batch,
        step: take.step,
        queue: take.queue.name().to_owned(),
        source: text(&take.source)?,
        held: text(&take.held())?,
        files: entries.len() as u64,
        bytes: entries.iter().map(|entry| entry.size).sum(),
        copied_from: None,
    }];
    events.extend(manifest::events(take.batch, &entries));
    drop(entries);
    if !settlements.is_empty() {
        events.push(Event::Settled {
            batch: take.batch,
            entries: settlements,
        });
    }
    if !marked.is_empty() {
        events.push(Event::Immunized {
            batch: take.batch,
            entries: marked,
        });
    }
    Ok(events)
}

/// Leaves out what somebody has open, after bounded retries.
pub(super) fn free_of_others<T>(
    desk: &Desk<'_>,
    take: &Take,
    files: Vec<(Surveyed, T)>,
    left: &mut Vec<Suspect>,
) -> Vec<(Surveyed, T)> {
    let probe = |name: &str| desk.host.spool().probe_exclusive(&take.source.join(name));
    let names = files
        .iter()
        .map(|(file, _)| file.info.name.as_str())
        .collect();
    let mut open: BTreeMap<String, HostError> = on_two_threads(names, 0, |names: Vec<&str>| {
        let probed = desk.host.spool().probe_each(&take.source, &names);
        let locked = |(name, result): (&str, Result<(), HostError>)| {
            result.err().map(|error| (name.to_owned(), error))
        };
        names.into_iter().zip(probed).map(locked).collect()
    })
    .into_iter()
    .flatten()
    .collect();
    for _ in 1..TRIES {
        if open
            .values()
            .all(|error| error.kind != HostErrorKind::Locked)
        {
            break;
        }
        desk.host.clock().sleep(BETWEEN_TRIES);
        open = open
            .into_keys()
            .filter_map(|name| probe(&name).err().map(|error| (name, error)))
            .collect();
    }
    files
        .into_iter()
        .filter(|(file, _)| match open.get(&file.info.name) {
            None => true,
            Some(error) => {
                left.push(Suspect {
                    name: file.info.name.clone(),
                    why: error.reason.clone(),
                });
                false
            }
        })
        .collect()
}
