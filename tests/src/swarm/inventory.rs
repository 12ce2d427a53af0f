//! The swarm's identities: keys of their own, certificates of the controller's authority, a line in its inventory.
//!
//! All of it is made with the controller's own code on its data folder before it starts: ten thousand enrolments over the
//! network are another measurement.

use std::path::Path;
use std::sync::Arc;

use mailmend::clock::Clock;
use mailmend::enrol::Authority;
use mailmend::server::agents::Authority as _;
use mailmend::store::{NewToken, Store};
use mailmend::trust::Named;
use mailmend_policy::name::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::connection;
use super::herd::Member;
use crate::lab_error::LabError;

/// The controller's database in its data folder.
pub const DATABASE: &str = "controller.db";

/// The name of an agent by its number.
fn name(number: usize) -> String {
    format!("agent-{number:05}")
}

/// A selector of the first so many agents.
#[must_use]
pub fn first(count: usize) -> String {
    let names: Vec<String> = (0..count).map(name).collect();
    format!("name in ({})", names.join(","))
}

/// What an agent shows.
struct Enrolled {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// All agents of the swarm.
pub struct Inventory {
    authority: CertificateDer<'static>,
    agents: Vec<Enrolled>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

fn failed(why: impl std::fmt::Display) -> LabError {
    LabError::Refused {
        attempted: "enrol the swarm".to_owned(),
        reason: why.to_string(),
    }
}

impl Inventory {
    /// Makes the data folder of a controller that knows so many agents, each alone in its site.
    ///
    /// # Errors
    /// Where the folder cannot be made or used.
    pub fn make(data: &Path, count: usize) -> Result<Self, LabError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        runtime.block_on(Self::made(data, count))
    }

    async fn made(data: &Path, count: usize) -> Result<Self, LabError> {
        let now_ms = Clock::system().now_ms();
        mailmend::enrol::prepare_folder(data, now_ms).map_err(failed)?;
        let store = Store::open(&data.join(DATABASE)).await.map_err(failed)?;
        let authority = Authority::open_or_create(data, now_ms).map_err(failed)?;
        let mut agents = Vec::with_capacity(count);
        for number in 0..count {
            let name: ServerName = name(number).parse().map_err(failed)?;
            let pair = rcgen::KeyPair::generate().map_err(failed)?;
            let request = rcgen::CertificateParams::default()
                .serialize_request(&pair)
                .and_then(|request| request.pem())
                .map_err(failed)?;
            let whom = Named::Agent(name.clone());
            let made = authority.certify(&whom, &request, now_ms).map_err(failed)?;
            let hash = authority.token_hash(&format!("swarm {number}"));
            let token = NewToken {
                hash,
                agent: name.clone(),
                site: format!("site-{number:05}").parse().map_err(failed)?,
                labels: Default::default(),
                created_ms: now_ms,
                by: "swarm".to_owned(),
                expires_ms: now_ms + 60_000,
            };
            store.create_token(&token).await.map_err(failed)?;
            let taken = store.take_token(&hash, &name, &made.noted, now_ms).await;
            taken
                .map_err(failed)?
                .map_err(|why| failed(format!("{why:?}")))?;
            let pem = made.certificate.certificate_pem;
            agents.push(Enrolled {
                certificate: CertificateDer::from_pem_slice(pem.as_bytes()).map_err(failed)?,
                key: PrivateKeyDer::try_from(pair.serialize_der()).map_err(failed)?,
            });
        }
        store.close().await;
        let ca = CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).map_err(failed)?;
        Ok(Self {
            authority: ca,
            agents,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        })
    }

    /// All of them, without a ticket.
    ///
    /// # Errors
    /// Where a certificate does not fit its key.
    pub fn members(&self) -> Result<Vec<Member>, LabError> {
        let member = |agent: &Enrolled| {
            let tls = connection::tls(
                &self.authority,
                agent.certificate.clone(),
                agent.key.clone_key(),
                &self.provider,
            );
            tls.map_err(failed)
        };
        self.agents.iter().map(member).collect()
    }
}
