//! This machine's files, for tests that need nothing else of it.

use std::path::PathBuf;

/// A host whose service manager, registry and event log are nowhere.
#[cfg(target_os = "linux")]
pub(crate) fn real_files() -> super::unix::UnixHost {
    use super::unix::{UnixHost, UnixSettings};
    let nowhere = PathBuf::from("/nonexistent");
    UnixHost::new(UnixSettings {
        service_socket: nowhere.clone(),
        registry_file: nowhere.clone(),
        events_file: nowhere,
        counters_file: None,
        clock_factor: 1.0,
    })
}

/// A host whose event log is nowhere and whose other parts are not asked.
#[cfg(windows)]
pub(crate) fn real_files() -> super::windows::WindowsHost {
    use super::windows::{EventSource, Machine, WindowsHost, WindowsSettings};
    WindowsHost::new(WindowsSettings {
        machine: Machine::Local,
        events: EventSource::File(PathBuf::from(r"C:\nonexistent")),
        counters_file: None,
        custody_over_smb: false,
        clock_factor: 1.0,
    })
}
