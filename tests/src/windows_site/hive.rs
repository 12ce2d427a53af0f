//! The settings of Exchange in HKEY_LOCAL_MACHINE.

use toml::{Table, Value};
use winreg::RegKey;
use winreg::enums::{HKEY_LOCAL_MACHINE, REG_DWORD, REG_SZ};

use super::SERVICES as ALL;
use crate::lab_error::{Attempting, LabError};
use crate::registry::{Registry, SERVICES};

/// Writes settings: a text as REG_SZ, a number as REG_DWORD.
///
/// # Errors
/// Where Windows refuses, or a setting is of another type.
pub fn write(settings: &Registry) -> Result<(), LabError> {
    let machine = RegKey::predef(HKEY_LOCAL_MACHINE);
    for (path, values) in settings.keys() {
        let attempted = || format!(r"write the key `HKLM\{path}`");
        let (key, _) = machine.create_subkey(path).attempting(attempted)?;
        for (name, value) in values.as_table().into_iter().flatten() {
            let set = match value {
                Value::String(text) => key.set_value(name, text),
                Value::Integer(number) => u32::try_from(*number)
                    .map_err(std::io::Error::other)
                    .and_then(|number| key.set_value(name, &number)),
                other => Err(std::io::Error::other(format!(
                    "`{name}` is a {}",
                    other.type_str()
                ))),
            };
            set.attempting(attempted)?;
        }
    }
    Ok(())
}

/// Reads the `Parameters` of every service of Exchange that has any.
///
/// # Errors
/// Where Windows refuses.
pub fn read() -> Result<Registry, LabError> {
    let machine = RegKey::predef(HKEY_LOCAL_MACHINE);
    let mut keys = Table::new();
    for service in ALL {
        let path = format!(r"{SERVICES}\{}\Parameters", service.name);
        let attempted = || format!(r"read the key `HKLM\{path}`");
        let key = match machine.open_subkey(&path) {
            Ok(key) => key,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => Err(error).attempting(attempted)?,
        };
        let mut values = Table::new();
        for value in key.enum_values() {
            let (name, raw) = value.attempting(attempted)?;
            let read = match raw.vtype {
                REG_SZ => Value::String(key.get_value(&name).attempting(attempted)?),
                REG_DWORD => {
                    let number: u32 = key.get_value(&name).attempting(attempted)?;
                    Value::Integer(number.into())
                }
                // Nothing else was written by the lab, and nothing else is read.
                _ => continue,
            };
            values.insert(name, read);
        }
        keys.insert(path, Value::Table(values));
    }
    Ok(Registry::from_keys(keys))
}
