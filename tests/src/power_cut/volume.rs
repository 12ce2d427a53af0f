//! A small ext4 in a file.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab_error::{Attempting, LabError};

/// Large enough for a log and the journal of a life, small enough to be copied two hundred times.
const BYTES: u64 = 24 << 20;

/// A file with an ext4, mounted or not.
#[derive(Debug)]
pub(super) struct Volume {
    template: PathBuf,
    image: PathBuf,
    top: PathBuf,
    mounted: bool,
}

impl Volume {
    /// Makes an empty ext4 in a folder; it is not mounted.
    pub(super) fn make(folder: &Path) -> Result<Self, LabError> {
        let volume = Self {
            template: folder.join("empty.ext4"),
            image: folder.join("volume.ext4"),
            top: folder.join("volume"),
            mounted: false,
        };
        let file = std::fs::File::create(&volume.template)
            .attempting(|| format!("make `{}`", volume.template.display()))?;
        file.set_len(BYTES)
            .attempting(|| format!("make `{}`", volume.template.display()))?;
        done(
            Command::new("mkfs.ext4")
                .args(["-q", "-F"])
                .arg(&volume.template),
        )?;
        std::fs::create_dir(&volume.top)
            .attempting(|| format!("make `{}`", volume.top.display()))?;
        volume.renew()?;
        Ok(volume)
    }

    /// Makes it empty again.
    pub(super) fn renew(&self) -> Result<(), LabError> {
        let _ = std::fs::remove_file(&self.image);
        done(
            Command::new("cp")
                .arg("--sparse=always")
                .args([&self.template, &self.image]),
        )
    }

    /// Where it is mounted.
    pub(super) fn top(&self) -> &Path {
        &self.top
    }

    /// Mounts it; the kernel replays its log.
    pub(super) fn mount(&mut self) -> Result<(), LabError> {
        done(
            Command::new("mount")
                .args(["-t", "ext4", "-o", "loop,data=ordered"])
                .args([&self.image, &self.top]),
        )?;
        self.mounted = true;
        Ok(())
    }

    pub(super) fn unmount(&mut self) -> Result<(), LabError> {
        done(Command::new("umount").arg(&self.top))?;
        self.mounted = false;
        Ok(())
    }

    /// Lets e2fsck look at it, which finds nothing to mend.
    pub(super) fn check(&self) -> Result<(), LabError> {
        done(Command::new("e2fsck").args(["-f", "-n"]).arg(&self.image))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted {
            // Whoever still has a file open keeps it a moment longer.
            let _ = Command::new("umount").arg("--lazy").arg(&self.top).status();
        }
    }
}

fn done(command: &mut Command) -> Result<(), LabError> {
    let attempted = || format!("run `{command:?}`");
    let told = attempted();
    let output = command.output().attempting(|| told.clone())?;
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: told,
        reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
