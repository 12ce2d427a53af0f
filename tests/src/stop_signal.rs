//! The request to stop, as the service manager sends it: SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::lab_error::{Attempting, LabError};

/// Listens for SIGTERM and SIGINT from now on; the flag is set when one has come.
///
/// # Errors
/// Where the system refuses.
pub fn install() -> Result<Arc<AtomicBool>, LabError> {
    let attempted = || "listen for the request to stop".to_owned();
    let flag = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .attempting(attempted)?;
    let (mut terminate, mut interrupt) = {
        let _within = runtime.enter();
        (
            signal(SignalKind::terminate()).attempting(attempted)?,
            signal(SignalKind::interrupt()).attempting(attempted)?,
        )
    };
    let set = Arc::clone(&flag);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        set.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}
