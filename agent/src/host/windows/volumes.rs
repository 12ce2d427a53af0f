//! Volumes: free space, which one a path is on, and whether it is on this machine.

#![expect(
    unsafe_code,
    reason = "volumes are asked through Win32; the standard library has no call"
)]

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::path::{Component, Path, Prefix};

use windows_sys::Win32::Foundation::{ERROR_DIRECTORY, MAX_PATH};
use windows_sys::Win32::Storage::FileSystem::{
    GetDiskFreeSpaceExW, GetDriveTypeW, GetVolumeNameForVolumeMountPointW, GetVolumePathNameW,
};
use windows_sys::Win32::System::WindowsProgramming::DRIVE_REMOTE;

use super::failure::Code;
use super::folder::Folder;
use super::path::wide;
use crate::host::{HostError, HostErrorKind};

/// Free bytes on the volume of a path that this account may use, quotas included.
pub(super) fn free_bytes(path: &Path) -> Result<u64, HostError> {
    match free_at(path) {
        // Only a folder is asked; a file is on the volume of its folder.
        Err(Code(ERROR_DIRECTORY)) => free_at(path.parent().unwrap_or(path)),
        result => result,
    }
    .map_err(|code| code.reading(format!("read the free space at `{}`", path.display())))
}

fn free_at(folder: &Path) -> Result<u64, Code> {
    let folder = wide(folder);
    let mut free = 0;
    // SAFETY: the text ends with a zero; the number is one that the call fills, the others are not asked.
    let told = unsafe {
        GetDiskFreeSpaceExW(
            folder.as_ptr(),
            &raw mut free,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    if told == 0 {
        Err(Code::last())
    } else {
        Ok(free)
    }
}

/// A volume, told apart from every other one: a copied disk has the serial number of the first.
#[derive(Debug, PartialEq, Eq)]
struct Volume {
    serial: u32,
    /// What Windows calls it, or the share; without regard to case.
    name: String,
}

/// Whether both paths are on one volume; both must exist.
pub(super) fn same(a: &Path, b: &Path) -> Result<bool, HostError> {
    Ok(volume(a)? == volume(b)?)
}

fn volume(path: &Path) -> Result<Volume, HostError> {
    let attempted = || format!("find the volume of `{}`", path.display());
    // A file is on the volume of its folder; what is neither has no volume of its own.
    let folder = match Folder::open(path) {
        Err(error) if error.kind == HostErrorKind::NotFound => {
            let (folder, name) = Folder::of(path)?;
            folder
                .look(name)
                .map_err(|code| code.reading(attempted()))?
                .ok_or(error)?;
            folder
        }
        result => result?,
    };
    let serial = folder
        .volume_serial()
        .map_err(|code| code.reading(attempted()))?;
    let name = name(path).map_err(|code| code.reading(attempted()))?;
    Ok(Volume { serial, name })
}

fn name(path: &Path) -> Result<String, Code> {
    let mut mount = vec![0; 4096];
    // SAFETY: the text ends with a zero, and the buffer is as long as is said.
    if unsafe { GetVolumePathNameW(wide(path).as_ptr(), mount.as_mut_ptr(), 4096) } == 0 {
        return Err(Code::last());
    }
    let mut volume = [0; MAX_PATH as usize];
    // SAFETY: the first call ended its text with a zero, and the buffer is as long as is said.
    let told =
        unsafe { GetVolumeNameForVolumeMountPointW(mount.as_ptr(), volume.as_mut_ptr(), MAX_PATH) };
    // A share has no such name; it is called what its path is called.
    let found = if told == 0 { &mount[..] } else { &volume[..] };
    let end = found.iter().position(|letter| *letter == 0).unwrap_or(0);
    let name = OsString::from_wide(&found[..end]);
    Ok(name.to_string_lossy().to_ascii_lowercase())
}

/// Whether a path is on another machine: a share, or a drive that stands for one.
pub(super) fn is_remote(path: &Path) -> bool {
    let Some(Component::Prefix(prefix)) = path.components().next() else {
        return false;
    };
    match prefix.kind() {
        Prefix::UNC(..) | Prefix::VerbatimUNC(..) => true,
        Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => {
            let root = wide(format!("{}:\\", char::from(letter)));
            // SAFETY: the text ends with a zero.
            unsafe { GetDriveTypeW(root.as_ptr()) == DRIVE_REMOTE }
        }
        Prefix::DeviceNS(_) | Prefix::Verbatim(_) => false,
    }
}
