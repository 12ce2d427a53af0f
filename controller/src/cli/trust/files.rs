//! The files of keys, documents and signatures.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use mailmend_trust::{Kind, SecretKey, Signature, Signed};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

pub(super) fn fault(file: &Path, why: impl std::fmt::Display) -> Failure {
    let text = format!("`{}`: {why}", file.display());
    Failure::new("C174-trust-file", text).with_exit(Exit::Usage)
}

fn key_fault(file: &Path, why: impl std::fmt::Display) -> Failure {
    let text = format!("the key `{}`: {why}", file.display());
    Failure::new("C175-trust-key", text).with_exit(Exit::Usage)
}

pub(super) fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Failure::new("C008-signing", "the machine gave no randomness"))?;
    Ok(bytes)
}

/// A document's bytes, no more than any has.
pub(super) fn document(file: &Path) -> Result<Vec<u8>, Failure> {
    let most = Kind::Catalogue.longest() as u64;
    let mut text = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(most + 1).read_to_end(&mut text))
        .map_err(|why| fault(file, why))?;
    if text.len() as u64 > most {
        return Err(fault(file, format!("it has more than {most} bytes")));
    }
    Ok(text)
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// What signatures there are; none where the file is not there.
pub(super) fn signatures(file: &Path) -> Result<Vec<Signature>, Failure> {
    let file = beside(file);
    match std::fs::read_to_string(&file) {
        Ok(text) => Signature::read_all(&text).map_err(|why| fault(&file, why)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(why) => Err(fault(&file, why)),
    }
}

pub(super) fn signed(file: &Path) -> Result<Signed, Failure> {
    Ok(Signed {
        text: document(file)?,
        signatures: signatures(file)?,
    })
}

pub(super) fn write_signatures(file: &Path, text: &str) -> Result<(), Failure> {
    let file = beside(file);
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |why: std::io::Error| fault(&file, why);
    let mut new = tempfile::Builder::new();
    #[cfg(unix)]
    new.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut new = new.prefix(".new-").tempfile_in(folder).map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    new.persist(&file).map_err(|why| failed(why.error))?;
    Ok(())
}

/// Writes a document; one that is there stays.
pub(super) fn new_document(file: &Path, text: &str) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    let written = options.write(true).create_new(true).open(file);
    written
        .and_then(|mut open| {
            open.write_all(text.as_bytes())?;
            open.sync_all()
        })
        .map_err(|why| fault(file, why))
}

/// Writes a secret key, readable for its owner alone from the first byte on; one that is there stays.
pub(super) fn private(file: &Path, text: &str) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(file)
        .and_then(|mut open| {
            open.write_all(text.as_bytes())?;
            open.sync_all()
        })
        .map_err(|why| key_fault(file, why))
}

/// A secret key; one that others may read is refused.
pub(super) fn secret(file: &Path) -> Result<SecretKey, Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let found = std::fs::metadata(file).map_err(|why| key_fault(file, why))?;
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(key_fault(
                file,
                format!("other users of this machine can read it (mode {mode:04o})"),
            ));
        }
    }
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(1024).read_to_string(&mut text))
        .map_err(|why| key_fault(file, why))?;
    SecretKey::read(&text).map_err(|why| key_fault(file, why))
}
