//! Enrolment: the controller's certificate authority, tokens, and certificates for agents.
//!
//! An agent makes its own key and shows a request together with a token that works once. Of the
//! request only the public key is used: names, usages, serial and validity are the controller's.

mod certificate;
mod key_file;
pub mod person;
mod tickets;
mod token;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair, SanType};

use certificate::{
    Purpose, authority_params, belongs, leaf, millis, serial_of, serial_text, signed_by,
    validity_of,
};
pub use tickets::TicketKeys;
pub use token::{NotAToken, Token, TokenHash};

use mailmend_proto::wire;

use crate::identity::{CONTROLLER_DNS, CONTROLLER_URI};
use crate::server::agents::{Certified, CertifyFault};
use crate::store::NewCertificate;
use crate::trust::Named;

/// How long an agent's certificate holds, unless a test says otherwise.
pub const AGENT_VALIDITY: Duration = Duration::from_secs(24 * HOUR);

/// The operator that the controller itself lets in, with the folder that it makes at its first start.
pub const FIRST_OPERATOR: &str = "admin";

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3650 * DAY);
const SERVER_VALIDITY: Duration = Duration::from_secs(90 * DAY);
const OPERATOR_VALIDITY: Duration = Duration::from_secs(90 * DAY);
/// Certificates of the controller itself are made anew when less than this is left.
const RENEW_WHEN_LEFT: Duration = Duration::from_secs(30 * DAY);
/// Certificates begin this much before now, because clocks of servers differ.
const CLOCK_SKEW: Duration = Duration::from_secs(600);
/// 2026-01-01: mailmend did not exist before, so no right clock shows an earlier time.
const EARLIEST_NOW_MS: i64 = 1_767_225_600_000;

/// Why trust could not be set up, or a certificate not be issued.
#[derive(Debug, thiserror::Error)]
pub enum EnrolFault {
    /// The clock shows a time before mailmend existed, or before the authority was made.
    #[error("C001-clock: the clock of this machine shows {now}, which is before {bound}")]
    Clock {
        /// What the clock shows, RFC 3339.
        now: String,
        /// What it cannot be before, RFC 3339 and why.
        bound: String,
    },
    /// The folder cannot be made or written.
    #[error("C002-data-folder: could not {what} `{path}`")]
    Folder {
        /// What was attempted.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate without its key.
    #[error("C003-authority-incomplete: `{certificate}` is there but its key `{key}` is not")]
    Incomplete {
        /// The certificate.
        certificate: PathBuf,
        /// The key that is missing.
        key: PathBuf,
    },
    /// A key that others may read.
    #[error(
        "C004-key-exposed: `{path}` has mode {mode:03o}, so other users can read this private key"
    )]
    Exposed {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key or certificate cannot be read.
    #[error("C005-key-unreadable: could not read `{path}`: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A request for a certificate is refused.
    #[error("C007-request-refused: the certificate request is not acceptable: {0}")]
    Request(String),
    /// Signing failed.
    #[error("C008-signing: could not make a certificate: {0}")]
    Signing(String),
}

impl EnrolFault {
    /// The stable code, as in [`crate::faults::FAULTS`].
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Clock { .. } => "C001-clock",
            Self::Folder { .. } => "C002-data-folder",
            Self::Incomplete { .. } => "C003-authority-incomplete",
            Self::Exposed { .. } => "C004-key-exposed",
            Self::Unreadable { .. } => "C005-key-unreadable",
            Self::Request(_) => "C007-request-refused",
            Self::Signing(_) => "C008-signing",
        }
    }
}

fn signing(why: impl std::fmt::Display) -> EnrolFault {
    EnrolFault::Signing(why.to_string())
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate in PEM, without the authority's.
    pub certificate_pem: String,
    /// When it ends, milliseconds since 1970 UTC.
    pub not_after_ms: i64,
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
}

/// A certificate with its private key, both in PEM.
#[derive(Clone)]
pub struct KeyedCertificate {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key. Never logged.
    pub key_pem: String,
}

/// Makes the data folder, for its owner only, once it is clear that the clock can be right.
///
/// # Errors
/// Where the clock cannot be right or the folder cannot be made.
pub fn prepare_folder(folder: &Path, now_ms: i64) -> Result<(), EnrolFault> {
    if now_ms < EARLIEST_NOW_MS {
        return Err(EnrolFault::Clock {
            now: rfc3339(now_ms),
            bound: format!("{} (no mailmend existed then)", rfc3339(EARLIEST_NOW_MS)),
        });
    }
    key_file::make_private_folder(folder)
}

/// The controller's certificate authority. Its key never leaves the data folder.
pub struct Authority {
    folder: PathBuf,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
    agent_validity: Duration,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the authority in `folder`, or makes it at the first start. Durable when it returns.
    ///
    /// # Errors
    /// Where the clock cannot be right, the folder or a file cannot be used, the key is missing
    /// while its certificate is there, or others may read the key.
    pub fn open_or_create(folder: &Path, now_ms: i64) -> Result<Self, EnrolFault> {
        prepare_folder(folder, now_ms)?;
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        let has_certificate = key_file::exists(&certificate)?;
        if has_certificate && !key_file::exists(&key)? {
            return Err(EnrolFault::Incomplete { certificate, key });
        }
        // The key first: a kill between the two leaves a key that nobody trusts yet, and the next
        // start finishes with it.
        if !key_file::exists(&key)? {
            let fresh = KeyPair::generate().map_err(signing)?;
            key_file::write_new(&key, &fresh.serialize_pem())?;
        }
        let pair = read_key(&key)?;
        if !has_certificate {
            let pem = authority_params(now_ms)?
                .self_signed(&pair)
                .map_err(signing)?
                .pem();
            key_file::write_new(&certificate, &pem)?;
        }
        let ca_pem = key_file::read(&certificate)?;
        let broken = |why: String| EnrolFault::Unreadable {
            path: certificate.clone(),
            why,
        };
        let (from_ms, _) = validity_of(&ca_pem).map_err(&broken)?;
        if now_ms < from_ms {
            return Err(EnrolFault::Clock {
                now: rfc3339(now_ms),
                bound: format!(
                    "{} (this controller's authority was made then)",
                    rfc3339(from_ms)
                ),
            });
        }
        if !belongs(&ca_pem, &pair).map_err(&broken)? {
            return Err(broken(format!(
                "it does not belong to the key `{}`",
                key.display()
            )));
        }
        let issuer =
            Issuer::from_ca_cert_pem(&ca_pem, pair).map_err(|why| broken(why.to_string()))?;
        Ok(Self {
            folder: folder.to_owned(),
            ca_pem,
            issuer,
            agent_validity: AGENT_VALIDITY,
        })
    }

    /// The same with another life of agents' certificates than [`AGENT_VALIDITY`].
    #[must_use]
    pub const fn with_agent_validity(mut self, validity: Duration) -> Self {
        self.agent_validity = validity;
        self
    }

    /// The authority's certificate in PEM: what agents and operators trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A certificate that names `whom`, over the public key of the request.
    ///
    /// # Errors
    /// Where the request cannot be read or is not signed by its own key.
    pub fn issue(
        &self,
        whom: &Named,
        csr_pem: &str,
        now_ms: i64,
        validity: Duration,
    ) -> Result<Issued, EnrolFault> {
        // `from_pem` verifies the signature: whoever asks has the private key.
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|why| EnrolFault::Request(why.to_string()))?;
        let uri = format!("mailmend:{}:{}", whom.kind(), whom.name());
        let params = leaf(&uri, whom.name(), Purpose::Client, now_ms, validity)?;
        let serial = serial_text(&params);
        let not_after_ms = millis(params.not_after.unix_timestamp());
        let certificate = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(signing)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            not_after_ms,
            serial,
        })
    }

    /// The controller's own certificate, made anew when it is near its end.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub fn server_certificate(&self, now_ms: i64) -> Result<KeyedCertificate, EnrolFault> {
        let (certificate, key) = (
            self.folder.join("server.pem"),
            self.folder.join("server.key"),
        );
        self.keyed(&certificate, &key, now_ms, |now_ms| {
            let mut params = leaf(
                CONTROLLER_URI,
                CONTROLLER_DNS,
                Purpose::Server,
                now_ms,
                SERVER_VALIDITY,
            )?;
            for name in [CONTROLLER_DNS, "localhost"] {
                params
                    .subject_alt_names
                    .push(SanType::DnsName(name.try_into().map_err(signing)?));
            }
            for address in [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()] {
                params.subject_alt_names.push(SanType::IpAddress(address));
            }
            Ok(params)
        })
    }

    /// The keys of TLS tickets, the next one made where it is due. Durable when it returns.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or others may read it.
    pub fn ticket_keys(&self, now_ms: i64) -> Result<TicketKeys, EnrolFault> {
        TicketKeys::open(&self.folder, &self.ca_pem, now_ms)
    }

    /// The folder `operator/` with `operator.pem`, `operator.key` and `ca.pem`, made anew when its
    /// certificate is near its end. Answers the folder.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub fn operator_folder(&self, now_ms: i64) -> Result<PathBuf, EnrolFault> {
        let folder = self.folder.join("operator");
        key_file::make_private_folder(&folder)?;
        let (certificate, key) = (folder.join("operator.pem"), folder.join("operator.key"));
        self.keyed(&certificate, &key, now_ms, |now_ms| {
            leaf(
                &format!("mailmend:operator:{FIRST_OPERATOR}"),
                FIRST_OPERATOR,
                Purpose::Client,
                now_ms,
                OPERATOR_VALIDITY,
            )
        })?;
        key_file::replace(&folder.join("ca.pem"), &self.ca_pem)?;
        Ok(folder)
    }

    /// What is to be noted of the certificate in [`Self::operator_folder`].
    ///
    /// # Errors
    /// Where its file cannot be read.
    pub fn operator_certificate(&self) -> Result<NewCertificate, EnrolFault> {
        let path = self.folder.join("operator").join("operator.pem");
        let pem = key_file::read(&path)?;
        let broken = |why| EnrolFault::Unreadable {
            path: path.clone(),
            why,
        };
        let (_, until_ms) = validity_of(&pem).map_err(broken)?;
        let serial = serial_of(&pem).map_err(broken)?;
        Ok(NewCertificate { serial, until_ms })
    }

    /// A certificate and key of ours on disk: taken when both are there, belong together, were
    /// signed by this authority and have time left; else made anew, key first.
    fn keyed(
        &self,
        certificate: &Path,
        key: &Path,
        now_ms: i64,
        params: impl Fn(i64) -> Result<CertificateParams, EnrolFault>,
    ) -> Result<KeyedCertificate, EnrolFault> {
        if key_file::exists(certificate)? && key_file::exists(key)? {
            let pair = read_key(key)?;
            let certificate_pem = key_file::read(certificate)?;
            let fresh = validity_of(&certificate_pem).is_ok_and(|(from_ms, until_ms)| {
                let left = i64::try_from(RENEW_WHEN_LEFT.as_millis()).unwrap_or(i64::MAX);
                from_ms <= now_ms && until_ms.saturating_sub(now_ms) > left
            });
            if fresh
                && belongs(&certificate_pem, &pair).unwrap_or(false)
                && signed_by(&certificate_pem, &self.ca_pem)
            {
                return Ok(KeyedCertificate {
                    certificate_pem,
                    key_pem: pair.serialize_pem(),
                });
            }
        }
        let pair = KeyPair::generate().map_err(signing)?;
        let certificate_pem = params(now_ms)?
            .signed_by(&pair, &self.issuer)
            .map_err(signing)?
            .pem();
        let key_pem = pair.serialize_pem();
        key_file::replace(key, &key_pem)?;
        key_file::replace(certificate, &certificate_pem)?;
        Ok(KeyedCertificate {
            certificate_pem,
            key_pem,
        })
    }
}

impl crate::server::agents::Authority for Authority {
    fn certify(&self, whom: &Named, csr_pem: &str, now_ms: i64) -> Result<Certified, CertifyFault> {
        let validity = match whom {
            Named::Agent(_) => self.agent_validity,
            Named::Operator(_) => OPERATOR_VALIDITY,
        };
        let issued = self
            .issue(whom, csr_pem, now_ms, validity)
            .map_err(|fault| CertifyFault {
                code: fault.code(),
                why: fault.to_string(),
            })?;
        Ok(Certified {
            noted: NewCertificate {
                serial: issued.serial,
                until_ms: issued.not_after_ms,
            },
            certificate: wire::Certificate {
                certificate_pem: issued.certificate_pem,
                ca_pem: self.ca_pem.clone(),
                not_after_ms: issued.not_after_ms,
            },
        })
    }

    fn ca_pem(&self) -> String {
        self.ca_pem.clone()
    }

    fn fresh_token(&self) -> Result<String, CertifyFault> {
        let token = Token::generate().map_err(|fault| CertifyFault {
            code: fault.code(),
            why: fault.to_string(),
        })?;
        Ok(token.expose().to_owned())
    }

    fn token_hash(&self, token: &str) -> [u8; 32] {
        *TokenHash::of(token).as_bytes()
    }

    fn agent_validity(&self) -> Duration {
        self.agent_validity
    }
}

fn read_key(path: &Path) -> Result<KeyPair, EnrolFault> {
    key_file::refuse_exposed(path)?;
    KeyPair::from_pem(&key_file::read(path)?).map_err(|why| EnrolFault::Unreadable {
        path: path.to_owned(),
        why: why.to_string(),
    })
}

fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |at| at.to_string())
}

#[cfg(test)]
mod tests;
