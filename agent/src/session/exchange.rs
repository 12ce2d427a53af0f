//! A session that stands: orders come in, reports go out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use mailmend_proto::convert::{digest_from_wire, run_from_wire};
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use mailmend_proto::wire::{from_agent, to_agent};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tonic::Streaming;
use tonic::transport::Channel;
use tracing::{info, warn};

use super::{OrderRefused, Orders, Session, SessionError, blocking, message};
use crate::connection::ConnectionError;
use crate::depths::{self, Depths};
use crate::faults::known;
use crate::journal::TrailHead;
use crate::report::Reporter;
use crate::symptoms::{Seen, worth_telling};

/// How long the controller may take to store a report before the session counts as broken.
const STORE: Duration = Duration::from_secs(60);
/// How long until a failed renewal is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// The most characters of an id that are shown, and of a reason that are shown or answered: a controller can make both
/// as long as its messages are.
const MOST_SHOWN: usize = 64;
const MOST_SAID: usize = 2000;

pub(super) struct Exchange<'a> {
    pub(super) session: &'a mut Session,
    pub(super) channel: Channel,
    pub(super) outbox: mpsc::Sender<wire::FromAgent>,
    pub(super) incoming: Streaming<wire::ToAgent>,
    pub(super) reporter: Reporter,
    /// How long until the certificate is to be renewed.
    pub(super) renew_in: Duration,
    /// What this session told last of the symptoms.
    pub(super) told: Option<Seen>,
    /// What this session told last of the queues.
    pub(super) told_depths: Option<Depths>,
    /// Free while no audit of this session is under way.
    pub(super) auditing: Arc<Semaphore>,
}

impl Exchange<'_> {
    /// Until the session ends.
    pub(super) async fn run(mut self) -> Result<Infallible, SessionError> {
        let mut head = self.session.settings.journal.subscribe();
        let mut renew_at = Instant::now() + self.renew_in;
        let mut oldest = (self.reporter.oldest(), Instant::now());
        let mut symptoms = self.session.settings.symptoms.clone();
        // What was seen before this session is told in it too.
        symptoms.mark_changed();
        let mut depths = self.session.settings.depths.clone();
        depths.mark_changed();
        self.tell_head().await?;
        loop {
            self.report().await?;
            if oldest.0 != self.reporter.oldest() {
                oldest = (self.reporter.oldest(), Instant::now());
            }
            let stuck = oldest.0.map(|_| oldest.1 + STORE);
            tokio::select! {
                received = self.incoming.message() => {
                    let received = received.map_err(|status| self.session.failed(&status))?;
                    self.take(received.ok_or(SessionError::Ended)?).await?;
                }
                // The journal outlives the session.
                _ = head.changed() => {}
                Ok(()) = self.session.settings.facts.changed() => {
                    let facts = self.session.settings.facts.borrow_and_update().clone();
                    let facts = wire::Facts { facts: facts.into_iter().collect() };
                    self.send(from_agent::Message::Facts(facts)).await?;
                }
                Ok(()) = symptoms.changed() => {
                    let seen = symptoms.borrow_and_update().clone();
                    self.tell(seen).await?;
                }
                Ok(()) = depths.changed() => {
                    let counted = depths.borrow_and_update().clone();
                    self.tell_depths(counted).await?;
                }
                Ok(()) = self.session.settings.trust.changed() => {
                    let held = self.session.settings.trust.borrow_and_update().to_wire();
                    self.send(from_agent::Message::Trust(held)).await?;
                }
                () = tokio::time::sleep_until(renew_at) => {
                    match self.session.renew(self.channel.clone()).await {
                        Ok(()) => return Err(SessionError::Renewed),
                        // Half of the certificate's life is left to try again.
                        Err(error) => warn!("the certificate could not be renewed: {error}"),
                    }
                    renew_at = Instant::now() + RENEW_AGAIN;
                }
                () = tokio::time::sleep_until(stuck.unwrap_or_else(Instant::now)), if stuck.is_some() => {
                    let address = self.session.settings.address.clone();
                    return Err(ConnectionError::Slow { address, limit: STORE }.into());
                }
            }
        }
    }

    /// Sends what is new in the journal, as far as the window reaches.
    async fn report(&mut self) -> Result<(), SessionError> {
        while let Some(report) = self.reporter.next()? {
            self.send(from_agent::Message::Report(report)).await?;
        }
        Ok(())
    }

    /// Tells the journal's hash at what the controller has of it, so that a past that was written anew is found.
    async fn tell_head(&self) -> Result<(), SessionError> {
        let seq = self.reporter.sent();
        if seq == 0 {
            return Ok(());
        }
        let hash = self.session.settings.journal.hash_at(seq)?.to_vec();
        self.send(from_agent::Message::JournalHead(wire::JournalHead {
            seq,
            hash,
        }))
        .await
    }

    /// Tells what a look saw, where it is news. A look that began before the journal's last record is
    /// not told: the controller would take it for a look at what came of that record.
    async fn tell(&mut self, seen: Seen) -> Result<(), SessionError> {
        if seen.head != self.session.settings.journal.head()
            || !worth_telling(self.told.as_ref(), &seen)
        {
            return Ok(());
        }
        self.report().await?;
        self.send(from_agent::Message::Symptoms(seen.to_wire()))
            .await?;
        self.told = Some(seen);
        Ok(())
    }

    /// Tells how deep the queues are, where it is news.
    async fn tell_depths(&mut self, counted: Depths) -> Result<(), SessionError> {
        if !depths::worth_telling(self.told_depths.as_ref(), &counted) {
            return Ok(());
        }
        self.send(from_agent::Message::Queues(counted.to_wire()))
            .await?;
        self.told_depths = Some(counted);
        Ok(())
    }

    async fn send(&self, what: from_agent::Message) -> Result<(), SessionError> {
        // Waits while the network is slow; ends when the connection does, which keepalive sees to. A controller that
        // takes nothing off a connection that stands is left, too.
        match timeout(STORE, self.outbox.send(message(what))).await {
            Ok(sent) => sent.map_err(|_| SessionError::Ended),
            Err(_) => {
                let address = self.session.settings.address.clone();
                Err(ConnectionError::Slow {
                    address,
                    limit: STORE,
                }
                .into())
            }
        }
    }

    /// Takes one message. Orders are taken one after the other, in the order in which they came.
    async fn take(&mut self, received: wire::ToAgent) -> Result<(), SessionError> {
        let Some(received) = received.message else {
            return Err(nonsense("an empty message, or one of a newer version"));
        };
        match received {
            to_agent::Message::Welcome(_) => Err(nonsense("a second welcome")),
            to_agent::Message::Acknowledge(wire::Acknowledge { seq }) => {
                let noted = self.reporter.acknowledged(seq);
                noted.map_err(|why| nonsense(&why.to_string()))?;
                self.session.remember(seq).await;
                Ok(())
            }
            to_agent::Message::TrailHead(head) => {
                let hash = digest_from_wire("trail_head.hash", &head.hash);
                let hash = hash.map_err(|why| nonsense(&why.to_string()))?;
                let seq = head.seq;
                self.session.witness(TrailHead { seq, hash }).await;
                Ok(())
            }
            to_agent::Message::Order(order) => self.person(order).await,
            to_agent::Message::Watches(watches) => {
                let count = watches.watches.len();
                let watchlist = Arc::clone(&self.session.settings.watchlist);
                match blocking(move || watchlist.take(watches)).await {
                    Ok(()) => info!(
                        policies = count,
                        "looks for the symptoms that the controller named"
                    ),
                    Err(error) => warn!("{error}"),
                }
                Ok(())
            }
            to_agent::Message::Trust(documents) => {
                self.trust(documents).await;
                Ok(())
            }
            to_agent::Message::Immunity(immunity) => {
                let (count, generation) = (immunity.fingerprints.len(), immunity.generation);
                let orders = Arc::clone(&self.session.settings.orders);
                match blocking(move || orders.immunize(immunity)).await {
                    Ok(()) => info!(
                        fingerprints = count,
                        generation,
                        "sets aside what has the fingerprints that the controller named"
                    ),
                    Err(error) => warn!("{error}"),
                }
                Ok(())
            }
            to_agent::Message::Audit(request) => self.audit(request).await,
            to_agent::Message::Assignment(assignment) => self.admit(assignment).await,
            to_agent::Message::Advance(wire::Advance {
                run,
                fence,
                through,
            }) => {
                let taken =
                    self.order(&run, move |orders, run| orders.advance(run, fence, through));
                note("advance", &run, fence, taken.await);
                Ok(())
            }
            to_agent::Message::Unwind(wire::Unwind {
                run,
                fence,
                down_to,
                last,
            }) => {
                let taken = self.order(&run, move |orders, run| {
                    orders.unwind(run, fence, down_to, last)
                });
                note("unwind", &run, fence, taken.await);
                Ok(())
            }
            to_agent::Message::Fence(wire::Fence { run, fence }) => {
                let taken = self
                    .order(&run, move |orders, run| orders.fence(run, fence))
                    .await;
                if note("fence", &run, fence, taken) {
                    let taken = wire::FenceTaken { run, fence };
                    self.send(from_agent::Message::FenceTaken(taken)).await?;
                }
                Ok(())
            }
        }
    }

    /// Signed documents; with them other symptoms may be looked for.
    async fn trust(&self, documents: wire::TrustDocuments) {
        let orders = Arc::clone(&self.session.settings.orders);
        let watchlist = Arc::clone(&self.session.settings.watchlist);
        let taken = blocking(move || {
            let taken = orders.trust(documents);
            watchlist.judge_again();
            taken
        });
        match taken.await {
            Ok(true) => info!("took what is newly signed of policies"),
            Ok(false) => {}
            Err(refused) => warn!("{refused}"),
        }
    }

    async fn admit(&self, assignment: wire::Assignment) -> Result<(), SessionError> {
        let (run, fence) = (assignment.run.clone(), assignment.fence);
        let admitted = self
            .order(&run, move |orders, _| orders.admit(assignment))
            .await;
        let refused = admitted.clone().err();
        let admitted = note("assignment", &run, fence, admitted);
        let answer = wire::AssignmentAnswer {
            run,
            admitted,
            code: refused
                .as_ref()
                .map_or_else(String::new, |r| r.code.to_owned()),
            why: refused.map_or_else(String::new, |r| cut(&r.why, MOST_SAID)),
        };
        self.send(from_agent::Message::Answer(answer)).await
    }

    /// An audit takes as long as reading all held mail: it goes on beside everything else, and ends when the
    /// session does.
    ///
    /// One at a time: what waits for its turn would be kept in memory, as much of it as the controller likes.
    async fn audit(&self, request: wire::AuditRequest) -> Result<(), SessionError> {
        let Ok(alone) = Arc::clone(&self.auditing).try_acquire_owned() else {
            let busy = wire::Audit {
                id: cut(&request.id, MOST_SAID),
                found: Vec::new(),
                messages: 0,
                last: true,
                failed: format!(
                    "{}: another audit is under way",
                    const { known("A076-audit-failed") }
                ),
            };
            return self.send(from_agent::Message::Audit(busy)).await;
        };
        let orders = Arc::clone(&self.session.settings.orders);
        let outbox = self.outbox.clone();
        info!(id = cut(&request.id, MOST_SHOWN), "audits the ledger");
        drop(tokio::task::spawn_blocking(move || {
            let _alone = alone;
            orders.audit(&request, &mut |piece| {
                let piece = message(from_agent::Message::Audit(piece));
                outbox.blocking_send(piece).is_ok()
            });
        }));
        Ok(())
    }

    /// A person's order, answered each time it comes.
    async fn person(&self, order: wire::Order) -> Result<(), SessionError> {
        let (id, run) = (order.id.clone(), order.run.clone());
        let orders = Arc::clone(&self.session.settings.orders);
        let taken = blocking(move || orders.order(&order)).await;
        match &taken {
            Ok(()) => info!(
                order = cut(&id, MOST_SHOWN),
                run = cut(&run, MOST_SHOWN),
                "a person's order taken"
            ),
            Err(refused) => warn!(
                order = cut(&id, MOST_SHOWN),
                run = cut(&run, MOST_SHOWN),
                "a person's order refused: {}",
                cut(&refused.to_string(), MOST_SAID)
            ),
        }
        let refused = taken.err();
        let answer = wire::OrderAnswer {
            id,
            taken: refused.is_none(),
            code: refused
                .as_ref()
                .map_or_else(String::new, |r| r.code.to_owned()),
            why: refused.map_or_else(String::new, |r| cut(&r.why, MOST_SAID)),
        };
        self.send(from_agent::Message::OrderAnswer(answer)).await
    }

    async fn order(
        &self,
        run: &str,
        order: impl FnOnce(&dyn Orders, RunId) -> Result<(), OrderRefused> + Send + 'static,
    ) -> Result<(), OrderRefused> {
        let run = run_from_wire(run).map_err(|why| OrderRefused {
            code: const { known("A017-bad-message") },
            why: why.to_string(),
        })?;
        let orders = Arc::clone(&self.session.settings.orders);
        blocking(move || order(orders.as_ref(), run)).await
    }
}

/// A text that came from the controller, or has such a text in it, cut to so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn nonsense(why: &str) -> SessionError {
    SessionError::Message {
        why: why.to_owned(),
    }
}

/// Tells what became of an order; answers whether it was taken.
fn note(order: &str, run: &str, fence: u64, taken: Result<(), OrderRefused>) -> bool {
    let run = cut(run, MOST_SHOWN);
    match taken {
        Ok(()) => info!(run, fence, "{order} taken"),
        Err(ref refused) => {
            let refused = cut(&refused.to_string(), MOST_SAID);
            warn!(run, fence, "{order} refused: {refused}");
        }
    }
    taken.is_ok()
}
