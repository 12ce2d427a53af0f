//! The SMTP protocol log: one file for each connection that may be open at once.
//!
//! A line is written, unbuffered, before what it tells of is sent, and as soon as it was received. An
//! IMS that is killed therefore leaves a log that ends with what it may have done last.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::lab_error::{Attempting, LabError};

/// The log of one connection, open for appending.
#[derive(Debug)]
pub struct SmtpLog {
    file: File,
}

impl SmtpLog {
    /// Opens the log of the connection `number` in a folder.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn open(folder: &Path, number: usize) -> Result<Self, LabError> {
        let path = folder.join(format!("L{number:07}.LOG"));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .attempting(|| format!("open the SMTP log `{}`", path.display()))?;
        Ok(Self { file })
    }

    /// Writes lines now. Returns only when the system has them, so that a kill cannot take them back.
    pub fn write<'a>(&self, texts: impl IntoIterator<Item = &'a str>) {
        let now = Timestamp::now();
        let lines: String = texts.into_iter().map(|text| line(now, text)).collect();
        // A full disk must not stop the mail; the evidence is then missing, as in life.
        let _ = (&self.file).write_all(lines.as_bytes());
    }
}

/// A line of the log, its end included.
#[must_use]
pub fn line(at: Timestamp, text: &str) -> String {
    format!(
        "{} : {text}\r\n",
        at.to_zoned(TimeZone::UTC)
            .strftime("%-m/%-d/%y %-I:%M:%S %p")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_stamped_with_a_twelve_hour_clock() {
        let stamp = |at: &str| line(at.parse().unwrap(), "DATA");
        assert_eq!(
            stamp("1998-03-04T05:06:07Z"),
            "3/4/98 5:06:07 AM : DATA\r\n"
        );
        assert_eq!(
            stamp("1998-11-14T00:00:00Z"),
            "11/14/98 12:00:00 AM : DATA\r\n"
        );
        assert_eq!(
            stamp("1998-11-14T12:30:00Z"),
            "11/14/98 12:30:00 PM : DATA\r\n"
        );
    }
}
