//! The roster: what is [`Known`], kept in memory for the door, and which connections are open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;

use super::Named;
use super::known::{Barred, Known};
use super::refusals::Refusals;
use super::role::Role;

/// Shared by the door, which asks, and the services, which change what is known. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: RwLock<Known>,
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    refusals: Refusals,
}

/// A connection whose caller showed a certificate.
#[derive(Debug)]
struct Open {
    whom: Named,
    serial: String,
    cut: CancellationToken,
}

/// The place of an open connection; gone with it.
#[derive(Debug)]
pub struct Place {
    roster: Roster,
    id: u64,
    /// Cancelled when what is known says that the certificate speaks for nobody any more.
    pub cut: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roster.open().remove(&self.id);
    }
}

impl Roster {
    /// A roster of what is known.
    #[must_use]
    pub fn new(known: Known) -> Self {
        let roster = Self::default();
        roster.learn(known);
        roster
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the door refused to callers that it knows by name.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// [`Known::verdict`] by what is known now.
    ///
    /// # Errors
    /// Where the certificate does not speak for the name.
    pub fn verdict(&self, whom: &Named, serial: &str) -> Result<Option<Role>, Barred> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.verdict(whom, serial)
    }

    /// Notes a connection. It is noted before anybody asks for a verdict on it, so that a revocation
    /// either finds it here or is found by the first call.
    #[must_use]
    pub fn enter(&self, whom: Named, serial: String) -> Place {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let cut = CancellationToken::new();
        let open = Open {
            whom,
            serial,
            cut: cut.clone(),
        };
        self.open().insert(id, open);
        Place {
            roster: self.clone(),
            id,
            cut,
        }
    }

    /// Takes what is known anew and closes the connections that are barred by it; answers how many.
    pub fn learn(&self, known: Known) -> u32 {
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        let mut closed = 0;
        for open in self.open().values() {
            if !open.cut.is_cancelled() && self.verdict(&open.whom, &open.serial).is_err() {
                tracing::warn!(whom = %open.whom, "closing a connection: its certificate was revoked");
                open.cut.cancel();
                closed += 1;
            }
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::trust::known::Revocation;

    #[test]
    fn a_revocation_closes_what_is_open_of_that_name_and_nothing_else() {
        let roster = Roster::default();
        let agent = |name: &str| Named::Agent(name.parse().unwrap());
        let (one, other) = (
            roster.enter(agent("SRVB"), "1".into()),
            roster.enter(agent("SRVC"), "2".into()),
        );
        let gone = roster.enter(agent("SRVB"), "1".into());
        drop(gone);
        let revocation = Revocation {
            at_ms: 1,
            by: "admin".into(),
            why: "stolen".into(),
            since: BTreeSet::from(["3".to_owned()]),
        };
        let known = Known {
            revoked: [(agent("SRVB"), revocation)].into(),
            ..Known::default()
        };
        assert_eq!(roster.learn(known.clone()), 1);
        assert!(one.cut.is_cancelled() && !other.cut.is_cancelled());
        let fresh = roster.enter(agent("SRVB"), "3".into());
        assert_eq!(roster.learn(known), 0);
        assert!(!fresh.cut.is_cancelled());
    }
}
