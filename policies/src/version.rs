//! Four-part Exchange versions and ranges of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A product version such as `5.5` or `5.5.2650.21`; missing parts are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub [u32; 4]);

/// Why a text is not a version or a range of versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionFault {
    /// Not one to four numbers with dots between them.
    #[error(
        "`{0}` is not a version: one to four numbers with dots are needed, such as `5.5` or `4.0.994.63`"
    )]
    NotAVersion(String),
    /// Not a list of comparisons.
    #[error(
        "`{0}` is not a range of versions: write comparisons with `,` between them, such as `>=5.0, <5.6`"
    )]
    NotARange(String),
    /// No version satisfies the range.
    #[error("no version satisfies `{0}`")]
    Empty(String),
}

impl FromStr for Version {
    type Err = VersionFault;

    fn from_str(text: &str) -> Result<Self, VersionFault> {
        let fault = || VersionFault::NotAVersion(text.to_owned());
        let mut parts = [0_u32; 4];
        for (given, part) in text.split('.').enumerate() {
            let slot = parts.get_mut(given).ok_or_else(fault)?;
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(fault());
            }
            *slot = part.parse().map_err(|_| fault())?;
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        if c == 0 && d == 0 {
            write!(f, "{a}.{b}")
        } else {
            write!(f, "{a}.{b}.{c}.{d}")
        }
    }
}

/// How a version is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    Greater,
}

/// Comparisons that must all hold, such as `>=5.0, <5.6`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange(pub Vec<(Comparison, Version)>);

impl VersionRange {
    /// Whether `version` satisfies every comparison.
    #[must_use]
    pub fn holds(&self, version: Version) -> bool {
        self.0.iter().all(|(comparison, bound)| match comparison {
            Comparison::Less => version < *bound,
            Comparison::AtMost => version <= *bound,
            Comparison::Equal => version == *bound,
            Comparison::AtLeast => version >= *bound,
            Comparison::Greater => version > *bound,
        })
    }
}

impl FromStr for VersionRange {
    type Err = VersionFault;

    fn from_str(text: &str) -> Result<Self, VersionFault> {
        let mut comparisons = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (comparison, rest) = [
                ("<=", Comparison::AtMost),
                (">=", Comparison::AtLeast),
                ("<", Comparison::Less),
                (">", Comparison::Greater),
                ("=", Comparison::Equal),
            ]
            .iter()
            .find_map(|(sign, comparison)| Some((*comparison, part.strip_prefix(sign)?)))
            .ok_or_else(|| VersionFault::NotARange(text.to_owned()))?;
            comparisons.push((comparison, rest.trim().parse()?));
        }
        let range = Self(comparisons);
        if range.can_hold() {
            Ok(range)
        } else {
            Err(VersionFault::Empty(text.to_owned()))
        }
    }
}

impl VersionRange {
    /// Whether any version at all satisfies the range: a bound itself, or its direct neighbour.
    fn can_hold(&self) -> bool {
        self.0.iter().any(|(_, bound)| {
            let [a, b, c, d] = bound.0;
            let mut candidates = vec![*bound];
            candidates.extend(d.checked_add(1).map(|d| Version([a, b, c, d])));
            candidates.push(before(*bound));
            candidates
                .into_iter()
                .any(|candidate| self.holds(candidate))
        })
    }
}

/// The greatest version below `version`; `0.0.0.0` for itself.
fn before(Version(mut parts): Version) -> Version {
    for at in (0..4).rev() {
        if parts[at] > 0 {
            parts[at] -= 1;
            parts[at + 1..].fill(u32::MAX);
            return Version(parts);
        }
    }
    Version(parts)
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (comparison, version)) in self.0.iter().enumerate() {
            let sign = match comparison {
                Comparison::Less => "<",
                Comparison::AtMost => "<=",
                Comparison::Equal => "=",
                Comparison::AtLeast => ">=",
                Comparison::Greater => ">",
            };
            write!(f, "{}{sign}{version}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_and_empty_ranges_are_refused() {
        let range: VersionRange = ">=5.0, <5.6".parse().unwrap();
        assert!(range.holds("5.5.2650.21".parse().unwrap()));
        assert!(!range.holds("5.6".parse().unwrap()));
        assert_eq!(range.to_string(), ">=5.0, <5.6");
        assert!(matches!(
            ">5.5, <5.0".parse::<VersionRange>(),
            Err(VersionFault::Empty(_))
        ));
        assert!("5.5".parse::<VersionRange>().is_err());
        assert!("4.0.0.0.1".parse::<Version>().is_err());
        assert!(
            "<4.0.994.63"
                .parse::<VersionRange>()
                .unwrap()
                .holds("4.0.837.3".parse().unwrap())
        );
    }
}
