//! Where Exchange keeps its folders, as its setup wrote into the registry.

use std::path::{Path, PathBuf};

use mailmend_policy::condition::PathRoot;

use super::{HostError, HostErrorKind, Registry, RegistryValue};

const SERVICES: &str = r"SYSTEM\CurrentControlSet\Services";

/// The folder that a path variable stands for. `reached` turns the text of the registry into the path by
/// which it is reached from here, or says why it cannot.
pub(super) fn find(
    registry: &dyn Registry,
    root: PathRoot,
    reached: &dyn Fn(&str) -> Result<PathBuf, HostError>,
) -> Result<PathBuf, HostError> {
    let (service, value) = match root {
        PathRoot::Imcdata | PathRoot::Exchsrvr => ("MSExchangeIMC", "RootDir"),
        PathRoot::Mtadata => ("MSExchangeMTA", "MTA database path"),
        PathRoot::Trackinglog => ("MSExchangeSA", "Log Directory"),
    };
    let key = format!(r"{SERVICES}\{service}\Parameters");
    let fail = |kind, reason: String| {
        let attempted = format!("find the folder that `{key}\\{value}` names");
        HostError::unchanged(kind, attempted, reason)
    };
    let text = match registry.read(&key, value)? {
        Some(RegistryValue::Text(text)) => text,
        Some(other) => {
            let why = format!("the value is {other:?}, not a text");
            return Err(fail(HostErrorKind::Malformed, why));
        }
        None => {
            let why = "the registry has no such value: is Exchange installed here?";
            return Err(fail(HostErrorKind::NotFound, why.into()));
        }
    };
    let folder = reached(&text)?;
    let malformed = |why: String| Err(fail(HostErrorKind::Malformed, why));
    if !folder.is_dir() {
        return malformed(format!("`{text}` is no folder"));
    }
    match root {
        PathRoot::Exchsrvr => match folder.parent() {
            Some(parent) => Ok(parent.to_path_buf()),
            None => malformed(format!("`{}` has no parent", folder.display())),
        },
        PathRoot::Imcdata | PathRoot::Mtadata | PathRoot::Trackinglog => Ok(folder),
    }
}

/// Refuses a text of the registry that is no absolute path.
pub(super) fn absolute(text: &str) -> Result<&Path, HostError> {
    let path = Path::new(text);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(HostError::unchanged(
        HostErrorKind::Malformed,
        format!("find the folder `{text}` that the registry names"),
        "it is no absolute path",
    ))
}
