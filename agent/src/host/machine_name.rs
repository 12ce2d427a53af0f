//! How a machine is called in its network.

use std::fmt;
use std::str::FromStr;

/// The name of a machine in the network: letters, digits, `-`, `_` and `.`, as Windows wants it
/// without the backslashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineName(String);

impl FromStr for MachineName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.strip_prefix(r"\\").unwrap_or(text);
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if plain.is_empty()
            || plain.len() > 255
            || !plain.chars().all(known)
            || plain.starts_with('.')
        {
            return Err(format!("`{}` is no name of a machine", text.escape_debug()));
        }
        Ok(Self(plain.to_owned()))
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_machine_cannot_lead_elsewhere() {
        for name in ["OSLO-B", r"\\OSLO-B", "oslo_b.example.org", "10.0.0.5"] {
            assert!(name.parse::<MachineName>().is_ok(), "{name}");
        }
        for name in [
            "", r"\\", ".", "..", r"oslo\c$", "oslo/x", "oslo b", "oslo:1", "?",
        ] {
            assert!(name.parse::<MachineName>().is_err(), "{name}");
        }
        let name: MachineName = r"\\OSLO-B".parse().unwrap();
        assert_eq!(name.to_string(), "OSLO-B");
    }
}
