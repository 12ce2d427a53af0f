use std::time::Duration;

use mailmend_proto::wire;
use mailmend_proto::wire::enrolment_client::EnrolmentClient;
use mailmend_proto::wire::operator_client::OperatorClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use super::*;
use crate::enrol::Authority;
use crate::identity::{CONTROLLER_DNS, Caller, Peer};
use crate::trust::Named;
use crate::trust::known::{Known, Revocation};
use crate::trust::rates::Rate;
use crate::trust::role::Role;

/// Tells callers who they are taken for; as slow as asked.
struct Mirror;

#[tonic::async_trait]
impl Enrolment for Mirror {
    async fn enrol(
        &self,
        request: Request<wire::EnrolRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        let peer = request.extensions().get::<Peer>().unwrap().to_string();
        let caller = request.extensions().get::<Caller>().unwrap();
        assert_eq!(caller.peer.to_string(), peer);
        if request.into_inner().token == "never" {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(wire::Certificate {
            ca_pem: peer,
            ..Default::default()
        }))
    }

    async fn enrol_operator(
        &self,
        request: Request<wire::EnrolRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        self.enrol(request).await
    }
}

struct Lab {
    roster: Roster,
    authority: Authority,
    folder: tempfile::TempDir,
    address: SocketAddr,
    tls: watch::Sender<Arc<rustls::ServerConfig>>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<Result<(), ServeFault>>,
}

impl Lab {
    async fn start(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let authority = Authority::open_or_create(folder.path(), clock.now_ms()).unwrap();
        let own = authority.server_certificate(clock.now_ms()).unwrap();
        let config = tls::server_config(authority.ca_pem(), &own).unwrap();
        let (tls, following) = watch::channel(config);
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = bound.address();
        let stop = CancellationToken::new();
        let service =
            EnrolmentServer::new(Mirror).max_decoding_message_size(limits.anonymous_message_bytes);
        let roster = Roster::new(Known {
            operators: [("admin".to_owned(), Role::Admin)].into(),
            ..Known::default()
        });
        let serving = bound.serve(
            Routes::new(service),
            following,
            limits,
            clock,
            roster.clone(),
            stop.clone(),
        );
        let ended = tokio::spawn(serving);
        Self {
            roster,
            authority,
            folder,
            address,
            tls,
            stop,
            ended,
        }
    }

    fn agent(&self, name: &str) -> Identity {
        agent_of(&self.authority, name, Duration::from_secs(600))
    }

    fn operator(&self) -> Identity {
        let folder = self
            .authority
            .operator_folder(Clock::system().now_ms())
            .unwrap();
        let read = |file| std::fs::read(folder.join(file)).unwrap();
        Identity::from_pem(read("operator.pem"), read("operator.key"))
    }

    fn endpoint(&self, identity: Option<Identity>) -> Endpoint {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.ca_pem()))
            .domain_name(CONTROLLER_DNS);
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        Endpoint::from_shared(format!("https://{}", self.address))
            .unwrap()
            .tls_config(tls)
            .unwrap()
    }

    fn dial(&self, identity: Option<Identity>) -> Channel {
        self.endpoint(identity).connect_lazy()
    }
}

fn agent_of(authority: &Authority, name: &str, validity: Duration) -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let now = Clock::system().now_ms();
    let issued = authority
        .issue(&Named::Agent(name.parse().unwrap()), &csr, now, validity)
        .unwrap();
    Identity::from_pem(issued.certificate_pem, key.serialize_pem())
}

async fn mirrored(channel: Channel) -> Result<String, Status> {
    let answer = EnrolmentClient::new(channel)
        .enrol(wire::EnrolRequest::default())
        .await?;
    Ok(answer.into_inner().ca_pem)
}

async fn as_operator(channel: Channel) -> Code {
    let request = wire::ListAgentsRequest::default();
    OperatorClient::new(channel)
        .list_agents(request)
        .await
        .unwrap_err()
        .code()
}

#[tokio::test]
async fn callers_are_who_their_certificate_says() {
    let lab = Lab::start(Limits::default()).await;
    assert_eq!(
        mirrored(lab.dial(None)).await.unwrap(),
        "a caller without a certificate"
    );
    assert_eq!(
        mirrored(lab.dial(Some(lab.agent("SRV-B")))).await.unwrap(),
        "agent `SRV-B`"
    );
    assert_eq!(
        mirrored(lab.dial(Some(lab.operator()))).await.unwrap(),
        "operator `admin`"
    );
}

#[tokio::test]
async fn an_operators_call_is_refused_without_a_certificate_and_with_an_agents() {
    let lab = Lab::start(Limits::default()).await;
    assert_eq!(as_operator(lab.dial(None)).await, Code::Unauthenticated);
    assert_eq!(
        as_operator(lab.dial(Some(lab.agent("SRV-B")))).await,
        Code::PermissionDenied
    );
    // The operator gets past the table; this lab serves no operators.
    assert_eq!(
        as_operator(lab.dial(Some(lab.operator()))).await,
        Code::Unimplemented
    );
}

#[tokio::test]
async fn certificates_of_another_authority_and_expired_ones_do_not_get_in() {
    let lab = Lab::start(Limits::default()).await;
    let foreign = tempfile::tempdir().unwrap();
    let foreign = Authority::open_or_create(foreign.path(), Clock::system().now_ms()).unwrap();
    let stranger = agent_of(&foreign, "SRV-B", Duration::from_secs(600));
    let refusal = mirrored(lab.dial(Some(stranger))).await.unwrap_err();
    assert!(
        matches!(refusal.code(), Code::Unavailable | Code::Unknown),
        "{refusal:?}"
    );
    let ended = agent_of(&lab.authority, "SRV-B", Duration::ZERO);
    let refusal = mirrored(lab.dial(Some(ended))).await.unwrap_err();
    assert!(
        matches!(refusal.code(), Code::Unavailable | Code::Unknown),
        "{refusal:?}"
    );
    assert!(
        mirrored(lab.dial(Some(lab.agent("SRV-B")))).await.is_ok(),
        "the door still works"
    );
}

#[tokio::test]
async fn a_controller_of_another_authority_is_not_believed() {
    let (one, other) = (
        Lab::start(Limits::default()).await,
        Lab::start(Limits::default()).await,
    );
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(other.authority.ca_pem()))
        .domain_name(CONTROLLER_DNS);
    let endpoint = Endpoint::from_shared(format!("https://{}", one.address)).unwrap();
    assert!(endpoint.tls_config(tls).unwrap().connect().await.is_err());
}

#[tokio::test]
async fn a_revoked_certificate_is_told_why_and_its_open_connections_are_closed() {
    let lab = Lab::start(Limits::default()).await;
    let identity = lab.agent("SRV-B");
    let held = lab.dial(Some(identity.clone()));
    let mut client = EnrolmentClient::new(held);
    client.enrol(wire::EnrolRequest::default()).await.unwrap();
    let endless = wire::EnrolRequest {
        token: "never".to_owned(),
        ..Default::default()
    };
    let mut other = client.clone();
    let hanging = tokio::spawn(async move { other.enrol(endless).await });
    // So that the call is under way; were it not, it would be refused by name, which is an error too.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let revocation = Revocation {
        at_ms: 1,
        by: "admin".into(),
        why: "its disk was stolen".into(),
        since: std::collections::BTreeSet::new(),
    };
    let closed = lab.roster.learn(Known {
        operators: [("admin".to_owned(), Role::Admin)].into(),
        revoked: [(Named::Agent("SRV-B".parse().unwrap()), revocation)].into(),
    });
    assert_eq!(closed, 1);
    let ended = tokio::time::timeout(Duration::from_secs(5), hanging).await;
    assert!(ended.expect("closed within 5 s").unwrap().is_err());
    let refusal = mirrored(lab.dial(Some(identity))).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unauthenticated);
    assert!(
        refusal.message().contains("its disk was stolen"),
        "{refusal:?}"
    );
    assert!(mirrored(lab.dial(Some(lab.agent("SRV-C")))).await.is_ok());
}

#[tokio::test]
async fn a_caller_that_runs_wild_is_told_to_wait() {
    let limits = Limits {
        named_rate: Rate::new(1, 3),
        ..Limits::default()
    };
    let lab = Lab::start(limits).await;
    let channel = lab.dial(Some(lab.agent("SRV-B")));
    for _ in 0..3 {
        assert!(mirrored(channel.clone()).await.is_ok());
    }
    let refusal = mirrored(channel).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
    assert!(mirrored(lab.dial(Some(lab.agent("SRV-C")))).await.is_ok());
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let lab = Lab::start(Limits::default()).await;
    let mut request = Request::new(wire::EnrolRequest::default());
    let long = "x".repeat(20 * 1024).parse().unwrap();
    request.metadata_mut().insert("x-long", long);
    let mut client = EnrolmentClient::new(lab.dial(Some(lab.agent("SRV-B"))));
    assert!(client.enrol(request).await.is_err());
    assert!(client.enrol(wire::EnrolRequest::default()).await.is_ok());
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_its_address() {
    let first = Bound::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let fault = Bound::bind(first.address()).await.unwrap_err();
    assert_eq!(fault.code(), "C010-address-taken");
    assert!(
        fault.to_string().contains(&first.address().to_string()),
        "{fault}"
    );
    let fault = Bound::bind("192.0.2.1:1".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(fault.code(), "C011-address");
}

#[tokio::test]
async fn the_ready_file_holds_the_bound_address() {
    let folder = tempfile::tempdir().unwrap();
    let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let file = folder.path().join("ready");
    bound.tell(&file).unwrap();
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        format!("{}\n", bound.address())
    );
    let fault = bound
        .tell(&folder.path().join("no/such/folder"))
        .unwrap_err();
    assert_eq!(fault.code(), "C012-ready-file");
}

#[tokio::test]
async fn strangers_cannot_crowd_out_who_has_a_certificate() {
    let limits = Limits {
        anonymous_connections: 1,
        ..Limits::default()
    };
    let lab = Lab::start(limits).await;
    let first = lab.dial(None);
    assert!(mirrored(first.clone()).await.is_ok());
    assert!(
        mirrored(lab.dial(None)).await.is_err(),
        "the only place for strangers is taken"
    );
    assert!(mirrored(lab.dial(Some(lab.agent("SRV-B")))).await.is_ok());
    assert!(mirrored(first).await.is_ok(), "who is in stays in");
}

#[tokio::test]
async fn a_stranger_who_stays_is_cut_off() {
    let limits = Limits {
        anonymous_life: Duration::from_millis(100),
        ..Limits::default()
    };
    let lab = Lab::start(limits).await;
    let mut client = EnrolmentClient::new(lab.dial(None));
    let endless = wire::EnrolRequest {
        token: "never".to_owned(),
        ..Default::default()
    };
    let cut = tokio::time::timeout(Duration::from_secs(20), client.enrol(endless)).await;
    assert!(cut.expect("cut long before the timeout of a call").is_err());
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused() {
    let lab = Lab::start(Limits::default()).await;
    let big = wire::EnrolRequest {
        csr_pem: "x".repeat(100 * 1024),
        ..Default::default()
    };
    let refusal = EnrolmentClient::new(lab.dial(None))
        .enrol(big)
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), Code::OutOfRange, "{refusal:?}");
}

#[tokio::test]
async fn a_silent_handshake_ends_and_frees_its_place() {
    let limits = Limits {
        handshakes: 1,
        handshake_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let lab = Lab::start(limits).await;
    let mut silent = tokio::net::TcpStream::connect(lab.address).await.unwrap();
    // The server hangs up on it: reading awaits that.
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(&mut silent, &mut byte);
    let ended = tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
    assert!(mirrored(lab.dial(Some(lab.agent("SRV-B")))).await.is_ok());
}

#[tokio::test]
async fn a_renewed_server_certificate_is_used_without_a_restart() {
    let lab = Lab::start(Limits::default()).await;
    for file in ["server.pem", "server.key"] {
        std::fs::remove_file(lab.folder.path().join(file)).unwrap();
    }
    let renewed = lab
        .authority
        .server_certificate(Clock::system().now_ms())
        .unwrap();
    lab.tls
        .send(tls::server_config(lab.authority.ca_pem(), &renewed).unwrap())
        .unwrap();
    assert!(mirrored(lab.dial(None)).await.is_ok());
}

#[tokio::test]
async fn stopping_waits_for_calls_but_not_for_ever() {
    let limits = Limits {
        shutdown: Duration::from_millis(200),
        ..Limits::default()
    };
    let lab = Lab::start(limits).await;
    let mut client = EnrolmentClient::new(lab.dial(Some(lab.agent("SRV-B"))));
    assert!(client.enrol(wire::EnrolRequest::default()).await.is_ok());
    let endless = wire::EnrolRequest {
        token: "never".to_owned(),
        ..Default::default()
    };
    let hanging = tokio::spawn(async move { client.enrol(endless).await });
    lab.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(20), lab.ended)
        .await
        .unwrap();
    ended.unwrap().unwrap();
    assert!(hanging.await.unwrap().is_err());
}
