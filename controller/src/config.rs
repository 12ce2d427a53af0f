//! Settings of the command line and the server, each with its origin.
//!
//! A flag wins over the environment, that over the user's file, that over the system's file, that
//! over the default. `mailmend config` shows which of them decided.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One setting: its name in files, its environment variable, its default, what it is.
struct Known {
    name: &'static str,
    variable: &'static str,
    default: &'static str,
    about: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        name: "controller",
        variable: "MAILMEND_CONTROLLER",
        default: "https://127.0.0.1:7268",
        about: "address of the controller",
    },
    Known {
        name: "identity",
        variable: "MAILMEND_IDENTITY",
        default: "/var/lib/mailmend/controller/operator",
        about: "folder with operator.pem, operator.key and ca.pem",
    },
    Known {
        name: "output",
        variable: "MAILMEND_OUTPUT",
        default: "table",
        about: "table or json",
    },
    Known {
        name: "color",
        variable: "MAILMEND_COLOR",
        default: "auto",
        about: "auto, always or never",
    },
    Known {
        name: "log",
        variable: "MAILMEND_LOG",
        default: "warn",
        about: "what is logged to stderr, such as info or mailmend=debug",
    },
    Known {
        name: "log-format",
        variable: "MAILMEND_LOG_FORMAT",
        default: "text",
        about: "how the log is written: text, or json with one object a line",
    },
    Known {
        name: "listen",
        variable: "MAILMEND_LISTEN",
        default: "127.0.0.1:7268",
        about: "address that `mailmend serve` listens on",
    },
    Known {
        name: "metrics-listen",
        variable: "MAILMEND_METRICS_LISTEN",
        default: "off",
        about: "where `mailmend serve` tells metrics: off, a port on this machine, or an address",
    },
    Known {
        name: "otlp-endpoint",
        variable: "MAILMEND_OTLP_ENDPOINT",
        default: "off",
        about: "where `mailmend serve` tells spans by OTLP over gRPC: off, or http://HOST:PORT",
    },
    Known {
        name: "data",
        variable: "MAILMEND_DATA",
        default: "/var/lib/mailmend/controller",
        about: "folder of `mailmend serve`: store, authority, keys",
    },
];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// A file of the user or the system.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name in files; the flag is called so too.
    pub name: &'static str,
    /// The value as text.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What it is.
    pub about: &'static str,
}

/// Why settings cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFault {
    /// A file is there and cannot be read.
    #[error("C033-configuration: could not read `{path}`: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file is no TOML, or has a key or value that makes no sense.
    #[error("C033-configuration: `{path}` line {line}: {why}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A value makes no sense, wherever it comes from.
    #[error("C033-configuration: `{value}` is not a value for `{name}` ({origin}): {why}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// Where.
        origin: String,
        /// What is wrong.
        why: String,
    },
}

/// Values as given on the command line, by name.
pub type Flags = BTreeMap<&'static str, String>;

/// All settings with their origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings(Vec<Setting>);

impl Settings {
    /// The settings of this process: flags, its environment, the user's and the system's file.
    ///
    /// # Errors
    /// Where a file cannot be read or has something that makes no sense.
    pub fn load(flags: &Flags) -> Result<Self, ConfigFault> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut files = Vec::new();
        for path in places(variable) {
            match std::fs::read_to_string(&path) {
                Ok(text) => files.push(read_file(&path, &text)?),
                Err(why) if is_absent(&why) => {}
                Err(why) => {
                    return Err(ConfigFault::Unreadable {
                        path,
                        why: why.to_string(),
                    });
                }
            }
        }
        Ok(Self::resolve(flags, variable, &files))
    }

    /// Decides each value. Pure.
    fn resolve(
        flags: &Flags,
        variable: impl Fn(&str) -> Option<String>,
        files: &[(PathBuf, BTreeMap<String, String>)],
    ) -> Self {
        let decide = |known: &Known| {
            if let Some(value) = flags.get(known.name) {
                return (value.clone(), Origin::Flag(known.name));
            }
            if let Some(value) = variable(known.variable) {
                return (value, Origin::Environment(known.variable));
            }
            // The convention of all command lines, weaker than our own variable.
            if known.name == "color" && variable("NO_COLOR").is_some() {
                return ("never".to_owned(), Origin::Environment("NO_COLOR"));
            }
            files
                .iter()
                .find_map(|(path, values)| {
                    let value = values.get(known.name)?;
                    Some((value.clone(), Origin::File(path.clone())))
                })
                .unwrap_or_else(|| (known.default.to_owned(), Origin::Default))
        };
        let all = KNOWN.iter().map(|known| {
            let (value, origin) = decide(known);
            Setting {
                name: known.name,
                value,
                origin,
                about: known.about,
            }
        });
        Self(all.collect())
    }

    /// Every setting, in a fixed order.
    #[must_use]
    pub fn all(&self) -> &[Setting] {
        &self.0
    }

    /// A setting by name.
    ///
    /// # Panics
    /// On a name that is no setting: a defect of the caller.
    #[must_use]
    pub fn get(&self, name: &str) -> &Setting {
        self.0
            .iter()
            .find(|setting| setting.name == name)
            .expect("settings are named in KNOWN")
    }

    /// A setting's value, parsed.
    ///
    /// # Errors
    /// Where the text is no such value; the error says where the text comes from.
    pub fn parsed<T>(&self, name: &str) -> Result<T, ConfigFault>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let setting = self.get(name);
        setting
            .value
            .parse()
            .map_err(|why: T::Err| ConfigFault::Value {
                name: setting.name,
                value: setting.value.clone(),
                origin: setting.origin.to_string(),
                why: why.to_string(),
            })
    }
}

fn is_absent(why: &std::io::Error) -> bool {
    matches!(
        why.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// The user's file, then the system's.
fn places(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let user = if cfg!(windows) {
        variable("APPDATA").map(PathBuf::from)
    } else {
        variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")))
    };
    let system = if cfg!(windows) {
        variable("ProgramData").map(PathBuf::from)
    } else {
        Some(PathBuf::from("/etc"))
    };
    let file = |folder: PathBuf| folder.join("mailmend").join("config.toml");
    user.into_iter().chain(system).map(file).collect()
}

fn read_file(path: &Path, text: &str) -> Result<(PathBuf, BTreeMap<String, String>), ConfigFault> {
    let broken = |at: usize, why: String| ConfigFault::Broken {
        path: path.to_owned(),
        line: text[..at.min(text.len())].matches('\n').count() + 1,
        why,
    };
    let values: BTreeMap<String, toml::Spanned<String>> = toml::from_str(text).map_err(|why| {
        broken(
            why.span().map_or(0, |span| span.start),
            why.message().to_owned(),
        )
    })?;
    let names = || {
        KNOWN
            .iter()
            .map(|known| known.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (name, value) in &values {
        if !KNOWN.iter().any(|known| known.name == name) {
            let why = format!("`{name}` is not a setting; there are {}", names());
            return Err(broken(value.span().start, why));
        }
    }
    let values = values
        .into_iter()
        .map(|(name, value)| (name, value.into_inner()))
        .collect();
    Ok((path.to_owned(), values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> (PathBuf, BTreeMap<String, String>) {
        read_file(Path::new(path), text).unwrap()
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_users_file_beats_the_systems_file() {
        let files = [
            file("/user", "controller = \"user\"\nidentity = \"user\""),
            file(
                "/system",
                "controller = \"system\"\nidentity = \"system\"\nlog = \"system\"",
            ),
        ];
        let flags = Flags::from([("output", "json".to_owned())]);
        let variable = |name: &str| match name {
            "MAILMEND_CONTROLLER" | "MAILMEND_OUTPUT" => Some("environment".to_owned()),
            _ => None,
        };
        let settings = Settings::resolve(&flags, variable, &files);
        let found = |name| {
            (
                settings.get(name).value.as_str(),
                settings.get(name).origin.to_string(),
            )
        };
        assert_eq!(found("output"), ("json", "flag --output".to_owned()));
        assert_eq!(
            found("controller"),
            ("environment", "environment MAILMEND_CONTROLLER".to_owned())
        );
        assert_eq!(found("identity"), ("user", "file /user".to_owned()));
        assert_eq!(found("log"), ("system", "file /system".to_owned()));
        assert_eq!(found("color"), ("auto", "default".to_owned()));
    }

    #[test]
    fn no_color_is_heard_unless_mailmend_is_told_otherwise() {
        let quiet = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        let settings = Settings::resolve(&Flags::new(), quiet, &[]);
        assert_eq!(settings.get("color").value, "never");
        let flags = Flags::from([("color", "always".to_owned())]);
        assert_eq!(
            Settings::resolve(&flags, quiet, &[]).get("color").value,
            "always"
        );
    }

    #[test]
    fn a_mistake_in_a_file_is_told_with_its_line() {
        let fault = read_file(Path::new("/f"), "log = \"info\"\ncontroler = \"x\"\n").unwrap_err();
        assert!(
            matches!(&fault, ConfigFault::Broken { line: 2, why, .. } if why.contains("controler")),
            "{fault}"
        );
        let fault = read_file(Path::new("/f"), "\n\nlog = 3\n").unwrap_err();
        assert!(
            matches!(fault, ConfigFault::Broken { line: 3, .. }),
            "{fault}"
        );
        assert!(read_file(Path::new("/f"), "log = ").is_err());
    }

    #[test]
    fn a_value_that_makes_no_sense_names_its_origin() {
        let flags = Flags::from([("listen", "nowhere".to_owned())]);
        let settings = Settings::resolve(&flags, |_| None, &[]);
        let fault = settings
            .parsed::<std::net::SocketAddr>("listen")
            .unwrap_err();
        assert!(fault.to_string().contains("flag --listen"), "{fault}");
    }
}
