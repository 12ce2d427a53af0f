//! An open folder, reached name by name without following a single reparse point. Everything in the
//! spool is done relative to one, so that a junction swapped in on the way changes nothing.

#![expect(
    unsafe_code,
    reason = "handle-relative calls are the kernel's own; neither the standard library nor Win32 has them"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::mem::{offset_of, size_of};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::null;

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_INFORMATION_CLASS, FILE_LINK_INFORMATION,
    FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_OPEN_FOR_BACKUP_INTENT, FILE_OPEN_IF,
    FILE_OPEN_REPARSE_POINT, FILE_RENAME_INFORMATION, FILE_SYNCHRONOUS_IO_NONALERT,
    FileLinkInformation, FileRenameInformation, NTCREATEFILE_CREATE_DISPOSITION,
    NTCREATEFILE_CREATE_OPTIONS, NtCreateFile, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DIRECTORY, ERROR_FILE_NOT_FOUND, ERROR_INVALID_NAME,
    ERROR_NO_MORE_FILES, ERROR_STOPPED_ON_SYMLINK, HANDLE, OBJ_CASE_INSENSITIVE,
    STATUS_FILE_IS_A_DIRECTORY, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, DELETE, FILE_ACCESS_RIGHTS, FILE_ADD_FILE, FILE_APPEND_DATA,
    FILE_ATTRIBUTE_DEVICE, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_REPARSE_POINT, FILE_DISPOSITION_INFO, FILE_ID_BOTH_DIR_INFO,
    FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_SHARE_DELETE, FILE_SHARE_MODE,
    FILE_SHARE_NONE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_TRAVERSE, FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA, FileDispositionInfo, FileIdBothDirectoryInfo, FileIdBothDirectoryRestartInfo,
    FlushFileBuffers, GetFileInformationByHandle, GetFileInformationByHandleEx, SYNCHRONIZE,
    SetFileInformationByHandle,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use super::failure::Code;
use super::path;
use crate::host::{FileInfo, FileKind, HostError, HostErrorKind};

/// Room for the entries of one answer: some 500 of them.
const LISTING: usize = 64 * 1024;
/// 100 ns steps from 1601 to 1970.
const EPOCH: i64 = 116_444_736_000_000_000;

const SHARED: FILE_SHARE_MODE = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedHandle,
}

/// What is wanted of a file that is opened.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// To look what it is, whatever it is.
    Look,
    /// To read it.
    Read,
    /// To read it while nobody else has it open.
    Alone,
    /// To move it, or to remove its name.
    Move,
    /// To give it another name.
    Link,
    /// To make it and write to it, and to move it then.
    New,
}

impl Folder {
    /// Opens a folder by its absolute path. A reparse point anywhere on the way is `Reparse`.
    pub(super) fn open(folder: &Path) -> Result<Self, HostError> {
        Self::reach(folder, FILE_LIST_DIRECTORY | FILE_TRAVERSE)
    }

    fn reach(folder: &Path, last: FILE_ACCESS_RIGHTS) -> Result<Self, HostError> {
        let failed = |code: Code| code.reading(format!("open the folder `{}`", folder.display()));
        let walk = path::walk(folder)?;
        let access = |at: usize| {
            if at == walk.names.len() {
                last
            } else {
                FILE_TRAVERSE
            }
        };
        let mut here = Self {
            handle: create(
                None,
                &walk.root,
                access(0),
                SHARED,
                FILE_OPEN,
                FILE_DIRECTORY_FILE,
            )
            .map_err(failed)?,
        };
        for (at, name) in walk.names.iter().enumerate() {
            let name = path::name(name).map_err(|_| failed(Code(ERROR_INVALID_NAME)))?;
            here = here.below(&name, access(at + 1)).map_err(failed)?;
        }
        Ok(here)
    }

    /// The folder of that name in this one.
    fn below(&self, name: &[u16], access: FILE_ACCESS_RIGHTS) -> Result<Self, Code> {
        let handle = create(
            Some(self),
            name,
            access,
            SHARED,
            FILE_OPEN,
            FILE_DIRECTORY_FILE | FILE_OPEN_REPARSE_POINT,
        )?;
        match kind(&about(&handle)?) {
            FileKind::Folder => Ok(Self { handle }),
            FileKind::Other => Err(Code(ERROR_STOPPED_ON_SYMLINK)),
            FileKind::File => Err(Code(ERROR_DIRECTORY)),
        }
    }

    /// The folder that holds `path`, and the name in it.
    pub(super) fn of(path: &Path) -> Result<(Self, &OsStr), HostError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(HostError::unchanged(
                HostErrorKind::Malformed,
                format!("find the folder of `{}`", path.display()),
                "the path has no name at its end",
            ));
        };
        plain(name)?;
        Ok((Self::open(parent)?, name))
    }

    /// What is in it. A name that nobody could say again is nothing that may be touched.
    pub(super) fn entries(&self) -> Result<Vec<FileInfo>, Code> {
        let mut entries = Vec::new();
        // The kernel writes entries at multiples of eight.
        let mut room = vec![0_u64; LISTING / size_of::<u64>()];
        let mut class = FileIdBothDirectoryRestartInfo;
        loop {
            // SAFETY: the handle is open, and the buffer is as long as is said.
            let filled = unsafe {
                GetFileInformationByHandleEx(
                    self.raw(),
                    class,
                    room.as_mut_ptr().cast(),
                    u32::try_from(LISTING).unwrap_or(0),
                )
            };
            if filled == 0 {
                return match Code::last() {
                    Code(ERROR_NO_MORE_FILES) => {
                        entries.sort_by(|a: &FileInfo, b: &FileInfo| a.name.cmp(&b.name));
                        Ok(entries)
                    }
                    // A root that has not even `.` and `..`.
                    Code(ERROR_FILE_NOT_FOUND) if entries.is_empty() => Ok(entries),
                    code => Err(code),
                };
            }
            take(&room, &mut entries)?;
            class = FileIdBothDirectoryInfo;
        }
    }

    /// One entry; `None` where there is nothing of that name.
    pub(super) fn look(&self, name: &OsStr) -> Result<Option<FileInfo>, Code> {
        match self.open_as(name, Wanted::Look) {
            Ok((info, _)) => Ok(Some(info)),
            Err(code) if code.kind() == HostErrorKind::NotFound => Ok(None),
            Err(code) => Err(code),
        }
    }

    /// Opens a regular file for reading, and tells of the very file that was opened.
    pub(super) fn read(&self, name: &OsStr) -> Result<(FileInfo, File), Code> {
        let (info, handle) = self.open_as(name, Wanted::Read)?;
        Ok((info, File::from(handle)))
    }

    /// Opens a regular file while nobody else has it open, and closes it again.
    pub(super) fn probe(&self, name: &OsStr) -> Result<(), Code> {
        self.open_as(name, Wanted::Alone).map(drop)
    }

    /// Makes a new file that nobody else can open until it is closed.
    pub(super) fn make_file(&self, name: &OsStr) -> Result<File, Code> {
        let (_, handle) = self.open_as(name, Wanted::New)?;
        Ok(File::from(handle))
    }

    /// Moves a regular file of this folder into `target`; what is there is never replaced.
    pub(super) fn move_file(&self, old: &OsStr, target: &Self, new: &OsStr) -> Result<(), Code> {
        let (_, handle) = self.open_as(old, Wanted::Move)?;
        rename(&handle, target, new)
    }

    /// Gives a regular file a second name in `target`; what is there is never replaced.
    pub(super) fn link_file(&self, old: &OsStr, target: &Self, new: &OsStr) -> Result<(), Code> {
        let (_, handle) = self.open_as(old, Wanted::Link)?;
        set_name(&handle, target, new, FileLinkInformation)
    }

    /// Moves a folder of this folder into `target`; what is there is never replaced.
    pub(super) fn move_folder(&self, old: &OsStr, target: &Self, new: &OsStr) -> Result<(), Code> {
        let name = path::name(old).map_err(|_| Code(ERROR_INVALID_NAME))?;
        let folder = self.below(&name, DELETE)?;
        rename(&folder.handle, target, new)
    }

    /// Removes the name of a regular file.
    pub(super) fn remove(&self, name: &OsStr) -> Result<(), Code> {
        let (_, handle) = self.open_as(name, Wanted::Move)?;
        discard(&handle)
    }

    /// Makes a folder; one that is there already is no error, and no file is taken for one.
    pub(super) fn make(&self, name: &OsStr) -> Result<(), Code> {
        let name = path::name(name).map_err(|_| Code(ERROR_INVALID_NAME))?;
        let options = FILE_DIRECTORY_FILE | FILE_OPEN_REPARSE_POINT;
        create(
            Some(self),
            &name,
            FILE_TRAVERSE,
            SHARED,
            FILE_OPEN_IF,
            options,
        )
        .map(drop)
    }

    /// Makes the names in a folder durable. Any error means that this is unknown.
    pub(super) fn sync(folder: &Path) -> Result<(), HostError> {
        let unknown = |reason: String| {
            let attempted = format!("sync the folder `{}`", folder.display());
            HostError::unknown(HostErrorKind::Io, attempted, reason)
        };
        // Only whoever may write to a folder may flush it.
        let opened = Self::reach(folder, FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_ADD_FILE)
            .map_err(|error| HostError {
                effect: crate::host::Effect::Unknown,
                ..error
            })?;
        // SAFETY: the handle is open.
        if unsafe { FlushFileBuffers(opened.raw()) } == 0 {
            return Err(unknown(Code::last().to_string()));
        }
        Ok(())
    }

    /// The number of its volume.
    pub(super) fn volume_serial(&self) -> Result<u32, Code> {
        Ok(about(&self.handle)?.dwVolumeSerialNumber)
    }

    fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// Opens what has that name, and refuses what is not a regular file unless only to look.
    fn open_as(&self, name: &OsStr, wanted: Wanted) -> Result<(FileInfo, OwnedHandle), Code> {
        let wide = path::name(name).map_err(|_| Code(ERROR_INVALID_NAME))?;
        let (access, share, disposition) = match wanted {
            Wanted::Look => (0, SHARED, FILE_OPEN),
            Wanted::Read => (FILE_READ_DATA, SHARED, FILE_OPEN),
            Wanted::Alone => (FILE_READ_DATA, FILE_SHARE_NONE, FILE_OPEN),
            Wanted::Move => (DELETE, SHARED, FILE_OPEN),
            Wanted::Link => (FILE_WRITE_ATTRIBUTES, SHARED, FILE_OPEN),
            Wanted::New => (
                FILE_WRITE_DATA | FILE_APPEND_DATA | DELETE,
                FILE_SHARE_NONE,
                FILE_CREATE,
            ),
        };
        let options = match wanted {
            Wanted::Look => FILE_OPEN_REPARSE_POINT,
            _ => FILE_OPEN_REPARSE_POINT | FILE_NON_DIRECTORY_FILE,
        };
        let handle = create(Some(self), &wide, access, share, disposition, options)?;
        let about = about(&handle)?;
        let info = info(name.to_string_lossy().into_owned(), &about);
        match (wanted, info.kind) {
            (Wanted::Look, _) | (_, FileKind::File) => Ok((info, handle)),
            (_, FileKind::Folder) => Err(Code(ERROR_ACCESS_DENIED)),
            (_, FileKind::Other) => Err(Code(ERROR_STOPPED_ON_SYMLINK)),
        }
    }
}

/// A name that stays in its folder.
pub(super) fn plain(name: &OsStr) -> Result<(), HostError> {
    path::name(name).map(drop).map_err(|why| {
        HostError::unchanged(
            HostErrorKind::Malformed,
            format!("find `{}` in its folder", name.display()),
            why,
        )
    })
}

/// What an open file is, whatever stands under its name by now.
pub(in crate::host) fn about_file(name: String, file: &File) -> std::io::Result<FileInfo> {
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the file is open, and the structure is one that the call fills.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut found) } == 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(info(name, &found))
}

/// Gives an open file a name in `target`; what is there is never replaced.
pub(super) fn rename(handle: &impl AsRawHandle, target: &Folder, new: &OsStr) -> Result<(), Code> {
    set_name(handle, target, new, FileRenameInformation)
}

/// Removes the name of an open file once it is closed.
pub(super) fn discard(handle: &impl AsRawHandle) -> Result<(), Code> {
    let gone = FILE_DISPOSITION_INFO { DeleteFile: true };
    // SAFETY: the handle is open, and the structure is the one of that class.
    let set = unsafe {
        SetFileInformationByHandle(
            handle.as_raw_handle(),
            FileDispositionInfo,
            (&raw const gone).cast(),
            length_of::<FILE_DISPOSITION_INFO>(),
        )
    };
    if set == 0 { Err(Code::last()) } else { Ok(()) }
}

/// Both structures for a new name are laid out alike: replace, folder, length, letters.
const _: () = {
    assert!(
        offset_of!(FILE_RENAME_INFORMATION, RootDirectory)
            == offset_of!(FILE_LINK_INFORMATION, RootDirectory)
    );
    assert!(
        offset_of!(FILE_RENAME_INFORMATION, FileName)
            == offset_of!(FILE_LINK_INFORMATION, FileName)
    );
};

fn set_name(
    handle: &impl AsRawHandle,
    target: &Folder,
    new: &OsStr,
    class: FILE_INFORMATION_CLASS,
) -> Result<(), Code> {
    let name = path::name(new).map_err(|_| Code(ERROR_INVALID_NAME))?;
    let bytes = name.len() * size_of::<u16>();
    // At least the structure itself, which ends with the first letter and is padded.
    let length = (offset_of!(FILE_RENAME_INFORMATION, FileName) + bytes)
        .max(size_of::<FILE_RENAME_INFORMATION>());
    let words = length.div_ceil(size_of::<u64>());
    let mut room = vec![0_u64; words];
    let about = room.as_mut_ptr().cast::<FILE_RENAME_INFORMATION>();
    let mut status = IO_STATUS_BLOCK::default();
    // SAFETY: `room` is zeroed, aligned to eight bytes as the structure is, and long enough for it and
    // the name. Zero in its first field means that nothing is replaced. Both handles are open.
    let set = unsafe {
        (*about).RootDirectory = target.raw();
        (*about).FileNameLength = u32::try_from(bytes).unwrap_or(0);
        std::ptr::copy_nonoverlapping(
            name.as_ptr(),
            (&raw mut (*about).FileName).cast::<u16>(),
            name.len(),
        );
        NtSetInformationFile(
            handle.as_raw_handle(),
            &raw mut status,
            about.cast(),
            u32::try_from(length).unwrap_or(0),
            class,
        )
    };
    if set < 0 {
        Err(Code::of_status(set))
    } else {
        Ok(())
    }
}

/// Opens or makes what has that name in `folder`, or at the root where there is none.
fn create(
    folder: Option<&Folder>,
    name: &[u16],
    access: FILE_ACCESS_RIGHTS,
    share: FILE_SHARE_MODE,
    disposition: NTCREATEFILE_CREATE_DISPOSITION,
    options: NTCREATEFILE_CREATE_OPTIONS,
) -> Result<OwnedHandle, Code> {
    let bytes = u16::try_from(size_of_val(name)).map_err(|_| Code(ERROR_INVALID_NAME))?;
    let text = UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        Buffer: name.as_ptr().cast_mut(),
    };
    let attributes = OBJECT_ATTRIBUTES {
        Length: length_of::<OBJECT_ATTRIBUTES>(),
        RootDirectory: folder.map_or(std::ptr::null_mut(), Folder::raw),
        ObjectName: &raw const text,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    };
    let mut handle: HANDLE = std::ptr::null_mut();
    let mut status = IO_STATUS_BLOCK::default();
    // SAFETY: all that is pointed to lives until the call returns; the name is not written to; the folder
    // is open.
    let opened = unsafe {
        NtCreateFile(
            &raw mut handle,
            access | FILE_READ_ATTRIBUTES | SYNCHRONIZE,
            &raw const attributes,
            &raw mut status,
            null(),
            FILE_ATTRIBUTE_NORMAL,
            share,
            disposition,
            options | FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_FOR_BACKUP_INTENT,
            null(),
            0,
        )
    };
    if opened == STATUS_FILE_IS_A_DIRECTORY {
        return Err(Code(ERROR_ACCESS_DENIED));
    }
    if opened < 0 {
        return Err(Code::of_status(opened));
    }
    // SAFETY: the call has just given this handle to us and to nobody else.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn about(handle: &OwnedHandle) -> Result<BY_HANDLE_FILE_INFORMATION, Code> {
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open, and the structure is one that the call fills.
    if unsafe { GetFileInformationByHandle(handle.as_raw_handle(), &raw mut found) } == 0 {
        return Err(Code::last());
    }
    Ok(found)
}

/// The entries in a filled buffer.
fn take(room: &[u64], entries: &mut Vec<FileInfo>) -> Result<(), Code> {
    const NAME: usize = offset_of!(FILE_ID_BOTH_DIR_INFO, FileName);
    let end = size_of_val(room);
    let mut at = 0;
    loop {
        if at % size_of::<u64>() != 0 || at + size_of::<FILE_ID_BOTH_DIR_INFO>() > end {
            return Err(Code(ERROR_INVALID_NAME));
        }
        // SAFETY: `at` is a multiple of eight and the structure fits into the rest, as was just asked; any
        // bytes are a structure, and `room` was initialised as a whole.
        let found = unsafe {
            room.as_ptr()
                .cast::<u8>()
                .add(at)
                .cast::<FILE_ID_BOTH_DIR_INFO>()
                .read()
        };
        let bytes = usize::try_from(found.FileNameLength).unwrap_or(usize::MAX);
        if bytes > end - at - NAME {
            return Err(Code(ERROR_INVALID_NAME));
        }
        // SAFETY: the letters fit into the rest, as was just asked, and stand at an even place.
        let name = unsafe {
            std::slice::from_raw_parts(
                room.as_ptr().cast::<u8>().add(at + NAME).cast::<u16>(),
                bytes / size_of::<u16>(),
            )
        };
        let text = String::from_utf16_lossy(name);
        if text != "." && text != ".." {
            let whole = path::name(OsStr::new(&text)).is_ok_and(|wide| wide == name);
            entries.push(FileInfo {
                kind: if whole {
                    kind_of(found.FileAttributes)
                } else {
                    FileKind::Other
                },
                name: text,
                file_id: found.FileId.cast_unsigned(),
                size: u64::try_from(found.EndOfFile).unwrap_or(0),
                modified_ms: milliseconds(found.LastWriteTime),
            });
        }
        if found.NextEntryOffset == 0 {
            return Ok(());
        }
        at += usize::try_from(found.NextEntryOffset).unwrap_or(end);
    }
}

fn info(name: String, about: &BY_HANDLE_FILE_INFORMATION) -> FileInfo {
    let wide = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let time = about.ftLastWriteTime;
    FileInfo {
        name,
        kind: kind(about),
        file_id: wide(about.nFileIndexHigh, about.nFileIndexLow),
        size: wide(about.nFileSizeHigh, about.nFileSizeLow),
        modified_ms: milliseconds(wide(time.dwHighDateTime, time.dwLowDateTime).cast_signed()),
    }
}

fn kind(about: &BY_HANDLE_FILE_INFORMATION) -> FileKind {
    kind_of(about.dwFileAttributes)
}

fn kind_of(attributes: u32) -> FileKind {
    if attributes & (FILE_ATTRIBUTE_REPARSE_POINT | FILE_ATTRIBUTE_DEVICE) != 0 {
        FileKind::Other
    } else if attributes & FILE_ATTRIBUTE_DIRECTORY != 0 {
        FileKind::Folder
    } else {
        FileKind::File
    }
}

/// Milliseconds since 1970 UTC of a time of Windows.
pub(super) fn milliseconds(time: i64) -> i64 {
    time.saturating_sub(EPOCH).div_euclid(10_000)
}

fn length_of<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(0)
}
