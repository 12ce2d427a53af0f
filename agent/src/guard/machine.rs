//! What the machine has to say to a guard file.

use std::io;
use std::path::Path;

use crate::host::real_path;

/// Whether only the administrator or this account can change a file; the inner error says who else
/// could. Owners and modes are asked where the machine has them.
pub(crate) fn kept_from_others(file: &Path) -> io::Result<Result<(), String>> {
    let metadata = std::fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let shown = file.display();
        let us = rustix::process::geteuid().as_raw();
        let judge = |metadata: &std::fs::Metadata, what: String, writable: u32| {
            let (owner, mode) = (metadata.uid(), metadata.mode());
            if owner != 0 && owner != us {
                return Err(format!(
                    "{what} belongs to the account {owner}, neither root nor {us}"
                ));
            }
            if mode & writable != 0 {
                let mode = mode & 0o7777;
                return Err(format!("{what} can be written by others (mode {mode:04o})"));
            }
            Ok(())
        };
        if let Err(why) = judge(&metadata, format!("the guard file `{shown}`"), 0o022) {
            return Ok(Err(why));
        }
        // Whoever may write in its folder can put another file in its place, unless the folder is
        // sticky.
        let folder = std::path::absolute(file)?;
        if let Some(folder) = folder.parent() {
            let metadata = std::fs::metadata(folder)?;
            let writable = if metadata.mode() & 0o1000 == 0 {
                0o022
            } else {
                0
            };
            let what = format!("the folder `{}` of the guard file", folder.display());
            return Ok(judge(&metadata, what, writable));
        }
    }
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
