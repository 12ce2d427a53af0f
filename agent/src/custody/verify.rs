//! Reading held files again: the content is what the manifest has, byte for byte, or it is not given
//! back.

use std::io::Read;
use std::path::Path;

use mailmend_proto::run::{Batch, Entry, Left};

use super::halves::on_two_threads;
use super::quarantine::Seen;
use super::survey::{buffer, hash};
use super::{Desk, direction};
use crate::ablation::{Mechanism, off};
use crate::evidence::MessageKey;
use crate::evidence::spool_file::{self, SpoolHeader};
use crate::host::HostError;

/// What reading held files again showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Entries whose file is whole, in order of index.
    pub whole: Vec<u32>,
    /// Entries whose file is gone, changed or unreadable.
    pub damaged: Vec<Left>,
}

/// Reads the held files of these entries and compares identity, size and digest with the manifest.
/// Changes nothing. May be done while the service runs.
#[must_use]
pub fn verify(desk: &Desk<'_>, batch: &Batch, mut indices: Vec<u32>) -> Verified {
    indices.sort_unstable();
    indices.dedup();
    let held = Path::new(&batch.held);
    let mut verified = Verified::default();
    let mut entries = Vec::with_capacity(indices.len());
    for index in indices {
        match batch.entries.get(index as usize) {
            Some(entry) => entries.push(entry),
            None => verified.damaged.push(Left {
                index,
                why: "the manifest has no such entry".into(),
            }),
        }
    }
    let bytes = entries.iter().map(|entry| entry.size).sum();
    let checked = on_two_threads(entries, bytes, |entries: Vec<&Entry>| {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let mut checked = Vec::with_capacity(entries.len());
        let mut buffer = buffer();
        desk.host.spool().open_each(held, &names, &mut |at, file| {
            let entry = entries[at];
            checked.push((entry.index, same(held, entry, file, &mut buffer)));
        });
        checked
    });
    for (index, result) in checked {
        match result {
            Ok(()) => verified.whole.push(index),
            Err(why) => verified.damaged.push(Left { index, why }),
        }
    }
    verified
}

fn same(
    held: &Path,
    entry: &Entry,
    file: Result<Box<dyn Read + Send>, HostError>,
    buffer: &mut [u8],
) -> Result<(), String> {
    let path = held.join(&entry.name);
    let content = file.map_err(|error| error.to_string()).and_then(|reader| {
        hash(reader, buffer).map_err(|error| format!("read `{}`: {error}", path.display()))
    })?;
    if content.hash != entry.hash && !off(Mechanism::HashBeforeReplay) {
        return Err(format!(
            "`{}` has the digest {} and {} bytes; the manifest has {} and {}",
            path.display(),
            content.hash.short(),
            content.size,
            entry.hash.short(),
            entry.size
        ));
    }
    Ok(())
}

/// Compares identity, size and time only, for files that were verified a moment ago.
pub(super) fn unchanged(
    entry: &Entry,
    found: Option<&crate::host::FileInfo>,
) -> Result<(), String> {
    match Seen::of(entry, found) {
        Seen::Same => Ok(()),
        Seen::Nothing => Err("it is no longer in the held folder".into()),
        Seen::Changed => Err("its size or time is not what the manifest has".into()),
        Seen::Other => Err("another file has its name in the held folder".into()),
    }
}

/// What an entry's message is known by in the records. The envelope is not in the journal; it is read
/// from the held file where that can be read, and without it less can be proven.
pub(crate) fn key(
    desk: &Desk<'_>,
    batch: &Batch,
    held: &Path,
    entry: &Entry,
    name: &str,
) -> MessageKey {
    let known = |text: &String| (!text.is_empty()).then(|| text.clone());
    let header = desk
        .host
        .spool()
        .open(&held.join(&entry.name))
        .ok()
        .and_then(|mut file| spool_file::read(&mut *file).ok())
        .filter(|header| header.recognised)
        .unwrap_or_else(|| SpoolHeader {
            recognised: false,
            mts_id: known(&entry.mts_id),
            message_id: known(&entry.message_id),
            sender: None,
            recipients: None,
        });
    MessageKey::new(name, header, entry.modified_ms, direction(&batch.queue))
}
