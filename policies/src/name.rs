//! Names of things: policies, roles, steps, servers, sites, services, tools.
//!
//! Each kind is its own type, so that a step id is never taken for a service name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an acceptable name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// The text is empty.
    #[error("the name is empty")]
    Empty,
    /// The text has more than the allowed number of characters.
    #[error("`{name}` has {length} characters, at most {limit} are allowed")]
    TooLong {
        /// The text, cut to 40 characters.
        name: String,
        /// How many characters it has.
        length: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A character that this kind of name does not allow (look-alikes and invisible ones included).
    #[error(
        "`{name}` has the character {character:?} at position {position}; allowed are {allowed}"
    )]
    Character {
        /// The text.
        name: String,
        /// The first character that is not allowed.
        character: char,
        /// Its position, counted in characters from 1.
        position: usize,
        /// What is allowed, for people.
        allowed: &'static str,
    },
}

fn checked(
    text: &str,
    limit: usize,
    allowed: &'static str,
    ok: impl Fn(usize, char) -> bool,
) -> Result<String, NameFault> {
    if text.is_empty() {
        return Err(NameFault::Empty);
    }
    let length = text.chars().count();
    if length > limit {
        return Err(NameFault::TooLong {
            name: text.chars().take(40).collect(),
            length,
            limit,
        });
    }
    if let Some((at, character)) = text.chars().enumerate().find(|&(at, c)| !ok(at, c)) {
        let name = text.escape_debug().to_string();
        return Err(NameFault::Character {
            name,
            character,
            position: at + 1,
            allowed,
        });
    }
    Ok(text.to_owned())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $limit:expr, $allowed:expr, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The characters that such a name may have, for people.
            pub const ALLOWED: &'static str = $allowed;

            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameFault;
            fn from_str(text: &str) -> Result<Self, NameFault> {
                checked(text, $limit, Self::ALLOWED, $ok).map(Self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameFault;
            fn try_from(text: String) -> Result<Self, NameFault> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

const KEBAB: &str = "lower-case letters a-z, digits and `-`, beginning with a letter";
const fn kebab(at: usize, c: char) -> bool {
    c.is_ascii_lowercase() || (at > 0 && (c.is_ascii_digit() || c == '-'))
}
const HOST: &str =
    "letters A-Z and a-z, digits, `-`, `_` and `.`, beginning with a letter or digit";
const fn host(at: usize, c: char) -> bool {
    c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '-' | '_' | '.'))
}

name! {
    /// A policy's name: kebab-case, at most 63 characters.
    PolicyName, 63, KEBAB, kebab
}
name! {
    /// A role in a policy, such as `outbound`: kebab-case, at most 63 characters.
    RoleName, 63, KEBAB, kebab
}
name! {
    /// A step's id, unique in its policy: kebab-case, at most 63 characters.
    StepId, 63, KEBAB, kebab
}
name! {
    /// A tool that the guard file of the agent defines: kebab-case, at most 63 characters.
    ToolName, 63, KEBAB, kebab
}
name! {
    /// A server; also the name of its agent and in its certificate. At most 63 characters.
    ServerName, 63, HOST, host
}
name! {
    /// A site: servers that share routing. At most 63 characters.
    SiteName, 63, HOST, host
}
name! {
    /// A service's short name, such as `MSExchangeIMC`. At most 80 characters (Windows allows 256).
    ServiceName, 80, HOST, host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_and_invisible_characters_are_refused_with_their_place() {
        let fault = "stop-\u{0456}ms".parse::<StepId>().unwrap_err();
        assert!(matches!(
            fault,
            NameFault::Character {
                position: 6,
                character: '\u{0456}',
                ..
            }
        ));
        assert!("stop\u{200b}".parse::<StepId>().is_err());
        assert!("".parse::<StepId>().is_err());
        assert!("a".repeat(64).parse::<StepId>().is_err());
        assert!("-a".parse::<StepId>().is_err());
        assert!("MSExchangeIMC".parse::<ServiceName>().is_ok());
    }
}
