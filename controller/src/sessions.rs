//! The agents' live streams: at most one for each name, the newest.
//!
//! A session tells its agent what the store says that it must know, and only that. Being woken and
//! being connected anew are the same thing to it, so a message that was lost with a connection, or
//! with a controller that died between storing and telling, is told again by itself.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailmend_policy::name::ServerName;
use mailmend_proto::convert::server_to_wire;
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;
use prost::Message as _;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::rollout::Unwinding;
use crate::store::{Order, Store, StoreError};

/// All live sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    live: Mutex<HashMap<ServerName, Arc<Live>>>,
    numbers: AtomicU64,
}

/// One session, as the others see it.
#[derive(Debug)]
struct Live {
    number: u64,
    /// There is something to tell.
    wake: Notify,
    /// It is to end.
    end: CancellationToken,
    /// It has ended: nothing of it is still under way.
    over: CancellationToken,
    greeted: AtomicBool,
    /// Audits that were asked for and are not passed on yet.
    asks: Mutex<Vec<wire::AuditRequest>>,
}

/// One session, as its own task has it. It is over when this is dropped.
#[derive(Debug)]
pub struct Session {
    name: ServerName,
    live: Arc<Live>,
    sessions: Arc<Sessions>,
    _over: DropGuard,
}

impl Sessions {
    /// Begins a session: the former one of that name is ended, and this one goes on only when nothing
    /// of the former is under way any more.
    pub async fn begin(self: &Arc<Self>, name: &ServerName) -> Session {
        let live = Arc::new(Live {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            wake: Notify::new(),
            end: CancellationToken::new(),
            over: CancellationToken::new(),
            greeted: AtomicBool::new(false),
            asks: Mutex::default(),
        });
        let former = self.locked().insert(name.clone(), live.clone());
        let session = Session {
            name: name.clone(),
            _over: live.over.clone().drop_guard(),
            live,
            sessions: self.clone(),
        };
        if let Some(former) = former {
            tracing::info!(agent = %name, "a new stream of the agent ends the former one");
            former.end.cancel();
            former.over.cancelled().await;
        }
        session
    }

    /// Wakes the sessions of these agents; those that are not connected hear of it when they are.
    pub fn wake(&self, agents: &[ServerName]) {
        let live = self.locked();
        for agent in agents {
            if let Some(session) = live.get(agent) {
                session.wake.notify_one();
            }
        }
    }

    /// Wakes every session.
    pub fn wake_all(&self) {
        for session in self.locked().values() {
            session.wake.notify_one();
        }
    }

    /// The agents that are connected and were let in.
    #[must_use]
    pub fn connected(&self) -> BTreeSet<ServerName> {
        self.locked()
            .iter()
            .filter(|(_, live)| live.greeted.load(Ordering::Acquire))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Whether an agent is connected and was let in.
    #[must_use]
    pub fn is_connected(&self, name: &ServerName) -> bool {
        self.locked()
            .get(name)
            .is_some_and(|live| live.greeted.load(Ordering::Acquire))
    }

    /// Asks a connected agent for an audit; whether it is connected.
    pub fn ask(&self, name: &ServerName, request: wire::AuditRequest) -> bool {
        let live = self.locked();
        let Some(session) = live
            .get(name)
            .filter(|live| live.greeted.load(Ordering::Acquire))
        else {
            return false;
        };
        session.asks().push(request);
        session.wake.notify_one();
        true
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<ServerName, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn asks(&self) -> MutexGuard<'_, Vec<wire::AuditRequest>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// The audits that were asked for since the last call.
    #[must_use]
    pub fn asked(&self) -> Vec<wire::AuditRequest> {
        std::mem::take(&mut *self.live.asks())
    }

    /// The agent was let in: from now on it counts as connected.
    pub fn greeted(&self) {
        self.live.greeted.store(true, Ordering::Release);
    }

    /// Waits until there may be something to tell.
    pub async fn woken(&self) {
        self.live.wake.notified().await;
    }

    /// Waits until another stream of the same name has taken its place.
    pub async fn replaced(&self) {
        self.live.end.cancelled().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut live = self.sessions.locked();
        if live
            .get(&self.name)
            .is_some_and(|current| current.number == self.live.number)
        {
            live.remove(&self.name);
        }
    }
}

/// What was told over one stream, so that being woken repeats nothing.
#[derive(Debug, Default)]
pub struct Telling {
    /// Persons' orders that were told.
    orders: HashSet<uuid::Uuid>,
    told: HashMap<RunId, Told>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Told {
    assigned: bool,
    through: u32,
    unwind: Option<Unwinding>,
}

impl Telling {
    /// The messages that the agent lacks on this stream, in order.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn lacking(
        &mut self,
        store: &Store,
        agent: &ServerName,
    ) -> Result<Vec<wire::ToAgent>, StoreError> {
        let orders = store.orders(agent).await?;
        self.told
            .retain(|run, _| orders.iter().any(|order| order.run == *run));
        let mut messages = Vec::new();
        for order in store.waiting_orders(agent).await? {
            if self.orders.insert(order.id) {
                let fence = order.fence.unwrap_or(0);
                let order = wire::Order::decode(order.bytes.as_slice());
                let order = order.map(|order| wire::Order { fence, ..order });
                messages.extend(order.ok().map(Message::Order));
            }
        }
        for order in &orders {
            let told = self.told.entry(order.run).or_default();
            if !order.begun && !told.assigned {
                if let Some(message) = assignment(store, order).await? {
                    messages.push(message);
                }
                told.assigned = true;
            }
            match order.unwind {
                Some(unwind) if told.unwind != Some(unwind) => {
                    told.unwind = Some(unwind);
                    messages.push(Message::Unwind(wire::Unwind {
                        run: order.run.to_string(),
                        fence: order.fence,
                        down_to: unwind.down_to,
                        last: unwind.last,
                    }));
                }
                None if order.through > told.through => {
                    told.through = order.through;
                    messages.push(Message::Advance(wire::Advance {
                        run: order.run.to_string(),
                        fence: order.fence,
                        through: order.through,
                    }));
                }
                Some(_) | None => {}
            }
        }
        Ok(messages
            .into_iter()
            .map(|message| wire::ToAgent {
                message: Some(message),
            })
            .collect())
    }
}

async fn assignment(store: &Store, order: &Order) -> Result<Option<Message>, StoreError> {
    let Some(orders) = store.assignment(order.run).await? else {
        return Ok(None);
    };
    Ok(Some(Message::Assignment(wire::Assignment {
        run: order.run.to_string(),
        fence: order.fence,
        policy_name: orders.policy.to_string(),
        policy_text: orders.text,
        plan_digest: orders.plan.as_bytes().to_vec(),
        site: orders.site.to_string(),
        subject: orders
            .subject
            .map(|subject| subject.to_string())
            .unwrap_or_default(),
        servers: orders.servers.iter().map(server_to_wire).collect(),
    })))
}

#[cfg(test)]
mod tests;
