//! `journal export`: every row as it is, for others to verify. `docs/audit.md` has the format.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use mailmend_agent::journal::Journal;
use mailmend_policy::name::ServerName;

use crate::cli::failure::Failure;
use crate::cli::table::say;

/// About as many bytes of records are read at once.
const READ_BYTES: usize = 1 << 20;

pub(super) fn write(journal: &Journal, agent: &ServerName, file: &Path) -> Result<(), Failure> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed =
        |why: io::Error| Failure::failed(format!("could not write `{}`: {why}", file.display()));
    let new = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut out = BufWriter::new(new);
    let header = format!(
        r#"{{"mailmend":"journal","format":1,"agent":"{agent}","journal":"{}"}}"#,
        journal.id()
    );
    writeln!(out, "{header}").map_err(failed)?;
    let (mut after, head) = (0, journal.head());
    while after < head {
        let rows = journal.rows_after(after, READ_BYTES)?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        for row in rows.iter().filter(|row| row.seq <= head) {
            let (seq, hash, record) = (row.seq, hex(&row.hash), hex(&row.bytes));
            writeln!(
                out,
                r#"{{"seq":{seq},"hash":"{hash}","record":"{record}"}}"#
            )
            .map_err(failed)?;
        }
    }
    let new = out.into_inner().map_err(|why| failed(why.into_error()))?;
    new.as_file().sync_all().map_err(failed)?;
    new.persist(file).map_err(|why| failed(why.error))?;
    say(&format!("{head} records are in {}", file.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
