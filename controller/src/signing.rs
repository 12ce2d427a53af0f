//! What is signed of policies, as the controller sees it: a convenience. Each agent judges for itself, by the
//! same rules, and believes nothing because the controller does.

use std::collections::BTreeSet;

use mailmend_policy::name::ServerName;
use mailmend_trust::{Denial, Kind, Offer, Refusal, Root, Signed, Trusted, kind_of, signers};

/// What was published is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningFault {
    /// It is not believed.
    #[error("C170-trust-refused: {0}; nothing was published")]
    Refused(String),
    /// A policy is not listed.
    #[error(
        "C171-policy-unsigned: {agents} of this plan take signed policies alone, and {denial}; have a catalogue signed that lists it, and publish that with `mailmend trust publish`"
    )]
    Unsigned {
        /// The agents, for people.
        agents: String,
        /// Why.
        denial: Denial,
    },
    /// Nothing is signed yet.
    #[error(
        "C172-trust-missing: {agents} of this plan take signed policies alone, and none was published; `mailmend trust publish` does"
    )]
    Missing {
        /// The agents, for people.
        agents: String,
    },
    /// Something has expired.
    #[error(
        "C173-trust-expired: {agents} of this plan take signed policies alone, and {denial}; publish a newer one with `mailmend trust publish`"
    )]
    Expired {
        /// The agents, for people.
        agents: String,
        /// What.
        denial: Denial,
    },
}

/// What a publication makes of what was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// What is believed now.
    pub state: Trusted,
    /// Roots that are new, by version.
    pub roots: Vec<(u64, Signed)>,
    /// What is current now, for the audit trail.
    pub what: String,
}

fn refused(why: impl ToString) -> SigningFault {
    SigningFault::Refused(why.to_string())
}

/// Judges documents that an operator publishes, all or nothing. The first root is believed on that operator's word.
///
/// # Errors
/// Where one of them is not believed.
pub fn publication(
    before: Option<&Trusted>,
    documents: Vec<Signed>,
    now_ms: i64,
) -> Result<Publication, SigningFault> {
    let mut offer = Offer::default();
    let mut roots = Vec::new();
    for (at, signed) in documents.into_iter().enumerate() {
        let twice = |kind: Kind| refused(format!("there are two documents of the kind {kind}"));
        match kind_of(&signed.text) {
            Some(Kind::Root) => {
                let root = Root::parse(&signed.text).map_err(|why| refused(&why))?;
                roots.push((root, signed));
            }
            Some(kind @ Kind::Catalogue) if offer.catalogue.replace(signed.clone()).is_some() => {
                return Err(twice(kind));
            }
            Some(kind @ Kind::Timestamp) if offer.timestamp.replace(signed.clone()).is_some() => {
                return Err(twice(kind));
            }
            Some(_) => {}
            None => {
                return Err(refused(format!(
                    "document {} is neither root, catalogue nor timestamp",
                    at + 1
                )));
            }
        }
    }
    roots.sort_by_key(|(root, _)| root.version);
    offer.roots = roots.iter().map(|(_, signed)| signed.clone()).collect();
    let start = match (before, roots.first()) {
        (Some(state), _) => state.clone(),
        (None, Some((root, signed))) => first(root, signed)?,
        (None, None) => return Err(refused("no root was ever published, and none is here")),
    };
    // The daily case: a newer timestamp for the catalogue that is current.
    if offer.timestamp.is_some() && offer.catalogue.is_none() {
        offer.catalogue = start.signed(Kind::Catalogue).cloned();
    }
    let step = start.offered(&offer, now_ms);
    if let Some(why) = step.refused {
        return Err(match why {
            Refusal::Incomplete => {
                refused("a catalogue is published together with a timestamp that names it")
            }
            why => refused(&why),
        });
    }
    let known = before.map_or(0, |state| state.version(Kind::Root));
    let new = roots.into_iter().filter(|(root, _)| root.version > known);
    let state = step.state;
    let what = format!(
        "root {}, catalogue {}, timestamp {}",
        state.version(Kind::Root),
        state.version(Kind::Catalogue),
        state.version(Kind::Timestamp)
    );
    Ok(Publication {
        roots: new.map(|(root, signed)| (root.version, signed)).collect(),
        state,
        what,
    })
}

/// The first root has to be signed by its own keys: whoever publishes it may not have copied it whole.
fn first(root: &Root, signed: &Signed) -> Result<Trusted, SigningFault> {
    let role = root.role(Kind::Root);
    let (have, need) = (signers(signed, Kind::Root, role).len(), role.threshold());
    if have < need as usize {
        return Err(refused(format!(
            "root {} is signed by {have} of its own keys, and {need} are needed",
            root.version
        )));
    }
    Trusted::pin(&signed.text).map_err(|why| refused(&why))
}

/// Whether agents that take signed policies alone would take this one now.
///
/// # Errors
/// Why they would refuse it.
pub fn would_take(
    state: Option<&Trusted>,
    asking: &BTreeSet<ServerName>,
    text: &[u8],
    now_ms: i64,
) -> Result<(), SigningFault> {
    let Some(one) = asking.first() else {
        return Ok(());
    };
    let agents = match asking.len() {
        1 => format!("agent {one}"),
        more => format!("{more} agents, {one} among them,"),
    };
    let Some(state) = state else {
        return Err(SigningFault::Missing { agents });
    };
    match state.permits(text, now_ms) {
        Ok(_) => Ok(()),
        Err(Denial::NoCatalogue) => Err(SigningFault::Missing { agents }),
        Err(denial @ Denial::NotListed { .. }) => Err(SigningFault::Unsigned { agents, denial }),
        Err(denial @ Denial::Expired { .. }) => Err(SigningFault::Expired { agents, denial }),
    }
}

#[cfg(test)]
mod tests;
