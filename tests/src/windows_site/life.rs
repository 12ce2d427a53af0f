//! Whether the process of a service lives. Windows' own manager notices when one is gone; Wine's goes on
//! saying that the service runs. So each process holds a file for itself alone, which ends with it.

use std::fs::{File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt;

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;

/// Nobody else may open it.
const ALONE: u32 = 0;
/// What Windows says of a file that somebody has opened for himself alone.
const SHARING_VIOLATION: i32 = 32;

/// Holds the life of a service until the process ends, however it ends.
pub(super) fn hold(server: &ServerDir, service: &str) -> Result<File, LabError> {
    let path = server.life_of(service);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .share_mode(ALONE)
        .open(&path)
        .attempting(|| format!("hold `{}`", path.display()))
}

/// Whether a process holds the life of a service.
pub(super) fn held(server: &ServerDir, service: &str) -> bool {
    // Shared with everybody: looking must not keep a service that starts from holding it.
    match OpenOptions::new().read(true).open(server.life_of(service)) {
        Ok(_) => false,
        Err(error) => error.raw_os_error() == Some(SHARING_VIOLATION),
    }
}
