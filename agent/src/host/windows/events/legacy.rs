//! The event log as NT hands it out, and every Windows since: `ReadEventLogW`. The only way to an old machine,
//! and to this one where `EvtQuery` is not there. Under Wine it is always empty.

#![expect(unsafe_code, reason = "the standard library knows no event log")]

use windows_sys::Win32::Foundation::{
    ERROR_HANDLE_EOF, ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_DATA, ERROR_INVALID_PARAMETER,
    HANDLE,
};
use windows_sys::Win32::System::EventLog::{
    CloseEventLog, EVENTLOG_SEEK_READ, EVENTLOG_SEQUENTIAL_READ, GetNumberOfEventLogRecords,
    GetOldestEventLogRecord, OpenEventLogW, READ_EVENT_LOG_READ_FLAGS, ReadEventLogW,
};

use super::super::failure::Code;
use super::super::machine::Machine;
use super::super::path::wide;
use crate::host::HostError;
use crate::host::event_log::{Record, RecordLog};

/// From the oldest record to the newest; the crate has no constant for it.
const EVENTLOG_FORWARDS_READ: READ_EVENT_LOG_READ_FLAGS = 0x0004;
/// Room for records at first; Windows says when it needs more.
const ROOM: u32 = 64 * 1024;
/// No record of a log is longer.
const LONGEST: u32 = 512 * 1024;

pub(super) struct Log {
    handle: HANDLE,
    attempted: String,
}

impl Log {
    pub(super) fn open(machine: &Machine, name: &str) -> Result<Self, HostError> {
        let attempted = format!("read the event log `{name}` of {machine}");
        let address = machine.wide_address();
        let address = address.as_ref().map_or(std::ptr::null(), Vec::as_ptr);
        // SAFETY: both texts end with a zero, or there is none.
        let handle = unsafe { OpenEventLogW(address, wide(name).as_ptr()) };
        if handle.is_null() {
            return Err(Code::last().reading(attempted));
        }
        Ok(Self { handle, attempted })
    }

    fn failed(&self, code: Code) -> HostError {
        code.reading(&*self.attempted)
    }

    fn counted(&self) -> Result<(u32, u32), Code> {
        let (mut oldest, mut count) = (0, 0);
        // SAFETY: the log is open, and the numbers are ones that the calls fill.
        let told = unsafe {
            GetOldestEventLogRecord(self.handle, &raw mut oldest) != 0
                && GetNumberOfEventLogRecords(self.handle, &raw mut count) != 0
        };
        if told {
            Ok((oldest, count))
        } else {
            Err(Code::last())
        }
    }

    /// What the log gives next; nothing at its end.
    fn some(&self, how: READ_EVENT_LOG_READ_FLAGS, from: u32) -> Result<Vec<u8>, Code> {
        let mut room = ROOM;
        loop {
            let mut bytes = vec![0; usize::try_from(room).unwrap_or(0)];
            let (mut read, mut needed) = (0, 0);
            // SAFETY: the log is open, and the buffer is as long as is said.
            let told = unsafe {
                ReadEventLogW(
                    self.handle,
                    how | EVENTLOG_FORWARDS_READ,
                    from,
                    bytes.as_mut_ptr().cast(),
                    room,
                    &raw mut read,
                    &raw mut needed,
                )
            };
            if told != 0 {
                bytes.truncate(usize::try_from(read).unwrap_or(0));
                return Ok(bytes);
            }
            match Code::last() {
                Code(ERROR_HANDLE_EOF) => return Ok(Vec::new()),
                Code(ERROR_INSUFFICIENT_BUFFER) if needed > room && needed <= LONGEST => {
                    room = needed
                }
                code => return Err(code),
            }
        }
    }

    fn all(&self, from: u32) -> Result<Vec<Record>, Code> {
        let mut records = Vec::new();
        let mut bytes = match self.some(EVENTLOG_SEEK_READ, from) {
            // Large logs of NT cannot be entered in the middle (Q177199): then from their beginning.
            Err(Code(ERROR_INVALID_PARAMETER)) => self.some(EVENTLOG_SEQUENTIAL_READ, 0)?,
            result => result?,
        };
        while !bytes.is_empty() {
            records.extend(Record::parse_all(&bytes).ok_or(Code(ERROR_INVALID_DATA))?);
            bytes = self.some(EVENTLOG_SEQUENTIAL_READ, 0)?;
        }
        records.retain(|record| record.number >= u64::from(from));
        Ok(records)
    }
}

impl RecordLog for Log {
    fn span(&mut self) -> Result<Option<(u64, u64)>, HostError> {
        let (oldest, count) = self.counted().map_err(|code| self.failed(code))?;
        let oldest = u64::from(oldest);
        Ok((count > 0).then(|| (oldest, oldest + u64::from(count) - 1)))
    }

    fn read(&mut self, from: u64) -> Result<Vec<Record>, HostError> {
        let from = u32::try_from(from).map_err(|_| self.failed(Code(ERROR_INVALID_PARAMETER)))?;
        self.all(from).map_err(|code| self.failed(code))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // SAFETY: it was opened by us and is used no more.
        unsafe { CloseEventLog(self.handle) };
    }
}
