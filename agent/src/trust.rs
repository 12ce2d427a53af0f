//! Whose policies this agent takes: the gate between what a controller sends and what is carried out.
//!
//! The guard file says it: `policies = "unsigned"` takes whatever the controller sends, within the rest of the
//! guard file; `policies = "signed"` takes only what the trusted catalogue lists by its exact bytes. What is
//! trusted is kept in the data folder, durable before anything relies on it. Where that cannot be read the gate is
//! closed, never open: nothing new is begun, and what is under way comes to its end.
//!
//! The gate stands before new work alone. A run that was admitted is carried on, left, unwound and recovered
//! without asking here: documents that expire must not leave a service stopped.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mailmend_proto::convert::offer_from_wire;
use mailmend_proto::wire;
use mailmend_trust::{Denial, Entry, Kind, Offer, Refusal as Untrusted, Trusted};
use tokio::sync::watch;

use crate::faults::known;
use crate::guard::{Guard, Policies};
use crate::inbox::Refusal;

pub use file::{Pinned, pin};

/// The gate. Closed until [`Gate::open`], where the guard file asks for signed policies.
pub struct Gate {
    inner: Mutex<Inner>,
    told: watch::Sender<Held>,
}

enum Inner {
    Unsigned,
    Closed(Refusal),
    Open(Box<Open>),
}

struct Open {
    file: PathBuf,
    state: Trusted,
    /// What was refused because its time was over, by a clock that may have been wrong: it is looked at again.
    waiting: Option<Offer>,
    /// What was refused last, since something was taken.
    refused: Option<Refusal>,
}

/// What is held, for the controller and for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Whether the guard file asks for signed policies.
    pub signed: bool,
    /// The version of the root; 0: none.
    pub root: u64,
    /// Of the catalogue; 0: none.
    pub catalogue: u64,
    /// Of the timestamp; 0: none.
    pub timestamp: u64,
    /// When the first of them expires, milliseconds since 1970 UTC; 0: there is none.
    pub expires_ms: i64,
    /// Why nothing new is begun now, or what was refused last; none: all is well.
    pub trouble: Option<Refusal>,
}

impl Held {
    /// As the controller is told.
    #[must_use]
    pub fn to_wire(&self) -> wire::TrustHeld {
        let trouble = self.trouble.as_ref();
        wire::TrustHeld {
            signed: self.signed,
            root: self.root,
            catalogue: self.catalogue,
            timestamp: self.timestamp,
            expires_ms: self.expires_ms,
            code: trouble.map_or_else(String::new, |one| one.code.to_owned()),
            why: trouble.map_or_else(String::new, |one| one.why.clone()),
        }
    }
}

/// That a policy may be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permit {
    /// The guard file asks for no signatures.
    Unasked,
    /// The catalogue lists its exact bytes, under this name and version.
    Listed(Entry),
}

impl Permit {
    /// Whether a policy, understood, is what it was listed as.
    ///
    /// # Errors
    /// Where its text says another name or version than the catalogue.
    pub fn is_for(&self, name: &str, version: u32) -> Result<(), Refusal> {
        match self {
            Self::Listed(entry) if entry.name != name || entry.version != version => {
                Err(Refusal::new(
                    const { known("A168-policy-misnamed") },
                    format!(
                        "the catalogue lists this text as `{}` version {}, and it says `{name}` version {version}; sign a catalogue that has it right",
                        entry.name, entry.version
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}

fn denied(denial: &Denial) -> Refusal {
    match denial {
        Denial::NoCatalogue => Refusal::new(
            const { known("A162-trust-incomplete") },
            format!(
                "{denial}; `mailmend trust publish` gives it to the controller, which sends it"
            ),
        ),
        Denial::NotListed { .. } => Refusal::new(
            const { known("A160-policy-unsigned") },
            format!(
                "{denial}; sign a catalogue that lists it and publish that with `mailmend trust publish`"
            ),
        ),
        Denial::Expired { .. } => Refusal::new(
            const { known("A161-trust-expired") },
            format!(
                "{denial}, so nothing new is begun; publish a newer one with `mailmend trust publish`, and look at this server's clock"
            ),
        ),
    }
}

fn untrusted(why: &Untrusted) -> Refusal {
    Refusal::new(
        const { known("A163-trust-refused") },
        format!("{why}; what was trusted before stays"),
    )
}

impl Gate {
    /// The gate that a guard file asks for: closed where it asks for signatures.
    #[must_use]
    pub fn of(guard: &Guard) -> Self {
        let inner = match guard.policies() {
            Policies::Unsigned => Inner::Unsigned,
            Policies::Signed { .. } => Inner::Closed(Refusal::new(
                const { known("A162-trust-incomplete") },
                "what this agent trusts was not read; only `mailmend-agent run` takes work on",
            )),
        };
        let gate = Self {
            inner: Mutex::new(inner),
            told: watch::Sender::default(),
        };
        let signed = !matches!(*gate.lock(), Inner::Unsigned);
        gate.told.send_modify(|held| held.signed = signed);
        gate
    }

    /// Reads what is kept in the data folder, and pins the root at the first start. Where that fails the gate stays
    /// closed, and the refusal is what everybody is told who wants in.
    ///
    /// # Errors
    /// Why it stays closed.
    pub fn open(&self, guard: &Guard, data: &Path, now_ms: i64) -> Result<(), Refusal> {
        let Policies::Signed { root } = guard.policies() else {
            return Ok(());
        };
        let mut inner = self.lock();
        let opened = file::open(root, data);
        *inner = match &opened {
            Ok(state) => Inner::Open(Box::new(Open {
                file: file::place(data),
                state: state.clone(),
                waiting: None,
                refused: None,
            })),
            Err(refusal) => Inner::Closed(refusal.clone()),
        };
        drop(inner);
        self.look(now_ms);
        opened.map(drop)
    }

    /// What would be held, for a look from beside: nothing is written.
    #[must_use]
    pub fn look_at(guard: &Guard, data: &Path, now_ms: i64) -> Held {
        let Policies::Signed { root } = guard.policies() else {
            return Held::default();
        };
        match file::look(root, data) {
            Ok(state) => held(&state, now_ms),
            Err(refusal) => Held {
                signed: true,
                trouble: Some(refusal),
                ..Held::default()
            },
        }
    }

    /// Whether a policy with exactly these bytes may be begun now.
    ///
    /// # Errors
    /// Where it may not. What the clock shows to be expired is written down before.
    pub fn admits(&self, text: &[u8], now_ms: i64) -> Result<Permit, Refusal> {
        self.look(now_ms);
        match &*self.lock() {
            Inner::Unsigned => Ok(Permit::Unasked),
            Inner::Closed(refusal) => Err(refusal.clone()),
            Inner::Open(open) => {
                let entry = open.state.permits(text, now_ms);
                entry
                    .cloned()
                    .map(Permit::Listed)
                    .map_err(|denial| denied(&denial))
            }
        }
    }

    /// Whether the symptom of a policy with exactly these bytes may be looked for; expired documents do not end
    /// that.
    ///
    /// # Errors
    /// Where it may not.
    pub fn may_watch(&self, text: &[u8]) -> Result<Permit, Refusal> {
        match &*self.lock() {
            Inner::Unsigned => Ok(Permit::Unasked),
            Inner::Closed(refusal) => Err(refusal.clone()),
            Inner::Open(open) => {
                let entry = open.state.listed(text);
                entry
                    .cloned()
                    .map(Permit::Listed)
                    .map_err(|denial| denied(&denial))
            }
        }
    }

    /// Takes what a controller offers, as far as it can be believed; durable on return. Whether anything changed.
    ///
    /// # Errors
    /// Where some of it is refused; what was trusted before stays.
    pub fn take(&self, sent: wire::TrustDocuments, now_ms: i64) -> Result<bool, Refusal> {
        let taken = {
            let mut inner = self.lock();
            match &mut *inner {
                // Whatever it is, nothing here asks for it.
                Inner::Unsigned => Ok(false),
                Inner::Closed(refusal) => Err(refusal.clone()),
                Inner::Open(open) => offer_from_wire(sent)
                    .map_err(|why| {
                        let code = const { known("A163-trust-refused") };
                        Refusal::new(code, format!("{why}; what was trusted before stays"))
                    })
                    .and_then(|offer| open.offered(offer, now_ms)),
            }
        };
        self.tell(now_ms);
        taken
    }

    /// Looks at the clock: what is expired by now is remembered, and what was refused as expired is looked at
    /// again.
    pub fn look(&self, now_ms: i64) {
        if let Inner::Open(open) = &mut *self.lock() {
            open.look(now_ms);
        }
        self.tell(now_ms);
    }

    /// What is held, as it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Held> {
        self.told.subscribe()
    }

    fn tell(&self, now_ms: i64) {
        let held = match &*self.lock() {
            Inner::Unsigned => Held::default(),
            Inner::Closed(refusal) => Held {
                signed: true,
                trouble: Some(refusal.clone()),
                ..Held::default()
            },
            Inner::Open(open) => {
                let mut held = held(&open.state, now_ms);
                held.trouble = held.trouble.or_else(|| open.refused.clone());
                held
            }
        };
        self.told.send_if_modified(|told| {
            let changed = *told != held;
            if changed {
                *told = held;
            }
            changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Keeps a state and believes it; one that cannot be kept is not believed.
    fn become_of(&mut self, state: Trusted) -> Result<bool, Refusal> {
        if state == self.state {
            return Ok(false);
        }
        file::write(&self.file, &state)?;
        self.state = state;
        Ok(true)
    }

    fn offered(&mut self, offer: Offer, now_ms: i64) -> Result<bool, Refusal> {
        let step = self.state.offered(&offer, now_ms);
        let changed = self.become_of(step.state)?;
        let expired = matches!(step.refused, Some(Untrusted::Expired { .. }));
        self.waiting = expired.then_some(offer);
        self.refused = step.refused.as_ref().map(untrusted);
        match &self.refused {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(changed),
        }
    }

    fn look(&mut self, now_ms: i64) {
        if let Some(offer) = self.waiting.take() {
            // Still expired, or refused for another reason: that is told as it was.
            let _ = self.offered(offer, now_ms);
        }
        // A mark that cannot be written holds for this life; the next look tries again.
        let seen = self.state.seen(now_ms);
        if let Err(refusal) = self.become_of(seen.clone()) {
            tracing::error!("{refusal}");
            self.state = seen;
        }
    }
}

fn held(state: &Trusted, now_ms: i64) -> Held {
    let ends = Kind::ALL
        .into_iter()
        .filter_map(|kind| state.expires_ms(kind));
    Held {
        signed: true,
        root: state.version(Kind::Root),
        catalogue: state.version(Kind::Catalogue),
        timestamp: state.version(Kind::Timestamp),
        expires_ms: ends.min().unwrap_or(0),
        trouble: state.fresh(now_ms).err().as_ref().map(denied),
    }
}

#[cfg(test)]
mod tests;
