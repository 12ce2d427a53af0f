//! The message tracking log: one file a day, named and stamped in GMT (Q173280, Q163074).

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::lab_error::{Attempting, LabError};

/// What befell a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Befell {
    /// 7: the MTA has handed it to the IMS.
    HandedToIms = 7,
    /// 1003: the IMS has taken it over; all that 4.0 tells of outbound mail.
    GatewayOut = 1003,
    /// 1004: it came in through the IMS; all that 4.0 tells of inbound mail.
    GatewayIn = 1004,
    /// 1010: queued outbound.
    QueuedOutbound = 1010,
    /// 1011: transferred outbound, the peer took it.
    TransferredOutbound = 1011,
    /// 1012: received inbound.
    ReceivedInbound = 1012,
    /// 1013: transferred inbound, to the store.
    TransferredInbound = 1013,
}

/// A record of the log.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// What befell the message.
    pub befell: Befell,
    /// The MTS-ID.
    pub mts_id: &'a str,
    /// The host at the other end; empty where there is none.
    pub partner: &'a str,
    /// The Internet Message-ID with its angle brackets.
    pub message_id: &'a str,
    /// The spool file's name.
    pub spool_name: &'a str,
    /// The originator.
    pub originator: &'a str,
    /// Size in bytes.
    pub bytes: usize,
    /// The recipients.
    pub recipients: &'a [String],
}

impl Record<'_> {
    /// The Message-ID and the spool file, where there is one yet.
    fn remote(&self) -> String {
        if self.spool_name.is_empty() {
            return String::new();
        }
        // Semicolons and blanks are written as in life.
        let id = self.message_id.replace(';', "%").replace(' ', "_");
        format!("{id}[{}]", self.spool_name)
    }

    /// The record's lines: thirteen fields, then a line for each recipient.
    #[must_use]
    pub fn lines(&self, at: Timestamp) -> String {
        let mut lines = format!(
            "{}\t{}\t{}\t\t{}\t{}\t{}\t0\t{}\t0\t0\t\t{}\n",
            self.mts_id,
            self.befell as u16,
            at.to_zoned(TimeZone::UTC)
                .strftime("%Y.%-m.%-d %-H:%-M:%-S"),
            self.partner,
            self.remote(),
            self.originator,
            self.bytes,
            self.recipients.len(),
        );
        for recipient in self.recipients {
            lines.push_str(recipient);
            lines.push_str("\t0\n");
        }
        lines
    }
}

/// The folder of the logs.
#[derive(Debug)]
pub struct TrackingLog {
    folder: PathBuf,
}

impl TrackingLog {
    /// The logs in a folder, which must be there.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Appends a record to today's file, in one write.
    ///
    /// # Errors
    /// Where it cannot be written (event 3016 in life).
    pub fn write(&self, record: &Record<'_>) -> Result<(), LabError> {
        let now = Timestamp::now();
        let path = self.folder.join(format!(
            "{}.log",
            now.to_zoned(TimeZone::UTC).strftime("%Y%m%d")
        ));
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(record.lines(now).as_bytes()))
            .attempting(|| format!("write the tracking log `{}`", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_thirteen_fields_and_a_line_for_each_recipient() {
        let recipients = ["bob@example.net".to_owned(), "eve@example.org".to_owned()];
        let record = Record {
            befell: Befell::TransferredOutbound,
            mts_id: "c=US;a= ;p=Contoso;l=OSLO-B9711051951WKA6D6YM",
            partner: "127.0.0.1:2525",
            message_id: "<c=US;a= ;p=Contoso;l=OSLO-B-1@contoso.example>",
            spool_name: "WKA6D6YM",
            originator: "ada@contoso.example",
            bytes: 123,
            recipients: &recipients,
        };
        let lines = record.lines("1996-07-01T18:32:09Z".parse().unwrap());
        let lines: Vec<_> = lines.lines().collect();
        let fields: Vec<_> = lines[0].split('\t').collect();
        assert_eq!(fields.len(), 13);
        assert_eq!(fields[1], "1011");
        assert_eq!(fields[2], "1996.7.1 18:32:9", "nothing is padded");
        assert_eq!(
            fields[5],
            "<c=US%a=_%p=Contoso%l=OSLO-B-1@contoso.example>[WKA6D6YM]"
        );
        assert_eq!(fields[12], "2");
        assert_eq!(lines[1..], ["bob@example.net\t0", "eve@example.org\t0"]);
    }
}
