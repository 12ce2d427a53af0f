//! The files of an archive, laid out in a folder before they are packed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use super::run;
use crate::lab_error::{Attempting, LabError};

/// A folder whose files all have the same time, and modes that do not depend on who lays them out.
pub(super) struct Tree {
    folder: tempfile::TempDir,
    time: u64,
}

impl Tree {
    pub(super) fn new(time: u64) -> Result<Self, LabError> {
        let folder = tempfile::tempdir().attempting(|| "make a folder to pack".into())?;
        Ok(Self { folder, time })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A text, or any other file that is not run.
    pub(super) fn text(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), LabError> {
        self.file(name, bytes.as_ref(), 0o644)
    }

    /// A copy of a file that is not run.
    pub(super) fn copy(&self, from: &Path, name: &str) -> Result<(), LabError> {
        let bytes = fs::read(from).attempting(|| format!("read `{}`", from.display()))?;
        self.file(name, &bytes, 0o644)
    }

    /// A script.
    pub(super) fn script(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), LabError> {
        self.file(name, bytes.as_ref(), 0o755)
    }

    /// A program, without what only a debugger reads.
    pub(super) fn program(&self, strip: &str, from: &Path, name: &str) -> Result<(), LabError> {
        let to = self.make_room(name)?;
        // A program for Windows has in it when it was linked, or stripped.
        run(Command::new(strip)
            .arg("-o")
            .arg(&to)
            .arg(from)
            .env("SOURCE_DATE_EPOCH", self.time.to_string()))?;
        mode(&to, 0o755)
    }

    fn file(&self, name: &str, bytes: &[u8], bits: u32) -> Result<(), LabError> {
        let to = self.make_room(name)?;
        fs::write(&to, bytes).attempting(|| format!("write `{}`", to.display()))?;
        mode(&to, bits)
    }

    fn make_room(&self, name: &str) -> Result<PathBuf, LabError> {
        let to = self.path().join(name);
        let folder = to.parent().unwrap_or(self.path());
        fs::create_dir_all(folder).attempting(|| format!("make `{}`", folder.display()))?;
        Ok(to)
    }

    /// Gives every file and folder the same time, and returns their names in order, folders before what is
    /// in them.
    pub(super) fn finish(&self) -> Result<Vec<String>, LabError> {
        let mut names = Vec::new();
        self.walk(self.path(), &mut names)
            .attempting(|| "look at what is to be packed".into())?;
        names.sort();
        Ok(names)
    }

    fn walk(&self, folder: &Path, names: &mut Vec<String>) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if let Ok(name) = path.strip_prefix(self.path()) {
                names.push(name.to_string_lossy().into_owned());
            }
            if path.is_dir() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                self.walk(&path, names)?;
            }
        }
        let time = UNIX_EPOCH + Duration::from_secs(self.time);
        for entry in fs::read_dir(folder)? {
            fs::File::open(entry?.path())?.set_modified(time)?;
        }
        Ok(())
    }
}

fn mode(file: &Path, bits: u32) -> Result<(), LabError> {
    fs::set_permissions(file, fs::Permissions::from_mode(bits))
        .attempting(|| format!("set the mode of `{}`", file.display()))
}
