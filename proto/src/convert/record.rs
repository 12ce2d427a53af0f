//! Records.

use super::{WireFault, run_from_wire};
use crate::run::Record;
use crate::wire;

/// A record from the wire.
///
/// # Errors
/// Where a field is missing or makes no sense.
pub fn record_from_wire(record: wire::Record) -> Result<Record, WireFault> {
    let event = record.event.ok_or(WireFault::Missing("record.event"))?;
    Ok(Record {
        seq: record.seq,
        at_ms: record.at_ms,
        run: run_from_wire(&record.run)?,
        event: super::event::from_wire(event)?,
    })
}

/// A record for the wire.
#[must_use]
pub fn record_to_wire(record: &Record) -> wire::Record {
    wire::Record {
        seq: record.seq,
        at_ms: record.at_ms,
        run: record.run.to_string(),
        event: Some(super::event::to_wire(&record.event)),
    }
}
