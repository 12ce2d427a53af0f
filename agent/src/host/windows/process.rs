//! Processes by number, start time and program.

#![expect(
    unsafe_code,
    reason = "the standard library reaches only processes that it started"
)]

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, FILETIME, WAIT_OBJECT_0,
};
use windows_sys::Win32::Storage::FileSystem::SYNCHRONIZE;
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_ACCESS_RIGHTS, PROCESS_NAME_WIN32,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_TERMINATE, QueryFullProcessImageNameW,
    TerminateProcess, WaitForSingleObject,
};

use super::failure::Code;
use crate::host::{HostError, HostErrorKind, ProcessIdentity};

/// The longest path that Windows tells.
const LONGEST: usize = 32_768;
/// The exit code of a process that was ended: what its service then died of (`1067`).
const ENDED: u32 = 1067;

/// Who a process is; `None` where there is none of that number, or it has ended.
pub(super) fn identity(pid: u32) -> Result<Option<ProcessIdentity>, HostError> {
    let attempted = || format!("look at the process {pid}");
    let Some(process) = open(pid, 0).map_err(|code| code.reading(attempted()))? else {
        return Ok(None);
    };
    if process.ended() {
        return Ok(None);
    }
    let identity = ProcessIdentity {
        pid,
        started: process
            .started()
            .map_err(|code| code.reading(attempted()))?,
        image: process.image().map_err(|code| code.reading(attempted()))?,
    };
    Ok(Some(identity))
}

/// Whether exactly this process is still there.
pub(super) fn alive(process: &ProcessIdentity) -> Result<bool, HostError> {
    let attempted = || format!("look at the process {}", process.pid);
    let Some(found) = open(process.pid, 0).map_err(|code| code.reading(attempted()))? else {
        return Ok(false);
    };
    let started = found.started().map_err(|code| code.reading(attempted()))?;
    Ok(started == process.started && !found.ended())
}

/// Ends exactly this process.
pub(super) fn end(process: &ProcessIdentity) -> Result<(), HostError> {
    let attempted = || format!("end the process {} (`{}`)", process.pid, process.image);
    let gone = |reason: &str| {
        let kind = HostErrorKind::NotFound;
        Err(HostError::unchanged(kind, attempted(), reason))
    };
    // First take hold of the process, then look who it is: the number may pass to another process at any
    // time, the handle cannot.
    let found = open(process.pid, PROCESS_TERMINATE).map_err(|code| code.reading(attempted()))?;
    let Some(found) = found else {
        return gone("no such process is left");
    };
    let started = found.started().map_err(|code| code.reading(attempted()))?;
    if started != process.started {
        return gone("the number belongs to another process now");
    }
    if found.ended() {
        return gone("it ended by itself");
    }
    let image = found.image().map_err(|code| code.reading(attempted()))?;
    if !image.eq_ignore_ascii_case(&process.image) {
        return Err(HostError::unchanged(
            HostErrorKind::Denied,
            attempted(),
            format!("it runs `{image}` now"),
        ));
    }
    // SAFETY: the handle is open for this.
    if unsafe { TerminateProcess(found.0.as_raw_handle(), ENDED) } != 0 {
        return Ok(());
    }
    let code = Code::last();
    // Windows denies it to a process that is on its way out.
    if found.ended() {
        return gone("it ended by itself");
    }
    Err(code.changing(attempted()))
}

struct Process(OwnedHandle);

/// `None` where there is no process of that number.
fn open(pid: u32, besides: PROCESS_ACCESS_RIGHTS) -> Result<Option<Process>, Code> {
    let access = PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE | besides;
    // SAFETY: takes numbers.
    let handle = unsafe { OpenProcess(access, 0, pid) };
    if !handle.is_null() {
        // SAFETY: the call has just given this handle to us and to nobody else.
        return Ok(Some(Process(unsafe {
            OwnedHandle::from_raw_handle(handle)
        })));
    }
    match Code::last() {
        Code(ERROR_INVALID_PARAMETER) => Ok(None),
        code => Err(code),
    }
}

impl Process {
    /// When it started, in steps of 100 ns since 1601: two processes of one number differ in it.
    fn started(&self) -> Result<u64, Code> {
        let mut times = [FILETIME::default(); 4];
        let [created, exited, kernel, user] = &mut times;
        // SAFETY: the handle is open, and the four are times that the call fills.
        let told = unsafe {
            GetProcessTimes(
                self.0.as_raw_handle(),
                &raw mut *created,
                &raw mut *exited,
                &raw mut *kernel,
                &raw mut *user,
            )
        };
        if told == 0 {
            return Err(Code::last());
        }
        Ok(u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
    }

    fn image(&self) -> Result<String, Code> {
        let mut name = vec![0; LONGEST];
        let mut length = u32::try_from(name.len()).unwrap_or(0);
        // SAFETY: the handle is open, and the buffer is as long as is said.
        let told = unsafe {
            QueryFullProcessImageNameW(
                self.0.as_raw_handle(),
                PROCESS_NAME_WIN32,
                name.as_mut_ptr(),
                &raw mut length,
            )
        };
        if told == 0 {
            return Err(Code::last());
        }
        name.truncate(usize::try_from(length).unwrap_or(0));
        String::from_utf16(&name).map_err(|_| Code(ERROR_ACCESS_DENIED))
    }

    /// Whether it has ended: as long as somebody holds it, its number is still taken.
    fn ended(&self) -> bool {
        // SAFETY: the handle is open for this.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), 0) == WAIT_OBJECT_0 }
    }
}

#[cfg(test)]
mod tests;
