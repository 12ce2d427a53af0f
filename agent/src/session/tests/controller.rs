//! A controller of the tests: real TLS, real HTTP/2, and a script instead of decisions.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailmend_proto::wire;
use mailmend_proto::wire::agents_server::{Agents, AgentsServer};
use mailmend_proto::wire::enrolment_server::{Enrolment, EnrolmentServer};
use mailmend_proto::wire::{from_agent, to_agent};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    PublicKeyData, SanType,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything takes; a test that waits so long has failed.
pub(super) const LONG: Duration = Duration::from_secs(30);

/// An authority.
pub(super) struct Authority {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Year, month and day, so many days from today.
fn day(from_today: i64) -> (i32, u8, u8) {
    let then = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * from_today);
    let date = then.to_zoned(jiff::tz::TimeZone::UTC).date();
    (
        date.year().into(),
        date.month().unsigned_abs(),
        date.day().unsigned_abs(),
    )
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// A certificate with these names that holds from one day to another, counted from today.
    pub(super) fn sign(
        &self,
        names: &[SanType],
        days: (i64, i64),
        key: &impl PublicKeyData,
    ) -> String {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names.to_vec();
        let ((y, m, d), (until_y, until_m, until_d)) = (day(days.0), day(days.1));
        params.not_before = rcgen::date_time_ymd(y, m, d);
        params.not_after = rcgen::date_time_ymd(until_y, until_m, until_d);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    fn agent(
        &self,
        csr_pem: &str,
        name: &str,
        days: (i64, i64),
    ) -> Result<wire::Certificate, Status> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|why| Status::invalid_argument(why.to_string()))?;
        let names = [agent_name(name)];
        Ok(wire::Certificate {
            certificate_pem: self.sign(&names, days, &request.public_key),
            ca_pem: self.pem.clone(),
            not_after_ms: 0,
        })
    }
}

pub(super) fn agent_name(name: &str) -> SanType {
    SanType::URI(format!("mailmend:agent:{name}").try_into().unwrap())
}

/// Enrols `SRVB` in a folder without any network.
pub(super) fn enrolled(authority: &Authority, folder: &Path, days: (i64, i64)) {
    let name = "SRVB".parse().unwrap();
    let key = crate::identity::own_key(folder).unwrap();
    let certificate = authority.sign(&[agent_name("SRVB")], days, &key);
    crate::identity::store(folder, &name, &certificate, &authority.pem).unwrap();
}

/// One session as the controller sees it.
pub(super) struct Line {
    incoming: mpsc::Receiver<wire::FromAgent>,
    outgoing: mpsc::Sender<Result<wire::ToAgent, Status>>,
    /// The agent's certificate on this connection.
    pub(super) certificate: Vec<u8>,
    /// The journal's head that the agent told last.
    pub(super) journal_head: Option<wire::JournalHead>,
}

impl Line {
    /// The agent's next message.
    pub(super) async fn heard(&mut self) -> from_agent::Message {
        self.heard_or_end().await.expect("the agent went on")
    }

    /// The agent's next message; `None` when it has ended the session.
    pub(super) async fn heard_or_end(&mut self) -> Option<from_agent::Message> {
        loop {
            let message = tokio::time::timeout(LONG, self.incoming.recv()).await;
            let message = message.expect("a message in time")?.message.unwrap();
            // Told once after each welcome; the tests of it look for it themselves.
            match message {
                from_agent::Message::JournalHead(head) => self.journal_head = Some(head),
                other => return Some(other),
            }
        }
    }

    pub(super) async fn say(&self, message: to_agent::Message) {
        let message = wire::ToAgent {
            message: Some(message),
        };
        self.outgoing.send(Ok(message)).await.unwrap();
    }

    pub(super) async fn say_nothing_at_all(&self) {
        self.outgoing
            .send(Ok(wire::ToAgent { message: None }))
            .await
            .unwrap();
    }

    pub(super) async fn fail(self, status: Status) {
        self.outgoing.send(Err(status)).await.unwrap();
    }

    /// Hears Hello and answers Welcome.
    pub(super) async fn welcome(&mut self, acknowledged: u64, journal: &str) -> wire::Hello {
        let from_agent::Message::Hello(hello) = self.heard().await else {
            panic!("a session begins with hello");
        };
        let journal = journal.to_owned();
        self.say(to_agent::Message::Welcome(wire::Welcome {
            acknowledged,
            journal,
        }))
        .await;
        hello
    }

    pub(super) async fn report(&mut self) -> Vec<u64> {
        match self.heard().await {
            from_agent::Message::Report(report) => report.records.iter().map(|r| r.seq).collect(),
            other => panic!("{other:?} instead of a report"),
        }
    }

    pub(super) async fn acknowledge(&self, seq: u64) {
        self.say(to_agent::Message::Acknowledge(wire::Acknowledge { seq }))
            .await;
    }
}

/// The controller of the tests.
pub(super) struct Controller {
    pub(super) authority: Arc<Authority>,
    pub(super) address: String,
    sessions: mpsc::Receiver<Line>,
    /// How many certificates were renewed.
    pub(super) renewals: watch::Receiver<u32>,
    /// From and until which day, counted from today, renewed certificates hold.
    pub(super) renewal_days: watch::Sender<(i64, i64)>,
    stop: Option<oneshot::Sender<()>>,
}

struct Service {
    authority: Arc<Authority>,
    sessions: mpsc::Sender<Line>,
    renewals: watch::Sender<u32>,
    renewal_days: watch::Receiver<(i64, i64)>,
    /// Tokens that have not been used.
    tokens: Mutex<Vec<String>>,
}

impl Controller {
    /// A controller whose certificate holds and is signed by its authority.
    pub(super) async fn new() -> Self {
        Self::with((-1, 30)).await
    }

    pub(super) async fn with(days: (i64, i64)) -> Self {
        let authority = Arc::new(Authority::new());
        Self::listening(authority, ([127, 0, 0, 1], 0).into(), days).await
    }

    pub(super) async fn listening(
        authority: Arc<Authority>,
        address: SocketAddr,
        days: (i64, i64),
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let key = KeyPair::generate().unwrap();
        let name = SanType::DnsName("mailmend-controller".try_into().unwrap());
        let certificate = authority.sign(&[name], days, &key);
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key.serialize_pem()))
            .client_ca_root(Certificate::from_pem(&authority.pem))
            .client_auth_optional(true);
        let (sessions, lines) = mpsc::channel(16);
        let renewed = watch::Sender::new(0);
        let renewals = renewed.subscribe();
        let renewal_days = watch::Sender::new((-1, 30));
        let service = Arc::new(Service {
            renewal_days: renewal_days.subscribe(),
            authority: Arc::clone(&authority),
            sessions,
            renewals: renewed,
            tokens: Mutex::new(vec!["good".into()]),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(AgentsServer::from_arc(Arc::clone(&service)))
            .add_service(EnrolmentServer::from_arc(service));
        tokio::spawn(async move {
            tokio::select! {
                served = server.serve_with_incoming(TcpListenerStream::new(listener)) => served.unwrap(),
                _ = stopped => {}
            }
        });
        Self {
            authority,
            address,
            sessions: lines,
            renewals,
            renewal_days,
            stop: Some(stop),
        }
    }

    /// The next session that an agent opens.
    pub(super) async fn session(&mut self) -> Line {
        let line = tokio::time::timeout(LONG, self.sessions.recv()).await;
        line.expect("a session in time").unwrap()
    }

    pub(super) fn ca_file(&self, folder: &Path) -> PathBuf {
        let file = folder.join("given-ca.pem");
        std::fs::write(&file, &self.authority.pem).unwrap();
        file
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

fn certificate<T>(request: &Request<T>) -> Result<Vec<u8>, Status> {
    let certificates = request.peer_certs();
    certificates
        .and_then(|all| all.first().map(|first| first.to_vec()))
        .ok_or_else(|| Status::unauthenticated("a certificate is needed"))
}

#[tonic::async_trait]
impl Agents for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<wire::ToAgent, Status>> + Send>>;

    async fn renew(
        &self,
        request: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        certificate(&request)?;
        let days = *self.renewal_days.borrow();
        let certificate = self
            .authority
            .agent(&request.get_ref().csr_pem, "SRVB", days)?;
        self.renewals.send_modify(|count| *count += 1);
        Ok(Response::new(certificate))
    }

    async fn session(
        &self,
        request: Request<Streaming<wire::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let certificate = certificate(&request)?;
        let (heard, incoming) = mpsc::channel(1);
        let (outgoing, said) = mpsc::channel(16);
        let mut stream = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if heard.send(message).await.is_err() {
                    break;
                }
            }
        });
        let line = Line {
            journal_head: None,
            incoming,
            outgoing,
            certificate,
        };
        self.sessions
            .send(line)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }
}

#[tonic::async_trait]
impl Enrolment for Service {
    async fn enrol_operator(
        &self,
        _: Request<wire::EnrolRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        Err(Status::unimplemented("agents enrol no operators"))
    }

    async fn enrol(
        &self,
        request: Request<wire::EnrolRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        let request = request.into_inner();
        let used = {
            let mut tokens = self.tokens.lock().unwrap();
            let before = tokens.len();
            tokens.retain(|token| *token != request.token);
            tokens.len() < before
        };
        if !used {
            return Err(Status::unauthenticated("the token is unknown or used"));
        }
        let certificate = self
            .authority
            .agent(&request.csr_pem, &request.name, (-1, 30))?;
        Ok(Response::new(certificate))
    }
}
