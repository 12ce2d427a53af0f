use winreg::RegKey;
use winreg::enums::HKEY_LOCAL_MACHINE;

use super::*;

fn host(folder: &std::path::Path) -> WindowsHost {
    WindowsHost::new(WindowsSettings {
        machine: Machine::Local,
        events: EventSource::Log {
            bookmark: folder.join("events"),
        },
        counters_file: None,
        custody_over_smb: false,
        clock_factor: 1.0,
    })
}

#[test]
fn the_folders_of_exchange_are_found_in_the_registry() {
    let folder = tempfile::tempdir().unwrap();
    let imcdata = folder.path().join(r"exchsrvr\imcdata");
    std::fs::create_dir_all(&imcdata).unwrap();
    let machine = RegKey::predef(HKEY_LOCAL_MACHINE);
    let path = r"SYSTEM\CurrentControlSet\Services\MSExchangeIMC\Parameters";
    let (key, _) = machine.create_subkey(path).unwrap();
    let host = host(folder.path());
    key.set_value("RootDir", &imcdata.as_os_str()).unwrap();
    let found = host.root(PathRoot::Imcdata).unwrap();
    assert_eq!(found, super::super::real_path(&imcdata).unwrap());
    assert!(
        !found.display().to_string().starts_with(r"\\?\"),
        "{}",
        found.display()
    );
    assert_eq!(
        host.root(PathRoot::Exchsrvr).unwrap(),
        found.parent().unwrap()
    );
    assert!(host.spool().list(&found).unwrap().is_empty());

    key.set_value("RootDir", &r"%SystemRoot%\system32").unwrap();
    assert!(host.root(PathRoot::Imcdata).unwrap().ends_with("system32"));
    for (value, kind) in [
        ("imcdata", HostErrorKind::Malformed),
        (r"C:\mailmend-nowhere", HostErrorKind::NotFound),
        (r"%MAILMEND_NOT_SET%\x", HostErrorKind::Malformed),
    ] {
        key.set_value("RootDir", &value).unwrap();
        assert_eq!(
            host.root(PathRoot::Imcdata).unwrap_err().kind,
            kind,
            "{value}"
        );
    }
    key.delete_value("RootDir").unwrap();
    assert_eq!(
        host.root(PathRoot::Imcdata).unwrap_err().kind,
        HostErrorKind::NotFound
    );
}

#[test]
fn the_event_log_of_the_machine_is_read_and_nothing_is_made_up() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    // Under Wine it is always empty: what was written before nobody knows, what follows is none.
    let now = host.clock().wall_ms();
    let before = host.events().read("MSExchangeIMC", now - 3_600_000);
    let after = host
        .events()
        .read("MSExchangeIMC", now + 3_600_000)
        .unwrap();
    assert!(after.is_empty());
    if let Ok(events) = before {
        assert!(events.iter().all(|event| event.source == "MSExchangeIMC"));
    }
    assert!(folder.path().join("events.application.jsonl").exists());
}
