//! The files of the server: four verbs that never replace anything.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::failure::Code;
use super::folder::{self, Folder, plain};
use super::volumes;
use super::watch::FolderWatch;
use crate::host::{
    FileInfo, FileKind, HostError, HostErrorKind, LogFile, OpenedFile, Spool, Watch,
};

#[derive(Debug)]
pub(super) struct WindowsSpool {
    /// Whether files on another machine may be moved at all.
    pub(super) custody_over_smb: bool,
}

impl WindowsSpool {
    /// Refuses to change what is on another machine. The promise of custody is that a moved name is on the
    /// disk before it is written down as moved. Over SMB a flush of a folder is refused or answered by the
    /// redirector, a session that ends leaves it unknown whether a rename was done, and the process that
    /// may still hold a file cannot be seen: neither the move nor the proof before it can be had.
    fn may_change(&self, path: &Path) -> Result<(), HostError> {
        if self.custody_over_smb || !volumes::is_remote(path) {
            return Ok(());
        }
        Err(HostError::unchanged(
            HostErrorKind::Denied,
            format!("change `{}`", path.display()),
            "it is on another machine: over SMB nobody can promise that a moved file is on the disk, nor that \
             its service has let go of it. Run the agent on the machine that has the disk, or accept the risk \
             with `custody_over_smb = true` in `[host]`",
        ))
    }
}

impl Spool for WindowsSpool {
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError> {
        Folder::open(folder)?
            .entries()
            .map_err(|code| code.reading(format!("list the folder `{}`", folder.display())))
    }

    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError> {
        let (folder, name) = match Folder::of(path) {
            Ok(found) => found,
            Err(error) if error.kind == HostErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        folder
            .look(name)
            .map_err(|code| code.reading(format!("look at `{}`", path.display())))
    }

    fn watch(&self, folders: &[PathBuf]) -> Result<Option<Box<dyn Watch>>, HostError> {
        Ok(Some(Box::new(FolderWatch::of(folders)?)))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError> {
        let (folder, name) = Folder::of(path)?;
        open_in(&folder, name, || path.to_owned())
    }

    fn open_log(&self, path: &Path) -> Result<(FileInfo, Box<dyn LogFile>), HostError> {
        let (folder, name) = Folder::of(path)?;
        let (info, file) = folder
            .read(name)
            .map_err(|code| code.reading(format!("open `{}`", path.display())))?;
        Ok((info, Box::new(file)))
    }

    fn probe_exclusive(&self, path: &Path) -> Result<(), HostError> {
        let (folder, name) = Folder::of(path)?;
        probe_in(&folder, name, || path.to_owned())
    }

    fn move_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.may_change(from)?;
        self.may_change(to)?;
        let (source, old) = Folder::of(from)?;
        let (target, new) = Folder::of(to)?;
        source
            .move_file(old, &target, new)
            .map_err(|code| code.changing(moving(from, to)))
    }

    fn link_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.may_change(from)?;
        self.may_change(to)?;
        let (source, old) = Folder::of(from)?;
        let (target, new) = Folder::of(to)?;
        source
            .link_file(old, &target, new)
            .map_err(|code| code.changing(linking(from, to)))
    }

    // The four below open each folder once: reaching it costs more than what is done in it.

    fn open_each(&self, folder: &Path, names: &[&str], each: &mut OpenedFile<'_>) {
        let opened = Folder::open(folder);
        for (at, name) in names.iter().enumerate() {
            let file = match &opened {
                Ok(opened) => {
                    let name = OsStr::new(name);
                    plain(name).and_then(|()| open_in(opened, name, || folder.join(name)))
                }
                Err(error) => Err(error.clone()),
            };
            each(at, file);
        }
    }

    fn probe_each(&self, folder: &Path, names: &[&str]) -> Vec<Result<(), HostError>> {
        let opened = Folder::open(folder);
        let probe = |name: &&str| {
            let (opened, name) = (
                opened.as_ref().map_err(HostError::clone)?,
                OsStr::new(*name),
            );
            plain(name)?;
            probe_in(opened, name, || folder.join(name))
        };
        names.iter().map(probe).collect()
    }

    fn move_each(&self, from: &Path, to: &Path, names: &[&str]) -> Vec<Result<(), HostError>> {
        self.in_both(from, to, names, |(source, target), name| {
            source
                .move_file(name, target, name)
                .map_err(|code| code.changing(moving(&from.join(name), &to.join(name))))
        })
    }

    fn link_each(&self, from: &Path, to: &Path, names: &[&str]) -> Vec<Result<(), HostError>> {
        self.in_both(from, to, names, |(source, target), name| {
            source
                .link_file(name, target, name)
                .map_err(|code| code.changing(linking(&from.join(name), &to.join(name))))
        })
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let attempted = || format!("write `{}` ({} bytes)", path.display(), bytes.len());
        self.may_change(path)?;
        let (folder, name) = Folder::of(path)?;
        // Refused early where it is there already; the rename below is what guarantees it.
        if let Some(there) = folder
            .look(name)
            .map_err(|code| code.reading(attempted()))?
        {
            return Err(HostError::unchanged(
                HostErrorKind::Exists,
                attempted(),
                format!("`{}` is there already", there.name),
            ));
        }
        // Under a name of our own until it is whole and synced: a crash or a full disk leaves no
        // half file under a name that somebody trusts.
        let temporary = format!(".mailmend-{:016x}", fastrand::u64(..));
        let mut file = folder
            .make_file(OsStr::new(&temporary))
            .map_err(|code| code.changing(attempted()))?;
        let placed = file
            .write_all(bytes)
            .map_err(|error| Code::of(&error).reading(attempted()))
            .and_then(|()| {
                // The name is not placed, but a disk that cannot sync is not to be trusted with
                // anything else either: the caller must hear that.
                file.sync_all().map_err(|error| {
                    HostError::unknown(HostErrorKind::Io, attempted(), error.to_string())
                })
            })
            .and_then(|()| {
                folder::rename(&file, &folder, name).map_err(|code| code.changing(attempted()))
            });
        if placed.is_err() {
            // The error that counts is the first one; what is left has a name that nobody reads.
            let _ = folder::discard(&file);
        }
        placed
    }

    fn make_folder(&self, folder: &Path) -> Result<(), HostError> {
        let mut missing: Vec<&Path> = Vec::new();
        let mut there = folder;
        loop {
            match Folder::open(there) {
                Ok(_) => break,
                Err(error) if error.kind == HostErrorKind::NotFound => missing.push(there),
                Err(error) => return Err(error),
            }
            let Some(parent) = there.parent() else { break };
            there = parent;
        }
        if missing.is_empty() && volumes::is_remote(folder) && !self.custody_over_smb {
            return Ok(());
        }
        self.may_change(folder)?;
        // What is there may be left from a call that was killed before its sync.
        if let Some(parent) = there.parent() {
            Folder::sync(parent)?;
        }
        for path in missing.into_iter().rev() {
            let (parent, name) = Folder::of(path)?;
            parent
                .make(name)
                .map_err(|code| code.changing(format!("make the folder `{}`", path.display())))?;
            Folder::sync(path.parent().unwrap_or(path))?;
        }
        Folder::open(folder).map(drop)
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), HostError> {
        Folder::sync(folder)
    }

    fn move_folder_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.may_change(from)?;
        self.may_change(to)?;
        let (source, old) = Folder::of(from)?;
        let (target, new) = Folder::of(to)?;
        source
            .move_folder(old, &target, new)
            .map_err(|code| code.changing(moving(from, to)))
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.may_change(path)?;
        let (folder, name) = Folder::of(path)?;
        folder
            .remove(name)
            .map_err(|code| code.changing(format!("remove `{}`", path.display())))
    }

    fn names(&self, folder: &Path) -> Result<Vec<(String, FileKind)>, HostError> {
        // One answer of Windows holds everything: there is nothing to leave out.
        let entries = self.list(folder)?;
        Ok(entries
            .into_iter()
            .map(|entry| (entry.name, entry.kind))
            .collect())
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, HostError> {
        volumes::free_bytes(path)
    }

    fn same_volume(&self, a: &Path, b: &Path) -> Result<bool, HostError> {
        volumes::same(a, b)
    }
}

fn moving(from: &Path, to: &Path) -> String {
    format!("move `{}` to `{}`", from.display(), to.display())
}

fn linking(from: &Path, to: &Path) -> String {
    format!("link `{}` as `{}`", from.display(), to.display())
}

fn open_in(
    folder: &Folder,
    name: &OsStr,
    path: impl Fn() -> PathBuf,
) -> Result<Box<dyn Read + Send>, HostError> {
    let (_, file) = folder
        .read(name)
        .map_err(|code| code.reading(format!("open `{}`", path().display())))?;
    Ok(Box::new(file))
}

fn probe_in(folder: &Folder, name: &OsStr, path: impl Fn() -> PathBuf) -> Result<(), HostError> {
    folder
        .probe(name)
        .map_err(|code| code.reading(format!("open `{}` exclusively", path().display())))
}

impl WindowsSpool {
    fn in_both(
        &self,
        from: &Path,
        to: &Path,
        names: &[&str],
        act: impl Fn((&Folder, &Folder), &OsStr) -> Result<(), HostError>,
    ) -> Vec<Result<(), HostError>> {
        let open = |folder: &Path| {
            self.may_change(folder)?;
            Folder::open(folder)
        };
        let (source, target) = (open(from), open(to));
        let one = |name: &&str| {
            let source = source.as_ref().map_err(HostError::clone)?;
            let target = target.as_ref().map_err(HostError::clone)?;
            let name = OsStr::new(*name);
            plain(name)?;
            act((source, target), name)
        };
        names.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests;
