//! The registry as a TOML file: a table per key, an entry per value.

use std::path::PathBuf;

use crate::host::{HostError, HostErrorKind, Registry, RegistryValue};

#[derive(Debug)]
pub(super) struct RegistryFile {
    file: PathBuf,
}

impl RegistryFile {
    pub(super) fn at(file: PathBuf) -> Self {
        Self { file }
    }
}

impl Registry for RegistryFile {
    fn read(&self, key: &str, value: &str) -> Result<Option<RegistryValue>, HostError> {
        let attempted = || format!("read `{key}\\{value}` in `{}`", self.file.display());
        let malformed =
            |reason: String| HostError::unchanged(HostErrorKind::Malformed, attempted(), reason);
        let text =
            std::fs::read_to_string(&self.file).map_err(|e| super::reading(attempted(), &e))?;
        let keys: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| malformed(e.to_string()))?;
        let Some((_, values)) = keys.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)) else {
            return Ok(None);
        };
        let values = values
            .as_table()
            .ok_or_else(|| malformed("the key is no table".into()))?;
        let Some((_, found)) = values
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(value))
        else {
            return Ok(None);
        };
        let typed = match found {
            toml::Value::String(text) => Some(RegistryValue::Text(text.clone())),
            toml::Value::Integer(number) => u32::try_from(*number).ok().map(RegistryValue::Number),
            toml::Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .map(RegistryValue::Texts),
            _ => None,
        };
        typed.map(Some).ok_or_else(|| {
            malformed(format!(
                "`{found}` is no text, no 32-bit number and no list of texts"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r"SYSTEM\CurrentControlSet\Services\MSExchangeIMC\Parameters";

    fn registry(text: &str) -> (tempfile::TempDir, RegistryFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.toml");
        std::fs::write(&file, text).unwrap();
        (folder, RegistryFile::at(file))
    }

    #[test]
    fn keys_and_values_are_found_whatever_their_case_and_absent_ones_are_none() {
        let (_folder, registry) = registry(
            "['SYSTEM\\CurrentControlSet\\Services\\MSExchangeIMC\\Parameters']\n\
             RootDir = '/x/imcdata'\nRouteCalculationInterval = 15\nRelayAllowList = ['a', 'b']\n",
        );
        let read = |value: &str| registry.read(&KEY.to_lowercase(), value).unwrap();
        assert_eq!(
            read("ROOTDIR"),
            Some(RegistryValue::Text("/x/imcdata".into()))
        );
        assert_eq!(
            read("routecalculationinterval"),
            Some(RegistryValue::Number(15))
        );
        assert_eq!(
            read("RelayAllowList"),
            Some(RegistryValue::Texts(vec!["a".into(), "b".into()]))
        );
        assert_eq!(read("TurfDir"), None);
        assert_eq!(registry.read("SYSTEM\\Nothing", "RootDir").unwrap(), None);
    }

    #[test]
    fn a_damaged_registry_is_an_error_and_not_an_absent_value() {
        for text in ["[[[", "x = 1.5", "x = 99999999999", "x = [1]"] {
            let (_folder, registry) = registry(&format!("['{KEY}']\n{text}"));
            let error = registry.read(KEY, "x").unwrap_err();
            assert_eq!(error.kind, HostErrorKind::Malformed, "{text}");
        }
        let nowhere = RegistryFile::at("/nowhere/registry.toml".into());
        assert_eq!(
            nowhere.read(KEY, "x").unwrap_err().kind,
            HostErrorKind::NotFound
        );
    }
}
