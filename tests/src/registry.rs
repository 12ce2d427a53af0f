//! The registry of a server: a TOML file whose tables are keys below HKEY_LOCAL_MACHINE.

use std::path::Path;

use toml::{Table, Value};

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;

pub(crate) const SERVICES: &str = r"SYSTEM\CurrentControlSet\Services";

/// The registry of a server.
#[derive(Debug, Clone)]
pub struct Registry(Table);

impl Registry {
    /// The values that the setup of Exchange would have written for a server, with the routing
    /// interval of its IMS in minutes (0: routing is read at start only).
    #[must_use]
    pub fn as_set_up(server: &ServerDir, route_interval_minutes: u32) -> Self {
        let here = |path: &Path| path.display().to_string();
        Self::as_set_up_where(server, route_interval_minutes, &here)
    }

    /// As [`Self::as_set_up`], with paths as the server itself writes them.
    #[must_use]
    pub fn as_set_up_where(
        server: &ServerDir,
        route_interval_minutes: u32,
        written: &dyn Fn(&Path) -> String,
    ) -> Self {
        let path = |path: &Path| Value::String(written(path));
        let mut root = Table::new();
        let mut key = |name: &str, values: Vec<(&str, Value)>| {
            let table = values
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            root.insert(
                format!(r"{SERVICES}\{name}\Parameters"),
                Value::Table(table),
            );
        };
        key(
            "MSExchangeIMC",
            vec![
                ("RootDir", path(&server.imcdata())),
                (
                    "RouteCalculationInterval",
                    Value::Integer(route_interval_minutes.into()),
                ),
            ],
        );
        key(
            "MSExchangeMTA",
            vec![("MTA database path", path(&server.mtadata()))],
        );
        key(
            "MSExchangeSA",
            vec![("Log Directory", path(&server.tracking()))],
        );
        Self(root)
    }

    /// Reads a registry file.
    ///
    /// # Errors
    /// Where it cannot be read or is not TOML.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        let text = std::fs::read_to_string(path)
            .attempting(|| format!("read the registry `{}`", path.display()))?;
        text.parse()
            .map(Self)
            .map_err(|error: toml::de::Error| LabError::Malformed {
                what: format!("the registry `{}`", path.display()),
                reason: error.message().to_owned(),
            })
    }

    /// What is in it.
    #[cfg(windows)]
    pub(crate) const fn keys(&self) -> &Table {
        &self.0
    }

    /// One that has this in it.
    #[cfg(windows)]
    pub(crate) const fn from_keys(keys: Table) -> Self {
        Self(keys)
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.to_string()
    }

    /// The key of a service with its values, as a registry file has them.
    #[must_use]
    pub fn of_service(&self, service: &str) -> String {
        self.split(service).0.to_string()
    }

    /// The registry without the key of a service.
    #[must_use]
    pub fn without(&self, service: &str) -> Self {
        Self(self.split(service).1)
    }

    /// The registry with the keys of another file's text.
    ///
    /// # Errors
    /// Where the text is not TOML.
    pub fn with(mut self, keys: &str) -> Result<Self, LabError> {
        let keys: Table = keys
            .parse()
            .map_err(|error: toml::de::Error| LabError::Malformed {
                what: "the exported settings".to_owned(),
                reason: error.message().to_owned(),
            })?;
        self.0.extend(keys);
        Ok(self)
    }

    /// The key of a service, and all others.
    fn split(&self, service: &str) -> (Table, Table) {
        let key = format!(r"{SERVICES}\{service}\Parameters");
        let all = self.0.clone().into_iter();
        all.partition(|(name, _)| name.eq_ignore_ascii_case(&key))
    }

    /// A number below a service's `Parameters`. Keys and names compare without case.
    #[must_use]
    pub fn number(&self, service: &str, value: &str) -> Option<u32> {
        let key = format!(r"{SERVICES}\{service}\Parameters");
        let (_, table) = self
            .0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&key))?;
        let (_, value) = table
            .as_table()?
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(value))?;
        u32::try_from(value.as_integer()?).ok()
    }
}

/// A number below the `Parameters` of a service, as the registry of the server has it now.
///
/// # Errors
/// Where the registry cannot be read.
pub fn number(server: &ServerDir, service: &str, value: &str) -> Result<Option<u32>, LabError> {
    Ok(of(server)?.number(service, value))
}

/// What the registry of a server has of Exchange.
///
/// # Errors
/// Where it cannot be read.
pub fn of(server: &ServerDir) -> Result<Registry, LabError> {
    #[cfg(unix)]
    return Registry::read(&server.registry());
    #[cfg(windows)]
    {
        // One machine is one server there, and has one registry.
        let _ = server;
        crate::windows_site::hive::read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_setup_writes_is_found_again_without_regard_to_case() {
        let server = ServerDir::new("/lab/oslo-b");
        let text = Registry::as_set_up(&server, 15).text();
        assert!(
            text.contains(r#"RootDir = "/lab/oslo-b/exchsrvr/imcdata""#),
            "{text}"
        );
        let again = Registry(text.parse().unwrap());
        assert_eq!(
            again.number("msexchangeimc", "routecalculationinterval"),
            Some(15)
        );
        assert_eq!(
            again.number("MSExchangeIMC", "RootDir"),
            None,
            "a text is no number"
        );
        assert_eq!(again.number("MSExchangeIS", "x"), None);
    }
}
