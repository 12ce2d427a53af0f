//! What agents may call.

use mailmend_policy::name::ServerName;
use mailmend_proto::wire;

/// Who signs certificates and makes tokens. The services know nothing of keys.
pub trait Authority: Send + Sync + 'static {
    /// A certificate for an agent of this name over the key of the request, whose names are ignored.
    ///
    /// # Errors
    /// Where the request is no certificate request or its signature does not match its key.
    fn certify(
        &self,
        agent: &ServerName,
        csr_pem: &str,
        now_ms: i64,
    ) -> Result<wire::Certificate, CertifyFault>;

    /// The certificate of the authority, PEM.
    fn ca_pem(&self) -> String;

    /// A fresh token for a person to carry, unguessable.
    ///
    /// # Errors
    /// Where the machine gives no randomness.
    fn fresh_token(&self) -> Result<String, CertifyFault>;

    /// What is stored of a token.
    fn token_hash(&self, token: &str) -> [u8; 32];
}

/// A certificate could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {why}")]
pub struct CertifyFault {
    /// A code of `docs/faults.md`.
    pub code: &'static str,
    /// What is wrong with the request.
    pub why: String,
}
