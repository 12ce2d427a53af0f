//! What is signed, as tables and as JSON.

use mailmend_proto::wire;
use mailmend_trust::time;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Shown};

#[derive(Serialize)]
struct View<'a> {
    stale: Option<&'a str>,
    documents: Vec<DocumentView<'a>>,
    policies: Vec<PolicyView<'a>>,
    agents: Vec<AgentView<'a>>,
}

#[derive(Serialize)]
struct DocumentView<'a> {
    kind: &'a str,
    version: u64,
    expires: String,
    sha256: &'a str,
    threshold: u32,
    keys: &'a [String],
}

#[derive(Serialize)]
struct PolicyView<'a> {
    name: &'a str,
    version: u32,
    sha256: &'a str,
    bytes: u64,
    published: bool,
}

#[derive(Serialize)]
struct AgentView<'a> {
    agent: &'a str,
    policies: &'static str,
    root: u64,
    catalogue: u64,
    timestamp: u64,
    code: Option<&'a str>,
    why: Option<&'a str>,
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl<'a> DocumentView<'a> {
    fn of(one: &'a wire::TrustDocument) -> Self {
        Self {
            kind: &one.kind,
            version: one.version,
            expires: time(one.expires_ms),
            sha256: &one.sha256,
            threshold: one.threshold,
            keys: &one.keys,
        }
    }
}

impl<'a> PolicyView<'a> {
    fn of(one: &'a wire::CataloguedPolicy) -> Self {
        Self {
            name: &one.name,
            version: one.version,
            sha256: &one.sha256,
            bytes: one.bytes,
            published: one.published,
        }
    }
}

impl<'a> AgentView<'a> {
    fn of(one: &'a wire::AgentTrust) -> Self {
        let held = one.held.as_ref();
        Self {
            agent: &one.agent,
            policies: match held.map(|held| held.signed) {
                None => "unknown",
                Some(true) => "signed",
                Some(false) => "unsigned",
            },
            root: held.map_or(0, |held| held.root),
            catalogue: held.map_or(0, |held| held.catalogue),
            timestamp: held.map_or(0, |held| held.timestamp),
            code: held.and_then(|held| some(&held.code)),
            why: held.and_then(|held| some(&held.why)),
        }
    }
}

fn whole(trust: &wire::Trust) -> View<'_> {
    View {
        stale: some(&trust.stale),
        documents: trust.documents.iter().map(DocumentView::of).collect(),
        policies: trust.policies.iter().map(PolicyView::of).collect(),
        agents: trust.agents.iter().map(AgentView::of).collect(),
    }
}

fn document_table(view: &View<'_>, output: &Output) -> String {
    let rows = view.documents.iter().map(|one| {
        vec![
            one.kind.into(),
            one.version.to_string().into(),
            one.expires.clone().into(),
            format!("{} of {}", one.threshold, one.keys.join(", ")).into(),
        ]
    });
    output.table(
        &["SIGNED", "VERSION", "UNTIL", "BY"],
        rows.collect(),
        "nothing was published: mailmend trust publish",
    )
}

/// After a publication: what is current now.
pub(super) fn published(trust: &wire::Trust, output: &Output) -> Result<Exit, Failure> {
    let view = whole(trust);
    output.answer(&view, |output| document_table(&view, output))?;
    Ok(Exit::Success)
}

/// Everything; exit code 3 where nothing new can be begun.
pub(super) fn all(trust: &wire::Trust, output: &Output) -> Result<Exit, Failure> {
    let view = whole(trust);
    output.answer(&view, |output| {
        let mut text = document_table(&view, output);
        let policies = view.policies.iter().map(|one| {
            let published = if one.published {
                "published".into()
            } else {
                Shown::bad("not published here")
            };
            vec![
                one.name.into(),
                one.version.to_string().into(),
                one.sha256[..one.sha256.len().min(12)].into(),
                published,
            ]
        });
        text.push('\n');
        text.push_str(&output.table(
            &["POLICY", "VERSION", "SHA-256", ""],
            policies.collect(),
            "no policy may be carried out by agents that take signed ones alone",
        ));
        let agents = view.agents.iter().map(|one| {
            let held = match one.policies {
                "signed" => format!(
                    "root {}, catalogue {}, timestamp {}",
                    one.root, one.catalogue, one.timestamp
                ),
                _ => "-".to_owned(),
            };
            vec![
                one.agent.into(),
                if one.policies == "signed" {
                    one.policies.into()
                } else {
                    Shown::bad(one.policies)
                },
                held.into(),
                one.code.unwrap_or("-").into(),
            ]
        });
        text.push('\n');
        text.push_str(&output.table(
            &["AGENT", "POLICIES", "HOLDS", "TROUBLE"],
            agents.collect(),
            "there is no agent",
        ));
        text
    })?;
    if let Some(stale) = view.stale {
        output.note(&format!("nothing new can be begun: {stale}"));
    }
    let asks = view.agents.iter().any(|one| one.policies == "signed");
    Ok(
        if asks && (view.stale.is_some() || view.documents.is_empty()) {
            Exit::Waiting
        } else {
            Exit::Success
        },
    )
}
