//! Each value of the configuration with where it came from.

use std::fmt;

use mailmend_policy::units::write_duration;

use super::{Config, HostSettings, Origin, Setting};

/// One value of the configuration, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// Its key in the file.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File(line) => write!(f, "file, line {line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Config {
    /// Each value with where it came from, in the order of the file's keys.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        fn of<T>(key: &str, value: impl ToString, from: &Setting<T>) -> Shown {
            Shown {
                key: key.to_owned(),
                value: value.to_string(),
                origin: from.origin.to_string(),
            }
        }
        let mut shown = vec![
            of("name", &self.name.value, &self.name),
            of("controller", &self.controller.value, &self.controller),
            of("data", self.data.value.display(), &self.data),
            of("guard", self.guard.value.display(), &self.guard),
            of(
                "smtp_log_time",
                self.smtp_log_time.value,
                &self.smtp_log_time,
            ),
            of(
                "event_log_time",
                self.event_log_time.value,
                &self.event_log_time,
            ),
            of(
                "symptoms.every",
                write_duration(self.look_every.value),
                &self.look_every,
            ),
        ];
        let host = |key: &str, value: String| of(&format!("host.{key}"), value, &self.host);
        shown.extend(
            self.host
                .value
                .shown()
                .into_iter()
                .map(|(key, value)| host(key, value)),
        );
        shown.extend(self.facts.iter().map(|(name, value)| Shown {
            key: format!("facts.{name}"),
            value: value.clone(),
            origin: "file".to_owned(),
        }));
        shown
    }
}

impl HostSettings {
    /// Each of them by its key; what is not set is left out.
    fn shown(&self) -> Vec<(&'static str, String)> {
        let path = |path: &std::path::Path| path.display().to_string();
        match self {
            Self::Unix {
                service_socket,
                registry_file,
                events_file,
                counters_file,
                clock_factor,
            } => {
                let mut shown = vec![
                    ("provider", "unix".to_owned()),
                    ("service_socket", path(service_socket)),
                    ("registry_file", path(registry_file)),
                    ("events_file", path(events_file)),
                    ("lab_clock_factor", clock_factor.to_string()),
                ];
                shown.extend(
                    counters_file
                        .as_deref()
                        .map(|file| ("counters_file", path(file))),
                );
                shown
            }
            Self::Windows {
                machine,
                events_file,
                counters_file,
                custody_over_smb,
                clock_factor,
            } => {
                let mut shown = vec![("provider", "windows".to_owned())];
                shown.extend(machine.as_ref().map(|name| ("machine", name.to_string())));
                shown.extend(
                    events_file
                        .as_deref()
                        .map(|file| ("events_file", path(file))),
                );
                shown.extend(
                    counters_file
                        .as_deref()
                        .map(|file| ("counters_file", path(file))),
                );
                shown.push(("custody_over_smb", custody_over_smb.to_string()));
                shown.push(("lab_clock_factor", clock_factor.to_string()));
                shown
            }
        }
    }
}
