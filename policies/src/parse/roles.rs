//! Roles: which servers play which part.

use std::collections::BTreeMap;

use crate::fault::FaultCode;
use crate::name::RoleName;
use crate::role::{Bind, Role};
use crate::selector::{Selector, SelectorFault};

use super::context::Context;
use super::reader::{Located, Reader};
use super::value::{name, table};

/// The most roles of a policy.
const MOST_ROLES: usize = 20;

/// A role as far as it could be read.
pub(crate) struct RoleDraft {
    pub(crate) name: Located<RoleName>,
    pub(crate) role: Option<Role>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BindWord {
    Each,
    One,
    All,
}

pub(crate) const BIND: [(&str, BindWord); 3] = [
    ("each", BindWord::Each),
    ("one", BindWord::One),
    ("all", BindWord::All),
];

pub(crate) fn roles(root: &Reader<'_>, ctx: &Context<'_>) -> Vec<RoleDraft> {
    if root.need("roles", "[roles]").is_none() {
        return Vec::new();
    }
    let Some(reader) = root.table("roles") else {
        return Vec::new();
    };
    let mut keys: Vec<_> = reader.keys().collect();
    keys.sort_by_key(|(_, span)| span.start);
    if keys.is_empty() {
        let message = "`[roles]` is empty, a policy needs at least one role";
        ctx.sink.fault(FaultCode::EmptyList, &reader.span, message);
    }
    if let Some((_, beyond)) = keys.get(MOST_ROLES) {
        let message = format!(
            "the policy has {} roles, at most {MOST_ROLES} are allowed",
            keys.len()
        );
        ctx.sink.hinted(
            FaultCode::TooMany,
            beyond,
            message,
            "split the policy into several",
        );
        keys.truncate(MOST_ROLES);
    }
    let mut drafts = Vec::new();
    for (key, span) in keys {
        let found = Located { value: key, span };
        let (named, value) = (
            name::<RoleName>(&found, "roles", ctx.sink),
            reader.entry(key),
        );
        let role = value
            .and_then(|value| {
                table(
                    value,
                    key,
                    format!("role `{}`", key.escape_debug()),
                    ctx.sink,
                )
            })
            .and_then(|reader| role(reader, ctx));
        if let Some(name) = named {
            drafts.push(RoleDraft { name, role });
        }
    }
    several_each(&drafts, ctx);
    drafts
}

fn role(reader: Reader<'_>, ctx: &Context<'_>) -> Option<Role> {
    let select = reader
        .need_text("select", "select = \"ims.direction=outbound\"")
        .and_then(|found| selector(&found, ctx));
    let bind = reader.need_word("bind", &BIND);
    let at_least = reader.number32("at_least", 1, 10_000);
    if bind.is_some_and(|bind| bind != BindWord::All) && reader.has("at_least") {
        let message = "`at_least` goes with `bind = \"all\"` only";
        let hint = "remove it, or bind the role `all`";
        ctx.sink.hinted(
            FaultCode::WrongKeys,
            &reader.place("at_least"),
            message,
            hint,
        );
    }
    let at_least = if reader.has("at_least") {
        at_least
    } else {
        Some(1)
    };
    reader.finish(|_| None);
    let bind = match bind? {
        BindWord::Each => Bind::Each,
        BindWord::One => Bind::One,
        BindWord::All => Bind::All {
            at_least: at_least?,
        },
    };
    Some(Role {
        select: select?,
        bind,
    })
}

fn selector(found: &Located<&str>, ctx: &Context<'_>) -> Option<Selector> {
    match found.value.parse() {
        Ok(selector) => Some(selector),
        Err(fault @ SelectorFault::Empty) => {
            let hint = "say which servers, such as `ims.direction=outbound`";
            ctx.sink.hinted(
                FaultCode::EmptySelector,
                &found.span,
                fault.to_string(),
                hint,
            );
            None
        }
        Err(fault) => {
            let hint = "write requirements with commas between them: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`";
            ctx.sink
                .hinted(FaultCode::BadSelector, &found.span, fault.to_string(), hint);
            None
        }
    }
}

fn several_each(drafts: &[RoleDraft], ctx: &Context<'_>) {
    let each = |draft: &&RoleDraft| {
        matches!(
            draft.role,
            Some(Role {
                bind: Bind::Each,
                ..
            })
        )
    };
    let mut all = drafts.iter().filter(each);
    let Some(first) = all.next() else { return };
    for other in all {
        let message = format!(
            "the role `{}` is bound `each`, and `{}` is already",
            other.name.value, first.name.value
        );
        let hint = "a run is about one server: bind the other role `one` or `all`";
        ctx.sink
            .hinted(FaultCode::SeveralEachRoles, &other.name.span, message, hint);
    }
}

/// The roles that could be read, by name.
pub(crate) fn finished(drafts: &[RoleDraft]) -> BTreeMap<RoleName, Role> {
    drafts
        .iter()
        .filter_map(|draft| Some((draft.name.value.clone(), draft.role.clone()?)))
        .collect()
}
