//! What can be found out on this machine alone: address, identity, certificate, time.

use std::path::Path;

use serde::Serialize;
use tonic::transport::Endpoint;
use x509_parser::pem::parse_x509_pem;

use crate::cli::output::{Output, Shown};
use crate::cli::when::both;
use crate::config::Settings;

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) good: bool,
    pub(super) what: String,
}

impl Check {
    fn of(name: &'static str, found: Result<String, String>) -> Self {
        let good = found.is_ok();
        Self {
            name,
            good,
            what: found.unwrap_or_else(|why| why),
        }
    }
}

/// Everything that can be checked without the controller.
pub(super) fn checks(settings: &Settings, now_ms: i64) -> Vec<Check> {
    let folder = Path::new(&settings.get("identity").value);
    vec![
        Check::of("address", address(settings)),
        Check::of("identity", identity(settings, folder)),
        Check::of("certificate", certificate(folder, now_ms)),
    ]
}

pub(super) fn told(checks: &[Check], output: &Output) -> String {
    let rows = checks
        .iter()
        .map(|check| {
            let state = if check.good {
                Shown::state("good")
            } else {
                Shown::bad("bad")
            };
            vec![check.name.into(), state, (&check.what).into()]
        })
        .collect();
    output.table(&["HERE", "STATE", "WHAT"], rows, "")
}

fn address(settings: &Settings) -> Result<String, String> {
    let setting = settings.get("controller");
    let (value, origin) = (&setting.value, &setting.origin);
    if !value.starts_with("https://") {
        return Err(format!(
            "`{value}` ({origin}) does not begin with https://; give --controller"
        ));
    }
    let endpoint = Endpoint::from_shared(value.clone())
        .map_err(|why| format!("`{value}` ({origin}) is no address: {why}"))?;
    match endpoint.uri().port_u16() {
        Some(_) => Ok(format!("{value} ({origin})")),
        None => Err(format!("`{value}` ({origin}) has no port; such as :7268")),
    }
}

fn identity(settings: &Settings, folder: &Path) -> Result<String, String> {
    let origin = &settings.get("identity").origin;
    for file in ["operator.pem", "operator.key", "ca.pem"] {
        let path = folder.join(file);
        std::fs::read(&path).map_err(|why| {
            format!(
                "could not read `{}`: {why}; give --identity ({origin})",
                path.display()
            )
        })?;
    }
    Ok(format!("{} ({origin})", folder.display()))
}

/// The operator's certificate, against this machine's clock.
fn certificate(folder: &Path, now_ms: i64) -> Result<String, String> {
    let path = folder.join("operator.pem");
    let shown = path.display();
    let bytes = std::fs::read(&path).map_err(|why| format!("could not read `{shown}`: {why}"))?;
    let bad = |why: String| format!("`{shown}` is no certificate: {why}");
    let (_, pem) = parse_x509_pem(&bytes).map_err(|why| bad(why.to_string()))?;
    let parsed = pem.parse_x509().map_err(|why| bad(why.to_string()))?;
    let validity = parsed.validity();
    let from_ms = validity.not_before.timestamp().saturating_mul(1000);
    let until_ms = validity.not_after.timestamp().saturating_mul(1000);
    if now_ms < from_ms {
        return Err(format!(
            "good only from {}: the clock of this machine is wrong, or the controller's was",
            both(from_ms, now_ms)
        ));
    }
    if until_ms <= now_ms {
        return Err(format!(
            "it ended {}: copy the controller's DATA/operator folder anew, it renews itself there",
            both(until_ms, now_ms)
        ));
    }
    Ok(format!("good until {}", both(until_ms, now_ms)))
}
