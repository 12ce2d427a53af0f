//! Strategies and waves in JSON.

use mailmend_proto::wire;
use serde::Serialize;

use super::{absolute, hex, some};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct TermView {
    name: String,
    what: String,
}

impl From<&wire::Term> for TermView {
    fn from(term: &wire::Term) -> Self {
        Self {
            name: term.name.clone(),
            what: term.what.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct WaveView {
    number: u32,
    sites: Vec<String>,
    runs: u32,
    waiting: u32,
    servers: u32,
    digest: String,
    asks: bool,
    approval: Option<ApprovalView>,
    gate_accepted: bool,
}

#[derive(Debug, Serialize)]
struct ApprovalView {
    by: String,
    at: Option<String>,
    why: Option<String>,
    digest: String,
    generation: i64,
}

impl From<&wire::Wave> for WaveView {
    fn from(wave: &wire::Wave) -> Self {
        Self {
            number: wave.number,
            sites: wave.sites.clone(),
            runs: wave.runs,
            waiting: wave.waiting,
            servers: wave.servers,
            digest: hex(&wave.digest),
            asks: wave.asks,
            approval: wave.approval.as_ref().map(|approval| ApprovalView {
                by: approval.by.clone(),
                at: absolute(approval.at_ms),
                why: some(&approval.why),
                digest: hex(&approval.digest),
                generation: approval.generation,
            }),
            gate_accepted: wave.gate_accepted,
        }
    }
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct RecallView {
    article: Option<String>,
    why: String,
    by: String,
    at: Option<String>,
}

impl From<&wire::Recall> for RecallView {
    fn from(recall: &wire::Recall) -> Self {
        Self {
            article: some(&recall.article),
            why: recall.why.clone(),
            by: recall.by.clone(),
            at: absolute(recall.at_ms),
        }
    }
}
