//! Canaries around what an agent may touch, and a picture of them that shows the least change.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::lab_error::{Attempting, LabError};

/// What is seen of one thing in the file system. When it was read does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    /// How many names it has: a second one made elsewhere shows.
    links: u64,
    /// Bytes of a file; of a folder nothing.
    size: u64,
    /// When content and status changed last, nanoseconds.
    changed: (i64, i64),
    /// Of a file its BLAKE3 hash, of a link its target.
    content: String,
}

/// What is below some folders, and those themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Picture(BTreeMap<PathBuf, Seen>);

impl Picture {
    /// Looks at everything below these places; links are looked at and never followed.
    ///
    /// # Errors
    /// Where something cannot be read.
    pub fn of(places: &[PathBuf]) -> Result<Self, LabError> {
        let mut all = BTreeMap::new();
        let mut left = places.to_vec();
        while let Some(path) = left.pop() {
            let attempted = || format!("look at `{}`", path.display());
            let found = fs::symlink_metadata(&path).attempting(attempted)?;
            let mut content = String::new();
            if found.is_dir() {
                for entry in fs::read_dir(&path).attempting(attempted)? {
                    left.push(entry.attempting(attempted)?.path());
                }
            } else if found.is_symlink() {
                content = fs::read_link(&path)
                    .attempting(attempted)?
                    .display()
                    .to_string();
            } else if found.is_file() {
                let bytes = fs::read(&path).attempting(attempted)?;
                content = blake3::hash(&bytes).to_hex().to_string();
            }
            let nanoseconds =
                |seconds: i64, more: i64| seconds.saturating_mul(1_000_000_000) + more;
            let seen = Seen {
                inode: found.ino(),
                mode: found.mode(),
                owner: (found.uid(), found.gid()),
                links: found.nlink(),
                size: if found.is_file() { found.len() } else { 0 },
                changed: (
                    nanoseconds(found.mtime(), found.mtime_nsec()),
                    nanoseconds(found.ctime(), found.ctime_nsec()),
                ),
                content,
            };
            all.insert(path, seen);
        }
        Ok(Self(all))
    }

    /// What came, went or changed since, in words.
    #[must_use]
    pub fn differences(&self, later: &Self) -> Vec<String> {
        let mut told = Vec::new();
        for (path, was) in &self.0 {
            match later.0.get(path) {
                None => told.push(format!("`{}` is gone", path.display())),
                Some(is) if is != was => {
                    told.push(format!(
                        "`{}` was changed: {was:?}, now {is:?}",
                        path.display()
                    ));
                }
                Some(_) => {}
            }
        }
        for path in later.0.keys().filter(|path| !self.0.contains_key(*path)) {
            told.push(format!("`{}` was made", path.display()));
        }
        told
    }

    /// How many things it shows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it shows nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Plants canaries in a folder: what looks like mail, like the system, like secrets, and links that lead about.
///
/// # Errors
/// Where they cannot be made.
pub fn plant(folder: &Path) -> Result<(), LabError> {
    let attempted = || format!("plant canaries in `{}`", folder.display());
    let spooled = b"\xF7ImCr a canary that looks like a message";
    for (name, bytes) in [
        ("CANARY01", &spooled[..]),
        ("CANARY02", &spooled[..]),
        ("queue.dat", b"an index"),
        ("In/CANARY03", spooled),
        ("Out/CANARY04", spooled),
        ("Out/Archive/CANARY05", spooled),
        ("imcdata/In/CANARY06", spooled),
        ("imcdata/Out/CANARY07", spooled),
        ("imcdata/queue.dat", b"an index"),
        ("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
        ("etc/shadow", b"root:*:1::::::\n"),
        ("system32/config/SAM", b"a hive"),
        ("C:\\", b"a volume, for whoever takes it for a name"),
        ("mailmend-held/CANARY08", spooled),
        ("journal.db", b"not yours"),
        ("guard.toml", b"roots = [\"/\"]\n"),
        ("empty", b""),
        ("a name with spaces", b"x"),
    ] {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).attempting(attempted)?;
        }
        fs::write(&path, bytes).attempting(attempted)?;
    }
    let shadow = folder.join("etc/shadow");
    fs::set_permissions(shadow, fs::Permissions::from_mode(0o600)).attempting(attempted)?;
    for (name, target) in [
        ("nowhere", "/nowhere/at/all"),
        ("up", ".."),
        ("round", "round"),
        ("to-passwd", "etc/passwd"),
    ] {
        symlink(target, folder.join(name)).attempting(attempted)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these was done to a canary, and each shows.
    #[test]
    fn the_least_change_shows() {
        type Harm = fn(&Path);
        let harms: [(&str, Harm); 9] = [
            ("made", |at| fs::write(at.join("In/NEW00001"), "x").unwrap()),
            ("is gone", |at| fs::remove_file(at.join("empty")).unwrap()),
            ("changed", |at| {
                fs::write(at.join("queue.dat"), "an indeX").unwrap();
            }),
            ("changed", |at| {
                // The same bytes again: its times show.
                fs::write(at.join("queue.dat"), "an index").unwrap();
            }),
            ("made", |at| {
                rustix::fs::rename(at.join("CANARY01"), at.join("In/CANARY01")).unwrap();
            }),
            ("changed", |at| {
                fs::hard_link(at.join("CANARY01"), at.join("../outside")).unwrap();
            }),
            ("changed", |at| {
                fs::set_permissions(at.join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
            }),
            ("changed", |at| {
                fs::remove_file(at.join("up")).unwrap();
                symlink("../..", at.join("up")).unwrap();
            }),
            ("made", |at| fs::create_dir(at.join("Out/new")).unwrap()),
        ];
        for (word, harm) in harms {
            let folder = tempfile::tempdir().unwrap();
            let jungle = folder.path().join("jungle");
            fs::create_dir(&jungle).unwrap();
            plant(&jungle).unwrap();
            let places = [jungle.clone()];
            let before = Picture::of(&places).unwrap();
            assert!(before.len() > 30);
            assert_eq!(before.differences(&Picture::of(&places).unwrap()), [""; 0]);
            harm(&jungle);
            let told = before.differences(&Picture::of(&places).unwrap());
            assert!(
                told.iter().any(|one| one.contains(word)),
                "{word}: {told:?}"
            );
        }
    }
}
