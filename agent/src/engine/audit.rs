//! An audit that the controller asks for: in pieces, one at a time.

use std::sync::TryLockError;

use mailmend_policy::condition::PathRoot;
use mailmend_proto::convert::run_from_wire;
use mailmend_proto::wire;

use super::Engine;
use crate::custody::audit::{Disagreement, Ground, MOST_FOUND, audit};
use crate::faults::known;
use crate::inbox::held_root;

/// Disagreements of one message.
const PIECE: usize = 200;

impl Engine {
    /// Audits the ledger and tells what was found in pieces, the last one marked. Ends early where nobody
    /// listens any more (`tell` answers `false`).
    pub fn audit(&self, request: &wire::AuditRequest, tell: &mut dyn FnMut(wire::Audit) -> bool) {
        let told = |found: Vec<Disagreement>, messages| wire::Audit {
            id: request.id.clone(),
            found: found.into_iter().map(to_wire).collect(),
            messages,
            last: false,
            failed: String::new(),
        };
        let mut looked = 0;
        let mut count = 0;
        let ended = self.audited(&request.run, &mut |found, messages| {
            looked = messages;
            count += found.len();
            if found.is_empty() {
                return tell(told(Vec::new(), messages));
            }
            found
                .chunks(PIECE)
                .all(|piece| tell(told(piece.to_vec(), messages)))
        });
        let failed = match ended {
            Ok(()) if count > MOST_FOUND => format!(
                "{}: more than {MOST_FOUND} disagreements; look whether the held folders are there at all",
                const { known("A076-audit-failed") }
            ),
            Ok(()) => String::new(),
            Err(why) => format!("{}: {why}", const { known("A076-audit-failed") }),
        };
        tell(wire::Audit {
            last: true,
            failed,
            ..told(Vec::new(), looked)
        });
    }

    fn audited(
        &self,
        run: &str,
        tell: &mut dyn FnMut(Vec<Disagreement>, u64) -> bool,
    ) -> Result<(), String> {
        let _one = match self.0.auditing.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err("another audit is under way".into()),
        };
        let only = match run {
            "" => None,
            run => Some(run_from_wire(run).map_err(|why| why.to_string())?),
        };
        let station = &self.0.station;
        let root = station
            .host
            .root(PathRoot::Imcdata)
            .ok()
            .map(|imcdata| held_root(&station.guard, &imcdata));
        let ground = Ground {
            host: station.host.as_ref(),
            journal: &station.journal,
            held_root: root.as_deref(),
        };
        audit(ground, only, tell)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

fn to_wire(found: Disagreement) -> wire::Disagreement {
    wire::Disagreement {
        id: found
            .message
            .map(|(batch, index)| format!("{batch}/{index}"))
            .unwrap_or_default(),
        run: found.run.map(|run| run.to_string()).unwrap_or_default(),
        journal: found.journal,
        disk: found.disk,
        logs: found.logs,
        remedy: found.remedy,
    }
}
