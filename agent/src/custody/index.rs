//! Setting `queue.dat` aside, so that the service builds it anew from the files of its queues.

use std::path::{Path, PathBuf};

use mailmend_proto::run::Event;

use super::{CustodyError, Desk, Stopped, text};
use crate::faults::known;
use crate::host::{FileKind, HostErrorKind};

/// The file in Imcdata.
pub const FILE: &str = "queue.dat";

/// Renames `queue.dat` in this folder to a dated name that is free. Never deletes it; a file that is
/// not there is fine (`None`): the service makes one when it starts. Durable on return.
///
/// # Errors
/// `A080-service-not-stopped`; where something that is no file has the name; what the host says.
pub fn set_aside(
    desk: &Desk<'_>,
    imcdata: &Path,
    stopped: &Stopped,
) -> Result<Option<PathBuf>, CustodyError> {
    stopped.still(desk.host)?;
    let spool = desk.host.spool();
    let from = imcdata.join(FILE);
    match spool.look(&from)? {
        None => return Ok(None),
        Some(info) if info.kind == FileKind::File => {}
        Some(_) => {
            return Err(CustodyError::refused(
                const { known("A081-custody-precondition") },
                format!(
                    "`{}` is no regular file; it was not touched",
                    from.display()
                ),
            ));
        }
    }
    let stamp = stamp(desk.host.clock().wall_ms());
    for number in 1..1000 {
        let to = imcdata.join(format!("{FILE}.{stamp}-{number}"));
        if spool.look(&to)?.is_some() {
            continue;
        }
        desk.append(vec![Event::IndexSetAside {
            from: text(&from)?,
            to: text(&to)?,
        }])?;
        match spool.move_new(&from, &to) {
            Ok(()) => {
                desk.sync(imcdata)?;
                return Ok(Some(to));
            }
            Err(error) if error.kind == HostErrorKind::Exists => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CustodyError::refused(
        const { known("A081-custody-precondition") },
        format!(
            "`{}` has a thousand copies of `{FILE}` set aside today; move them elsewhere",
            imcdata.display()
        ),
    ))
}

/// The date and time in UTC, as part of a file name.
fn stamp(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(
        |_| at_ms.to_string(),
        |at| at.strftime("%Y%m%d-%H%M%S").to_string(),
    )
}
