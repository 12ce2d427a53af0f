//! Enrolment: a token that works once, and the agent's own key, become a certificate.

use std::path::Path;

use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use mailmend_proto::wire::enrolment_client::EnrolmentClient;
use tonic::Code;

use crate::connection::{CALL, ConnectionError, dial, of_status};
use crate::identity::{
    self, Identity, IdentityError, Validity, make_data_folder, own_key, request, time,
};

/// Enrolment failed; the agent is what it was before, but for a key that may have been made.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// There is a certificate that still holds.
    #[error(
        "A029-already-enrolled: this agent has a certificate that holds until {until}; give `--again` to replace it"
    )]
    Already {
        /// When it ends.
        until: String,
    },
    /// The controller refuses the token.
    #[error(
        "A015-token-refused: the controller refuses the token for `{name}`: {reason}; a token works once, for one name, and not for long: get a new one with `mailmend agent token {name}`"
    )]
    Token {
        /// The server's name.
        name: ServerName,
        /// What the controller said.
        reason: String,
    },
    /// The authority's file cannot be read.
    #[error(
        "A016-authority-unreadable: `{file}` is no authority's certificate: {reason}; copy `ca.pem` from the controller's data folder, or the text that `mailmend agent token` printed"
    )]
    Authority {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The identity's files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The controller cannot be spoken with.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// What is needed to enrol.
#[derive(Debug, Clone)]
pub struct Enrolment<'a> {
    /// The controller's address.
    pub address: &'a str,
    /// The data folder; made where it is not there.
    pub data: &'a Path,
    /// The server's name, which the token was made for.
    pub name: &'a ServerName,
    /// The token.
    pub token: &'a str,
    /// The file with the authority's certificate: what answers must be signed by it.
    pub ca_file: &'a Path,
    /// Whether a certificate that still holds may be replaced.
    pub again: bool,
    /// This machine's time, milliseconds since 1970 UTC.
    pub now_ms: i64,
}

/// Enrols. Durable on return.
///
/// # Errors
/// Where the controller cannot be reached or trusted, or refuses; where files cannot be written.
pub async fn enrol(what: Enrolment<'_>) -> Result<Validity, EnrolError> {
    let Enrolment {
        address,
        data,
        name,
        token,
        ca_file,
        again,
        now_ms,
    } = what;
    let ca_pem = authority(ca_file)?;
    if !again && let Ok(identity) = Identity::load(data, name, now_ms) {
        return Err(EnrolError::Already {
            until: time(identity.validity.until_ms),
        });
    }
    make_data_folder(data)?;
    let key = own_key(data)?;
    let csr_pem = request(data, name, &key)?;
    let channel = dial(address, &ca_pem, None, now_ms).await?;
    let call = wire::EnrolRequest {
        token: token.to_owned(),
        name: name.to_string(),
        csr_pem,
    };
    let mut client = EnrolmentClient::new(channel);
    let answered = tokio::time::timeout(CALL, client.enrol(call))
        .await
        .map_err(|_| ConnectionError::Slow {
            address: address.to_owned(),
            limit: CALL,
        })?;
    let certificate = match answered {
        Ok(certificate) => certificate.into_inner(),
        Err(status)
            if matches!(
                status.code(),
                Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument
            ) =>
        {
            return Err(EnrolError::Token {
                name: name.clone(),
                reason: status.message().to_owned(),
            });
        }
        Err(status) => return Err(of_status(address, &status, now_ms).into()),
    };
    let stored = identity::store(
        data,
        name,
        &certificate.certificate_pem,
        &certificate.ca_pem,
    )?;
    Ok(stored)
}

fn authority(file: &Path) -> Result<String, EnrolError> {
    let broken = |reason: String| EnrolError::Authority {
        file: file.display().to_string(),
        reason,
    };
    let text = std::fs::read_to_string(file).map_err(|error| broken(error.to_string()))?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes())
        .map_err(|error| broken(error.to_string()))?;
    pem.parse_x509()
        .map_err(|error| broken(error.to_string()))?;
    Ok(text)
}
