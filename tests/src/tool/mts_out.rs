//! Lists MTS-OUT by MTS-ID, as Mdbvu32 shows it (Q165505).

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::{ServerDir, spooled};
use crate::spool::SpoolMessage;

/// The MTS-ID of each message in MTS-OUT, one a line, and how many there are.
///
/// # Errors
/// Where the folder cannot be read.
pub fn list(server: &ServerDir) -> Result<String, LabError> {
    let folder = server.mts_out();
    let mut lines = Vec::new();
    for file in spooled(&folder)? {
        let path = folder.join(file.name.as_str());
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            // It was converted meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => Err(error).attempting(|| format!("read `{}`", path.display()))?,
        };
        lines.push(SpoolMessage::parse(&bytes)?.mts_id);
    }
    lines.push(format!("{} item(s) listed.", lines.len()));
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::SpoolName;
    use crate::store;

    #[test]
    fn every_message_is_listed_by_its_id_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        assert_eq!(list(&server).unwrap(), "0 item(s) listed.");
        let message = SpoolMessage {
            sender: "a@contoso.example".to_owned(),
            recipients: vec!["b@example.com".to_owned()],
            mts_id: "c=US;a= ;p=Lab;l=A-1".to_owned(),
            text: b"Subject: x\r\n\r\nx\r\n".to_vec(),
        };
        let name = SpoolName::parse("AAAAAAA1").unwrap();
        store::submit(&server, &name, &message, None).unwrap();
        assert_eq!(
            list(&server).unwrap(),
            "c=US;a= ;p=Lab;l=A-1\n1 item(s) listed."
        );
    }
}
