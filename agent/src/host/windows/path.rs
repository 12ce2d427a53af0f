//! Names and paths that mean one thing only.
//!
//! Windows reads many spellings as the same file and some as no file at all: `NUL` and `COM1.txt` are
//! devices, `MAIL:stream` is a second content of `MAIL`, and the end of `MAIL. .` is dropped. What
//! reaches the kernel from here is exactly what was written, or refused.

use std::ffi::{OsStr, OsString};
use std::os::windows::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf, Prefix};

use crate::host::{HostError, HostErrorKind};

/// Names of devices, whatever follows a dot.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
/// With a digit from 1 to 9 after them these are devices too, with a superscript 1, 2 or 3 as well.
const NUMBERED: [&str; 2] = ["COM", "LPT"];
/// The longest name that a file system of Windows keeps, in UTF-16 units.
const LONGEST: usize = 255;

/// Where an absolute path begins and what follows, name by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Walk<'a> {
    /// The root of the volume or the share, as the kernel knows it: `\??\C:\`.
    pub(super) root: Vec<u16>,
    /// The names from there on.
    pub(super) names: Vec<&'a OsStr>,
}

/// Takes an absolute path apart.
pub(super) fn walk(path: &Path) -> Result<Walk<'_>, HostError> {
    let malformed = |why: String| {
        let attempted = format!("open `{}`", path.display());
        HostError::unchanged(HostErrorKind::Malformed, attempted, why)
    };
    let mut parts = path.components();
    let (Some(Component::Prefix(prefix)), Some(Component::RootDir)) = (parts.next(), parts.next())
    else {
        return Err(malformed("the path is not absolute".into()));
    };
    let root = match prefix.kind() {
        Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => {
            OsString::from(format!(r"\??\{}:\", char::from(letter)))
        }
        Prefix::UNC(server, share) | Prefix::VerbatimUNC(server, share) => {
            name(server)
                .and(name(share))
                .map_err(|why| malformed(why.into()))?;
            let mut root = OsString::from(r"\??\UNC\");
            root.push(server);
            root.push("\\");
            root.push(share);
            root.push("\\");
            root
        }
        Prefix::DeviceNS(_) | Prefix::Verbatim(_) => {
            return Err(malformed("it names a device, not a file".into()));
        }
    };
    let mut names = Vec::new();
    for part in parts {
        match part {
            Component::Normal(found) => {
                name(found).map_err(|why| malformed(format!("`{}`: {why}", found.display())))?;
                names.push(found);
            }
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(malformed("the path has `..` in it".into()));
            }
        }
    }
    Ok(Walk {
        root: root.encode_wide().collect(),
        names,
    })
}

/// A name that stands for one file of its folder and nothing else, in the kernel's letters.
pub(super) fn name(name: &OsStr) -> Result<Vec<u16>, &'static str> {
    let Some(text) = name.to_str() else {
        return Err("the name is not Unicode");
    };
    if text.is_empty() {
        return Err("the name is empty");
    }
    if text.contains(':') {
        return Err("a name with `:` is another stream of a file, or a drive");
    }
    let forbidden =
        |c: char| c < ' ' || matches!(c, '<' | '>' | '"' | '/' | '\\' | '|' | '?' | '*');
    if text.contains(forbidden) {
        return Err("the name has characters in it that no file may have");
    }
    // `.` and `..` are among them.
    if text.ends_with(['.', ' ']) {
        return Err(
            "Windows drops a dot or a space at the end of a name, so another file is meant",
        );
    }
    if is_device(text) {
        return Err("this is the name of a device");
    }
    let wide: Vec<u16> = name.encode_wide().collect();
    if wide.len() > LONGEST {
        return Err("the name is longer than 255 characters");
    }
    Ok(wide)
}

fn is_device(text: &str) -> bool {
    let stem = text.split('.').next().unwrap_or(text).trim_end_matches(' ');
    let same = |device: &&str| stem.eq_ignore_ascii_case(device);
    let numbered = |device: &&str| {
        stem.get(..device.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(device))
            && {
                let mut rest = stem[device.len()..].chars();
                matches!(rest.next(), Some('1'..='9' | '¹' | '²' | '³')) && rest.next().is_none()
            }
    };
    DEVICES.iter().any(same) || NUMBERED.iter().any(numbered)
}

/// The path without the `\\?\` that Windows puts before a resolved one, where it reads the same without.
pub(super) fn plain(path: PathBuf) -> PathBuf {
    let Some(Component::Prefix(prefix)) = path.components().next() else {
        return path;
    };
    let rest: PathBuf = path.components().skip(1).collect();
    match prefix.kind() {
        Prefix::VerbatimDisk(letter) => {
            let mut plain = OsString::from(format!("{}:", char::from(letter)));
            plain.push(rest);
            plain.into()
        }
        Prefix::VerbatimUNC(server, share) => {
            let mut plain = OsString::from(r"\\");
            plain.push(server);
            plain.push("\\");
            plain.push(share);
            plain.push(rest);
            plain.into()
        }
        _ => path,
    }
}

/// A text for Windows, with the zero at its end.
pub(super) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_windows_reads_as_something_else_are_refused() {
        for refused in [
            "",
            ".",
            "..",
            "MAIL.",
            "MAIL ",
            "MAIL. .",
            "MAIL:stream",
            "MAIL::$DATA",
            "C:",
            "a/b",
            r"a\b",
            "a*",
            "a?",
            "a\u{1}",
            "NUL",
            "nul.txt",
            "con",
            "Aux.",
            "COM1",
            "lpt9.log",
            "COM¹",
            "CONIN$",
            "PRN .x",
        ] {
            assert!(name(OsStr::new(refused)).is_err(), "{refused:?}");
        }
        for taken in [
            "MAIL0001",
            "queue.dat",
            "COM",
            "COM10",
            "LPT0",
            "NULL",
            "a b.c",
            "Ünï",
        ] {
            let wide = name(OsStr::new(taken)).unwrap();
            assert_eq!(String::from_utf16(&wide).unwrap(), taken);
        }
        assert!(name(OsStr::new(&"x".repeat(255))).is_ok());
        assert!(name(OsStr::new(&"x".repeat(256))).is_err());
    }

    #[test]
    fn a_path_is_walked_from_its_volume_or_share_and_never_upwards() {
        let root = |path: &str| {
            let walk = walk(Path::new(path)).map_err(|error| error.kind)?;
            let names: Vec<_> = walk
                .names
                .iter()
                .map(|n| n.to_str().unwrap().to_owned())
                .collect();
            Ok((String::from_utf16(&walk.root).unwrap(), names.join("|")))
        };
        let found = |root: &str, names: &str| Ok((root.to_owned(), names.to_owned()));
        assert_eq!(root(r"C:\a\b/c"), found(r"\??\C:\", "a|b|c"));
        assert_eq!(root(r"\\?\C:\a"), found(r"\??\C:\", "a"));
        assert_eq!(root(r"\\oslo\c$\a"), found(r"\??\UNC\oslo\c$\", "a"));
        for refused in [
            r"a\b",
            r"C:a",
            r"\a",
            r"C:\a\..\b",
            r"\\.\pipe\x",
            r"\\?\GLOBALROOT\x",
            r"C:\a\NUL",
            r"C:\a\b:s",
            r"C:\a.\b",
        ] {
            assert_eq!(root(refused), Err(HostErrorKind::Malformed), "{refused}");
        }
    }

    #[test]
    fn a_resolved_path_is_written_as_people_write_it() {
        for (resolved, plainly) in [
            (r"\\?\C:\a\b", r"C:\a\b"),
            (r"\\?\C:\", r"C:\"),
            (r"\\?\UNC\oslo\c$\a", r"\\oslo\c$\a"),
            (r"C:\a", r"C:\a"),
        ] {
            assert_eq!(plain(PathBuf::from(resolved)), PathBuf::from(plainly));
        }
    }
}
