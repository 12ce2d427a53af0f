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
        let HostSettings::Unix {
            service_socket,
            registry_file,
            events_file,
            counters_file,
            clock_factor,
        } = &self.host.value;
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
            of("host.provider", "unix", &self.host),
            of("host.service_socket", service_socket.display(), &self.host),
            of("host.registry_file", registry_file.display(), &self.host),
            of("host.events_file", events_file.display(), &self.host),
            of("host.lab_clock_factor", clock_factor, &self.host),
            of(
                "symptoms.every",
                write_duration(self.look_every.value),
                &self.look_every,
            ),
        ];
        if let Some(file) = counters_file {
            shown.push(of("host.counters_file", file.display(), &self.host));
        }
        shown.extend(self.facts.iter().map(|(name, value)| Shown {
            key: format!("facts.{name}"),
            value: value.clone(),
            origin: "file".to_owned(),
        }));
        shown
    }
}
