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
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .map_err(|error| folder_error("could not make the data folder", folder, error))
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
    // A temporary file has mode 0600 from its first moment on.
    let mut new = tempfile::Builder::new()
        .prefix(".mailmend-")
        .tempfile_in(folder)
        .map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    match replaced {
        Replaced::Never => new.persist_noclobber(file),
        Replaced::Whole => new.persist(file),
    }
    .map_err(|error| failed(error.error))?;
    crate::host::sync_own_folder(folder).map_err(failed)
}

/// Whether this account alone may read the key.
pub(super) fn kept_private(file: &Path) -> Result<(), IdentityError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = fs::metadata(file)
            .map_err(|error| folder_error("could not look at", file, error))?
            .mode()
            & 0o7777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed {
                file: file.to_path_buf(),
                mode,
            });
        }
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}
