//! Writing root, catalogue and timestamp, for people to look at and to sign.

use std::path::Path;
use std::time::Duration;

use mailmend_policy::library;
use mailmend_policy::parse::parse;
use mailmend_policy::source::PolicySource;
use mailmend_trust::{
    Catalogue, Entry, Holder, Kind, Named, Refusal, Role, Root, Sha256, Timestamp, time,
};
use serde_json::json;

use super::files::{document, fault, new_document};
use crate::cli::arguments::{TrustCatalogue, TrustRoot, TrustTimestamp};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::when::now_ms;

/// Now in whole seconds, and the end of a life that begins now.
fn life(life: Duration) -> (i64, i64) {
    let now_ms = now_ms().div_euclid(1000) * 1000;
    let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    (now_ms, now_ms.saturating_add(life_ms))
}

/// Refuses what no agent would read.
pub(super) fn sound(file: &Path, kind: Kind, text: &[u8]) -> Result<(), Failure> {
    let read = match kind {
        Kind::Root => Root::parse(text).map(drop),
        Kind::Catalogue => Catalogue::parse(text).map(drop),
        Kind::Timestamp => Timestamp::parse(text).map(drop),
    };
    read.map_err(|why| fault(file, why))
}

/// Writes it, and tells what people compare.
fn written(
    file: &Path,
    kind: Kind,
    version: u64,
    expires_ms: i64,
    text: &str,
    output: &Output,
) -> Result<Exit, Failure> {
    sound(file, kind, text.as_bytes())?;
    new_document(file, text)?;
    let (sha256, expires) = (Sha256::of(text.as_bytes()).to_string(), time(expires_ms));
    let shown =
        json!({ "kind": kind.name(), "version": version, "expires": expires, "sha256": sha256 });
    output.answer(&shown, |_| {
        format!("{kind} {version} until {expires}\nSHA-256 {sha256}\n")
    })?;
    Ok(Exit::Success)
}

fn former<D>(
    file: Option<&Path>,
    parse: impl Fn(&[u8]) -> Result<D, Refusal>,
) -> Result<Option<D>, Failure> {
    let read = |file: &Path| parse(&document(file)?).map_err(|why| fault(file, why));
    file.map(read).transpose()
}

pub(super) fn root(what: TrustRoot, output: &Output) -> Result<Exit, Failure> {
    let before = former(what.from.as_deref(), Root::parse)?;
    let (_, expires_ms) = life(what.life);
    let version = before
        .as_ref()
        .map_or(1, |root| root.version.saturating_add(1));
    let mut removed = vec![false; what.remove.len()];
    let mut made = |kind: Kind, new: Vec<Holder>, threshold: Option<u32>| {
        let role = before.as_ref().map(|root| root.role(kind));
        let mut holders = role.map_or_else(Vec::new, |role| role.holders().to_vec());
        holders.retain(|one| {
            let id = one.key.id().to_string();
            let named = |text: &String| {
                *text == one.holder || (text.len() >= 6 && id.starts_with(text.as_str()))
            };
            let found = what.remove.iter().position(named);
            if let Some(at) = found {
                removed[at] = true;
            }
            found.is_none()
        });
        holders.extend(new);
        let threshold = threshold.or(role.map(Role::threshold)).unwrap_or(1);
        Role::new(threshold, holders)
            .map_err(|why| fault(&what.out, format!("role `{kind}`: {why}")))
    };
    let roles = [
        made(Kind::Root, what.root_key, what.root_threshold)?,
        made(
            Kind::Catalogue,
            what.catalogue_key,
            what.catalogue_threshold,
        )?,
        made(
            Kind::Timestamp,
            what.timestamp_key,
            what.timestamp_threshold,
        )?,
    ];
    if let Some(at) = removed.iter().position(|found| !found) {
        return Err(fault(
            &what.out,
            format!("the root before it has no key `{}`", what.remove[at]),
        ));
    }
    let root = Root::new(version, expires_ms, roles).map_err(|why| fault(&what.out, why))?;
    written(
        &what.out,
        Kind::Root,
        version,
        expires_ms,
        &root.write(),
        output,
    )
}

fn policy(source: &PolicySource) -> Result<Entry, Failure> {
    let read = parse(source).map_err(|faults| fault(Path::new(source.name()), faults))?;
    Ok(Entry::of(read.name.as_str(), read.version, source.bytes()))
}

pub(super) fn catalogue(what: TrustCatalogue, output: &Output) -> Result<Exit, Failure> {
    let before = former(what.from.as_deref(), Catalogue::parse)?;
    let (_, expires_ms) = life(what.life);
    let version = before
        .as_ref()
        .map_or(1, |one| one.version.saturating_add(1));
    let mut entries = before.map_or_else(Vec::new, |one| one.entries().to_vec());
    for text in &what.withdraw {
        let (name, of) = text
            .split_once('@')
            .map_or((text.as_str(), None), |(name, of)| (name, Some(of)));
        let count = entries.len();
        entries
            .retain(|one| one.name != name || of.is_some_and(|of| of != one.version.to_string()));
        if entries.len() == count {
            return Err(fault(
                &what.out,
                format!("the catalogue before it does not list `{text}`"),
            ));
        }
    }
    let mut new = Vec::new();
    for file in &what.files {
        new.push(policy(&PolicySource::new(
            file.display().to_string(),
            document(file)?,
        ))?);
    }
    for name in &what.shipped {
        let source = library::find(name);
        let source = source
            .ok_or_else(|| fault(Path::new(name), "mailmend ships no policy of that name"))?;
        new.push(policy(&source)?);
    }
    for one in new {
        // The same again is no fault; another text under the same version is, and is told below.
        if !entries.contains(&one) {
            entries.push(one);
        }
    }
    let catalogue =
        Catalogue::new(version, expires_ms, entries).map_err(|why| fault(&what.out, why))?;
    written(
        &what.out,
        Kind::Catalogue,
        version,
        expires_ms,
        &catalogue.write(),
        output,
    )
}

pub(super) fn timestamp(what: TrustTimestamp, output: &Output) -> Result<Exit, Failure> {
    let before = former(what.from.as_deref(), Timestamp::parse)?;
    let root = Root::parse(&document(&what.root)?).map_err(|why| fault(&what.root, why))?;
    let text = document(&what.catalogue)?;
    let catalogue = Catalogue::parse(&text).map_err(|why| fault(&what.catalogue, why))?;
    let (issued_ms, expires_ms) = life(what.life);
    let version = before.map_or(1, |one| one.version.saturating_add(1));
    let stamp = Timestamp {
        version,
        issued_ms,
        expires_ms,
        root: root.version,
        catalogue: Named {
            version: catalogue.version,
            sha256: Sha256::of(&text),
            bytes: text.len() as u64,
        },
    };
    written(
        &what.out,
        Kind::Timestamp,
        version,
        expires_ms,
        &stamp.write(),
        output,
    )
}
