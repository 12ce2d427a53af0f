//! The files of the identity: written whole, synced, private.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::IdentityError;

/// Whether a file may stand in the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// Never: a file that is there stays, and that is an error.
    Never,
    /// As a whole: readers see the old one or the new one.
    Whole,
}

fn folder_error(attempted: &'static str, file: &Path, reason: impl ToString) -> IdentityError {
    IdentityError::Folder {
        attempted,
        file: file.to_path_buf(),
        reason: reason.to_string(),
    }
}

/// Makes the data folder, for this account alone. One that is there stays as it is.
///
/// # Errors
/// Where it cannot be made.
pub fn make_data_folder(folder: &Path) -> Result<(), IdentityError> {
    let failed = |error| folder_error("could not make the data folder", folder, error);
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    #[cfg(windows)]
    let is_new = !folder.exists();
    builder.create(folder).map_err(failed)?;
    #[cfg(windows)]
    if is_new {
        crate::host::security::keep_private(folder, true).map_err(failed)?;
    }
    Ok(())
}

/// A file's text; `None` where it is not there.
pub(crate) fn read(file: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(folder_error("could not read", file, error)),
    }
}

/// Writes a file, readable for this account alone, and makes it durable.
pub(crate) fn write(file: &Path, text: &str, replaced: Replaced) -> Result<(), IdentityError> {
    let failed = |error: io::Error| folder_error("could not write", file, error);
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    // On Unix a temporary file has mode 0600 from its first moment on.
    let mut new = tempfile::Builder::new()
        .prefix(".mailmend-")
        .tempfile_in(folder)
        .map_err(failed)?;
    // On Windows it has what its folder hands down; whoever opened it by now finds it empty.
    #[cfg(windows)]
    crate::host::security::keep_private(new.path(), false).map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    match replaced {
        Replaced::Never => new.persist_noclobber(file),
        Replaced::Whole => new.persist(file),
    }
    .map_err(|error| failed(error.error))?;
    crate::host::sync_own_folder(folder).map_err(failed)
}

/// Whether this account alone may read the key; on Windows administrators and the system as well, and the
/// account of the agent's service.
pub(super) fn kept_private(file: &Path) -> Result<(), IdentityError> {
    #[cfg(any(unix, windows))]
    {
        let failed = |error| folder_error("could not look at", file, error);
        if let Some((why, remedy)) = exposed(file).map_err(failed)? {
            return Err(IdentityError::Exposed {
                file: file.to_path_buf(),
                why,
                remedy,
            });
        }
    }
    #[cfg(not(any(unix, windows)))]
    let _ = file;
    Ok(())
}

#[cfg(unix)]
fn exposed(file: &Path) -> io::Result<Option<(String, String)>> {
    use std::os::unix::fs::MetadataExt;
    let mode = fs::metadata(file)?.mode() & 0o7777;
    Ok((mode & 0o077 != 0).then(|| (format!("has mode {mode:04o}"), "`chmod 600` it".to_owned())))
}

#[cfg(windows)]
fn exposed(file: &Path) -> io::Result<Option<(String, String)>> {
    use crate::host::access_list::{Right, listed};
    use crate::host::security;
    let holders = security::key_holders()?;
    let others = security::others_who_may(file, Right::Read, &holders)?;
    if others.is_empty() {
        return Ok(None);
    }
    let grants: Vec<String> = holders
        .iter()
        .map(|holder| format!("*{}:F", holder.number()))
        .collect();
    let shown = file.display();
    let remedy = format!(
        "as an administrator `icacls \"{shown}\" /setowner *S-1-5-32-544` and `icacls \"{shown}\" /inheritance:r \
         /grant:r {}`",
        grants.join(" ")
    );
    Ok(Some((
        format!("may be read by {}", listed(&others)),
        remedy,
    )))
}
