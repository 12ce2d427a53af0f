//! What the machine has to say to a guard file.

use std::io;
use std::path::Path;

use crate::host::real_path;

/// Others could change a file that nobody but the administrator may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changeable {
    /// What could be changed, and by whom.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Whether only the administrator or this account can change a file; the inner error says who else
/// could. `called`: what the file is for people, such as `guard file`.
pub(crate) fn kept_from_others(file: &Path, called: &str) -> io::Result<Result<(), Changeable>> {
    let metadata = std::fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // Whoever may write in its folder can put another file in its place.
    let whole = std::path::absolute(file)?;
    judged(file, whole.parent(), called)
}

#[cfg(unix)]
fn judged(file: &Path, folder: Option<&Path>, called: &str) -> io::Result<Result<(), Changeable>> {
    use std::os::unix::fs::MetadataExt;
    let us = rustix::process::geteuid().as_raw();
    let judge = |path: &Path, what: String, is_folder: bool| {
        let metadata = std::fs::metadata(path)?;
        let (owner, mode) = (metadata.uid(), metadata.mode());
        // In a sticky folder nobody takes away what is another's.
        let writable = if is_folder && mode & 0o1000 != 0 {
            0
        } else {
            0o022
        };
        let what = if owner != 0 && owner != us {
            format!("{what} belongs to the account {owner}, neither root nor {us}")
        } else if mode & writable != 0 {
            let mode = mode & 0o7777;
            format!("{what} can be written by others (mode {mode:04o})")
        } else {
            return Ok(Ok(()));
        };
        let remedy =
            "give the file to root or to the agent's account, `chmod go-w` it and its folder";
        Ok(Err(Changeable {
            what,
            remedy: remedy.into(),
        }))
    };
    let of_file = judge(file, format!("the {called} `{}`", file.display()), false)?;
    match (of_file, folder) {
        (Ok(()), Some(folder)) => {
            let what = format!("the folder `{}` of the {called}", folder.display());
            judge(folder, what, true)
        }
        (judged, _) => Ok(judged),
    }
}

#[cfg(windows)]
fn judged(file: &Path, folder: Option<&Path>, called: &str) -> io::Result<Result<(), Changeable>> {
    use crate::host::access_list::{Right, listed};
    use crate::host::security;
    let trusted = security::guardians()?;
    let places = [
        (
            file,
            format!("the {called} `{}`", file.display()),
            Right::Change,
        ),
        match folder {
            Some(folder) => (
                folder,
                format!("the folder `{}` of the {called}", folder.display()),
                Right::Replace,
            ),
            None => return Ok(Ok(())),
        },
    ];
    for (path, what, right) in places {
        let others = security::others_who_may(path, right, &trusted)?;
        if !others.is_empty() {
            return Ok(Err(Changeable {
                what: format!("{what} can be changed by {}", listed(&others)),
                remedy: format!(
                    "as an administrator: {}",
                    mend(path, right == Right::Replace)
                ),
            }));
        }
    }
    Ok(Ok(()))
}

/// The commands that give a file or folder to administrators and the system, and leave it readable for
/// others: the account of a service may be among them.
#[cfg(windows)]
fn mend(path: &Path, is_folder: bool) -> String {
    let (shown, below) = (path.display(), if is_folder { "(OI)(CI)" } else { "" });
    format!(
        "`icacls \"{shown}\" /setowner *S-1-5-32-544` and `icacls \"{shown}\" /inheritance:r /grant:r \
         *S-1-5-18:{below}F *S-1-5-32-544:{below}F`, then `/grant ACCOUNT:{below}R` for an account of the agent's own"
    )
}

#[cfg(not(any(unix, windows)))]
fn judged(
    _file: &Path,
    _folder: Option<&Path>,
    _called: &str,
) -> io::Result<Result<(), Changeable>> {
    Ok(Ok(()))
}

/// A root is a folder, and its path leads there without links: what the host resolves from the
/// registry is compared with it as text.
pub(super) fn root(root: &Path) -> Result<(), (String, String)> {
    let shown = root.display();
    match real_path(root) {
        Err(error) => Err((
            format!("the root `{shown}` cannot be reached: {error}"),
            "make the folder, or mend the path".into(),
        )),
        Ok(real) if real != root => Err((
            format!("the root `{shown}` leads through a link, or is written in other letters"),
            format!("write `{}`", real.display()),
        )),
        Ok(real) if !real.is_dir() => Err((
            format!("the root `{shown}` is not a folder"),
            "name the folder that holds it".into(),
        )),
        Ok(_) => Ok(()),
    }
}

/// A program is a regular file that can be executed and that others cannot change.
pub(super) fn program(program: &Path) -> Result<(), (String, String)> {
    let shown = program.display();
    let metadata = std::fs::metadata(program).map_err(|error| {
        (
            format!("the program `{shown}` cannot be reached: {error}"),
            "install it, or mend the path".to_owned(),
        )
    })?;
    if !metadata.is_file() {
        return Err((
            format!("the program `{shown}` is not a regular file"),
            "name the program itself".into(),
        ));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = metadata.mode();
        if mode & 0o111 == 0 {
            return Err((
                format!("the program `{shown}` is not executable"),
                format!("`chmod +x {shown}` if it is the right file"),
            ));
        }
        if mode & 0o002 != 0 {
            return Err((
                format!("the program `{shown}` can be changed by everybody"),
                format!("`chmod o-w {shown}`"),
            ));
        }
    }
    Ok(())
}
