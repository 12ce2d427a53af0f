//! Exports what a connector is set to, so that it can be made again: its registry values, as `imcsave` does
//! with the registry and the directory object.

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::whole_file;

/// Writes the settings beside the saved folders. Never over an earlier export.
///
/// # Errors
/// Where they cannot be read or written.
pub fn export(server: &ServerDir) -> Result<String, LabError> {
    let to = server.connector_export();
    if to.exists() {
        return Ok(format!("The file {} already exists.", to.display()));
    }
    let from = server.registry();
    let settings = std::fs::read(&from).attempting(|| format!("read `{}`", from.display()))?;
    whole_file::write(&to, &settings)?;
    Ok(format!("connector settings exported to {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_exported_once_and_never_over_an_earlier_export() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        assert!(export(&server).is_err());
        std::fs::write(server.registry(), "first").unwrap();
        assert!(
            export(&server)
                .unwrap()
                .starts_with("connector settings exported")
        );
        std::fs::write(server.registry(), "second").unwrap();
        assert!(export(&server).unwrap().ends_with("already exists."));
        let kept = std::fs::read_to_string(server.connector_export()).unwrap();
        assert_eq!(kept, "first");
    }
}
