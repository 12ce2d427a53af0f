//! The agents' live streams: at most one for each name, the newest.
//!
//! A session tells its agent what the store says that it must know, and only that. Being woken and
//! being connected anew are the same thing to it, so a message that was lost with a connection, or
//! with a controller that died between storing and telling, is told again by itself. What was told and is not
//! written down by the agent a minute later is told again on the same stream: whatever swallowed it, a run never
//! waits for an agent that waits for its order.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailmend_policy::name::ServerName;
use mailmend_proto::convert::server_to_wire;
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;
use prost::Message as _;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::rollout::Unwinding;
use crate::store::{Order, Orders, Store, StoreError};

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

/// How long what was told may stay without its record before it is told again on the same stream. A record
/// follows its order within seconds; the watermark may be told as often as anybody likes.
pub const AGAIN: Duration = Duration::from_secs(60);

/// What was told over one stream, so that being woken repeats nothing that the agent has taken.
#[derive(Debug, Default)]
pub struct Telling {
    /// Persons' orders that were told.
    orders: HashSet<uuid::Uuid>,
    told: HashMap<RunId, Told>,
    /// Whether something was told of which the agent has written nothing down yet, as far as it has reported.
    unheard: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Told {
    assigned: bool,
    through: u32,
    unwind: Option<Unwinding>,
}

impl Told {
    /// What an agent has written down of it.
    fn heard(self, order: &Order) -> Self {
        let unwound = |unwind: &Unwinding| {
            let journaled = order.journaled_unwind;
            journaled.is_some_and(|one| one.down_to <= unwind.down_to && (one.last || !unwind.last))
        };
        Self {
            assigned: self.assigned && order.begun,
            through: self.through.min(order.journaled),
            unwind: self.unwind.filter(unwound),
        }
    }

    fn is_unheard(self, order: &Order) -> bool {
        let heard = self.heard(order);
        // Whatever unwinds hears of no watermark any more.
        let goes_on = self.unwind.is_none() && order.journaled_unwind.is_none();
        (self.assigned && !order.begun)
            || (goes_on && heard.through < self.through)
            || heard.unwind != self.unwind
    }
}

impl Telling {
    /// Whether something was told of which there is no record yet.
    #[must_use]
    pub fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// The messages that the agent lacks on this stream, in order. `again`: with what it was told longer than
    /// [`AGAIN`] ago and has not written down, which it may never have taken.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn lacking(
        &mut self,
        store: &Store,
        agent: &ServerName,
        again: bool,
    ) -> Result<Vec<wire::ToAgent>, StoreError> {
        let orders = store.orders(agent).await?;
        let mut messages = Vec::new();
        let waiting = store.waiting_orders(agent).await?;
        for order in &waiting {
            if self.orders.insert(order.id) || again {
                let fence = order.fence.unwrap_or(0);
                let order = wire::Order::decode(order.bytes.as_slice());
                let order = order.map(|order| wire::Order { fence, ..order });
                messages.extend(order.ok().map(Message::Order));
            }
        }
        for lacks in self.lacks(&orders, again) {
            match lacks {
                Lacks::Assignment(order) => messages.extend(assignment(store, order).await?),
                Lacks::Message(message) => messages.push(message),
            }
        }
        self.unheard |= !waiting.is_empty();
        Ok(messages
            .into_iter()
            .map(|message| wire::ToAgent {
                message: Some(message),
            })
            .collect())
    }

    /// What of these orders was not told on this stream, in order; it counts as told from here on. `again`: also
    /// what was told and not written down.
    pub(crate) fn lacks<'a>(&mut self, orders: &'a [Order], again: bool) -> Vec<Lacks<'a>> {
        self.told
            .retain(|run, _| orders.iter().any(|order| order.run == *run));
        self.unheard = false;
        let mut lacks = Vec::new();
        for order in orders {
            let told = self.told.entry(order.run).or_default();
            if again {
                *told = told.heard(order);
            }
            if !order.begun && !told.assigned {
                told.assigned = true;
                lacks.push(Lacks::Assignment(order));
            }
            match order.unwind {
                Some(unwind) if told.unwind != Some(unwind) => {
                    told.unwind = Some(unwind);
                    lacks.push(Lacks::Message(Message::Unwind(wire::Unwind {
                        run: order.run.to_string(),
                        fence: order.fence,
                        down_to: unwind.down_to,
                        last: unwind.last,
                    })));
                }
                None if order.through > told.through => {
                    told.through = order.through;
                    lacks.push(Lacks::Message(Message::Advance(wire::Advance {
                        run: order.run.to_string(),
                        fence: order.fence,
                        through: order.through,
                    })));
                }
                Some(_) | None => {}
            }
            self.unheard |= told.is_unheard(order);
        }
        lacks
    }
}

/// Something that an agent was not told on a stream.
#[derive(Debug)]
pub(crate) enum Lacks<'a> {
    /// That it is to take this run on.
    Assignment(&'a Order),
    /// This.
    Message(Message),
}

async fn assignment(store: &Store, order: &Order) -> Result<Option<Message>, StoreError> {
    let Some(orders) = store.assignment(order.run).await? else {
        return Ok(None);
    };
    Ok(Some(Message::Assignment(assigned(order, orders))))
}

/// The words in which an agent is given a run.
pub(crate) fn assigned(order: &Order, orders: Orders) -> wire::Assignment {
    wire::Assignment {
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
        // Given where it is sent.
        traceparent: String::new(),
    }
}

#[cfg(test)]
mod tests;
