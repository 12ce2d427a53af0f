//! Audits under way: what an agent answers goes to whoever asked. In memory only: an audit that is cut short is
//! asked for again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use tokio::sync::mpsc;
use uuid::Uuid;

/// All audits that somebody waits for.
#[derive(Debug, Default)]
pub struct Audits {
    open: Mutex<HashMap<Uuid, Asked>>,
}

#[derive(Debug)]
struct Asked {
    agent: ServerName,
    /// Bounded by what an agent finds at most: whoever reads slowly must not hold up the agent's stream.
    pieces: mpsc::UnboundedSender<wire::Audit>,
}

/// An audit that somebody waits for. It is over when this is dropped.
#[derive(Debug)]
pub struct Audit {
    id: Uuid,
    pieces: mpsc::UnboundedReceiver<wire::Audit>,
    audits: Arc<Audits>,
}

impl Audits {
    /// Begins to wait for what an agent answers.
    #[must_use]
    pub fn begin(self: &Arc<Self>, agent: &ServerName) -> Audit {
        let (sender, pieces) = mpsc::unbounded_channel();
        let id = Uuid::new_v4();
        let asked = Asked {
            agent: agent.clone(),
            pieces: sender,
        };
        self.locked().insert(id, asked);
        Audit {
            id,
            pieces,
            audits: Arc::clone(self),
        }
    }

    /// An agent answered. What nobody waits for any more, or another agent was asked, is dropped.
    pub fn told(&self, agent: &ServerName, audit: wire::Audit) {
        let Ok(id) = Uuid::try_parse(&audit.id) else {
            return;
        };
        let open = self.locked();
        if let Some(asked) = open.get(&id).filter(|asked| asked.agent == *agent) {
            // Whoever asked has left: the next piece finds nobody.
            drop(asked.pieces.send(audit));
        }
    }

    /// An agent's stream has ended: nothing more comes from it.
    pub fn gone(&self, agent: &ServerName) {
        self.locked().retain(|_, asked| asked.agent != *agent);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Uuid, Asked>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// Its id, which the agent's answers carry.
    #[must_use]
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// The next piece; none when the agent has gone.
    pub async fn next(&mut self) -> Option<wire::Audit> {
        self.pieces.recv().await
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.audits.locked().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(id: Uuid) -> wire::Audit {
        wire::Audit {
            id: id.to_string(),
            ..wire::Audit::default()
        }
    }

    #[tokio::test]
    async fn answers_reach_whoever_asked_and_nobody_else() {
        let audits = Arc::new(Audits::default());
        let (a, b) = ("EXA1".parse().unwrap(), "EXB1".parse().unwrap());
        let mut audit = audits.begin(&a);
        audits.told(&b, piece(audit.id()));
        audits.told(&a, piece(Uuid::nil()));
        audits.told(&a, piece(audit.id()));
        assert_eq!(audit.next().await, Some(piece(audit.id())));
        audits.gone(&b);
        audits.told(&a, piece(audit.id()));
        assert!(audit.next().await.is_some());
        audits.gone(&a);
        assert_eq!(audit.next().await, None, "nothing more can come");
        drop(audit);
        assert!(audits.locked().is_empty());
    }
}
