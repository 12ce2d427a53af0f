//! An agent's exported journal, verified record by record.

use mailmend_proto::chain::Link;
use mailmend_proto::wire;
use mailmend_proto::wire::record::Event;
use prost::Message as _;
use serde::Deserialize;
use uuid::Uuid;

use super::Finding;
use crate::trail::chain::{Head, unhex};

/// How the first line of an exported journal begins.
pub const HEADER_START: &str = r#"{"mailmend":"journal""#;

/// The first line of an exported journal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    mailmend: String,
    format: u32,
    agent: String,
    journal: String,
}

/// Another line of an exported journal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    hash: String,
    record: String,
}

/// An agent's journal that is being verified.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The agent, as the file says.
    pub agent: String,
    /// The journal's id: the first hash follows from it.
    pub id: Uuid,
    /// The hash at each record, from the first on.
    pub(super) hashes: Vec<[u8; 32]>,
    /// What it saw of the trail: the record, and the head.
    pub(super) witnessed: Vec<(u64, Head)>,
    /// What it did that somebody must have allowed.
    pub(super) effects: Vec<Effect>,
    /// How many runs it began by itself.
    pub duties: u64,
    link: Link,
}

/// Something that an agent did, and that an entry of the trail must allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effect {
    /// The record.
    pub(super) seq: u64,
    pub(super) run: String,
    pub(super) what: Did,
}

/// What an agent did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    /// It took a run on, with this fence.
    Admitted(u64),
    /// It took a watermark, with this fence.
    Advanced(u64, u32),
    /// It began a step.
    Began(u32),
    /// It took an unwinding, with this fence.
    Unwinds(u64, u32),
    /// It began to undo a step.
    Undoes(u32),
    /// It took a person's order.
    Ordered(Uuid),
}

impl Journal {
    /// A journal whose header this is.
    ///
    /// # Errors
    /// Where it is none.
    pub fn begun(header: &str) -> Result<Self, String> {
        let header: Header = serde_json::from_str(header).map_err(|why| why.to_string())?;
        if header.mailmend != "journal" || header.format != 1 {
            return Err("it is of a kind or format that this version does not know".to_owned());
        }
        let id = Uuid::try_parse(&header.journal).map_err(|why| why.to_string())?;
        Ok(Self {
            agent: header.agent,
            id,
            hashes: Vec::new(),
            witnessed: Vec::new(),
            effects: Vec::new(),
            duties: 0,
            link: Link::first(id),
        })
    }

    /// How many records were verified.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.link.seq
    }

    /// Takes the next line, after the header.
    ///
    /// # Errors
    /// What is wrong with it; nothing after it can be verified.
    pub fn line(&mut self, text: &str) -> Result<(), Finding> {
        let expected = self.link.seq + 1;
        let place = format!("record {expected} of the journal of {}", self.agent);
        let wrong = |what: String| {
            let means = "the journal, or its export, was changed or damaged after it was written";
            Finding::new(place.clone(), what, means)
        };
        let line: Line =
            serde_json::from_str(text).map_err(|why| wrong(format!("it is no record: {why}")))?;
        let bytes = unhex(&line.record).ok_or_else(|| wrong("it is not hexadecimal".into()))?;
        if line.seq != expected {
            return Err(wrong(format!("record {} stands there", line.seq)));
        }
        let next = self.link.after(&bytes);
        if unhex(&line.hash).as_deref() != Some(&next.hash) {
            return Err(wrong(
                "its hash is not the one that follows from it and from the records before".into(),
            ));
        }
        let record =
            wire::Record::decode(bytes.as_slice()).map_err(|why| wrong(why.to_string()))?;
        if record.seq != expected {
            return Err(wrong(format!("its text says that it is {}", record.seq)));
        }
        self.link = next;
        self.hashes.push(next.hash);
        self.note(record).map_err(wrong)
    }

    fn note(&mut self, record: wire::Record) -> Result<(), String> {
        let order = |id: &str| {
            let id = Uuid::try_parse(id).map_err(|why| format!("its order has no id: {why}"))?;
            Ok::<_, String>(Did::Ordered(id))
        };
        let what = match record.event {
            Some(Event::Admitted(one)) => Did::Admitted(one.fence),
            Some(Event::Advanced(one)) => Did::Advanced(one.fence, one.through),
            Some(Event::StepIntended(one)) => Did::Began(one.step),
            Some(Event::UnwindOrdered(one)) => Did::Unwinds(one.fence, one.down_to),
            Some(Event::UndoIntended(one)) => Did::Undoes(one.step),
            Some(Event::Answered(one)) => order(&one.order)?,
            Some(Event::ReleaseOrdered(one)) => order(&one.order)?,
            Some(Event::RecoverOrdered(one)) => order(&one.order)?,
            Some(Event::SettleOrdered(one)) => order(&one.order)?,
            Some(Event::TrailWitnessed(one)) => {
                let hash = one.hash.try_into();
                let hash = hash.map_err(|_| "the hash that it saw has not 32 bytes".to_owned())?;
                let head = Head { seq: one.seq, hash };
                self.witnessed.push((record.seq, head));
                return Ok(());
            }
            Some(Event::DutyBegan(_)) => {
                self.duties += 1;
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.effects.push(Effect {
            seq: record.seq,
            run: record.run,
            what,
        });
        Ok(())
    }
}
