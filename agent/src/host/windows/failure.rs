//! What Windows says when a call fails, and what that means.

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS, ERROR_BAD_PATHNAME, ERROR_DIR_NOT_EMPTY,
    ERROR_DIRECTORY, ERROR_DISK_FULL, ERROR_DISK_QUOTA_EXCEEDED, ERROR_FILE_EXISTS,
    ERROR_FILE_NOT_FOUND, ERROR_FILENAME_EXCED_RANGE, ERROR_HANDLE_DISK_FULL,
    ERROR_INVALID_FUNCTION, ERROR_INVALID_NAME, ERROR_INVALID_PARAMETER, ERROR_LOCK_VIOLATION,
    ERROR_NOT_SAME_DEVICE, ERROR_NOT_SUPPORTED, ERROR_PATH_NOT_FOUND, ERROR_PRIVILEGE_NOT_HELD,
    ERROR_SEM_TIMEOUT, ERROR_SHARING_VIOLATION, ERROR_STOPPED_ON_SYMLINK, ERROR_TIMEOUT,
    ERROR_TOO_MANY_LINKS, ERROR_USER_MAPPED_FILE, ERROR_WRITE_PROTECT, NTSTATUS,
    RtlNtStatusToDosError, STATUS_DELETE_PENDING, WAIT_TIMEOUT,
};

use crate::host::{Effect, HostError, HostErrorKind};

/// A refusal by Windows: its number, as `net helpmsg` explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub(super) u32);

impl Code {
    /// Of the call that has just failed on this thread.
    pub(super) fn last() -> Self {
        Self::of(&std::io::Error::last_os_error())
    }

    /// Of an error of the standard library; `u32::MAX` where Windows said nothing.
    pub(super) fn of(error: &std::io::Error) -> Self {
        Self(error.raw_os_error().map_or(u32::MAX, i32::cast_unsigned))
    }

    /// Of a call into the kernel.
    pub(super) fn of_status(status: NTSTATUS) -> Self {
        if status == STATUS_DELETE_PENDING {
            // Windows says `access denied`, which sends people looking for permissions.
            return Self(ERROR_SHARING_VIOLATION);
        }
        #[expect(unsafe_code, reason = "a table of Windows'")]
        // SAFETY: takes a number and gives a number.
        Self(unsafe { RtlNtStatusToDosError(status) })
    }

    /// What kind of failure it is. An unreachable network path is not an absent file.
    pub(super) fn kind(self) -> HostErrorKind {
        match self.0 {
            ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND | ERROR_DIRECTORY => {
                HostErrorKind::NotFound
            }
            ERROR_ALREADY_EXISTS | ERROR_FILE_EXISTS | ERROR_DIR_NOT_EMPTY => HostErrorKind::Exists,
            ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION | ERROR_USER_MAPPED_FILE => {
                HostErrorKind::Locked
            }
            ERROR_DISK_FULL | ERROR_HANDLE_DISK_FULL | ERROR_DISK_QUOTA_EXCEEDED => {
                HostErrorKind::NoSpace
            }
            ERROR_ACCESS_DENIED | ERROR_WRITE_PROTECT | ERROR_PRIVILEGE_NOT_HELD => {
                HostErrorKind::Denied
            }
            ERROR_NOT_SAME_DEVICE => HostErrorKind::CrossVolume,
            ERROR_STOPPED_ON_SYMLINK => HostErrorKind::Reparse,
            ERROR_TIMEOUT | ERROR_SEM_TIMEOUT | WAIT_TIMEOUT => HostErrorKind::TimedOut,
            ERROR_INVALID_NAME | ERROR_BAD_PATHNAME | ERROR_FILENAME_EXCED_RANGE => {
                HostErrorKind::Malformed
            }
            _ => HostErrorKind::Io,
        }
    }

    /// The error of a call that only reads.
    pub(super) fn reading(self, attempted: impl Into<String>) -> HostError {
        HostError::unchanged(self.kind(), attempted, self.to_string())
    }

    /// The error of a call that changes something. Windows refuses before it changes anything, but for
    /// an I/O error, one that we do not know, and a wait that ended on the way.
    pub(super) fn changing(self, attempted: impl Into<String>) -> HostError {
        let kind = self.kind();
        let refused = matches!(
            self.0,
            ERROR_INVALID_PARAMETER
                | ERROR_INVALID_FUNCTION
                | ERROR_NOT_SUPPORTED
                | ERROR_TOO_MANY_LINKS
        );
        let open = matches!(kind, HostErrorKind::Io | HostErrorKind::TimedOut) && !refused;
        HostError {
            attempted: attempted.into(),
            reason: self.to_string(),
            kind,
            effect: if open { Effect::Unknown } else { Effect::None },
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The standard library asks Windows for the text and adds the number.
        write!(
            f,
            "{}",
            std::io::Error::from_raw_os_error(self.0.cast_signed())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_windows_says_is_told_apart_and_only_what_it_refused_changed_nothing() {
        for (code, kind, effect) in [
            (2, HostErrorKind::NotFound, Effect::None),
            (5, HostErrorKind::Denied, Effect::None),
            (17, HostErrorKind::CrossVolume, Effect::None),
            (32, HostErrorKind::Locked, Effect::None),
            (112, HostErrorKind::NoSpace, Effect::None),
            (183, HostErrorKind::Exists, Effect::None),
            (87, HostErrorKind::Io, Effect::None),
            // The network path is gone: whether the file is, nobody knows.
            (53, HostErrorKind::Io, Effect::Unknown),
            (64, HostErrorKind::Io, Effect::Unknown),
            (121, HostErrorKind::TimedOut, Effect::Unknown),
            (1117, HostErrorKind::Io, Effect::Unknown),
        ] {
            let error = Code(code).changing("move");
            assert_eq!((error.kind, error.effect), (kind, effect), "{code}");
            assert!(error.reason.contains(&code.to_string()), "{error}");
            assert_eq!(Code(code).reading("look").effect, Effect::None);
        }
    }
}
