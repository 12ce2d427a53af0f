//! The source under which the agent's errors stand in the Application log of Windows.

use std::io;

use winreg::RegKey;
use winreg::enums::HKEY_LOCAL_MACHINE;

const LOG: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";
/// Errors, warnings, information.
const TYPES: u32 = 7;

/// Has Windows know the texts of the source's events. They are those of a program that every Windows has:
/// its messages 1 to 1000 are one text each that the event itself brings.
pub(super) fn register(source: &str) -> io::Result<()> {
    let (key, _) = RegKey::predef(HKEY_LOCAL_MACHINE).create_subkey(format!(r"{LOG}\{source}"))?;
    let mut file = winreg::RegValue {
        bytes: Vec::new().into(),
        vtype: winreg::enums::REG_EXPAND_SZ,
    };
    let text = r"%SystemRoot%\System32\EventCreate.exe";
    file.bytes = text
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect::<Vec<u8>>()
        .into();
    key.set_raw_value("EventMessageFile", &file)?;
    key.set_value("TypesSupported", &TYPES)
}
