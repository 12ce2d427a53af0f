//! What an operator may do.

use std::fmt;
use std::str::FromStr;

use mailmend_proto::wire;

/// A role. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks at everything, and may pause: stopping harm needs nobody's leave.
    Viewer,
    /// Starts, steers and answers: what an operator at night needs.
    Operator,
    /// Lets others' changes go on. Nobody approves their own.
    Approver,
    /// Says what may run (publishes, binds, recalls) and who may call.
    Admin,
}

/// A text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role: viewer, operator, approver or admin")]
pub struct NoRole(String);

impl Role {
    /// All, the weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// As the store and the command line write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    /// As it travels.
    #[must_use]
    pub const fn to_wire(self) -> wire::Role {
        match self {
            Self::Viewer => wire::Role::Viewer,
            Self::Operator => wire::Role::Operator,
            Self::Approver => wire::Role::Approver,
            Self::Admin => wire::Role::Admin,
        }
    }

    /// From what travelled; `None`: none was said, or one of a newer version.
    #[must_use]
    pub fn from_wire(role: i32) -> Option<Self> {
        match wire::Role::try_from(role) {
            Ok(wire::Role::Viewer) => Some(Self::Viewer),
            Ok(wire::Role::Operator) => Some(Self::Operator),
            Ok(wire::Role::Approver) => Some(Self::Approver),
            Ok(wire::Role::Admin) => Some(Self::Admin),
            Ok(wire::Role::Unspecified) | Err(_) => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| NoRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_reads_back_from_its_name_and_from_the_wire() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(Role::from_wire(role.to_wire().into()), Some(role));
        }
        assert!("root".parse::<Role>().is_err());
        assert_eq!(Role::from_wire(0), None);
        assert_eq!(Role::from_wire(99), None);
        assert!(Role::ALL.is_sorted());
    }
}
