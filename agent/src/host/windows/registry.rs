//! The registry below HKEY_LOCAL_MACHINE, of this machine or of another one.

#![expect(
    unsafe_code,
    reason = "the crate for the registry does not connect to other machines"
)]

use std::borrow::Cow;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND};
use windows_sys::Win32::System::Registry::{HKEY, RegConnectRegistryW};
use winreg::enums::{
    HKEY_LOCAL_MACHINE, KEY_QUERY_VALUE, KEY_SET_VALUE, REG_DWORD, REG_EXPAND_SZ, REG_MULTI_SZ,
    REG_SZ, RegType,
};
use winreg::types::FromRegValue;
use winreg::{RegKey, RegValue};

use super::failure::Code;
use super::machine::Machine;
use crate::host::{HostError, HostErrorKind, Registry, RegistryValue};

/// The registry of a machine.
#[derive(Debug, Clone, Default)]
pub struct MachineRegistry {
    machine: Machine,
}

/// What a value was before it was changed: its type and its bytes, and what it was changed to.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Undo {
    key: String,
    value: String,
    before: Raw,
    after: Raw,
}

#[derive(Debug, PartialEq, Eq, Clone)]
struct Raw {
    /// `REG_SZ` and the others, by number.
    kind: u32,
    bytes: Vec<u8>,
}

impl MachineRegistry {
    /// The registry of this machine.
    #[must_use]
    pub fn of(machine: Machine) -> Self {
        Self { machine }
    }

    fn root(&self) -> Result<RegKey, Code> {
        let Some(address) = self.machine.wide_address() else {
            return Ok(RegKey::predef(HKEY_LOCAL_MACHINE));
        };
        let mut root: HKEY = std::ptr::null_mut();
        // SAFETY: the name ends with a zero, and the handle is one that the call fills.
        let refused =
            unsafe { RegConnectRegistryW(address.as_ptr(), HKEY_LOCAL_MACHINE, &raw mut root) };
        if refused != 0 {
            return Err(Code(refused));
        }
        // The crate closes it as any other key.
        Ok(RegKey::predef(root))
    }

    fn attempted(&self, verb: &str, key: &str, value: &str) -> String {
        format!(r"{verb} `HKLM\{key}\{value}` of {}", self.machine)
    }

    fn raw(&self, key: &str, value: &str) -> Result<Option<Raw>, Code> {
        let root = self.root()?;
        let read = root
            .open_subkey_with_flags(key, KEY_QUERY_VALUE)
            .and_then(|key| key.get_raw_value(value));
        match read {
            Ok(found) => Ok(Some(Raw {
                kind: found.vtype as u32,
                bytes: found.bytes.into_owned(),
            })),
            Err(error) => match Code::of(&error) {
                Code(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND) => Ok(None),
                code => Err(code),
            },
        }
    }

    /// Whether there is such a key.
    pub(super) fn has_key(&self, key: &str) -> Result<bool, HostError> {
        let root = self.root();
        match root.and_then(|root| {
            let opened = root.open_subkey_with_flags(key, KEY_QUERY_VALUE);
            opened.map_err(|error| Code::of(&error))
        }) {
            Ok(_) => Ok(true),
            Err(Code(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND)) => Ok(false),
            Err(code) => {
                Err(code.reading(format!(r"find the key `HKLM\{key}` of {}", self.machine)))
            }
        }
    }

    /// Changes a value that is there, and tells how to take that back. A value that is not there is never
    /// made, and none changes its type: a name that somebody guessed or misspelt would otherwise become a
    /// setting that nobody reads, and the one that was meant would stay as it is.
    ///
    /// # Errors
    /// `NotFound` where there is no such key or value, `Malformed` where it has another type, and what
    /// Windows refuses. Nothing was changed then, unless the error says otherwise.
    pub fn change(&self, key: &str, value: &str, new: &RegistryValue) -> Result<Undo, HostError> {
        let attempted = || self.attempted("change", key, value);
        let fail = |kind, reason: String| HostError::unchanged(kind, attempted(), reason);
        let before = self
            .raw(key, value)
            .map_err(|code| code.reading(attempted()))?;
        let Some(before) = before else {
            return Err(fail(
                HostErrorKind::NotFound,
                "there is no such value, and none is made: compare its name with the article"
                    .into(),
            ));
        };
        let after = encode(new, before.kind).ok_or_else(|| {
            let is = type_name(before.kind);
            fail(
                HostErrorKind::Malformed,
                format!("the value is a {is} and stays one"),
            )
        })?;
        self.write(key, value, &after)
            .map_err(|code| code.changing(attempted()))?;
        Ok(Undo {
            key: key.to_owned(),
            value: value.to_owned(),
            before,
            after,
        })
    }

    /// Puts a value back as it was, unless somebody has changed it since.
    ///
    /// # Errors
    /// `Exists` where the value is neither what it was changed to nor what it was before, and what Windows
    /// refuses.
    pub fn undo(&self, undo: &Undo) -> Result<(), HostError> {
        let attempted = || self.attempted("put back", &undo.key, &undo.value);
        let now = self
            .raw(&undo.key, &undo.value)
            .map_err(|code| code.reading(attempted()))?;
        if now.as_ref() == Some(&undo.before) {
            return Ok(());
        }
        if now.as_ref() != Some(&undo.after) {
            return Err(HostError::unchanged(
                HostErrorKind::Exists,
                attempted(),
                "somebody has changed it since: what they set stays",
            ));
        }
        self.write(&undo.key, &undo.value, &undo.before)
            .map_err(|code| code.changing(attempted()))
    }

    fn write(&self, key: &str, value: &str, raw: &Raw) -> Result<(), Code> {
        let Some(vtype) = kind_of(raw.kind) else {
            return Err(Code(ERROR_FILE_NOT_FOUND));
        };
        let raw = RegValue {
            bytes: Cow::Borrowed(&raw.bytes),
            vtype,
        };
        let root = self.root()?;
        // Opened, never created.
        let key = root.open_subkey_with_flags(key, KEY_SET_VALUE | KEY_QUERY_VALUE);
        key.and_then(|key| key.set_raw_value(value, &raw))
            .map_err(|error| Code::of(&error))
    }
}

impl Registry for MachineRegistry {
    fn read(&self, key: &str, value: &str) -> Result<Option<RegistryValue>, HostError> {
        let attempted = || self.attempted("read", key, value);
        let found = self
            .raw(key, value)
            .map_err(|code| code.reading(attempted()))?;
        let Some(found) = found else {
            return Ok(None);
        };
        decode(&found).map(Some).ok_or_else(|| {
            HostError::unchanged(
                HostErrorKind::Malformed,
                attempted(),
                format!(
                    "it is a {} of {} bytes, and neither a text, a 32-bit number nor a list of texts",
                    type_name(found.kind),
                    found.bytes.len()
                ),
            )
        })
    }
}

fn decode(raw: &Raw) -> Option<RegistryValue> {
    let vtype = kind_of(raw.kind)?;
    let value = RegValue {
        bytes: Cow::Borrowed(&raw.bytes),
        vtype: vtype.clone(),
    };
    match vtype {
        REG_SZ | REG_EXPAND_SZ => String::from_reg_value(&value).ok().map(RegistryValue::Text),
        REG_DWORD => {
            let number = <[u8; 4]>::try_from(&raw.bytes[..]).ok()?;
            Some(RegistryValue::Number(u32::from_le_bytes(number)))
        }
        REG_MULTI_SZ => Vec::<String>::from_reg_value(&value)
            .ok()
            .map(RegistryValue::Texts),
        _ => None,
    }
}

/// The bytes of a value of that type; `None` where it cannot be of that type.
fn encode(value: &RegistryValue, kind: u32) -> Option<Raw> {
    let ended = |text: &str| -> Option<Vec<u16>> {
        (!text.contains('\0')).then(|| text.encode_utf16().chain([0]).collect())
    };
    let bytes = |letters: Vec<u16>| letters.into_iter().flat_map(u16::to_le_bytes).collect();
    let bytes: Vec<u8> = match (value, kind_of(kind)?) {
        (RegistryValue::Text(text), REG_SZ | REG_EXPAND_SZ) => bytes(ended(text)?),
        (RegistryValue::Number(number), REG_DWORD) => number.to_le_bytes().to_vec(),
        (RegistryValue::Texts(texts), REG_MULTI_SZ) => {
            let mut letters = Vec::new();
            for text in texts {
                // An empty text would end the list.
                letters.extend(ended(text).filter(|_| !text.is_empty())?);
            }
            letters.push(0);
            bytes(letters)
        }
        _ => return None,
    };
    Some(Raw { kind, bytes })
}

const KINDS: [(RegType, &str); 4] = [
    (REG_SZ, "REG_SZ"),
    (REG_EXPAND_SZ, "REG_EXPAND_SZ"),
    (REG_DWORD, "REG_DWORD"),
    (REG_MULTI_SZ, "REG_MULTI_SZ"),
];

fn kind_of(kind: u32) -> Option<RegType> {
    let same = |(known, _): &&(RegType, &str)| known.clone() as u32 == kind;
    KINDS.iter().find(same).map(|(known, _)| known.clone())
}

fn type_name(kind: u32) -> Cow<'static, str> {
    let same = |(known, _): &&(RegType, &str)| known.clone() as u32 == kind;
    match KINDS.iter().find(same) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("value of type {kind}")),
    }
}

#[cfg(test)]
mod tests;
