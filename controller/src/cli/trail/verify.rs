//! `mailmend audit verify`: of files alone, or of the controller's trail as it is now.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;

use serde::Serialize;

use super::{Source, every, head, read};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Shown};
use crate::trail::chain::Head;
use crate::trail::line::HEADER;
use crate::trail::verify::{Finding, HEADER_START, Journal, Trail, compare};

/// What was found, told to scripts.
#[derive(Debug, Serialize)]
struct Verdict {
    entries: u64,
    head: String,
    journals: Vec<JournalVerdict>,
    found: Vec<FindingView>,
}

#[derive(Debug, Serialize)]
struct JournalVerdict {
    agent: String,
    journal: String,
    records: u64,
    /// Runs that it began by itself: its guard file allows them, no entry does.
    duties: u64,
}

#[derive(Debug, Serialize)]
struct FindingView {
    place: String,
    what: String,
    means: String,
}

impl From<Finding> for FindingView {
    fn from(Finding { place, what, means }: Finding) -> Self {
        Self { place, what, means }
    }
}

pub(super) async fn verify(
    file: Option<&Path>,
    from: Option<Source>,
    journals: &[impl AsRef<Path>],
    heads: &[Head],
    output: &Output,
) -> Result<Exit, Failure> {
    let mut trail = Trail::default();
    let mut found = Vec::new();
    if let Some(file) = file {
        found.extend(read_trail(file, &mut trail)?);
    }
    if let Some(mut from) = from {
        let mut broken = None;
        every(&mut from, "verify the audit trail", |row| {
            if broken.is_none() {
                let entry = read(&row)?;
                let says = head(entry.seq, &row.hash)?;
                broken = trail.entry(&entry, &row.entry, says).err();
            }
            Ok(())
        })
        .await?;
        found.extend(broken);
    }
    let whole = found.is_empty();
    // Of a broken trail only its beginning is known: what it lacks then says nothing.
    if whole {
        found.extend(
            heads
                .iter()
                .filter_map(|head| trail.witnessed(*head, "whoever noted it").err()),
        );
    }
    let mut verdicts = Vec::with_capacity(journals.len());
    for file in journals {
        let (journal, broken) = read_journal(file.as_ref())?;
        match broken {
            Some(broken) => found.push(broken),
            None if whole => found.extend(compare(&trail, &journal)),
            None => {}
        }
        verdicts.push(JournalVerdict {
            records: journal.seq(),
            duties: journal.duties,
            journal: journal.id.to_string(),
            agent: journal.agent,
        });
    }
    let exit = if found.is_empty() {
        Exit::Success
    } else {
        Exit::Waiting
    };
    let verdict = Verdict {
        entries: trail.head().seq,
        head: trail.head().to_string(),
        journals: verdicts,
        found: found.into_iter().map(FindingView::from).collect(),
    };
    output.answer(&verdict, |output| shown(&verdict, output))?;
    Ok(exit)
}

fn shown(verdict: &Verdict, output: &Output) -> String {
    let mut text = String::new();
    for one in &verdict.found {
        text += &output.pairs(vec![
            ("place", Shown::bad(&one.place)),
            ("found", one.what.as_str().into()),
            ("means", one.means.as_str().into()),
        ]);
        text.push('\n');
    }
    let (entries, head) = (verdict.entries, &verdict.head);
    let agree = |records, agent: &str| match verdict.found.is_empty() {
        true => format!(
            "{records} records of {agent} follow from each other and agree with the trail\n"
        ),
        false => format!("{records} records of {agent} follow from each other\n"),
    };
    text += &format!("{entries} entries follow from each other\n");
    for one in &verdict.journals {
        text += &agree(one.records, &one.agent);
    }
    text += &format!("head {head}\n");
    text
}

fn unreadable(file: &Path, why: &dyn std::fmt::Display) -> Failure {
    let text = format!("could not read `{}`: {why}", file.display());
    Failure::new("C031-file", text)
}

/// The lines of a file after its first one, which is given apart.
fn opened(file: &Path) -> Result<(String, Lines<BufReader<File>>), Failure> {
    let opened = File::open(file).map_err(|why| unreadable(file, &why))?;
    let mut lines = BufReader::new(opened).lines();
    let first = lines.next().transpose();
    let first = first.map_err(|why| unreadable(file, &why))?;
    Ok((first.unwrap_or_default(), lines))
}

fn another(file: &Path, wanted: &str, why: &str) -> Failure {
    Failure::new(
        "C162-audit-file",
        format!("`{}` is no exported {wanted}: {why}", file.display()),
    )
    .with_exit(Exit::Usage)
}

fn read_trail(file: &Path, trail: &mut Trail) -> Result<Option<Finding>, Failure> {
    let (header, lines) = opened(file)?;
    if header != HEADER {
        return Err(another(
            file,
            "audit trail",
            &format!("its first line is not {HEADER}"),
        ));
    }
    for line in lines {
        // A line that is no text was changed too.
        let line = match line {
            Err(why) if why.kind() != std::io::ErrorKind::InvalidData => {
                return Err(unreadable(file, &why));
            }
            line => line.unwrap_or_default(),
        };
        if let Err(found) = trail.line(&line) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn read_journal(file: &Path) -> Result<(Journal, Option<Finding>), Failure> {
    let (header, lines) = opened(file)?;
    if !header.starts_with(HEADER_START) {
        let why = format!("its first line does not begin with {HEADER_START}");
        return Err(another(file, "journal", &why));
    }
    let mut journal = Journal::begun(&header).map_err(|why| another(file, "journal", &why))?;
    for line in lines {
        let line = match line {
            Err(why) if why.kind() != std::io::ErrorKind::InvalidData => {
                return Err(unreadable(file, &why));
            }
            line => line.unwrap_or_default(),
        };
        if let Err(found) = journal.line(&line) {
            return Ok((journal, Some(found)));
        }
    }
    Ok((journal, None))
}
