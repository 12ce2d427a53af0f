//! The one stream between this agent and its controller.
//!
//! Everything on it may be lost, repeated or cut off at any point: what the agent has taken on and
//! what it has done stand in the journal, and at each connect both sides begin from there. While
//! there is no connection the engine works on as far as it was released.

mod exchange;
mod orders;
mod retry;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use mailmend_proto::wire::agents_client::AgentsClient;
use mailmend_proto::wire::{from_agent, to_agent};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;
use tracing::{error, info, warn};

use crate::connection::{CALL, ConnectionError, LARGEST, Tls, diagnose, dial_again, of_status};
use crate::depths::Depths;
use crate::faults::known;
use crate::host::Facts;
use crate::identity::{self, Identity, IdentityError, Validity};
use crate::journal::{Journal, JournalError, TrailHead, Verdict};
use crate::report::Reporter;
use crate::symptoms::{Seen, Watchlist};
use crate::trust::Held;

use exchange::Exchange;
pub use orders::{OrderRefused, Orders};
pub use retry::Retry;

/// A session is never renewed sooner than this after it began.
const SOONEST: Duration = Duration::from_secs(1);
/// How many messages to the controller may wait for the network.
const OUTBOX: usize = 32;

/// What a session needs.
pub struct Settings {
    /// The controller's address.
    pub address: String,
    /// The data folder, where the identity is.
    pub data: PathBuf,
    /// The server's name.
    pub name: ServerName,
    /// The journal.
    pub journal: Journal,
    /// Who carries out what the controller orders.
    pub orders: Arc<dyn Orders>,
    /// The facts about the server, as they change.
    pub facts: watch::Receiver<Facts>,
    /// The policies whose symptoms are looked for, which the controller says.
    pub watchlist: Arc<Watchlist>,
    /// What each look for them sees.
    pub symptoms: watch::Receiver<Seen>,
    /// What each count of the queues finds.
    pub depths: watch::Receiver<Depths>,
    /// Whose policies are taken, and how far their signatures were followed.
    pub trust: watch::Receiver<Held>,
    /// This machine's time, milliseconds since 1970 UTC.
    pub now_ms: fn() -> i64,
    /// How long to wait between two attempts.
    pub retry: Retry,
}

/// The agent's side of the session.
pub struct Session {
    settings: Settings,
    /// Whether the certificate was renewed since the agent began.
    renewed: bool,
    /// When this process noted a head of the controller's audit trail.
    witnessed: Option<Instant>,
    /// With the tickets of the sessions before.
    tls: Option<Tls>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No usable identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The controller cannot be spoken with any more.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The controller knows another journal.
    #[error(
        "A018-foreign-journal: {why}; was this agent cloned, or its data folder replaced or restored? Stop the clone; if this server was rebuilt, get a new token and enrol again"
    )]
    ForeignJournal {
        /// What it knows, and what there is.
        why: String,
    },
    /// The controller sent something that makes no sense.
    #[error("A017-bad-message: the controller sent something that makes no sense: {why}")]
    Message {
        /// What.
        why: String,
    },
    /// The controller ended the stream.
    #[error("the controller ended the session")]
    Ended,
    /// There is a new certificate: the next session uses it.
    #[error("the certificate was renewed")]
    Renewed,
}

impl Session {
    /// A session that is yet to be run.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            renewed: false,
            witnessed: None,
            tls: None,
        }
    }

    /// Connects, and connects again, until `stop`; returns then. Results are never dropped: they
    /// stay in the journal until the controller has acknowledged them.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failed: u32 = 0;
        while !stop.is_cancelled() {
            let began = Instant::now();
            let ended = tokio::select! {
                ended = self.once() => ended,
                () = stop.cancelled() => break,
            };
            if matches!(ended, SessionError::Renewed) {
                continue;
            }
            // A session that stood for a while was a good one; one that is cut off at once, such as
            // that of a clone, is not.
            failed = if began.elapsed() >= self.settings.retry.good_after {
                0
            } else {
                failed.saturating_add(1)
            };
            let wait = self.settings.retry.wait(failed, fastrand::f64());
            match &ended {
                SessionError::Ended => info!(?wait, "{ended}"),
                SessionError::ForeignJournal { .. } | SessionError::Journal(_) => {
                    error!(?wait, "{ended}");
                }
                other => warn!(?wait, "no session with the controller: {other}"),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => break,
            }
        }
    }

    /// One session, from dialling to its end.
    async fn once(&mut self) -> SessionError {
        match self.talk().await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn talk(&mut self) -> Result<std::convert::Infallible, SessionError> {
        let identity = Identity::load(
            &self.settings.data,
            &self.settings.name,
            (self.settings.now_ms)(),
        )?;
        let channel = self.dial(&identity).await?;
        let (outbox, outgoing) = mpsc::channel(OUTBOX);
        let facts = self.settings.facts.borrow_and_update().clone();
        let held = self.settings.trust.borrow_and_update().to_wire();
        let hello = from_agent::Message::Hello(self.hello(facts, held));
        // The channel is empty and its receiver is here, so this neither waits nor fails.
        let _ = outbox.send(message(hello)).await;
        let mut client = AgentsClient::new(channel.clone())
            .max_decoding_message_size(LARGEST)
            .max_encoding_message_size(LARGEST);
        let opened = timeout(CALL, client.session(ReceiverStream::new(outgoing))).await;
        let mut incoming = opened
            .map_err(|_| self.slow())?
            .map_err(|status| self.failed(&status))?
            .into_inner();
        let welcome = self.welcome(&mut incoming).await?;
        let acknowledged = welcome.acknowledged;
        self.remember(acknowledged).await;
        info!(controller = %self.settings.address, acknowledged, head = self.settings.journal.head(), "connected");
        Exchange {
            reporter: Reporter::new(self.settings.journal.clone(), acknowledged),
            renew_in: self.renew_in(&identity),
            told: None,
            told_depths: None,
            auditing: Arc::new(Semaphore::new(1)),
            session: self,
            channel,
            outbox,
            incoming,
        }
        .run()
        .await
    }

    async fn dial(&mut self, identity: &Identity) -> Result<Channel, ConnectionError> {
        let (now_ms, address) = ((self.settings.now_ms)(), &self.settings.address);
        let known = self.tls.take().filter(|tls| tls.is_of(identity));
        let tls = match known {
            Some(tls) => tls,
            None => Tls::new(&identity.ca_pem, Some(identity))
                .map_err(|error| diagnose(address, &error, now_ms))?,
        };
        let tls = self.tls.insert(tls);
        dial_again(address, tls, now_ms).await
    }

    fn hello(&self, facts: Facts, held: wire::TrustHeld) -> wire::Hello {
        wire::Hello {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            journal: self.settings.journal.id().to_string(),
            head: self.settings.journal.head(),
            highest_fence: self.settings.journal.highest_fence(),
            facts: facts.into_iter().collect(),
            actions: self.settings.orders.supported_actions(),
            trust: Some(held),
        }
    }

    /// The first message of the controller; what it knows of the journal must be a part of it.
    async fn welcome(
        &self,
        incoming: &mut Streaming<wire::ToAgent>,
    ) -> Result<wire::Welcome, SessionError> {
        let first = timeout(CALL, incoming.message())
            .await
            .map_err(|_| self.slow())?
            .map_err(|status| self.refused(&status))?
            .ok_or(SessionError::Ended)?;
        let Some(to_agent::Message::Welcome(welcome)) = first.message else {
            return Err(SessionError::Message {
                why: "a session begins with a welcome".into(),
            });
        };
        let (ours, head) = (
            self.settings.journal.id().to_string(),
            self.settings.journal.head(),
        );
        if !welcome.journal.is_empty() && welcome.journal != ours {
            return Err(SessionError::ForeignJournal {
                why: format!(
                    "the controller knows the journal {} of this agent, and there is {ours}",
                    welcome.journal.escape_debug()
                ),
            });
        }
        if welcome.acknowledged > head {
            return Err(SessionError::ForeignJournal {
                why: format!(
                    "the controller has {} records of this journal, and there are {head}",
                    welcome.acknowledged
                ),
            });
        }
        Ok(welcome)
    }

    /// Remembers what the controller has stored. Where that cannot be written nothing is lost: the
    /// next welcome tells it again.
    async fn remember(&self, acknowledged: u64) {
        let journal = self.settings.journal.clone();
        if let Err(error) = blocking(move || journal.acknowledge(acknowledged)).await {
            warn!(
                acknowledged,
                "what the controller has stored could not be noted: {error}"
            );
        }
    }

    /// Notes how far the controller's audit trail reaches, where that is due. A trail that contradicts what was noted
    /// before is an alarm, and the agent goes on: mail service must not wait for the past to be settled.
    async fn witness(&mut self, told: TrailHead) {
        let journal = self.settings.journal.clone();
        let elapsed = self.witnessed.map(|at| at.elapsed());
        let contradicts = match journal.witnessed().judge(told, elapsed) {
            Verdict::Nothing => return,
            Verdict::Note => false,
            Verdict::Contradicts(why) => {
                error!(
                    "{}: {why}; was the controller's store put back from a backup? `mailmend audit verify --journal` tells from where on",
                    const { known("A150-trail-contradicts") }
                );
                true
            }
        };
        let at_ms = (self.settings.now_ms)();
        match blocking(move || journal.witness(at_ms, told, contradicts)).await {
            Ok(()) => self.witnessed = Some(Instant::now()),
            Err(error) => warn!("the controller's audit trail could not be witnessed: {error}"),
        }
    }

    /// How long until the certificate is to be renewed: when half of its life has passed. A
    /// certificate that was just renewed may already be there, because its life begins before it is
    /// made; half of what is left counts then, so that renewing comes to rest.
    fn renew_in(&self, identity: &Identity) -> Duration {
        let now_ms = (self.settings.now_ms)();
        let Validity { until_ms, .. } = identity.validity;
        let left = if self.renewed {
            (until_ms - now_ms) / 2
        } else {
            identity.validity.half_ms() - now_ms
        };
        Duration::from_millis(u64::try_from(left).unwrap_or(0)).max(SOONEST)
    }

    /// Gets a new certificate for the agent's key over a connection that stands, and stores it.
    async fn renew(&mut self, channel: Channel) -> Result<(), SessionError> {
        let key = identity::own_key(&self.settings.data)?;
        let csr_pem = identity::request(&self.settings.data, &self.settings.name, &key)?;
        let mut client = AgentsClient::new(channel);
        let answered = timeout(CALL, client.renew(wire::RenewRequest { csr_pem })).await;
        let certificate = answered
            .map_err(|_| self.slow())?
            .map_err(|status| self.failed(&status))?
            .into_inner();
        let sent = (
            certificate.certificate_pem.as_str(),
            certificate.ca_pem.as_str(),
        );
        let now_ms = (self.settings.now_ms)();
        let validity = identity::renewed(&self.settings.data, &self.settings.name, sent, now_ms)?;
        self.renewed = true;
        info!(until = %identity::time(validity.until_ms), "the certificate was renewed");
        Ok(())
    }

    fn slow(&self) -> ConnectionError {
        ConnectionError::Slow {
            address: self.settings.address.clone(),
            limit: CALL,
        }
    }

    /// What it means that a session was not begun. The controller finds a foreign journal as we do, where
    /// it knows of one: then that is what is told, not that it answered with an error.
    fn refused(&self, status: &tonic::Status) -> SessionError {
        let text = status.message();
        match text.split_once(": ") {
            Some(("C202-agent-cloned" | "C203-agent-journal-behind", why)) => {
                let why = why.split("; ").next().unwrap_or(why);
                // What the controller says of it ends with advice of its own, after a colon.
                let why = why.split(": ").next().unwrap_or(why).to_owned();
                SessionError::ForeignJournal { why }
            }
            _ => self.failed(status).into(),
        }
    }

    fn failed(&self, status: &tonic::Status) -> ConnectionError {
        of_status(&self.settings.address, status, (self.settings.now_ms)())
    }
}

fn message(message: from_agent::Message) -> wire::FromAgent {
    wire::FromAgent {
        message: Some(message),
    }
}

/// Runs what blocks beside the session's own thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The work panicked: so does whoever waits for it.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests;
