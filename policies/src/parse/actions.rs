//! Actions: each knows its keys. `KEYS` is the one list that parsing, hints and the schema share.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::condition::Queue;
use crate::fault::FaultCode;
use crate::name::StepId;
use crate::step::{Action, IfStillRunning, QuarantineUndo};

use super::conditions::need_conditions;
use super::context::{Context, Place};
use super::reader::{Located, Reader};
use super::value::{prose, text};
use super::words::did_you_mean;

/// What the parser and the schema know of an action before its keys are read.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Its own keys that have to be there.
    pub(crate) needs: &'static [&'static str],
    /// Its own keys that may be there.
    pub(crate) may: &'static [&'static str],
    /// How long it may take unless told.
    pub(crate) timeout: Duration,
    /// What it does, for the schema.
    pub(crate) about: &'static str,
}

impl Kind {
    /// Its own keys, besides those that every step has.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.needs.iter().chain(self.may).copied()
    }
}

const fn kind(
    name: &'static str,
    needs: &'static [&'static str],
    may: &'static [&'static str],
    seconds: u64,
    about: &'static str,
) -> Kind {
    Kind {
        name,
        needs,
        may,
        timeout: Duration::from_secs(seconds),
        about,
    }
}

/// Every action that a policy may write.
#[rustfmt::skip]
pub(crate) const KINDS: [Kind; 16] = [
    kind("service.stop", &["service", "then"], &[], 90, "Stop a service and prove that it is stopped and its process gone."),
    kind("service.start", &["service", "observe"], &["attempts"], 180, "Start a service and watch it; it counts only once it has stayed up."),
    kind("service.kill", &["service"], &[], 30, "End the process of a service that cannot be stopped."),
    kind("routing.recalculate", &["tool", "until"], &[], 900, "Have routing recalculated by a tool and wait until the effect is to be seen."),
    kind("queue.quarantine", &["queue", "undo"], &[], 180, "Take the files of a queue folder into custody."),
    kind("queue.reset-index", &[], &[], 30, "Set queue.dat aside so that the service rebuilds it. Never deletes it."),
    kind("queue.replay", &["of"], &["first", "except_named_since"], 180, "Give files in custody back to their queue."),
    kind("queue.search", &["of", "service", "observe", "max_bad", "max_restarts", "max_crashes", "max_duplicates"], &["in_flight"], 7200, "Find the messages that crash a service, and give back the others."),
    kind("mail.probe", &["tool", "to"], &[], 600, "Send a test message and wait for evidence that it left."),
    kind("queue.settle", &["of"], &[], 1800, "Wait for evidence that what was replayed has been delivered."),
    kind("wait.until", &["until"], &["poll"], 900, "Wait until conditions hold."),
    kind("check", &["all"], &[], 30, "Judge conditions once; the run fails, with nothing changed, where they do not hold."),
    kind("tool.run", &["tool", "accept"], &["with"], 1800, "Run a tool of the guard file and judge its output by the verdicts defined there."),
    kind("human.task", &["ask", "answers", "accept"], &[], 86_400, "Ask a person to do something that no program can, and take a typed answer."),
    kind("mail.reconcile", &["over", "grace"], &["store"], 600, "List the messages that vanished between the logs and the queues."),
    kind("mail.escrow", &["queue", "keep"], &[], 30, "Keep a second name of every file that appears in a queue folder."),
];

/// The keys that every step may have.
pub(crate) const COMMON: [&str; 8] = [
    "id",
    "on",
    "action",
    "timeout",
    "when",
    "forbid",
    "point_of_no_return",
    "why",
];

pub(crate) const THEN: [(&str, IfStillRunning); 2] = [
    ("kill", IfStillRunning::Kill),
    ("fail", IfStillRunning::Fail),
];
pub(crate) const UNDO: [(&str, QuarantineUndo); 2] = [
    ("keep", QuarantineUndo::Keep),
    ("replay", QuarantineUndo::Replay),
];

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Finds what is known of an action by its name.
pub(crate) fn find(found: &Located<&str>, ctx: &Context<'_>) -> Option<&'static Kind> {
    let kind = KINDS.iter().find(|kind| kind.name == found.value);
    if kind.is_none() {
        let message = format!("there is no action `{}`", found.value.escape_debug());
        let hint = match found.value {
            "shell" | "exec" | "script" | "run" | "command" | "cmd" | "shell.run" | "exec.run" => {
                "there is no shell: define a tool with its path and flags in the agent's guard file, and use `tool.run`".to_owned()
            }
            other => did_you_mean(other, KINDS.iter().map(|kind| kind.name)).unwrap_or_else(|| {
                let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
                format!("the actions are {}", super::words::listed(&names))
            }),
        };
        ctx.sink
            .hinted(FaultCode::UnknownAction, &found.span, message, hint);
    }
    kind
}

/// Which action a key belongs to, for the hint at a key that stands at the wrong one.
pub(crate) fn owner(key: &str) -> Option<String> {
    let owners: Vec<&str> = KINDS
        .iter()
        .filter(|kind| kind.keys().any(|own| own == key))
        .map(|kind| kind.name)
        .collect();
    (!owners.is_empty()).then(|| format!("the key belongs to {}", super::words::listed(&owners)))
}

/// Reads the keys of an action. Reads all of them before it gives up, so that each fault is told.
pub(crate) fn read(kind: &Kind, reader: &Reader<'_>, ctx: &Context<'_>) -> Option<Action> {
    match kind.name {
        "service.stop" => {
            let service = service(reader);
            let then = reader.need_word("then", &THEN);
            Some(Action::ServiceStop {
                service: service?,
                then: then?,
            })
        }
        "service.start" => {
            let service = service(reader);
            let observe =
                reader.need_duration("observe", Duration::ZERO, HOUR, "observe = \"60s\"");
            let attempts = or_default(reader, "attempts", 1, |key| reader.number32(key, 1, 5));
            Some(Action::ServiceStart {
                service: service?,
                observe: observe?,
                attempts: attempts?,
            })
        }
        "service.kill" => Some(Action::ServiceKill {
            service: service(reader)?,
        }),
        "routing.recalculate" => {
            let tool = reader.need_name("tool", "tool = \"recalculate-routing\"");
            let until = need_conditions(reader, "until", Place::Step, ctx);
            Some(Action::RoutingRecalculate {
                tool: tool?.value,
                until: until?,
            })
        }
        "queue.quarantine" => {
            let queue = folder(reader, ctx);
            let undo = reader.need_word("undo", &UNDO);
            Some(Action::QueueQuarantine {
                queue: queue?,
                undo: undo?,
            })
        }
        "queue.reset-index" => Some(Action::QueueResetIndex {}),
        "queue.replay" => {
            let of = of(reader, ctx);
            let first = or_default(reader, "first", None, |key| {
                reader.number(key, 1, 1_000_000).map(Some)
            });
            let except_named_since = or_default(reader, "except_named_since", None, |key| {
                reader.duration(key, SECOND, 7 * DAY).map(Some)
            });
            Some(Action::QueueReplay {
                of: of?,
                first: first?,
                except_named_since: except_named_since?,
            })
        }
        "queue.search" => search(reader, ctx),
        "mail.probe" => {
            let tool = reader.need_name("tool", "tool = \"submit-test-mail\"");
            let to = address(reader, ctx);
            Some(Action::MailProbe {
                tool: tool?.value,
                to: to?,
            })
        }
        "queue.settle" => Some(Action::QueueSettle {
            of: of(reader, ctx)?,
        }),
        "wait.until" => {
            let until = need_conditions(reader, "until", Place::Step, ctx);
            let poll = or_default(reader, "poll", 5 * SECOND, |key| {
                reader.duration(key, SECOND, HOUR)
            });
            Some(Action::WaitUntil {
                until: until?,
                poll: poll?,
            })
        }
        "check" => Some(Action::Check {
            all: need_conditions(reader, "all", Place::Step, ctx)?,
        }),
        "tool.run" => {
            let tool = reader.need_name("tool", "tool = \"mtacheck\"");
            let with = or_default(reader, "with", BTreeMap::new(), |_| flags(reader, ctx));
            let accept = reader.need_lines("accept", "accept = [\"clean\"]");
            let accept = accept.map(|all| all.into_iter().map(|line| line.value).collect());
            Some(Action::ToolRun {
                tool: tool?.value,
                with: with?,
                accept: accept?,
            })
        }
        "human.task" => human(reader, ctx),
        "mail.reconcile" => {
            let over = reader.need_duration("over", MINUTE, 30 * DAY, "over = \"24h\"");
            let grace = reader.need_duration("grace", SECOND, 7 * DAY, "grace = \"1h\"");
            let store = or_default(reader, "store", None, |key| {
                reader.name(key).map(|name| Some(name.value))
            });
            Some(Action::MailReconcile {
                over: over?,
                grace: grace?,
                store: store?,
            })
        }
        "mail.escrow" => {
            let queue = folder(reader, ctx);
            let keep = reader.need_duration("keep", HOUR, 90 * DAY, "keep = \"7d\"");
            Some(Action::MailEscrow {
                queue: queue?,
                keep: keep?,
            })
        }
        // `KINDS` is the only place that kinds come from; a test walks it.
        _ => None,
    }
}

/// The value of a key that may be missing; `None` only where it is there and faulty.
fn or_default<T>(
    reader: &Reader<'_>,
    key: &'static str,
    default: T,
    read: impl FnOnce(&'static str) -> Option<T>,
) -> Option<T> {
    let there = reader.has(key);
    let value = if there { read(key) } else { Some(default) };
    let _known = reader.get(key);
    value
}

fn service(reader: &Reader<'_>) -> Option<crate::name::ServiceName> {
    let found = reader.need_name("service", "service = \"MSExchangeIMC\"")?;
    super::words::spelled(found, reader.sink)
}

fn of(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<StepId> {
    let of = reader.need_name("of", "of = \"quarantine-out\"")?;
    ctx.takes_of(&of);
    Some(of.value)
}

/// A queue that is a folder of files.
fn folder(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<Queue> {
    let queue = reader.need_word("queue", &Queue::ALL)?;
    if queue.folder().is_none() {
        let message = format!(
            "`{}` is a folder in the store, not files that can be held",
            queue.name()
        );
        let hint = "the queues with files are `inbound-awaiting-conversion` and `outbound-awaiting-delivery`; for the store use `tool.run` with imcsave";
        ctx.sink
            .hinted(FaultCode::NoFolder, &reader.place("queue"), message, hint);
        return None;
    }
    Some(queue)
}

fn search(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<Action> {
    let of = of(reader, ctx);
    let service = service(reader);
    let observe = reader.need_duration("observe", Duration::ZERO, HOUR, "observe = \"60s\"");
    let bad = reader.need_number("max_bad", 1, 100, "max_bad = 5");
    let in_flight = reader.number("in_flight", 1, 1000);
    let restarts = reader.need_number("max_restarts", 1, 1000, "max_restarts = 30");
    let crashes = reader.need_number("max_crashes", 1, 1000, "max_crashes = 10");
    let duplicates = reader.need_number("max_duplicates", 1, 1_000_000, "max_duplicates = 50");
    Some(Action::QueueSearch {
        of: of?,
        service: service?,
        observe: observe?,
        max_restarts: u32::try_from(restarts?).ok()?,
        max_crashes: u32::try_from(crashes?).ok()?,
        max_duplicates: duplicates?,
        max_bad: u32::try_from(bad?).ok()?,
        in_flight: match in_flight {
            Some(flight) => Some(u32::try_from(flight).ok()?),
            None => None,
        },
    })
}

/// The flags of a tool: texts, passed as they are to flags that the guard file declares.
fn flags(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<BTreeMap<String, String>> {
    let table = reader.table("with")?;
    let mut flags = BTreeMap::new();
    let mut whole = true;
    for (key, span) in table.keys() {
        let named = super::value::name::<crate::name::ToolName>(
            &Located { value: key, span },
            "with",
            ctx.sink,
        );
        // Looked up by iteration: the keys are the guard file's, not ours.
        let value = table
            .entry(key)
            .and_then(|value| text(value, key, ctx.sink));
        let value = value.and_then(|found| prose(&found, key, 200, false, ctx.sink));
        match (named, value) {
            (Some(_), Some(value)) => {
                flags.insert(key.to_owned(), value);
            }
            _ => whole = false,
        }
    }
    whole.then_some(flags)
}

fn address(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<String> {
    let found = reader.need_text("to", "to = \"postmaster@example.com\"")?;
    let part = |text: &str| {
        !text.is_empty()
            && text.len() <= 253
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._+-=".contains(c))
            && !text.starts_with(['-', '.'])
    };
    let good = found
        .value
        .split_once('@')
        .is_some_and(|(local, domain)| part(local) && part(domain));
    if !good {
        let message = format!(
            "`to` is `{}`, which is not a mail address",
            found.value.escape_debug()
        );
        let hint = "write one address, such as `postmaster@example.com`";
        ctx.sink
            .hinted(FaultCode::BadAddress, &found.span, message, hint);
        return None;
    }
    Some(found.value.to_owned())
}

fn human(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<Action> {
    let ask = reader
        .need_text("ask", "ask = \"..\"")
        .and_then(|found| prose(&found, "ask", 4000, true, ctx.sink));
    let answers = reader.need_lines("answers", "answers = [\"done\", \"cannot\"]");
    let accept = reader.need_lines("accept", "accept = [\"done\"]");
    let (answers, accept) = (answers?, accept?);
    let mut whole = true;
    for answer in &accept {
        if !answers.iter().any(|offered| offered.value == answer.value) {
            let message = format!("the answer `{}` is accepted but not offered", answer.value);
            let hint = did_you_mean(
                &answer.value,
                answers.iter().map(|offered| offered.value.as_str()),
            )
            .unwrap_or_else(|| "add it to `answers`".to_owned());
            ctx.sink
                .hinted(FaultCode::AnswerNotOffered, &answer.span, message, hint);
            whole = false;
        }
    }
    let plain = |all: Vec<Located<String>>| all.into_iter().map(|line| line.value).collect();
    whole.then(|| {
        Some(Action::HumanTask {
            ask: ask?,
            answers: plain(answers),
            accept: plain(accept),
        })
    })?
}
