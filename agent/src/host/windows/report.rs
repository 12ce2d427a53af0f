//! Telling the event log of the machine that the agent runs on. Only the agent's own words go there; what
//! others have written is read by `events`.

use std::io;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_WARNING_TYPE, RegisterEventSourceW,
    ReportEventW,
};

use super::path::wide;

/// The longest text that an event takes, in UTF-16 units, with the final zero.
const LONGEST: usize = 31_839;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Somebody has to do something.
    Error,
    /// Somebody may want to know.
    Warning,
}

/// The source under which the agent's events stand in the Application log.
#[derive(Debug)]
pub struct Reporter(HANDLE);

// SAFETY: a handle of the event log belongs to the process, and Windows takes calls with it on any thread.
#[expect(unsafe_code, reason = "a handle is a pointer to the compiler")]
unsafe impl Send for Reporter {}
// SAFETY: as above; nothing is kept beside the handle.
#[expect(unsafe_code, reason = "a handle is a pointer to the compiler")]
unsafe impl Sync for Reporter {}

impl Reporter {
    /// Opens a source by its name. Windows takes one that is not registered too, and shows its events
    /// without their text's frame.
    ///
    /// # Errors
    /// What Windows says, such as where its event log does not run.
    pub fn open(name: &str) -> io::Result<Self> {
        let name = wide(name);
        #[expect(unsafe_code, reason = "the event log is called")]
        // SAFETY: the name is zero-terminated and outlives the call; no server means this machine.
        let handle = unsafe { RegisterEventSourceW(std::ptr::null(), name.as_ptr()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(handle))
    }

    /// Writes an event; what is longer than an event can be is cut.
    ///
    /// # Errors
    /// What Windows says, such as where the log is full and may not overwrite.
    pub fn report(&self, severity: Severity, number: u32, text: &str) -> io::Result<()> {
        let kind = match severity {
            Severity::Error => EVENTLOG_ERROR_TYPE,
            Severity::Warning => EVENTLOG_WARNING_TYPE,
        };
        let text = event_text(text);
        let texts = [text.as_ptr()];
        #[expect(unsafe_code, reason = "the event log is called")]
        // SAFETY: the handle is open until `self` is dropped; one text is announced, it is zero-terminated,
        // and it and the list outlive the call; no account and no data are given, as their lengths say.
        let written = unsafe {
            ReportEventW(
                self.0,
                kind,
                0,
                number,
                std::ptr::null_mut(),
                1,
                0,
                texts.as_ptr(),
                std::ptr::null(),
            )
        };
        if written == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the event log is called")]
        // SAFETY: the handle is open, and this is its only end.
        unsafe {
            DeregisterEventSource(self.0);
        }
    }
}

/// A text as an event takes it: zero-terminated, not too long, and without a zero or a half letter in it.
fn event_text(text: &str) -> Vec<u16> {
    let mut units = Vec::new();
    for letter in text.chars().filter(|letter| *letter != '\0') {
        if units.len() + letter.len_utf16() >= LONGEST {
            break;
        }
        units.extend_from_slice(letter.encode_utf16(&mut [0; 2]));
    }
    units.push(0);
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_and_letters_becomes_an_event() {
        assert_eq!(event_text("a\0b"), [97, 98, 0]);
        let long = event_text(&"\u{1f600}".repeat(LONGEST));
        assert!(long.len() <= LONGEST && long.len() > LONGEST - 3);
        assert!(!(0xd800..0xdc00).contains(&long[long.len() - 2]));
    }

    /// Wine takes events and keeps none, so that more than this is not seen there.
    #[test]
    fn windows_takes_an_event_of_a_source_that_nobody_registered() {
        let source = Reporter::open("mailmend-agent-test").unwrap();
        source
            .report(Severity::Error, 12, "A012-journal-poisoned: a test")
            .unwrap();
        source.report(Severity::Warning, 1000, "").unwrap();
    }
}
