//! `mailmend trust`: keys, documents, signatures; published and shown.

mod documents;
mod files;
mod show;

use mailmend_proto::convert::signed_to_wire;
use mailmend_proto::wire;
use mailmend_trust::{Kind, Offer, SecretKey, Signature, Signed, Trusted, kind_of, time};
use serde_json::json;

use super::arguments::{Trust, TrustKey};
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::when::now_ms;
use crate::config::Settings;

use files::{document, private, secret, signed, write_signatures};

pub(super) async fn run(
    command: Trust,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    match command {
        Trust::Key(TrustKey::New { file }) => {
            let secret = SecretKey::of(&files::random()?);
            private(&file, &secret.file())?;
            told_key(&secret, output)
        }
        Trust::Key(TrustKey::Show { file }) => told_key(&secret(&file)?, output),
        Trust::Root(what) => documents::root(what, output),
        Trust::Catalogue(what) => documents::catalogue(what, output),
        Trust::Timestamp(what) => documents::timestamp(what, output),
        Trust::Sign { file, key } => sign(&file, &secret(&key)?, output),
        Trust::Verify { root, files } => verify(&root, &files, output),
        Trust::Publish { files } => {
            let documents = files.iter().map(|file| Ok(signed_to_wire(&signed(file)?)));
            let request = wire::PublishTrustRequest {
                documents: documents.collect::<Result<_, Failure>>()?,
            };
            let trust = controller(settings)?
                .ask(
                    "publish what is signed",
                    request,
                    |mut client, request| async move { client.publish_trust(request).await },
                )
                .await?;
            show::published(&trust, output)
        }
        Trust::Show => {
            let request = wire::GetTrustRequest {};
            let trust = controller(settings)?
                .ask(
                    "show what is signed",
                    request,
                    |mut client, request| async move { client.get_trust(request).await },
                )
                .await?;
            show::all(&trust, output)
        }
    }
}

fn told_key(secret: &SecretKey, output: &Output) -> Result<Exit, Failure> {
    let public = secret.public();
    let (key, id) = (public.to_string(), public.id().to_string());
    output.answer(&json!({ "key": key, "id": id }), |_| {
        format!("public key  {key}\nid          {id}\n")
    })?;
    Ok(Exit::Success)
}

fn sign(file: &std::path::Path, secret: &SecretKey, output: &Output) -> Result<Exit, Failure> {
    let text = document(file)?;
    let kind = kind_of(&text)
        .ok_or_else(|| files::fault(file, "it is neither root, catalogue nor timestamp"))?;
    documents::sound(file, kind, &text)?;
    let mut all = files::signatures(file)?;
    let new = secret.sign(kind, &text);
    all.retain(|one| one.key != new.key);
    all.push(new);
    write_signatures(file, &Signature::write_all(&all))?;
    let (id, count) = (new.key.to_string(), all.len());
    output.answer(
        &json!({ "kind": kind.name(), "id": id, "signatures": count }),
        |_| {
            format!(
                "signed the {kind} with key {}; {count} signatures in {}.sig\n",
                new.key.short(),
                file.display()
            )
        },
    )?;
    Ok(Exit::Success)
}

fn verify(
    root: &std::path::Path,
    files: &[std::path::PathBuf],
    output: &Output,
) -> Result<Exit, Failure> {
    let mut offer = Offer::default();
    for file in files {
        let signed = signed(file)?;
        match kind_of(&signed.text) {
            Some(Kind::Root) => offer.roots.push(signed),
            Some(Kind::Catalogue) => offer.catalogue = Some(signed),
            Some(Kind::Timestamp) => offer.timestamp = Some(signed),
            None => {
                return Err(files::fault(
                    file,
                    "it is neither root, catalogue nor timestamp",
                ));
            }
        }
    }
    let version =
        |signed: &Signed| mailmend_trust::Root::parse(&signed.text).map_or(0, |one| one.version);
    offer.roots.sort_by_key(version);
    let trusted = Trusted::pin(&document(root)?).map_err(|why| files::fault(root, why))?;
    let step = trusted.offered(&offer, now_ms());
    if let Some(why) = step.refused {
        return Err(Failure::new("C176-trust-unverified", why.to_string()));
    }
    let state = step.state;
    let rows: Vec<_> = Kind::ALL
        .into_iter()
        .filter_map(|kind| {
            Some((
                kind.name(),
                state.version(kind),
                time(state.expires_ms(kind)?),
            ))
        })
        .collect();
    let view: Vec<_> = rows
        .iter()
        .map(|(kind, version, expires)| json!({ "kind": kind, "version": version, "expires": expires }))
        .collect();
    output.answer(&json!({ "documents": view }), |_| {
        let line = |(kind, version, expires): &(&str, u64, String)| {
            format!("{kind} {version} until {expires}\n")
        };
        rows.iter().map(line).collect::<String>()
    })?;
    Ok(Exit::Success)
}
