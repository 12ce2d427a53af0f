//! Certificates that a hostile controller makes with the stolen authority, and with one of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mailmend::enrol::Authority;
use mailmend::trust::Named;
use mailmend_agent::identity;
use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use prost::Message;

use super::door::{Renewal, framed};
use super::refused;
use crate::lab_error::LabError;

const DAY: Duration = Duration::from_secs(86_400);

/// This machine's time, milliseconds since 1970 UTC.
#[must_use]
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Gives an agent a certificate of the authority, as if it had enrolled before the controller was stolen. It is for a
/// day, of which most has passed: the agent asks for another at once.
///
/// # Errors
/// Where it cannot be made or stored.
pub fn enrol(authority: &Authority, data: &Path, name: &str) -> Result<(), LabError> {
    let fail = |why: &dyn std::fmt::Display| refused(&format!("enrol `{name}`"), why);
    let server: ServerName = name.parse().map_err(|why| fail(&why))?;
    identity::make_data_folder(data).map_err(|why| fail(&why))?;
    let key = identity::own_key(data).map_err(|why| fail(&why))?;
    let request = identity::request(data, &server, &key).map_err(|why| fail(&why))?;
    let from = now_ms() - 20 * 3_600_000;
    let issued = authority
        .issue(&Named::Agent(server.clone()), &request, from, DAY)
        .map_err(|why| fail(&why))?;
    identity::store(data, &server, &issued.certificate_pem, authority.ca_pem())
        .map(drop)
        .map_err(|why| fail(&why))
}

/// An honest answer to a renewal.
#[must_use]
pub fn honest(authority: &Authority, name: &str, csr: &str) -> wire::Certificate {
    issued(authority, name, csr, now_ms() - 60_000)
}

fn issued(authority: &Authority, name: &str, csr: &str, from_ms: i64) -> wire::Certificate {
    let issued = name.parse().ok().and_then(|server| {
        authority
            .issue(&Named::Agent(server), csr, from_ms, DAY)
            .ok()
    });
    wire::Certificate {
        certificate_pem: issued.map(|one| one.certificate_pem).unwrap_or_default(),
        ca_pem: authority.ca_pem().to_owned(),
        not_after_ms: now_ms() + 86_400_000,
    }
}

/// Every field of an answer to a renewal, abused. Whoever adds a field must say here how: it is taken apart whole.
///
/// # Errors
/// Where the other authority cannot be made in `folder`.
pub fn abused(
    authority: &Arc<Authority>,
    name: &str,
    folder: &Path,
) -> Result<Vec<(&'static str, Renewal)>, LabError> {
    let other = Authority::open_or_create(&folder.join("another-authority"), now_ms())
        .map_err(|why| refused("make another authority", why))?;
    let other = Arc::new(other);
    let name = name.to_owned();
    let make = |what: &'static str,
                change: fn(&Authority, &Authority, &str, &str) -> wire::Certificate|
     -> (&'static str, Renewal) {
        let (ours, other, name) = (Arc::clone(authority), Arc::clone(&other), name.clone());
        (
            what,
            Arc::new(move |csr| framed(&change(&ours, &other, &name, csr).encode_to_vec())),
        )
    };
    let mut all = vec![
        make("an ended certificate", |ours, _, name, csr| {
            issued(ours, name, csr, now_ms() - 3 * 86_400_000)
        }),
        make("a certificate that has not begun", |ours, _, name, csr| {
            issued(ours, name, csr, now_ms() + 3 * 86_400_000)
        }),
        make("another name's", |ours, _, _, csr| {
            honest(ours, "somebody-else", csr)
        }),
        make(
            "another authority's, with that authority",
            |_, other, name, csr| honest(other, name, csr),
        ),
        make(
            "another authority's, with ours",
            |ours, other, name, csr| {
                let wire::Certificate {
                    certificate_pem,
                    ca_pem: _,
                    not_after_ms,
                } = honest(other, name, csr);
                wire::Certificate {
                    certificate_pem,
                    ca_pem: ours.ca_pem().to_owned(),
                    not_after_ms,
                }
            },
        ),
        make(
            "ours, with another authority beside it",
            |ours, other, name, csr| {
                let wire::Certificate {
                    certificate_pem,
                    ca_pem,
                    not_after_ms,
                } = honest(ours, name, csr);
                wire::Certificate {
                    certificate_pem,
                    ca_pem: ca_pem + other.ca_pem(),
                    not_after_ms,
                }
            },
        ),
        make("no authority", |ours, _, name, csr| wire::Certificate {
            ca_pem: String::new(),
            ..honest(ours, name, csr)
        }),
        make("noise", |_, _, _, _| wire::Certificate {
            certificate_pem: "-----BEGIN CERTIFICATE-----\n\u{0}\u{1b}[2J".to_owned(),
            ca_pem: "../../etc/passwd".to_owned(),
            not_after_ms: i64::MIN,
        }),
        make("three mebibytes", |ours, _, name, csr| wire::Certificate {
            certificate_pem: honest(ours, name, csr).certificate_pem + &"\n".repeat(3 << 20),
            ..honest(ours, name, csr)
        }),
    ];
    let raw = |bytes: Vec<u8>| -> Renewal { Arc::new(move |_| bytes.clone()) };
    all.push(("no message", raw(vec![0xff; 40])));
    all.push(("a hundred mebibytes", raw(framed(&vec![0; 100 << 20]))));
    all.push((
        "a length of four gibibytes",
        raw(vec![0, 0xff, 0xff, 0xff, 0xff]),
    ));
    Ok(all)
}
