//! What is known of names: a pure answer to "does this certificate still speak for this name?".

use std::collections::{BTreeMap, BTreeSet};

use super::Named;
use super::role::Role;

/// Why a caller is refused though TLS found its certificate good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// What its name had was ended.
    #[error(
        "C152-identity-revoked: the certificate of {whom} was revoked by `{by}` ({why}); it needs a new token \
         and enrols anew: {remedy}"
    )]
    Revoked {
        /// Whose it is.
        whom: Named,
        /// Who revoked it.
        by: String,
        /// Why, in words.
        why: String,
        /// The command that makes a token.
        remedy: &'static str,
    },
    /// An operator of whom nothing is known here.
    #[error(
        "C153-operator-unknown: operator `{0}` is not known here; an admin lets it in with `mailmend operator add`"
    )]
    Unknown(String),
}

/// The last revocation of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// By whom.
    pub by: String,
    /// Why, in words.
    pub why: String,
    /// Serials, lower-case hexadecimal, of the certificates that were issued after it.
    pub since: BTreeSet<String>,
}

/// Everything that the store says of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The role of each operator.
    pub operators: BTreeMap<String, Role>,
    /// The names that were revoked at least once.
    pub revoked: BTreeMap<Named, Revocation>,
}

impl Known {
    /// Whether the certificate `serial` speaks for `whom`, and with which role where that is an operator.
    ///
    /// A name that was never revoked is believed with any certificate of the authority: after the store
    /// was put back from a backup, the newest serials are unknown and a whole fleet must not be locked
    /// out. A name that was revoked is believed only with a certificate that is known to have come after.
    ///
    /// # Errors
    /// Where it does not.
    pub fn verdict(&self, whom: &Named, serial: &str) -> Result<Option<Role>, Barred> {
        if let Some(last) = self.revoked.get(whom)
            && !last.since.contains(serial)
        {
            return Err(Barred::Revoked {
                whom: whom.clone(),
                by: last.by.clone(),
                why: last.why.clone(),
                remedy: match whom {
                    Named::Agent(_) => "`mailmend agent token`",
                    Named::Operator(_) => "`mailmend operator add --again`",
                },
            });
        }
        match whom {
            Named::Agent(_) => Ok(None),
            Named::Operator(name) => match self.operators.get(name) {
                Some(role) => Ok(Some(*role)),
                None => Err(Barred::Unknown(name.clone())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let last = Revocation {
            at_ms: 5,
            by: "admin".into(),
            why: "stolen".into(),
            since: BTreeSet::from(["new".to_owned()]),
        };
        Known {
            operators: BTreeMap::from([("anna".into(), Role::Viewer), ("ben".into(), Role::Admin)]),
            revoked: BTreeMap::from([
                (Named::Agent("SRVB".parse().unwrap()), last.clone()),
                (Named::Operator("ben".into()), last),
            ]),
        }
    }

    #[test]
    fn a_revoked_name_is_believed_only_with_what_came_after() {
        let known = known();
        let agent = |name: &str| Named::Agent(name.parse().unwrap());
        assert_eq!(known.verdict(&agent("SRVA"), "any"), Ok(None));
        assert_eq!(known.verdict(&agent("SRVB"), "new"), Ok(None));
        assert!(matches!(
            known.verdict(&agent("SRVB"), "old"),
            Err(Barred::Revoked { .. })
        ));
        let ben = Named::Operator("ben".into());
        assert_eq!(known.verdict(&ben, "new"), Ok(Some(Role::Admin)));
        assert!(known.verdict(&ben, "").is_err());
    }

    #[test]
    fn an_operator_of_whom_nothing_is_known_is_refused_whatever_signed_its_certificate() {
        let known = known();
        let of = |name: &str| known.verdict(&Named::Operator(name.into()), "any");
        assert_eq!(of("anna"), Ok(Some(Role::Viewer)));
        assert_eq!(of("carl"), Err(Barred::Unknown("carl".into())));
    }
}
