//! Who this agent is: its key, made here and never sent, and the certificate for it.
//!
//! The data folder has `agent.key` (mode 0600), `agent.pem` and `ca.pem`. The key is made once and
//! never replaced; certificates are short-lived and replaced whole, so that a crash leaves the old
//! one or the new one.

pub(crate) mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mailmend_policy::name::ServerName;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::extensions::GeneralName;

pub use files::{Replaced, make_data_folder};

/// The key.
pub const KEY: &str = "agent.key";
/// The certificate.
pub const CERTIFICATE: &str = "agent.pem";
/// The certificate of the controller's authority.
pub const AUTHORITY: &str = "ca.pem";

/// The agent's identity, whole and fitting together.
#[derive(Clone)]
pub struct Identity {
    /// The agent's name, from the certificate.
    pub name: ServerName,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM. Never logged.
    pub key_pem: String,
    /// The authority that signed it and the controller's certificate, PEM.
    pub ca_pem: String,
    /// When the certificate begins to hold.
    pub validity: Validity,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// The longest certificate, or authority, in PEM, bytes.
const LARGEST: usize = 64 << 10;

/// When a certificate holds, in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub from_ms: i64,
    /// Until then.
    pub until_ms: i64,
}

impl Validity {
    /// When half of it has passed: the time to renew.
    #[must_use]
    pub const fn half_ms(&self) -> i64 {
        self.from_ms + (self.until_ms - self.from_ms) / 2
    }
}

/// The identity is missing, or not what it has to be.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no certificate.
    #[error(
        "A020-not-enrolled: `{}` has no certificate; get a token with `mailmend agent token {name}` and run `mailmend-agent enrol --token TOKEN --ca CA.PEM`",
        folder.display()
    )]
    NotEnrolled {
        /// The data folder.
        folder: PathBuf,
        /// The server's name.
        name: ServerName,
    },
    /// Others may read the key.
    #[error(
        "A021-key-exposed: the key `{}` {why}, so that others may have read it; {remedy} if nobody has, otherwise remove it with `agent.pem` and enrol again",
        file.display()
    )]
    Exposed {
        /// The key.
        file: PathBuf,
        /// Who may, or its mode.
        why: String,
        /// What keeps them out.
        remedy: String,
    },
    /// What is there cannot be used.
    #[error("A022-identity-broken: `{}`: {why}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The certificate has ended.
    #[error(
        "A023-certificate-expired: the certificate of `{name}` ended {until}, and this machine's clock reads {now}; check the clock, then get a token and enrol again"
    )]
    Expired {
        /// The server's name.
        name: ServerName,
        /// When it ended.
        until: String,
        /// What the clock reads.
        now: String,
    },
    /// The certificate has not begun.
    #[error(
        "A024-clock: the certificate of `{name}` holds from {from} on, and this machine's clock reads {now}; set the clock"
    )]
    Clock {
        /// The server's name.
        name: ServerName,
        /// When it begins.
        from: String,
        /// What the clock reads.
        now: String,
    },
    /// A file cannot be read or written.
    #[error(
        "A014-data-folder: {attempted} `{}`: {reason}; check the data folder, its owner and free space",
        file.display()
    )]
    Folder {
        /// What was attempted.
        attempted: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl Identity {
    /// Reads the identity of server `name` and looks whether it fits together and holds at `now_ms`.
    ///
    /// # Errors
    /// Where it does not.
    pub fn load(folder: &Path, name: &ServerName, now_ms: i64) -> Result<Self, IdentityError> {
        let Some(certificate_pem) = files::read(&folder.join(CERTIFICATE))? else {
            return Err(IdentityError::NotEnrolled {
                folder: folder.to_path_buf(),
                name: name.clone(),
            });
        };
        let missing = |file: &str| IdentityError::Broken {
            file: folder.join(file),
            why: format!(
                "it is not there while `{CERTIFICATE}` is; put it back from where it went, or remove `{CERTIFICATE}` and enrol again"
            ),
        };
        let ca_pem = files::read(&folder.join(AUTHORITY))?.ok_or_else(|| missing(AUTHORITY))?;
        let key = read_key(folder)?.ok_or_else(|| missing(KEY))?;
        let file = folder.join(CERTIFICATE);
        let validity = examine(&certificate_pem, &ca_pem, &key, name).map_err(|why| {
            let why = format!("{why}; remove it and enrol again");
            IdentityError::Broken { file, why }
        })?;
        let identity = Self {
            name: name.clone(),
            certificate_pem,
            key_pem: key.serialize_pem(),
            ca_pem,
            validity,
        };
        identity.holds(now_ms)?;
        Ok(identity)
    }

    fn holds(&self, now_ms: i64) -> Result<(), IdentityError> {
        if now_ms < self.validity.from_ms {
            return Err(IdentityError::Clock {
                name: self.name.clone(),
                from: time(self.validity.from_ms),
                now: time(now_ms),
            });
        }
        if now_ms >= self.validity.until_ms {
            return Err(IdentityError::Expired {
                name: self.name.clone(),
                until: time(self.validity.until_ms),
                now: time(now_ms),
            });
        }
        Ok(())
    }
}

/// The agent's key; made, durably, where there is none. A key that is there is never replaced.
///
/// # Errors
/// Where it cannot be read or written, or others may read it.
pub fn own_key(folder: &Path) -> Result<KeyPair, IdentityError> {
    if let Some(key) = read_key(folder)? {
        return Ok(key);
    }
    let file = folder.join(KEY);
    let broken = |why: rcgen::Error| IdentityError::Broken {
        file: file.clone(),
        why: format!("no key can be made: {why}"),
    };
    let key = KeyPair::generate().map_err(broken)?;
    files::write(&file, &key.serialize_pem(), Replaced::Never)?;
    Ok(key)
}

/// A request for a certificate over the agent's key. Its name is for people: the controller takes
/// the public key and nothing else.
///
/// # Errors
/// Where the key cannot sign.
pub fn request(folder: &Path, name: &ServerName, key: &KeyPair) -> Result<String, IdentityError> {
    let broken = |why: rcgen::Error| IdentityError::Broken {
        file: folder.join(KEY),
        why: format!("no certificate can be requested with it: {why}"),
    };
    let mut params = CertificateParams::new(Vec::new()).map_err(broken)?;
    params
        .distinguished_name
        .push(DnType::CommonName, name.as_str());
    params
        .serialize_request(key)
        .and_then(|request| request.pem())
        .map_err(broken)
}

/// Stores a certificate that fits the agent's key and name, and the authority that signed it.
/// Durable on return; a crash leaves the old one or the new one.
///
/// # Errors
/// Where it does not fit, or cannot be written.
pub fn store(
    folder: &Path,
    name: &ServerName,
    certificate_pem: &str,
    ca_pem: &str,
) -> Result<Validity, IdentityError> {
    let file = folder.join(CERTIFICATE);
    let broken = |why: String| IdentityError::Broken {
        file: file.clone(),
        why: format!("what the controller sent is refused: {why}"),
    };
    let key = read_key(folder)?.ok_or_else(|| broken("this agent has no key".into()))?;
    let validity = examine(certificate_pem, ca_pem, &key, name).map_err(broken)?;
    files::write(&folder.join(AUTHORITY), ca_pem, Replaced::Whole)?;
    files::write(&file, certificate_pem, Replaced::Whole)?;
    Ok(validity)
}

/// Stores the certificate that a renewal brought. The authority stays what it is: a new one is taken with
/// `mailmend-agent enrol`, on this server, by whoever administers it. Durable on return.
///
/// # Errors
/// Where it does not fit or does not hold at `now_ms`, comes with another authority, or cannot be written; the old
/// one stays.
pub fn renewed(
    folder: &Path,
    name: &ServerName,
    (certificate_pem, ca_pem): (&str, &str),
    now_ms: i64,
) -> Result<Validity, IdentityError> {
    let file = folder.join(CERTIFICATE);
    let broken = |why: String| IdentityError::Broken {
        file: file.clone(),
        why: format!("what the controller sent is refused, and the old one stays: {why}"),
    };
    let missing = |what: &str| broken(format!("this agent has no {what}"));
    let ours = files::read(&folder.join(AUTHORITY))?.ok_or_else(|| missing("authority"))?;
    if certificates(&ours) != certificates(ca_pem) {
        return Err(broken(format!(
            "it comes with another authority than `{AUTHORITY}`; a new authority is taken by enrolling on this server alone"
        )));
    }
    let key = read_key(folder)?.ok_or_else(|| missing("key"))?;
    let validity = examine(certificate_pem, &ours, &key, name).map_err(broken)?;
    if now_ms < validity.from_ms || now_ms >= validity.until_ms {
        return Err(broken(format!(
            "it holds from {} until {}, and this machine's clock reads {}",
            time(validity.from_ms),
            time(validity.until_ms),
            time(now_ms)
        )));
    }
    files::write(&file, certificate_pem, Replaced::Whole)?;
    Ok(validity)
}

/// The certificates of a text; none where one of them cannot be read.
fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    if pem.len() > LARGEST {
        return None;
    }
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|all| !all.is_empty())
}

fn read_key(folder: &Path) -> Result<Option<KeyPair>, IdentityError> {
    let file = folder.join(KEY);
    let Some(pem) = files::read(&file)? else {
        return Ok(None);
    };
    files::kept_private(&file)?;
    match KeyPair::from_pem(&pem) {
        Ok(key) => Ok(Some(key)),
        Err(why) => Err(IdentityError::Broken {
            file,
            why: format!(
                "it is no private key: {why}; put the right one back, or remove it and `{CERTIFICATE}` and enrol again"
            ),
        }),
    }
}

/// Whether a certificate is for this key and this name, and when it holds.
fn examine(
    certificate_pem: &str,
    ca_pem: &str,
    key: &KeyPair,
    name: &ServerName,
) -> Result<Validity, String> {
    if certificate_pem.len() > LARGEST || ca_pem.len() > LARGEST {
        return Err(format!("it has more than {LARGEST} bytes"));
    }
    // TLS reads it so, and is strict; what is none must not be found out while dialling.
    CertificateDer::from_pem_slice(certificate_pem.as_bytes())
        .map_err(|why| format!("it is no certificate: {why}"))?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes())
        .map_err(|why| format!("it is no certificate: {why}"))?;
    let certificate = pem
        .parse_x509()
        .map_err(|why| format!("it is no certificate: {why}"))?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err(format!("it is for another key than `{KEY}`"));
    }
    let wanted = format!("mailmend:agent:{name}");
    let names = certificate
        .subject_alternative_name()
        .map_err(|why| format!("its names cannot be read: {why}"))?;
    let names: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    if names != [wanted.as_str()] {
        let names = names.join(", ");
        return Err(format!("it is for `{names}`, and this agent is `{wanted}`"));
    }
    let validity = certificate.validity();
    let from = validity.not_before.timestamp();
    let until = validity.not_after.timestamp();
    signed(&pem.contents, ca_pem, from)?;
    Ok(Validity {
        from_ms: from.saturating_mul(1000),
        until_ms: until.saturating_mul(1000),
    })
}

/// Whether an authority signed a certificate, for a client, as of `at` (seconds since 1970 UTC).
fn signed(certificate: &[u8], ca_pem: &str, at: i64) -> Result<(), String> {
    CertificateDer::from_pem_slice(ca_pem.as_bytes())
        .map_err(|why| format!("its authority is no certificate: {why}"))?;
    let (_, authority) = x509_parser::pem::parse_x509_pem(ca_pem.as_bytes())
        .map_err(|why| format!("its authority is no certificate: {why}"))?;
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.contents.into())
        .map_err(|why| format!("its authority cannot be used: {why}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|why| format!("its authority cannot be used: {why}"))?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.unsigned_abs()));
    verifier
        .verify_client_cert(&certificate.into(), &[], at)
        .map_err(|why| format!("its authority did not sign it for an agent: {why}"))?;
    Ok(())
}

/// A moment as people read it, UTC, to the second.
#[must_use]
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000))
        .map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

#[cfg(test)]
mod tests;
