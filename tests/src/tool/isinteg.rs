//! isinteg -fix: one pass over the store, with the store down. It is repeated until it reports neither errors nor fixes.

use crate::lab_error::LabError;
use crate::server_dir::ServerDir;
use crate::store::database::Database;
use crate::tool::store_in_use;
use crate::whole_file;

/// Checks and fixes, once; what it found is in `isinteg.log` too.
///
/// # Errors
/// Where the store or the log cannot be read or written.
pub fn fix(server: &ServerDir) -> Result<String, LabError> {
    if let Some(refusal) = store_in_use(server)? {
        return Ok(refusal);
    }
    let text = pass(server)?;
    whole_file::write(&server.isinteg_log(), text.as_bytes())?;
    Ok(text)
}

fn pass(server: &ServerDir) -> Result<String, LabError> {
    let mut store = Database::of(server)?;
    let fixed = store.fix();
    if fixed > 0 {
        store.write(server)?;
    }
    Ok(format!(
        "Test Folder result: {fixed} error(s); 0 warning(s); {fixed} fix(es); {} row(s)",
        store.pages()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::FolderDamage;

    #[test]
    fn passes_are_repeated_until_one_reports_neither_errors_nor_fixes() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        Database::damaged(FolderDamage::Table)
            .write(&server)
            .unwrap();
        assert!(
            pass(&server)
                .unwrap()
                .contains("1 error(s); 0 warning(s); 1 fix(es)")
        );
        assert!(!Database::of(&server).unwrap().keeps_what_was_sent());
        assert!(
            pass(&server)
                .unwrap()
                .contains("0 error(s); 0 warning(s); 0 fix(es)")
        );
    }
}
