//! `mailmend audit`: list, show, export, verify.

mod verify;

use std::io::Write as _;
use std::path::Path;

use mailmend_proto::wire;
use prost::Message as _;
use serde::Serialize;
use serde_json::json;

use super::arguments::Trail;
use super::connection::Controller;
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::view::some;
use super::when::{column, now_ms};
use crate::config::Settings;
use crate::store::TrailFile;
use crate::trail::chain::{self, Head, hex};
use crate::trail::{item, line};

/// The store in a controller's data folder.
const STORE: &str = "controller.db";

pub(super) async fn run(
    command: Trail,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    match command {
        Trail::List {
            since,
            until,
            actor,
            kind,
            target,
            limit,
        } => {
            let request = wire::ListTrailRequest {
                since_ms: since.unwrap_or(0),
                until_ms: until.unwrap_or(0),
                actor: actor.unwrap_or_default(),
                kind: kind.unwrap_or_default(),
                target: target.unwrap_or_default(),
                limit,
            };
            list(&controller(settings)?, request, output).await
        }
        Trail::Show { seq } => show(&controller(settings)?, seq, output).await,
        Trail::Export { file, data } => {
            let mut from = Source::of(data.as_deref(), settings).await?;
            export(&mut from, &file, output).await
        }
        Trail::Verify {
            file,
            data,
            journals,
            heads,
        } => {
            let from = match &file {
                Some(_) => None,
                None => Some(Source::of(data.as_deref(), settings).await?),
            };
            verify::verify(file.as_deref(), from, &journals, &heads, output).await
        }
    }
}

#[derive(Debug, Serialize)]
struct EntryView {
    seq: u64,
    at: String,
    actor: String,
    role: Option<String>,
    kind: String,
    target: Option<String>,
    why: Option<String>,
    detail: Vec<String>,
    hash: String,
    #[serde(skip)]
    at_ms: i64,
}

/// A row with its exact bytes, understood.
fn read(row: &wire::TrailRow) -> Result<wire::TrailEntry, Failure> {
    chain::entry(&row.entry).map_err(|why| {
        Failure::new(
            "C039-controller",
            format!("the controller told an entry that cannot be understood: {why}"),
        )
    })
}

fn view(row: &wire::TrailRow) -> Result<EntryView, Failure> {
    let entry = read(row)?;
    let detail = item::decoded(&entry.detail).unwrap_or_default();
    Ok(EntryView {
        seq: entry.seq,
        at: line::time(entry.at_ms),
        at_ms: entry.at_ms,
        role: some(&entry.role),
        target: some(&entry.target),
        why: some(&entry.why),
        detail: detail.iter().map(item::told).collect(),
        hash: hex(&row.hash),
        actor: entry.actor,
        kind: entry.kind,
    })
}

/// What an entry says, in one line.
fn says(entry: &EntryView) -> String {
    let mut parts: Vec<&str> = entry.why.iter().map(String::as_str).collect();
    parts.extend(entry.detail.first().map(String::as_str));
    let mut text = parts.join("; ");
    if let more @ 1.. = entry.detail.len().saturating_sub(1) {
        text = format!("{text}; and {more} more");
    }
    text
}

async fn list(
    controller: &Controller,
    request: wire::ListTrailRequest,
    output: &Output,
) -> Result<Exit, Failure> {
    let answer = controller
        .ask(
            "list the audit trail",
            request,
            |mut client, request| async move { client.list_trail(request).await },
        )
        .await?;
    let entries = answer
        .rows
        .iter()
        .map(view)
        .collect::<Result<Vec<_>, _>>()?;
    let head = head(answer.head, &answer.head_hash)?;
    output.answer(
        &json!({ "entries": entries, "head": head.to_string() }),
        |output| listed(&entries, head, now_ms(), output),
    )?;
    Ok(Exit::Success)
}

fn listed(entries: &[EntryView], head: Head, now: i64, output: &Output) -> String {
    let rows = entries.iter().map(|entry| {
        vec![
            entry.seq.into(),
            column(entry.at_ms, now).into(),
            (&entry.actor).into(),
            (&entry.kind).into(),
            entry.target.as_deref().unwrap_or("-").into(),
            says(entry).into(),
        ]
    });
    let table = output.table(
        &["SEQ", "AT", "WHO", "DID", "TO", "WHAT IT SAYS"],
        rows.collect(),
        "no entry fits",
    );
    format!("{table}head {head}\n")
}

fn head(seq: u64, hash: &[u8]) -> Result<Head, Failure> {
    let hash = hash.try_into().map_err(|_| {
        Failure::new(
            "C039-controller",
            "the controller told a head whose hash has not 32 bytes",
        )
    })?;
    Ok(Head { seq, hash })
}

async fn show(controller: &Controller, seq: u64, output: &Output) -> Result<Exit, Failure> {
    let what = format!("show entry {seq} of the audit trail");
    let request = wire::ExportTrailRequest { after: seq - 1 };
    let mut pages = controller
        .follow(&what, request, |mut client, request| async move {
            client.export_trail(request).await
        })
        .await?;
    let page = match pages.message().await {
        Ok(page) => page,
        Err(status) => return Err(controller.failed(&what, status).await),
    };
    let row = page.and_then(|page| page.rows.into_iter().next());
    let Some(row) = row else {
        return Err(Failure::new(
            "C036-not-found",
            format!("the audit trail has no entry {seq}; `mailmend audit list` shows the newest"),
        ));
    };
    let entry = view(&row)?;
    output.answer(&entry, |output| {
        let mut pairs: Vec<(&str, Shown)> = vec![
            ("seq", entry.seq.to_string().into()),
            ("at", entry.at.as_str().into()),
            ("who", entry.actor.as_str().into()),
            ("role", entry.role.as_deref().unwrap_or("-").into()),
            ("did", entry.kind.as_str().into()),
            ("to", entry.target.as_deref().unwrap_or("-").into()),
            ("why", entry.why.as_deref().unwrap_or("-").into()),
        ];
        pairs.extend(entry.detail.iter().map(|one| ("says", one.as_str().into())));
        pairs.push(("hash", entry.hash.as_str().into()));
        output.pairs(pairs)
    })?;
    Ok(Exit::Success)
}

/// Where a whole trail comes from.
#[derive(Debug)]
enum Source {
    /// A controller tells it.
    Controller(Box<Controller>),
    /// It is read from a store's file.
    Store(Box<TrailFile>),
}

impl Source {
    async fn of(data: Option<&Path>, settings: &Settings) -> Result<Self, Failure> {
        let Some(data) = data else {
            return controller(settings).map(|one| Self::Controller(Box::new(one)));
        };
        let file = TrailFile::open(&data.join(STORE)).await;
        file.map(|file| Self::Store(Box::new(file)))
            .map_err(|fault| Failure::of(&fault))
    }
}

/// Hands each row of a whole trail on.
async fn every(
    from: &mut Source,
    what: &str,
    mut each: impl FnMut(wire::TrailRow) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let controller = match from {
        Source::Controller(controller) => controller,
        Source::Store(file) => {
            let mut after = 0;
            loop {
                let rows = file.after(after).await;
                let rows = rows.map_err(|fault| Failure::of(&fault).attempting(what))?;
                let Some(last) = rows.last() else {
                    return Ok(());
                };
                after = last.entry.seq;
                for row in rows {
                    each(wire::TrailRow {
                        entry: row.entry.encode_to_vec(),
                        hash: row.hash,
                    })?;
                }
            }
        }
    };
    let request = wire::ExportTrailRequest { after: 0 };
    let mut pages = controller
        .follow(what, request, |mut client, request| async move {
            client.export_trail(request).await
        })
        .await?;
    loop {
        match pages.message().await {
            Ok(Some(page)) => page.rows.into_iter().try_for_each(&mut each)?,
            Ok(None) => return Ok(()),
            Err(status) => return Err(controller.failed(what, status).await),
        }
    }
}

async fn export(from: &mut Source, file: &Path, output: &Output) -> Result<Exit, Failure> {
    let what = "export the audit trail";
    if file == Path::new("-") {
        output.text(&format!("{}\n", line::HEADER))?;
        every(from, what, |row| {
            output.text(&format!("{}\n", exported(&row)?.1))
        })
        .await?;
        return Ok(Exit::Success);
    }
    let unwritable = |why: std::io::Error| {
        let text = format!("could not write `{}`: {why}", file.display());
        Failure::new("C031-file", text)
    };
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let new = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
    let mut writer = std::io::BufWriter::new(new);
    let mut head = Head::NONE;
    writeln!(writer, "{}", line::HEADER).map_err(unwritable)?;
    every(from, what, |row| {
        let (at, text) = exported(&row)?;
        head = at;
        writeln!(writer, "{text}").map_err(unwritable)
    })
    .await?;
    let new = writer
        .into_inner()
        .map_err(|why| unwritable(why.into_error()))?;
    new.as_file().sync_all().map_err(unwritable)?;
    new.persist(file).map_err(|why| unwritable(why.error))?;
    let told = json!({
        "file": file,
        "entries": head.seq,
        "head": head.to_string(),
    });
    output.answer(&told, |_| {
        format!(
            "{} entries are in {}\nhead {head}\n",
            head.seq,
            file.display()
        )
    })?;
    Ok(Exit::Success)
}

/// A row as a line of the file, and where it says that it stands.
fn exported(row: &wire::TrailRow) -> Result<(Head, String), Failure> {
    let entry = read(row)?;
    let text = line::of(&entry, &row.hash).map_err(|why| {
        let text = format!(
            "entry {} of the trail: {why}; export it with a newer mailmend",
            entry.seq
        );
        Failure::new("C162-audit-file", text)
    })?;
    Ok((head(entry.seq, &row.hash)?, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailmend_proto::wire::trail_item::What;

    fn row(seq: u64, items: Vec<What>) -> wire::TrailRow {
        let entry = wire::TrailEntry {
            seq,
            at_ms: 1_780_000_000_000,
            actor: "anna".into(),
            role: "operator".into(),
            kind: "pause-rollout".into(),
            target: "0198c5e2-0000-7000-8000-000000000001".into(),
            why: "board meeting until noon".into(),
            detail: item::encoded(items),
        };
        wire::TrailRow {
            entry: entry.encode_to_vec(),
            hash: vec![7; 32],
        }
    }

    #[test]
    fn a_listing_fits_a_terminal_and_ends_with_the_head() {
        let began = |wave| What::WaveBegan(wire::TrailWaveBegan { wave });
        let rows = [
            row(1, Vec::new()),
            row(2, vec![began(0), began(1), began(2)]),
        ];
        let entries: Vec<EntryView> = rows.iter().map(|row| view(row).unwrap()).collect();
        assert_eq!(says(&entries[0]), "board meeting until noon");
        let all = "board meeting until noon; wave 1 may begin; and 2 more";
        assert_eq!(says(&entries[1]), all);
        let head = head(2, &[7; 32]).unwrap();
        let text = listed(&entries, head, 1_780_000_060_000, &Output::fixed(100));
        let (table, last) = text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(last, format!("head 2:{}", "07".repeat(32)));
        assert!(
            table.lines().all(|line| line.chars().count() <= 100),
            "{table}"
        );
        let json = serde_json::to_value(&entries[1]).unwrap();
        assert_eq!(json["detail"][2], "wave 3 may begin");
        assert_eq!(json["at"], "2026-05-28T20:26:40.000Z");
    }

    #[test]
    fn a_row_that_is_no_entry_is_refused() {
        let mut bad = row(1, Vec::new());
        bad.entry.push(0);
        assert!(view(&bad).is_err());
        assert!(exported(&bad).is_err());
        let (at, line) = exported(&row(1, Vec::new())).unwrap();
        assert_eq!(at.seq, 1);
        assert!(line.contains(r#""kind":"pause-rollout""#), "{line}");
    }
}
