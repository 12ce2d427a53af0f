//! What the IMS counts: how many messages wait in its two folders of the store.

use super::{Ims, LOOK};
use crate::server_dir::spooled;
use crate::whole_file;

/// Writes the counters whenever they change, until the IMS stops: `pid N`, and a line for each queue by its
/// name in policies. The store delivers what is in MTS-IN at once, so nothing waits there.
pub(super) fn write_while_running(ims: &Ims) {
    let mut written = None;
    while !ims.stopping() {
        let waiting = spooled(&ims.server.mts_out()).map_or(0, |files| files.len());
        if written != Some(waiting) {
            let text = format!(
                "pid {}\noutbound-awaiting-conversion {waiting}\ninbound-awaiting-delivery 0\n",
                std::process::id()
            );
            // Without counters an agent knows less, and the mail goes on.
            let _ = whole_file::write(&ims.server.counters(), text.as_bytes());
            written = Some(waiting);
        }
        // Nothing tells of a message in the store, so it is looked at.
        std::thread::sleep(LOOK);
    }
}
