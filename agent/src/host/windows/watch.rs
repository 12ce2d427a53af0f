//! Being told of files as they appear: `ReadDirectoryChangesW`. A look at the folders stays the truth.

#![expect(
    unsafe_code,
    reason = "the standard library cannot be told of changes in a folder"
)]

use std::mem::{offset_of, size_of_val};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use windows_sys::Win32::Foundation::{INVALID_HANDLE_VALUE, WAIT_OBJECT_0};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_ACTION_ADDED, FILE_ACTION_RENAMED_NEW_NAME, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_FLAG_OVERLAPPED, FILE_LIST_DIRECTORY,
    FILE_NOTIFY_CHANGE_FILE_NAME, FILE_NOTIFY_INFORMATION, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, OPEN_EXISTING, ReadDirectoryChangesW,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{CreateEventW, WaitForSingleObject};

use super::failure::Code;
use super::path::wide;
use crate::host::new_files::{NewFile, NewFiles};
use crate::host::{HostError, Watch};

/// Room for the names of one answer, in words of four bytes; what does not fit is not told.
const WORDS: usize = 4096;
/// How often a thread looks whether it is to end.
const LOOK_MS: u32 = 100;
/// The first letter of a name in an answer.
const NAME: usize = offset_of!(FILE_NOTIFY_INFORMATION, FileName);

/// A thread for each folder waits for Windows; they end when this is dropped.
pub(super) struct FolderWatch {
    over: Arc<AtomicBool>,
    told: NewFiles,
}

impl FolderWatch {
    pub(super) fn of(folders: &[PathBuf]) -> Result<Self, HostError> {
        let over = Arc::new(AtomicBool::new(false));
        let (tell, told) = NewFiles::channel("Windows tells nothing more");
        let watch = Self {
            over: Arc::clone(&over),
            told,
        };
        for folder in folders {
            let attempted = || format!("watch `{}`", folder.display());
            let folder = folder.clone();
            let (tell, over) = (tell.clone(), Arc::clone(&over));
            let (begun, begins) = channel();
            std::thread::Builder::new()
                .name("new files".into())
                .spawn(move || {
                    let watched = Watched::begin(&folder);
                    let refused = watched.as_ref().err().copied();
                    let _ = begun.send(refused);
                    if let Ok(watched) = watched {
                        watched.listen(&folder, &over, &tell);
                    }
                })
                .map_err(|error| Code::of(&error).reading(attempted()))?;
            // Windows remembers changes from its first request on, which the thread has made by then.
            if let Ok(Some(code)) = begins.recv() {
                return Err(code.reading(attempted()));
            }
        }
        Ok(watch)
    }
}

impl Watch for FolderWatch {
    fn wait(&mut self, limit: Duration) -> Result<Vec<NewFile>, HostError> {
        self.told.wait(limit)
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

/// A folder whose changes Windows was asked for. The request writes into the two boxes until it has ended.
struct Watched {
    folder: OwnedHandle,
    event: OwnedHandle,
    room: Box<[u32; WORDS]>,
    asked: Box<OVERLAPPED>,
}

impl Watched {
    /// Opens a folder and asks for its first changes.
    fn begin(folder: &Path) -> Result<Self, Code> {
        let name = wide(folder);
        // SAFETY: the name ends with a zero; no attributes and no template are given.
        let opened = unsafe {
            CreateFileW(
                name.as_ptr(),
                FILE_LIST_DIRECTORY,
                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                std::ptr::null(),
                OPEN_EXISTING,
                FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_OVERLAPPED,
                std::ptr::null_mut(),
            )
        };
        if opened == INVALID_HANDLE_VALUE {
            return Err(Code::last());
        }
        // SAFETY: the call has just given this handle to us and to nobody else.
        let folder = unsafe { OwnedHandle::from_raw_handle(opened) };
        // SAFETY: neither attributes nor a name are given.
        let event = unsafe { CreateEventW(std::ptr::null(), 1, 0, std::ptr::null()) };
        if event.is_null() {
            return Err(Code::last());
        }
        let mut watched = Self {
            folder,
            // SAFETY: as above.
            event: unsafe { OwnedHandle::from_raw_handle(event) },
            room: Box::new([0; WORDS]),
            asked: Box::new(OVERLAPPED::default()),
        };
        watched.ask()?;
        Ok(watched)
    }

    /// Asks for the next changes; the one before must have ended.
    fn ask(&mut self) -> Result<(), Code> {
        *self.asked = OVERLAPPED {
            hEvent: self.event.as_raw_handle(),
            ..OVERLAPPED::default()
        };
        let length = u32::try_from(size_of_val(&*self.room)).unwrap_or(0);
        // SAFETY: the folder is open for this; both boxes stay where they are and are not looked at until the
        // request has ended, which `listen` waits for in every case.
        let asked = unsafe {
            ReadDirectoryChangesW(
                self.folder.as_raw_handle(),
                self.room.as_mut_ptr().cast(),
                length,
                0,
                FILE_NOTIFY_CHANGE_FILE_NAME,
                std::ptr::null_mut(),
                &raw mut *self.asked,
                None,
            )
        };
        if asked == 0 {
            Err(Code::last())
        } else {
            Ok(())
        }
    }

    /// Tells of what appears, until it is over or Windows tells nothing more.
    fn listen(mut self, folder: &Path, over: &AtomicBool, tell: &Sender<NewFile>) {
        loop {
            // SAFETY: the event is open.
            let waited = unsafe { WaitForSingleObject(self.event.as_raw_handle(), LOOK_MS) };
            let ends = over.load(Ordering::Acquire);
            if waited != WAIT_OBJECT_0 && !ends {
                continue;
            }
            if ends {
                // SAFETY: the folder is open, and the request is this one's.
                unsafe { CancelIoEx(self.folder.as_raw_handle(), &raw const *self.asked) };
            }
            let Some(bytes) = self.ended() else {
                return;
            };
            if ends {
                return;
            }
            for name in appeared(&self.room[..], bytes) {
                if tell.send((folder.to_owned(), name)).is_err() {
                    return;
                }
            }
            if self.ask().is_err() {
                // Who waits sees the channel closed.
                return;
            }
        }
    }

    /// Waits for the end of the request; says how many bytes it has written, `None` where it failed.
    fn ended(&self) -> Option<usize> {
        let mut bytes = 0;
        // SAFETY: the request is this one's, and `1` waits until Windows writes to it no more.
        let ended = unsafe {
            GetOverlappedResult(
                self.folder.as_raw_handle(),
                &raw const *self.asked,
                &raw mut bytes,
                1,
            )
        };
        (ended != 0).then(|| usize::try_from(bytes).unwrap_or(0))
    }
}

/// The names in an answer that have appeared. None where too many changed at once: then nothing is told.
fn appeared(room: &[u32], bytes: usize) -> Vec<String> {
    let raw: Vec<u8> = room.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let raw = &raw[..bytes.min(raw.len())];
    let word = |at: usize| {
        let four = raw.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(four)).ok()
    };
    let mut names = Vec::new();
    let mut at = 0;
    // Each: how far the next one is, what happened, how many bytes its name has, the name.
    while let (Some(next), Some(action), Some(length)) = (word(at), word(at + 4), word(at + 8)) {
        let letters = raw.get(at + NAME..at + NAME + length).unwrap_or_default();
        let letters: Vec<u16> = letters
            .chunks_exact(2)
            .map(|two| u16::from_ne_bytes([two[0], two[1]]))
            .collect();
        let is = |wanted: u32| u32::try_from(action) == Ok(wanted);
        if is(FILE_ACTION_ADDED) || is(FILE_ACTION_RENAMED_NEW_NAME) {
            names.extend(String::from_utf16(&letters));
        }
        if next == 0 {
            break;
        }
        at += next;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_appears_is_told_of_even_when_it_is_gone_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_path_buf();
        let mut watch = FolderWatch::of(std::slice::from_ref(&place)).unwrap();
        for name in ["AAAAAAA1", "AAAAAAA2"] {
            let written = folder.path().join(format!(".{name}"));
            std::fs::write(&written, "x").unwrap();
            let appeared = tempfile::TempPath::try_from_path(written).unwrap();
            appeared.persist_noclobber(place.join(name)).unwrap();
            std::fs::remove_file(place.join(name)).unwrap();
        }
        let mut told = Vec::new();
        while !["AAAAAAA1", "AAAAAAA2"]
            .iter()
            .all(|name| told.contains(&(place.clone(), (*name).to_owned())))
        {
            let more = watch.wait(Duration::from_secs(10)).unwrap();
            assert!(!more.is_empty(), "only {told:?}");
            told.extend(more);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(FolderWatch::of(&[folder.path().join("nowhere")]).is_err());
    }
}
