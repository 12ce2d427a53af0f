//! Everything of a policy but its roles and steps: name, source, versions, limits, strategy, symptom.

use std::time::Duration;

use crate::fault::FaultCode;
use crate::name::{PolicyName, RoleName};
use crate::policy::{AppliesTo, Detect, Deviation, Limits, Source};

use super::conditions::{need_conditions, versions};
use super::context::{Context, Place};
use super::reader::{Located, Reader};
use super::strategy::{StrategyDraft, strategy};
use super::value::{list, table};

/// The version of the language that this crate reads.
pub const SCHEMA: &str = "mailmend/v1";

/// The files that one quarantine may take unless told.
pub(crate) const MAX_FILES: u64 = 100_000;

const LINE: usize = 200;
/// The longest text of several lines.
pub(crate) const PARAGRAPH: usize = 2000;

/// The keys of the top level.
pub(crate) struct Header {
    pub(crate) name: Option<PolicyName>,
    pub(crate) version: Option<u32>,
    pub(crate) title: Option<String>,
    pub(crate) source: Option<Source>,
    pub(crate) applies_to: Option<AppliesTo>,
    pub(crate) limits: Option<Limits>,
    pub(crate) strategy: StrategyDraft,
}

pub(crate) fn header(root: &Reader<'_>, ctx: &Context<'_>) -> Header {
    schema(root, ctx);
    Header {
        name: root
            .need_name("name", "name = \"stuck-outbound\"")
            .map(|name| name.value),
        version: root
            .need_number("version", 1, u32::MAX.into(), "version = 1")
            .and_then(|version| u32::try_from(version).ok()),
        title: root.need_line("title", LINE, "title = \"what is wrong, in one line\""),
        source: source(root, ctx),
        applies_to: applies_to(root, ctx),
        limits: limits(root),
        strategy: strategy(root),
    }
}

fn schema(root: &Reader<'_>, ctx: &Context<'_>) {
    let Some(found) = root.need_text("schema", "schema = \"mailmend/v1\"") else {
        return;
    };
    if found.value != SCHEMA {
        let message = format!(
            "the file is written for `{}`, this is {SCHEMA}",
            found.value.escape_debug()
        );
        let hint = format!("write `schema = \"{SCHEMA}\"`, or use a mailmend that knows the other");
        ctx.sink
            .hinted(FaultCode::UnknownSchema, &found.span, message, hint);
    }
}

fn source(root: &Reader<'_>, ctx: &Context<'_>) -> Option<Source> {
    root.need("source", "[source]")?;
    let reader = root.table("source")?;
    let article = reader
        .need_text("article", "article = \"Q268494\"")
        .and_then(|found| {
            let digits = found.value.strip_prefix('Q').unwrap_or_default();
            let good =
                (5..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            if !good {
                let message = format!(
                    "`{}` is not the number of an article",
                    found.value.escape_debug()
                );
                let hint = "write a Q and its 5 or 6 digits, such as `Q268494`";
                ctx.sink
                    .hinted(FaultCode::BadName, &found.span, message, hint);
            }
            good.then(|| found.value.to_owned())
        });
    let deviations = if reader.has("deviations") {
        deviations(&reader, ctx)
    } else {
        Some(Vec::new())
    };
    reader.finish(|_| None);
    Some(Source {
        article: article?,
        deviations: deviations?,
    })
}

fn deviations(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<Vec<Deviation>> {
    let entries = list(reader.get("deviations")?, "deviations", ctx.sink)?;
    let read: Vec<Option<Deviation>> = entries
        .iter()
        .map(|entry| {
            let entry = table(entry, "deviations", "the deviation", ctx.sink)?;
            let step = entry.need_line("step", 60, "step = \"8\"");
            let why = entry
                .need_text("why", "why = \"..\"")
                .and_then(|found| super::value::prose(&found, "why", PARAGRAPH, true, ctx.sink));
            entry.finish(|_| None);
            Some(Deviation {
                step: step?,
                why: why?,
            })
        })
        .collect();
    read.into_iter().collect()
}

fn applies_to(root: &Reader<'_>, ctx: &Context<'_>) -> Option<AppliesTo> {
    root.need("applies_to", "[applies_to]")?;
    let reader = root.table("applies_to")?;
    let product = reader.need_word("product", &[("exchange", "exchange")]);
    let versions = reader
        .need_text("versions", "versions = \">=4.0, <5.6\"")
        .and_then(|found| versions(&found, "versions", ctx));
    reader.finish(|_| None);
    Some(AppliesTo {
        product: product?.to_owned(),
        versions: versions?,
    })
}

fn limits(root: &Reader<'_>) -> Option<Limits> {
    root.need("limits", "[limits]")?;
    let reader = root.table("limits")?;
    let (least, most) = (Duration::from_secs(10), Duration::from_secs(86_400));
    let max_outage = reader.need_duration("max_outage", least, most, "max_outage = \"10m\"");
    let max_restarts = reader.need_number("max_restarts", 0, 1000, "max_restarts = 4");
    let max_files = if reader.has("max_files") {
        reader.number("max_files", 1, 10_000_000)
    } else {
        let _known = reader.get("max_files");
        Some(MAX_FILES)
    };
    reader.finish(|_| None);
    Some(Limits {
        max_outage: max_outage?,
        max_restarts: u32::try_from(max_restarts?).ok()?,
        max_files: max_files?,
    })
}

/// The symptom; the role is told even where the conditions are faulty.
pub(crate) struct DetectDraft {
    pub(crate) on: Option<Located<RoleName>>,
    pub(crate) detect: Option<Detect>,
    pub(crate) span: super::reader::Span,
}

pub(crate) fn detect(root: &Reader<'_>, ctx: &Context<'_>) -> Option<DetectDraft> {
    root.need("detect", "[detect]")?;
    let reader = root.table("detect")?;
    let on: Option<Located<RoleName>> = reader.need_name("on", "on = \"outbound\"");
    let all = need_conditions(&reader, "all", Place::Detect, ctx);
    let detect = on
        .clone()
        .zip(all)
        .map(|(on, all)| Detect { on: on.value, all });
    let span = reader.place("all");
    reader.finish(|_| None);
    Some(DetectDraft { on, detect, span })
}
