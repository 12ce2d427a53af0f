//! The event log as Windows hands it out since Vista: `EvtQuery`, each record rendered as XML. Wine has the
//! call and refuses it.

#![expect(unsafe_code, reason = "the standard library knows no event log")]

use windows_sys::Win32::Foundation::{
    ERROR_INSUFFICIENT_BUFFER, ERROR_NO_MORE_ITEMS, SetLastError,
};
use windows_sys::Win32::System::EventLog::{
    EVT_HANDLE, EVT_QUERY_FLAGS, EvtClose, EvtNext, EvtQuery, EvtQueryChannelPath,
    EvtQueryForwardDirection, EvtQueryReverseDirection, EvtRender, EvtRenderEventXml,
};

use super::super::failure::Code;
use super::super::path::wide;
use crate::host::event_log::{Record, RecordLog, Refused, refused};
use crate::host::{HostError, HostErrorKind};

/// So many records are asked for at once; fewer where they are too long for one answer.
const AT_ONCE: usize = 64;
/// How long Windows may take for them.
const PATIENCE_MS: u32 = 30_000;

/// The log of this machine.
pub(super) struct Log {
    channel: String,
}

/// Why a log cannot be read so.
#[derive(Debug)]
pub(super) enum Failure {
    /// This Windows has not what it takes, for this reason: the old way is left.
    Absent(String),
    /// A record made no sense; the old way tells less of it, and tells it.
    Unreadable(String),
    /// The old way would be refused as well.
    Error(HostError),
}

/// What Windows gave us to close.
struct Handle(EVT_HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: Windows gave it to us, and it is used no more.
        unsafe { EvtClose(self.0) };
    }
}

impl Log {
    pub(super) fn of(channel: &str) -> Self {
        Self {
            channel: channel.to_owned(),
        }
    }

    fn query(&self, path: &str, direction: EVT_QUERY_FLAGS) -> Result<Handle, Code> {
        let (channel, path) = (wide(&self.channel), wide(path));
        // SAFETY: both texts end with a zero and outlive the call; no session means this machine. Wine's call says
        // no number when it refuses, and the one of an earlier call would be taken for it.
        let query = unsafe {
            SetLastError(0);
            EvtQuery(
                0,
                channel.as_ptr(),
                path.as_ptr(),
                EvtQueryChannelPath | direction,
            )
        };
        if query == 0 {
            return Err(Code::last());
        }
        Ok(Handle(query))
    }

    /// The record at one end of the log.
    fn end(&self, direction: EVT_QUERY_FLAGS) -> Result<Option<Record>, Failure> {
        let failed = |code| self.failed(code);
        let query = self.query("*", direction).map_err(failed)?;
        let events = next(&query, 1).map_err(failed)?;
        events.first().map(|event| self.record(event)).transpose()
    }

    fn ends(&self) -> Result<Option<(u64, u64)>, Failure> {
        let oldest = self.end(EvtQueryForwardDirection)?;
        let newest = self.end(EvtQueryReverseDirection)?;
        let both = oldest.zip(newest);
        Ok(both.map(|(oldest, newest)| (oldest.number, newest.number)))
    }

    fn all(&self, from: u64) -> Result<Vec<Record>, Failure> {
        let mut records: Vec<Record> = Vec::new();
        let mut at_once = AT_ONCE;
        loop {
            // After a refused answer nobody knows where the query stands: it is asked anew.
            let from = records.last().map_or(from, |last| last.number + 1);
            let path = format!("*[System[EventRecordID >= {from}]]");
            let query = self
                .query(&path, EvtQueryForwardDirection)
                .map_err(|code| self.failed(code))?;
            let refusal = loop {
                match next(&query, at_once) {
                    Ok(events) if events.is_empty() => return Ok(records),
                    Ok(events) => {
                        for event in &events {
                            records.push(self.record(event)?);
                        }
                    }
                    Err(code) => break code,
                }
            };
            if refused(refusal.0) != Refused::TooMany || at_once == 1 {
                return Err(self.failed(refusal));
            }
            at_once /= 2;
        }
    }

    fn record(&self, event: &Handle) -> Result<Record, Failure> {
        let xml = render(event).map_err(|code| self.failed(code))?;
        Record::parse_rendered(&xml).map_err(Failure::Unreadable)
    }

    fn failed(&self, code: Code) -> Failure {
        match refused(code.0) {
            Refused::Absent if code.0 == 0 => {
                Failure::Absent("nothing, and tells no records".into())
            }
            Refused::Absent => Failure::Absent(code.to_string()),
            Refused::TooMany => Failure::Error(self.error(
                HostErrorKind::Io,
                &format!("{code}; a record is longer than an answer of the service EventLog"),
            )),
            Refused::Error(kind, remedy) => {
                Failure::Error(self.error(kind, &format!("{code}; {remedy}")))
            }
        }
    }

    fn error(&self, kind: HostErrorKind, reason: &str) -> HostError {
        let attempted = format!("read the event log `{}` of this machine", self.channel);
        HostError::unchanged(kind, attempted, reason)
    }
}

/// The log, which remembers why it could not be read.
pub(super) struct Asked {
    log: Log,
    /// Why the old way is left, once that is known.
    pub(super) instead: Option<Failure>,
}

impl Asked {
    pub(super) fn of(channel: &str) -> Self {
        Self {
            log: Log::of(channel),
            instead: None,
        }
    }

    fn told<T>(&mut self, result: Result<T, Failure>) -> Result<T, HostError> {
        result.map_err(|failure| match failure {
            Failure::Error(error) => error,
            Failure::Absent(ref why) | Failure::Unreadable(ref why) => {
                let error = self.log.error(HostErrorKind::Malformed, why);
                self.instead = Some(failure);
                error
            }
        })
    }
}

impl RecordLog for Asked {
    fn span(&mut self) -> Result<Option<(u64, u64)>, HostError> {
        let ends = self.log.ends();
        self.told(ends)
    }

    fn read(&mut self, from: u64) -> Result<Vec<Record>, HostError> {
        let all = self.log.all(from);
        self.told(all)
    }
}

/// The next records of a query; none at its end.
fn next(query: &Handle, at_once: usize) -> Result<Vec<Handle>, Code> {
    let mut events = [0; AT_ONCE];
    let at_once = u32::try_from(at_once.min(AT_ONCE)).unwrap_or(1);
    let mut count = 0;
    // SAFETY: the query is open; the list has room for as many as are asked for, and the number is one that the
    // call fills.
    let told = unsafe {
        EvtNext(
            query.0,
            at_once,
            events.as_mut_ptr(),
            PATIENCE_MS,
            0,
            &raw mut count,
        )
    };
    if told == 0 {
        return match Code::last() {
            Code(ERROR_NO_MORE_ITEMS) => Ok(Vec::new()),
            code => Err(code),
        };
    }
    let count = usize::try_from(count).unwrap_or(0);
    Ok(events.into_iter().take(count).map(Handle).collect())
}

/// The record as XML.
fn render(event: &Handle) -> Result<String, Code> {
    let mut letters: Vec<u16> = vec![0; 4096];
    loop {
        let room = u32::try_from(letters.len() * 2).unwrap_or(0);
        let (mut used, mut properties) = (0, 0);
        // SAFETY: the record is open, XML needs no context, the buffer is as long as is said, and the numbers
        // are ones that the call fills.
        let told = unsafe {
            EvtRender(
                0,
                event.0,
                EvtRenderEventXml,
                room,
                letters.as_mut_ptr().cast(),
                &raw mut used,
                &raw mut properties,
            )
        };
        if told != 0 {
            let end = letters.iter().position(|letter| *letter == 0);
            letters.truncate(end.unwrap_or(letters.len()));
            return Ok(String::from_utf16_lossy(&letters));
        }
        match Code::last() {
            Code(ERROR_INSUFFICIENT_BUFFER) if used > room => {
                letters.resize(usize::try_from(used.div_ceil(2)).unwrap_or(0), 0);
            }
            code => return Err(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a Windows this reads its own log. Wine refuses, and that is what is seen there.
    #[test]
    fn the_log_is_read_by_query_or_the_refusal_says_that_there_is_none() {
        match Log::of("Application").ends() {
            Ok(Some((oldest, newest))) => {
                let records = Log::of("Application").all(newest).unwrap();
                assert!(oldest <= newest);
                assert!(records.iter().all(|record| record.number >= newest));
            }
            Ok(None) => {}
            Err(Failure::Absent(why)) => assert!(!why.is_empty()),
            Err(other) => panic!("{other:?}"),
        }
    }
}
