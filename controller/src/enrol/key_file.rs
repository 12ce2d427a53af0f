//! Key and certificate files: private from the first byte, durable, replaced as a whole or not at all.

use std::io::Write as _;
use std::path::Path;

use super::EnrolFault;

/// Makes a folder that only its owner may enter; one that exists is left as it is.
pub(super) fn make_private_folder(path: &Path) -> Result<(), EnrolFault> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(failed("make the folder", path))
}

pub(super) fn exists(path: &Path) -> Result<bool, EnrolFault> {
    path.try_exists().map_err(failed("look for", path))
}

pub(super) fn read(path: &Path) -> Result<String, EnrolFault> {
    std::fs::read_to_string(path).map_err(|why| EnrolFault::Unreadable {
        path: path.to_owned(),
        why: why.to_string(),
    })
}

/// Writes a file that must not exist yet.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), EnrolFault> {
    let file = staged(path, text)?;
    file.persist_noclobber(path)
        .map_err(|why| failed("write", path)(why.error))?;
    sync_folder(path)
}

/// Replaces a file as a whole.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), EnrolFault> {
    if std::fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let file = staged(path, text)?;
    file.persist(path)
        .map_err(|why| failed("write", path)(why.error))?;
    sync_folder(path)
}

fn staged(path: &Path, text: &str) -> Result<tempfile::NamedTempFile, EnrolFault> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file has mode 0600 from its creation on.
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)
        .map_err(failed("write into", folder))?;
    file.write_all(text.as_bytes())
        .map_err(failed("write", path))?;
    file.as_file().sync_all().map_err(failed("write", path))?;
    Ok(file)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> Result<(), EnrolFault> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("make durable", folder))
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<(), EnrolFault> {
    Ok(())
}

/// Refuses a private key that other users may read.
#[cfg(unix)]
pub(super) fn refuse_exposed(path: &Path) -> Result<(), EnrolFault> {
    use std::os::unix::fs::PermissionsExt as _;
    let found = std::fs::metadata(path).map_err(failed("look at", path))?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(EnrolFault::Exposed {
            path: path.to_owned(),
            mode,
        })
    }
}

#[cfg(not(unix))]
pub(super) fn refuse_exposed(_: &Path) -> Result<(), EnrolFault> {
    Ok(())
}

fn failed<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl Fn(std::io::Error) -> EnrolFault + use<'a> {
    move |source| EnrolFault::Folder {
        what,
        path: path.to_owned(),
        source,
    }
}
