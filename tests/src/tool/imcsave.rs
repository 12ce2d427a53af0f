//! imcsave: copies what is in the store's folders of the IMS to `Imcdata\Backup`, and takes nothing out.
//!
//! As the real one it refuses to run where that folder exists (Q195804): it would mix two savings.

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::{ServerDir, spooled};

/// Saves MTS-IN and MTS-OUT. What is converted meanwhile is not in a folder of the store any more.
///
/// # Errors
/// Where a message cannot be copied.
pub fn save(server: &ServerDir) -> Result<String, LabError> {
    let backup = server.imcsave_backup();
    let shown = backup.display();
    if backup.exists() {
        return Ok(format!("The directory {shown} already exists."));
    }
    let mut saved = 0;
    for (name, folder) in [("MTSI", server.mts_in()), ("MTSO", server.mts_out())] {
        let to = backup.join(name);
        std::fs::create_dir_all(&to).attempting(|| format!("make `{}`", to.display()))?;
        for file in spooled(&folder)? {
            let copied =
                std::fs::copy(folder.join(file.name.as_str()), to.join(file.name.as_str()));
            match copied {
                Ok(_) => saved += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => Err(error).attempting(|| format!("save `{}`", file.name))?,
            }
        }
    }
    Ok(format!("{saved} item(s) saved to {shown}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_store_is_copied_once_and_stays_there() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        std::fs::write(server.mts_out().join("AAAAAAA1"), "out").unwrap();
        std::fs::write(server.mts_in().join("AAAAAAA2"), "in").unwrap();
        assert!(save(&server).unwrap().starts_with("2 item(s) saved"));
        let saved = server.imcsave_backup().join("MTSO/AAAAAAA1");
        assert_eq!(std::fs::read_to_string(saved).unwrap(), "out");
        assert!(server.mts_out().join("AAAAAAA1").exists());
        assert!(save(&server).unwrap().ends_with("already exists."));
    }
}
