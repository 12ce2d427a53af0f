//! The files in which the simulated server tells what it does: tracking log, SMTP log, event log,
//! `Route.txt` and `GWART0.MTA`, in the formats that Exchange gives them.

use std::fmt::Write as _;
use std::path::Path;

use super::world::{GWART, LOG, ROUTE, TRACKING, World};
use crate::host::EventRecord;

const NEXT_HOP: &str = "next-hop.simulated.example";

/// A moment as a civil time in UTC.
fn civil(at_ms: i64) -> jiff::civil::DateTime {
    jiff::Timestamp::from_millisecond(at_ms)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .datetime()
}

/// `yymmddhhmm`, as in an MTS-ID.
pub(super) fn stamp(at_ms: i64) -> String {
    let t = civil(at_ms);
    format!(
        "{:02}{:02}{:02}{:02}{:02}",
        t.year() % 100,
        t.month(),
        t.day(),
        t.hour(),
        t.minute()
    )
}

impl World {
    /// Writes an outbound record of the tracking log.
    pub(super) fn track(&mut self, number: usize, event: u32) {
        let t = civil(self.now_ms);
        let message = &self.messages[number];
        let mut text = format!(
            "{}\t{event}\t{}.{}.{} {}:{}:{}\tIMS\t{NEXT_HOP}\t{}[{}]\t/o=SIMULATED/ou=SITE/cn=SENDER\t0\t{}\t0\t0\t\t{}\n",
            message.mts_id,
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            message.message_id,
            message.spool_name,
            message.bytes.len(),
            message.recipients.len(),
        );
        for recipient in &message.recipients {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{recipient}");
        }
        let name = format!("{:04}{:02}{:02}.log", t.year(), t.month(), t.day());
        self.disk.append(
            &Path::new(TRACKING).join(name),
            text.as_bytes(),
            self.now_ms,
        );
    }

    /// Writes a line of an SMTP log.
    pub(super) fn smtp(&mut self, connection: usize, text: &str) {
        let t = civil(self.now_ms);
        let (hour, half) = match t.hour() {
            0 => (12, "AM"),
            hour @ 1..12 => (hour, "AM"),
            12 => (12, "PM"),
            hour => (hour - 12, "PM"),
        };
        let line = format!(
            "{}/{}/{:02} {hour}:{:02}:{:02} {half} : {text}\r\n",
            t.month(),
            t.day(),
            t.year() % 100,
            t.minute(),
            t.second()
        );
        let path = Path::new(LOG).join(format!("L{connection:07}.LOG"));
        self.disk.append(&path, line.as_bytes(), self.now_ms);
    }

    /// Makes the log of a connection be there, empty where it is new.
    pub(super) fn open_smtp_log(&mut self, connection: usize) {
        let path = Path::new(LOG).join(format!("L{connection:07}.LOG"));
        self.disk.append(&path, b"", self.now_ms);
    }

    pub(super) fn event(&mut self, source: &str, id: u32, description: &str) {
        self.events.push(EventRecord {
            at_ms: self.now_ms,
            source: source.to_owned(),
            id,
            description: description.to_owned(),
        });
    }

    /// The routing table as the directory holds it, written out for people.
    pub(super) fn write_gwart(&mut self) {
        let hop = if self.table_fresh {
            NEXT_HOP
        } else {
            "retired.simulated.example"
        };
        let text = format!("SMTP:*\t1\t{hop}:25\n");
        self.disk
            .put(Path::new(GWART), text.as_bytes(), self.now_ms);
    }

    /// The routing table as the service has loaded it.
    pub(super) fn write_route(&mut self) {
        let hop = if self.ims.routes_fresh {
            NEXT_HOP
        } else {
            "retired.simulated.example"
        };
        let text = format!("SMTP:*\t1\t{hop}:25\n");
        self.disk
            .put(Path::new(ROUTE), text.as_bytes(), self.now_ms);
    }
}
