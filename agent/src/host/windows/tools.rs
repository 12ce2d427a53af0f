//! Programs, run without a shell and with nothing inherited, each in a job of its own: what it starts ends
//! with it.

#![expect(
    unsafe_code,
    reason = "the standard library has no jobs and starts no stopped process that it can let go"
)]

use std::mem::size_of;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_NOT_FOUND, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
    SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, OpenThread, ResumeThread, THREAD_SUSPEND_RESUME,
};

use super::failure::Code;
use super::here;
use super::machine::Machine;
use crate::host::program::{self, Printed};
use crate::host::{Effect, HostError, HostErrorKind, ToolOutput, Tools};

/// The exit code of what is ended with its job.
const ENDED: u32 = 1;
/// What programs of Windows do not start without.
const NEEDED: [&str; 3] = ["SystemRoot", "SystemDrive", "windir"];

#[derive(Debug)]
pub(super) struct Programs {
    pub(super) machine: Machine,
}

impl Tools for Programs {
    fn run(
        &self,
        program: &Path,
        arguments: &[String],
        limit: Duration,
    ) -> Result<ToolOutput, HostError> {
        let attempted = || format!("run `{}`", program.display());
        let refuse = |kind, why: &str| Err(HostError::unchanged(kind, attempted(), why));
        if self.machine.is_remote() {
            let why = "programs are run on the agent's own machine only, and this agent serves another one";
            return refuse(HostErrorKind::Denied, why);
        }
        if !program.is_absolute() {
            return refuse(
                HostErrorKind::Malformed,
                "the path of the program is not absolute",
            );
        }
        let program_file = program
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("exe"));
        if !program_file {
            // Windows hands anything else to a shell, which reads the arguments once more.
            return refuse(
                HostErrorKind::Malformed,
                "only a program (`.exe`) is run, never a script",
            );
        }
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .current_dir(system_drive())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // It does nothing before it is in its job.
            .creation_flags(CREATE_SUSPENDED | CREATE_NO_WINDOW);
        for name in NEEDED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let job = Job::new().map_err(|code| code.reading(attempted()))?;
        let mut child = command
            .spawn()
            .map_err(|error| here::told(attempted(), &error))?;
        if let Err(code) = job.take(&child).and_then(|()| let_go(&child)) {
            // It has not run a single instruction, unless it was let go of and nobody said so.
            let _ = child.kill();
            let _ = child.wait();
            return Err(code.reading(attempted()));
        }
        let printed = Printed::by(&mut child);
        let status = program::wait(&mut child, limit).map_err(|error| HostError {
            effect: Effect::Unknown,
            ..here::told(attempted(), &error)
        })?;
        let text = printed.text(status.is_some(), || job.end());
        match status {
            Some(status) => Ok(ToolOutput {
                exit_code: status.code(),
                text,
            }),
            None => {
                job.end();
                // It has been ended.
                let _ = child.wait();
                Err(HostError::unknown(
                    HostErrorKind::TimedOut,
                    attempted(),
                    format!("it did not end within {limit:?} and was ended"),
                ))
            }
        }
    }
}

fn system_drive() -> PathBuf {
    let drive = std::env::var("SystemDrive").unwrap_or_else(|_| "C:".into());
    PathBuf::from(drive + "\\")
}

/// Processes that end when this is dropped, the agent's own end included.
struct Job(OwnedHandle);

impl Job {
    fn new() -> Result<Self, Code> {
        // SAFETY: asks for a new job that nobody else can name.
        let handle = unsafe { CreateJobObjectW(std::ptr::null(), std::ptr::null()) };
        if handle.is_null() {
            return Err(Code::last());
        }
        // SAFETY: the call has just given this handle to us and to nobody else.
        let job = Self(unsafe { OwnedHandle::from_raw_handle(handle) });
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        // SAFETY: the handle is open, and the structure is the one of that class and as long as is said.
        let set = unsafe {
            SetInformationJobObject(
                job.0.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                length_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>(),
            )
        };
        if set == 0 { Err(Code::last()) } else { Ok(job) }
    }

    fn take(&self, child: &Child) -> Result<(), Code> {
        // SAFETY: both handles are open.
        let taken =
            unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), child.as_raw_handle()) };
        if taken == 0 {
            Err(Code::last())
        } else {
            Ok(())
        }
    }

    /// Ends all that is in it.
    fn end(&self) {
        // SAFETY: the handle is open. All may have ended meanwhile, which is as good.
        unsafe { TerminateJobObject(self.0.as_raw_handle(), ENDED) };
    }
}

/// Lets a process go that was started suspended: its one thread is looked for among all.
fn let_go(child: &Child) -> Result<(), Code> {
    // SAFETY: takes numbers.
    let all = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if all == INVALID_HANDLE_VALUE {
        return Err(Code::last());
    }
    // SAFETY: the call has just given this handle to us and to nobody else.
    let all = unsafe { OwnedHandle::from_raw_handle(all) };
    let mut thread = THREADENTRY32 {
        dwSize: length_of::<THREADENTRY32>(),
        ..THREADENTRY32::default()
    };
    // SAFETY: the handle is open, and the structure says how long it is.
    let mut more = unsafe { Thread32First(all.as_raw_handle(), &raw mut thread) };
    while more != 0 {
        if thread.th32OwnerProcessID == child.id() {
            return resume(thread.th32ThreadID);
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(all.as_raw_handle(), &raw mut thread) };
    }
    Err(Code(ERROR_NOT_FOUND))
}

fn resume(thread: u32) -> Result<(), Code> {
    // SAFETY: takes numbers. The process is held by its handle and suspended, so the number is its own.
    let handle = unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, thread) };
    if handle.is_null() {
        return Err(Code::last());
    }
    // SAFETY: the call has just given this handle to us and to nobody else.
    let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
    // SAFETY: the handle is open for this.
    if unsafe { ResumeThread(handle.as_raw_handle()) } == u32::MAX {
        return Err(Code::last());
    }
    Ok(())
}

fn length_of<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
