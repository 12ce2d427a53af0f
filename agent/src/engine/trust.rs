//! Whose policies are taken: the engine's side of the gate.

use std::path::Path;

use mailmend_proto::wire;
use tokio::sync::watch;

use super::Engine;
use crate::inbox::Refusal;
use crate::trust::{Held, Permit};

impl Engine {
    /// Reads what is trusted from this folder, and keeps it there from now on. Where that fails nothing new is begun;
    /// recovery, exits and unwinding do not ask.
    pub fn keep_trust(&self, data: &Path) {
        let station = &self.0.station;
        let now_ms = station.host.clock().wall_ms();
        if let Err(refusal) = station.trust.open(&station.guard, data, now_ms) {
            tracing::error!("{refusal}; nothing new is begun");
        }
    }

    /// Takes signed documents, as far as they can be believed; durable on return. Whether anything changed.
    ///
    /// # Errors
    /// Where some of it is refused; what was trusted before stays.
    pub fn take_trust(&self, documents: wire::TrustDocuments) -> Result<bool, Refusal> {
        let station = &self.0.station;
        let now_ms = station.host.clock().wall_ms();
        station.trust.take(documents, now_ms)
    }

    /// Whether the symptom of a policy with exactly these bytes may be looked for.
    ///
    /// # Errors
    /// Where it may not.
    pub fn may_watch(&self, text: &[u8]) -> Result<Permit, Refusal> {
        self.0.station.trust.may_watch(text)
    }

    /// Looks at the clock: what is expired by now stays so.
    pub fn look_at_trust(&self) {
        let station = &self.0.station;
        station.trust.look(station.host.clock().wall_ms());
    }

    /// What is held, as it changes.
    #[must_use]
    pub fn trust_held(&self) -> watch::Receiver<Held> {
        self.0.station.trust.subscribe()
    }
}
