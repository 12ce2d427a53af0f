//! Becoming an operator, and staying one: a key that is made here and its certificate.

use std::path::{Path, PathBuf};

use mailmend_proto::wire;
use serde_json::json;

use crate::cli::arguments::Enrol;
use crate::cli::connection::stranger;
use crate::cli::controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::when::{absolute, both, now_ms};
use crate::config::Settings;
use crate::enrol::Token;
use crate::enrol::person::Folder;

pub(super) async fn enrol(
    arguments: Enrol,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let Enrol {
        name,
        token,
        ca,
        into,
        again,
    } = arguments;
    let token = match (token.token, token.token_file) {
        (Some(token), _) => token,
        (None, Some(file)) => read(&file)?,
        (None, None) => String::new(),
    };
    let token: Token = token
        .parse()
        .map_err(|why| Failure::new("C035-usage", format!("{why}")).with_exit(Exit::Usage))?;
    let ca_pem = read(&ca)?;
    let folder = Folder::prepare(&into).map_err(|why| Failure::of(&why))?;
    let until = folder.until_ms().map_err(|why| Failure::of(&why))?;
    if let Some(until_ms) = until
        && until_ms > now_ms()
        && !again
    {
        return Err(Failure::new(
            "C157-already-enrolled",
            format!(
                "`{}` has a certificate that holds until {}; give `--again` to replace it",
                into.display(),
                both(until_ms, now_ms())
            ),
        )
        .with_exit(Exit::Refused));
    }
    let csr_pem = folder.request(&name).map_err(|why| Failure::of(&why))?;
    let request = wire::EnrolRequest {
        token: token.expose().to_owned(),
        name: name.clone(),
        csr_pem,
    };
    let made = stranger(settings, &ca_pem)?
        .enrol(&format!("enrol operator `{name}`"), request)
        .await?;
    stored(&folder, &into, &made, output)
}

pub(super) async fn renew(output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let path = PathBuf::from(&settings.get("identity").value);
    let folder = Folder::prepare(&path).map_err(|why| Failure::of(&why))?;
    let controller = controller(settings)?;
    let csr_pem = folder.request("renewal").map_err(|why| Failure::of(&why))?;
    let made = controller
        .ask(
            "renew the certificate",
            wire::RenewRequest { csr_pem },
            |mut client, request| async move { client.renew_operator(request).await },
        )
        .await?;
    stored(&folder, &path, &made, output)
}

fn stored(
    folder: &Folder,
    path: &Path,
    made: &wire::Certificate,
    output: &Output,
) -> Result<Exit, Failure> {
    let until_ms = folder
        .store(&made.certificate_pem, &made.ca_pem)
        .map_err(|why| Failure::of(&why))?;
    let view = json!({ "identity": path, "certificate_until": absolute(until_ms) });
    output.answer(&view, |output| {
        output.pairs(vec![
            ("identity", path.display().to_string().into()),
            ("holds until", both(until_ms, now_ms()).into()),
        ])
    })?;
    if !output.is_json() {
        output.note(&format!(
            "try it: mailmend operator whoami --identity {}",
            path.display()
        ));
    }
    Ok(Exit::Success)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|why| {
        Failure::new(
            "C031-file",
            format!("could not read `{}`: {why}", path.display()),
        )
    })
}
