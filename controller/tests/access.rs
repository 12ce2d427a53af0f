//! Every call of the contract × everybody who could make it, over real TLS against a real controller.
//!
//! What is expected stands in `docs/access.md`, which people read; `MAILMEND_BLESS=1` writes it from what
//! the controller did. A call that is added to the contract does not build without a row in the door's
//! table, and turns this red until the page says who may make it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailmend::clock::Clock;
use mailmend::enrol::Authority;
use mailmend::server::access::Beside;
use mailmend::trust::Named;
use mailmend_proto::rpc::Rpc;
use mailmend_proto::wire;
use mailmend_proto::wire::agents_client::AgentsClient;
use mailmend_proto::wire::enrolment_client::EnrolmentClient;
use mailmend_proto::wire::operator_client::OperatorClient;
use prost::Message as _;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/access.md");

const INTRO: &str = "# Who may call what

Roles, each with what those before it may: **viewer** looks, and pauses; **operator** also acts; **approver** also lets others'
changes go on; **admin** also says what may run and who may call. Nobody approves their own change (`C151-own-change`). Roles are in the
controller's store, so a change holds from the next call on; names are in certificates and nowhere else.

Whoever shows no certificate may make the calls of the column \"anybody\". With a certificate that has ended, or of another authority, no
connection comes about. With one that was revoked every call is refused and told why (`C152-identity-revoked`), and connections that are open
are closed within five seconds. Each cell was tried over TLS against a running controller; this page is written by that test:
`MAILMEND_BLESS=1 cargo nextest run -p mailmend --test access`.

| call | anybody | agent | viewer | operator | approver | admin |
|---|---|---|---|---|---|---|
";

/// Everybody who shows a certificate that holds, in the order of the page's columns.
const GOOD: [&str; 5] = ["agent", "viewer", "operator", "approver", "admin"];

/// What a refusal by the door begins with.
const DOOR: [&str; 6] = ["C021-", "C024-", "C150-", "C152-", "C153-", "C154-"];

struct Controller {
    folder: tempfile::TempDir,
    child: Child,
    address: String,
    authority: Authority,
}

impl Controller {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let data = folder.path().join("data");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mailmend"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        let address = loop {
            if let Ok(address) = std::fs::read_to_string(&ready) {
                break address.trim().to_owned();
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended at its start");
            assert!(began.elapsed() < Duration::from_secs(30), "no ready file");
            // Nothing tells when the file is there, so it is looked for until then.
            std::thread::sleep(Duration::from_millis(10));
        };
        let authority = Authority::open_or_create(&data, now_ms()).unwrap();
        Self {
            folder,
            child,
            address,
            authority,
        }
    }

    /// A certificate of `authority` for `whom`.
    fn made(authority: &Authority, whom: &Named, life: Duration) -> Identity {
        let (key, csr) = request("anything");
        let issued = authority.issue(whom, &csr, now_ms(), life).unwrap();
        Identity::from_pem(issued.certificate_pem, key)
    }

    fn dial(&self, identity: Option<Identity>) -> Channel {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.ca_pem()))
            .domain_name(mailmend::identity::CONTROLLER_DNS);
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        Endpoint::from_shared(format!("https://{}", self.address))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect_lazy()
    }

    fn first_admin(&self) -> OperatorClient<Channel> {
        let folder = self.folder.path().join("data/operator");
        let read = |file: &str| std::fs::read(folder.join(file)).unwrap();
        let identity = Identity::from_pem(read("operator.pem"), read("operator.key"));
        OperatorClient::new(self.dial(Some(identity)))
    }

    /// Lets an operator in the way that people take.
    async fn operator(&self, name: &str, role: wire::Role) -> Identity {
        let add = wire::AddOperatorRequest {
            name: name.into(),
            role: role.into(),
            ..wire::AddOperatorRequest::default()
        };
        let token = self.first_admin().add_operator(add).await.unwrap();
        let (key, csr_pem) = request("anything");
        let enrol = wire::EnrolRequest {
            token: token.into_inner().token,
            name: name.into(),
            csr_pem,
        };
        let mut stranger = EnrolmentClient::new(self.dial(None));
        let certificate = stranger.enrol_operator(enrol).await.unwrap().into_inner();
        Identity::from_pem(certificate.certificate_pem, key)
    }

    async fn agent(&self, name: &str) -> Identity {
        let token = wire::CreateTokenRequest {
            name: name.into(),
            site: "oslo".into(),
            ..wire::CreateTokenRequest::default()
        };
        let token = self.first_admin().create_token(token).await.unwrap();
        let (key, csr_pem) = request("SOMEBODY-ELSE");
        let enrol = wire::EnrolRequest {
            token: token.into_inner().token,
            name: name.into(),
            csr_pem,
        };
        let mut stranger = EnrolmentClient::new(self.dial(None));
        let certificate = stranger.enrol(enrol).await.unwrap().into_inner();
        Identity::from_pem(certificate.certificate_pem, key)
    }

    async fn revoke(&self, who: wire::revoke_identity_request::Who) {
        let request = wire::RevokeIdentityRequest {
            who: Some(who),
            why: "stolen".into(),
        };
        self.first_admin().revoke_identity(request).await.unwrap();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn now_ms() -> i64 {
    Clock::system().now_ms()
}

/// A key and a request for a certificate of `name`.
fn request(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    (key.serialize_pem(), csr)
}

/// A row of the page: a call, and where its message decides, which.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    path: &'static str,
    /// What stands behind the call's name.
    note: &'static str,
    message: Vec<u8>,
}

fn rows() -> Vec<Row> {
    let change = |change: wire::RolloutChange| {
        wire::ChangeRolloutRequest {
            change: change.into(),
            ..wire::ChangeRolloutRequest::default()
        }
        .encode_to_vec()
    };
    let mut rows = Vec::new();
    for rpc in Rpc::ALL.iter().copied() {
        let path = rpc.path();
        let mut row = |note, message| {
            rows.push(Row {
                path,
                note,
                message,
            });
        };
        if rpc == Rpc::OperatorChangeRollout {
            row(" (pause)", change(wire::RolloutChange::Pause));
            row(" (resume)", change(wire::RolloutChange::Resume));
            row(" (abort)", change(wire::RolloutChange::Abort));
        } else {
            row("", Vec::new());
        }
    }
    rows.extend(Beside::ALL.iter().map(|call| Row {
        path: call.path(),
        note: "",
        message: Vec::new(),
    }));
    rows
}

/// Messages as they are: the door looks at no message.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(
        &mut self,
        item: Vec<u8>,
        buffer: &mut tonic::codec::EncodeBuf<'_>,
    ) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = ();
    type Error = Status;
    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<()>, Status> {
        let left = bytes::Buf::remaining(buffer);
        bytes::Buf::advance(buffer, left);
        Ok(Some(()))
    }
}

/// What came of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    /// The service saw it, whatever it thought of an empty message.
    In,
    /// The door refused it.
    Refused(Code),
    /// There was no connection.
    Shut,
}

async fn call(channel: Channel, row: &Row) -> Got {
    let mut client = tonic::client::Grpc::new(channel);
    if client.ready().await.is_err() {
        return Got::Shut;
    }
    let path = PathAndQuery::from_static(row.path);
    let once = tokio_stream::iter([row.message.clone()]);
    let mut request = Request::new(once);
    request.set_timeout(Duration::from_secs(20));
    let answer = async {
        let mut stream = client.streaming(request, path, Raw).await?.into_inner();
        stream.message().await
    };
    match answer.await {
        Ok(_) => Got::In,
        Err(status) if DOOR.iter().any(|code| status.message().starts_with(code)) => {
            Got::Refused(status.code())
        }
        Err(status) => match status.code() {
            Code::Unknown | Code::Unavailable | Code::Cancelled => Got::Shut,
            _ => Got::In,
        },
    }
}

async fn tried(controller: &Controller, identity: Option<Identity>) -> BTreeMap<Row, Got> {
    let channel = controller.dial(identity);
    let mut found = BTreeMap::new();
    for row in rows() {
        let got = call(channel.clone(), &row).await;
        found.insert(row, got);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_open_to_whom_the_page_says_and_to_nobody_else() {
    use wire::revoke_identity_request::Who;
    let controller = Controller::start();
    let roles = [
        ("viewer", wire::Role::Viewer),
        ("operator", wire::Role::Operator),
        ("approver", wire::Role::Approver),
        ("admin", wire::Role::Admin),
    ];
    let mut good = BTreeMap::new();
    let (mut revoked, mut ended, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
    let other = controller.folder.path().join("other");
    let other = Authority::open_or_create(&other, now_ms()).unwrap();
    good.insert("agent", controller.agent("SRV-A").await);
    revoked.push(("agent", controller.agent("SRV-R").await));
    controller.revoke(Who::Agent("SRV-R".into())).await;
    let mut names = vec![Named::Agent("SRV-A".parse().unwrap())];
    for (label, role) in roles {
        let name = format!("good-{label}");
        good.insert(label, controller.operator(&name, role).await);
        names.push(Named::Operator(name));
        let name = format!("revoked-{label}");
        revoked.push((label, controller.operator(&name, role).await));
        controller.revoke(Who::Operator(name)).await;
    }
    let hour = Duration::from_secs(3600);
    for whom in &names {
        ended.push(Controller::made(
            &controller.authority,
            whom,
            Duration::ZERO,
        ));
        foreign.push(Controller::made(&other, whom, hour));
    }

    let anybody = tried(&controller, None).await;
    let mut columns = BTreeMap::new();
    for label in GOOD {
        let got = tried(&controller, Some(good[label].clone())).await;
        assert!(
            got.values().all(|got| *got != Got::Shut),
            "{label}: {got:?}"
        );
        columns.insert(label, got);
    }
    let mut page = INTRO.to_owned();
    for row in rows() {
        let mark = |got: &Got| if *got == Got::In { "yes" } else { "–" };
        let name = row.path.trim_start_matches("/mailmend.v1.");
        let name = name.trim_start_matches('/');
        write!(page, "| `{name}`{} | {} |", row.note, mark(&anybody[&row])).unwrap();
        for label in GOOD {
            write!(page, " {} |", mark(&columns[label][&row])).unwrap();
        }
        page.push('\n');
    }
    if std::env::var_os("MAILMEND_BLESS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let expected = std::fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    assert_eq!(expected, page, "docs/access.md says otherwise");

    // What nobody may who shows no certificate, nobody may who shows one that holds no more.
    for (label, identity) in revoked {
        for (row, got) in tried(&controller, Some(identity)).await {
            assert_eq!(
                got,
                Got::Refused(Code::Unauthenticated),
                "revoked {label}: {row:?}"
            );
        }
    }
    for identity in ended.into_iter().chain(foreign) {
        for (row, got) in tried(&controller, Some(identity)).await {
            assert_eq!(got, Got::Shut, "{row:?}");
        }
    }
}

/// Identity is in the certificate: whatever else is said, another agent's opens that other's door only.
#[tokio::test]
async fn with_another_agents_certificate_one_is_that_other_agent() {
    let controller = Controller::start();
    controller.agent("SRV-A").await;
    let other = controller.agent("SRV-B").await;
    let (_, csr_pem) = request("SRV-A");
    let mut client = AgentsClient::new(controller.dial(Some(other)));
    let renewed = client
        .renew(wire::RenewRequest { csr_pem })
        .await
        .unwrap()
        .into_inner();
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(renewed.certificate_pem.as_bytes());
    let der: rustls::pki_types::CertificateDer<'_> = der.unwrap();
    let found = mailmend::identity::identify(&der, now_ms()).unwrap();
    assert_eq!(found.peer.to_string(), "agent `SRV-B`");
}

/// A stream that is open when its certificate is revoked ends within five seconds.
#[tokio::test]
async fn a_live_stream_ends_within_five_seconds_of_a_revocation() {
    let controller = Controller::start();
    let identity = controller.agent("SRV-B").await;
    let mut client = AgentsClient::new(controller.dial(Some(identity)));
    let (send, stream) = tokio::sync::mpsc::channel(4);
    let hello = wire::FromAgent {
        message: Some(wire::from_agent::Message::Hello(wire::Hello {
            agent_version: "0.1.0".into(),
            journal: uuid::Uuid::new_v4().to_string(),
            ..wire::Hello::default()
        })),
    };
    send.send(hello).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut told = client.session(stream).await.unwrap().into_inner();
    assert!(told.message().await.unwrap().is_some(), "welcomed");
    let following = tokio::spawn(async move {
        while let Ok(Some(_)) = told.message().await {}
        Instant::now()
    });
    let revoked = Instant::now();
    let who = wire::revoke_identity_request::Who::Agent("SRV-B".into());
    controller.revoke(who).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), following)
        .await
        .expect("it ended at all")
        .unwrap();
    let took = ended.saturating_duration_since(revoked);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Whoever was revoked comes back with a new token, and only with what came after.
#[tokio::test]
async fn who_was_revoked_comes_back_with_a_new_token_and_the_old_certificate_stays_dead() {
    let controller = Controller::start();
    let old = controller.operator("anna", wire::Role::Viewer).await;
    let who = wire::revoke_identity_request::Who::Operator("anna".into());
    controller.revoke(who).await;
    let add = wire::AddOperatorRequest {
        name: "anna".into(),
        role: wire::Role::Operator.into(),
        again: true,
        ..wire::AddOperatorRequest::default()
    };
    let mut admin = controller.first_admin();
    let token = admin.add_operator(add).await.unwrap().into_inner().token;
    let (key, csr_pem) = request("anna");
    let enrol = wire::EnrolRequest {
        token,
        name: "anna".into(),
        csr_pem,
    };
    let mut stranger = EnrolmentClient::new(controller.dial(None));
    let fresh = stranger
        .enrol_operator(enrol.clone())
        .await
        .unwrap()
        .into_inner();
    let again = stranger.enrol_operator(enrol).await.unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated, "a token works once");
    let fresh = Identity::from_pem(fresh.certificate_pem, key);
    let who = |identity| {
        let mut client = OperatorClient::new(controller.dial(Some(identity)));
        async move { client.who_am_i(wire::WhoAmIRequest {}).await }
    };
    let me = who(fresh).await.unwrap().into_inner();
    assert_eq!(me.role(), wire::Role::Operator);
    let dead = who(old).await.unwrap_err();
    assert!(dead.message().contains("C152-identity-revoked"), "{dead:?}");

    // The last admin is not let go: nobody could let anybody in any more.
    let revoke = wire::RevokeIdentityRequest {
        who: Some(wire::revoke_identity_request::Who::Operator("admin".into())),
        why: "x".into(),
    };
    let refused = admin.revoke_identity(revoke).await.unwrap_err();
    assert!(refused.message().contains("C156-last-admin"), "{refused:?}");
}
