//! Files that are written as a whole: a reader sees the old one or the new one, never a half.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::lab_error::{Attempting, LabError};

/// Replaces a file's content.
///
/// # Errors
/// Where it cannot be written; the old file is then still there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    let attempted = || format!("write `{}`", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)
        .attempting(attempted)?;
    file.write_all(bytes).attempting(attempted)?;
    put(file, path).attempting(attempted)
}

#[cfg(unix)]
fn put(file: tempfile::NamedTempFile, path: &Path) -> std::io::Result<()> {
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Windows does not replace a file that somebody has open; readers close soon.
#[cfg(windows)]
fn put(file: tempfile::NamedTempFile, path: &Path) -> std::io::Result<()> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
    let mut file = Some(file.into_temp_path());
    let mut refused = None;
    crate::awaited::until(PATIENCE, || {
        let Some(tried) = file.take() else {
            return true;
        };
        match tried.persist(path) {
            Ok(()) => refused = None,
            Err(error) => {
                file = Some(error.path);
                refused = Some(error.error);
            }
        }
        refused.is_none()
    });
    refused.map_or(Ok(()), Err)
}

/// Replaces a file's content by a value as JSON.
///
/// # Errors
/// Where it cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), LabError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| LabError::Malformed {
        what: format!("the content of `{}`", path.display()),
        reason: error.to_string(),
    })?;
    write(path, &bytes)
}
