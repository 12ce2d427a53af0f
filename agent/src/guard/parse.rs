//! The guard file's text → a guard, or every fault in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mailmend_policy::name::{ServiceName, ToolName};

use super::{Flag, Guard, Immunity, Limits, Pattern, Policies, Tool, Watchdog};
use crate::faults::known;
use crate::toml_file::{Located, Sink, Span, Table, TomlFaults, absolute, listed, parse, parsed};

/// Folders that hold the system itself: no mail server's data is exactly here.
const SYSTEM: [&str; 17] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run",
    "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var",
];

/// The places of what the machine has to be asked about.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) roots: Vec<(PathBuf, Span)>,
    pub(super) programs: Vec<(PathBuf, Span)>,
}

impl Guard {
    /// Reads the text of a guard file; `name` is the file as people know it. The machine is not
    /// asked: [`Guard::read`] does that too.
    ///
    /// # Errors
    /// All faults at once, each with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, TomlFaults> {
        let sink = Sink::default();
        let (guard, _) = from_text(text, &sink);
        match sink.finish(const { known("A003-guard-faulty") }, name, text) {
            None => Ok(guard),
            Some(faults) => Err(faults),
        }
    }
}

/// The guard that a text says, as far as it can be read; whether it counts, the sink tells.
pub(super) fn from_text(text: &str, sink: &Sink) -> (Guard, Places) {
    let document = parse(text, sink);
    let table = Table::new(&document, "the guard file", sink);
    let mut places = Places::default();
    let policies = policies(&table);
    let roots = roots(&table, &mut places);
    let services = names(&table, "services", sink);
    table.need("services", "services = [\"MSExchangeIMC\"]");
    let tools = tools(&table, &mut places);
    let limits = limits(&table);
    let watchdog = watchdog(&table, &services);
    let immunity = immunity(&table);
    let hold = hold(&table, &roots);
    table.finish();
    let guard = Guard {
        policies,
        roots,
        services: services.into_iter().map(|name| name.value).collect(),
        tools,
        limits,
        watchdog,
        immunity,
        hold,
    };
    (guard, places)
}

/// Whose policies are taken; where it is not said the fault is noted, and nothing follows from the answer.
fn policies(table: &Table<'_>) -> Policies {
    table.need("policies", "policies = \"signed\", or \"unsigned\"");
    let (said, root) = (table.text("policies"), table.path("trust_root"));
    let sink = table.sink;
    let Some(said) = said else {
        return Policies::Unsigned;
    };
    match (said.value, root) {
        ("signed", Some(root)) => return Policies::Signed { root: root.value },
        ("signed", None) => sink.fault(
            &said.span,
            "`policies` is `signed`, and `trust_root` is missing",
            "name the file of the root that this server shall believe: trust_root = \"/etc/mailmend/root.toml\"",
        ),
        ("unsigned", None) => {}
        ("unsigned", Some(root)) => sink.fault(
            &root.span,
            "`trust_root` is given, and `policies` is `unsigned`",
            "write `policies = \"signed\"` to have it count, or remove it",
        ),
        (other, _) => sink.fault(
            &said.span,
            format!("`policies` cannot be `{}`", other.escape_debug()),
            "write `signed` with a `trust_root`, or `unsigned` to take whatever the controller sends",
        ),
    }
    Policies::Unsigned
}

fn roots(table: &Table<'_>, places: &mut Places) -> Vec<PathBuf> {
    table.need("roots", "roots = [\"/path/of/exchsrvr\"]");
    let sink = table.sink;
    let mut roots: Vec<PathBuf> = Vec::new();
    let Some(list) = table.texts("roots") else {
        return roots;
    };
    if list.value.is_empty() {
        let hint = "name the folder of Exchange; an agent that may touch nothing mends nothing";
        sink.fault(&list.span, "`roots` is empty", hint);
    }
    for text in &list.value {
        if is_volume(text.value) {
            let message = format!("the root `{}` is a whole volume", text.value);
            let hint = "name the folder of Exchange on it, such as `/srv/exchsrvr`";
            sink.fault(&text.span, message, hint);
            continue;
        }
        let Some(path) = absolute("roots", text, sink) else {
            continue;
        };
        let mut system = SYSTEM.iter().map(Path::new);
        let kernel = ["/proc", "/sys", "/dev", "/etc"];
        if system.any(|folder| folder == path.value)
            || kernel.iter().any(|folder| path.value.starts_with(folder))
        {
            let message = format!("the root `{}` belongs to the system", path.value.display());
            sink.fault(&path.span, message, "name the folder of Exchange");
            continue;
        }
        if roots.contains(&path.value) {
            let message = format!("`{}` is in `roots` twice", path.value.display());
            sink.fault(&path.span, message, "remove one");
            continue;
        }
        places.roots.push((path.value.clone(), path.span));
        roots.push(path.value);
    }
    roots
}

/// Whether a path is the root of a volume, as Unix or Windows writes it: `/`, `C:\`, `\\host\share`.
fn is_volume(text: &str) -> bool {
    let slashes = |text: &str| text.chars().all(|c| matches!(c, '/' | '\\'));
    match text.as_bytes() {
        [] => false,
        [letter, b':', ..] if letter.is_ascii_alphabetic() => slashes(&text[2..]),
        [b'\\', b'\\', ..] => text[2..].trim_end_matches('\\').matches('\\').count() < 2,
        // `/./` and `/..` lead to the root as well.
        _ => text
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(|part| matches!(part, "" | "." | ".."))),
    }
}

fn names(table: &Table<'_>, key: &'static str, sink: &Sink) -> Vec<Located<ServiceName>> {
    let mut names: Vec<Located<ServiceName>> = Vec::new();
    for text in table.texts(key).map(|list| list.value).unwrap_or_default() {
        let hint = "write the short name of a service, such as `MSExchangeIMC`";
        let Some(name) = parsed::<ServiceName>(key, &text, hint, sink) else {
            continue;
        };
        let same = |other: &Located<ServiceName>| {
            let (a, b) = (other.value.as_str(), name.value.as_str());
            a.eq_ignore_ascii_case(b)
        };
        if names.iter().any(same) {
            let message = format!("`{}` is in `{key}` twice", name.value);
            sink.fault(&name.span, message, "remove one");
            continue;
        }
        names.push(name);
    }
    names
}

fn tools(table: &Table<'_>, places: &mut Places) -> BTreeMap<ToolName, Tool> {
    let mut tools = BTreeMap::new();
    let Some(below) = table.table("tools") else {
        return tools;
    };
    for (name, entry) in below.named_tables("tools") {
        let sink = entry.sink;
        let hint = "name the tool as policies do, such as `routing-recalculate`";
        let tool_name = parsed::<ToolName>("tools", &name, hint, sink);
        entry.need("program", "program = \"/path/of/program\"");
        let program = entry.path("program");
        if let Some(program) = &program {
            places
                .programs
                .push((program.value.clone(), program.span.clone()));
        }
        let arguments = entry.texts("arguments").map(|list| list.value);
        let flags = entry.table("flags").map(flags).unwrap_or_default();
        let verdicts = entry.table("verdicts").map(verdicts).unwrap_or_default();
        let fresh_place = entry.text("fresh_place");
        let only_reads = entry.truth("only_reads").unwrap_or_default();
        if let Some(flag) = &fresh_place {
            written_as_known(flag, "fresh_place", sink);
            if flags.values().any(|other| other.flag == flag.value) {
                let message = "`fresh_place` is a flag that policies may set";
                sink.fault(&flag.span, message, "give it a flag of its own");
            }
        }
        entry.finish();
        if let (Some(name), Some(program)) = (tool_name, program) {
            let arguments = arguments.unwrap_or_default();
            let tool = Tool {
                program: program.value,
                arguments: arguments.iter().map(|a| a.value.to_owned()).collect(),
                flags,
                verdicts,
                only_reads,
                fresh_place: fresh_place.map(|flag| flag.value.to_owned()),
            };
            tools.insert(name.value, tool);
        }
    }
    tools
}

fn flags(table: Table<'_>) -> BTreeMap<String, Flag> {
    let mut flags = BTreeMap::new();
    for (name, entry) in table.named_tables("flags") {
        entry.need("flag", "flag = \"--to\"");
        entry.need("pattern", "pattern = \"address\"");
        let flag = entry.text("flag");
        let pattern = entry.text("pattern").and_then(|text| {
            let known = Pattern::ALL.iter().find(|(word, _)| *word == text.value);
            if known.is_none() {
                let words: Vec<&str> = Pattern::ALL.iter().map(|(word, _)| *word).collect();
                let message = format!("`pattern` cannot be `{}`", text.value.escape_debug());
                entry.sink.fault(
                    &text.span,
                    message,
                    format!("it is one of {}", listed(&words)),
                );
            }
            known.map(|(_, pattern)| *pattern)
        });
        if let Some(flag) = &flag {
            written_as_known(flag, "flag", entry.sink);
        }
        entry.finish();
        if let (Some(flag), Some(pattern)) = (flag, pattern) {
            let flag = flag.value.to_owned();
            flags.insert(name.value.to_owned(), Flag { flag, pattern });
        }
    }
    flags
}

/// A flag begins as flags do.
fn written_as_known(flag: &Located<&str>, key: &str, sink: &Sink) {
    if !(flag.value.len() > 1 && flag.value.starts_with(['-', '/'])) {
        let message = format!("`{key}` is `{}`", flag.value.escape_debug());
        let hint = "write it as the program knows it, such as `--to` or `/to`";
        sink.fault(&flag.span, message, hint);
    }
}

fn verdicts(table: Table<'_>) -> BTreeMap<String, String> {
    let mut verdicts: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in table.named_texts() {
        if text.value.trim().is_empty() {
            let message = format!("the text of the verdict `{}` is empty", name.value);
            let hint = "an empty text is in every output; write what the tool prints";
            table.sink.fault(&text.span, message, hint);
        }
        let within =
            |other: &String| other.contains(text.value) || text.value.contains(other.as_str());
        if verdicts.values().any(within) {
            let message = format!(
                "the text of the verdict `{}` is part of another's",
                name.value
            );
            let hint = "no output could be told apart; write texts of which none has another in it";
            table.sink.fault(&text.span, message, hint);
        }
        verdicts.insert(name.value.to_owned(), text.value.to_owned());
    }
    verdicts
}

fn limits(table: &Table<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(below) = table.table("limits") else {
        return limits;
    };
    let small = |key, least, was: u32| {
        below
            .number(key, least, 1000)
            .and_then(|number| u32::try_from(number.value).ok())
            .unwrap_or(was)
    };
    let large = |key, least, was| below.number(key, least, 1 << 50).map_or(was, |n| n.value);
    limits = Limits {
        restarts_per_hour: small("restarts_per_hour", 1, limits.restarts_per_hour),
        sections_per_hour: small("sections_per_hour", 0, limits.sections_per_hour),
        tools_per_hour: small("tools_per_hour", 0, limits.tools_per_hour),
        files_per_action: large("files_per_action", 0, limits.files_per_action),
        bytes_per_action: large("bytes_per_action", 0, limits.bytes_per_action),
        least_free_bytes: large("least_free_bytes", 0, limits.least_free_bytes),
        whole_folder_from: large("whole_folder_from", 0, limits.whole_folder_from),
        escrow_files: large("escrow_files", 0, limits.escrow_files),
        escrow_bytes: large("escrow_bytes", 0, limits.escrow_bytes),
    };
    below.finish();
    limits
}

fn watchdog(table: &Table<'_>, allowed: &[Located<ServiceName>]) -> Watchdog {
    let Some(below) = table.table("watchdog") else {
        return Watchdog::default();
    };
    below.need("services", "services = [\"MSExchangeIMC\"]");
    let mut services = BTreeSet::new();
    for name in names(&below, "services", below.sink) {
        // A part of the allowed services, in the spelling that is used there.
        let same = |other: &&Located<ServiceName>| {
            let (a, b) = (other.value.as_str(), name.value.as_str());
            a.eq_ignore_ascii_case(b)
        };
        if let Some(listed) = allowed.iter().find(same) {
            services.insert(listed.value.clone());
        } else {
            let message = format!("the watchdog's `{}` is not in `services`", name.value);
            below
                .sink
                .fault(&name.span, message, "list it there too, or remove it here");
        }
    }
    below.finish();
    Watchdog { services }
}

fn immunity(table: &Table<'_>) -> Immunity {
    let was = Immunity::default();
    let Some(below) = table.table("immunity") else {
        return was;
    };
    let per_hour = below
        .number("max_per_hour", 0, 10_000)
        .and_then(|number| u32::try_from(number.value).ok());
    let files = below.number("max_files", 0, 100_000);
    let immunity = Immunity {
        allowed: below.truth("allowed").unwrap_or(was.allowed),
        max_per_hour: per_hour.unwrap_or(was.max_per_hour),
        max_files: files.map_or(was.max_files, |number| number.value),
    };
    below.finish();
    immunity
}

fn hold(table: &Table<'_>, roots: &[PathBuf]) -> Option<PathBuf> {
    let below = table.table("hold")?;
    below.need("folder", "folder = \"/path/of/mailmend-held\"");
    let folder = below.path("folder");
    if let Some(folder) = &folder
        && !roots
            .iter()
            .any(|root| folder.value != *root && folder.value.starts_with(root))
    {
        let message = format!("`{}` is below none of the roots", folder.value.display());
        let hint = "held files go to a folder below a root, on the volume of the queues";
        below.sink.fault(&folder.span, message, hint);
    }
    below.finish();
    folder.map(|folder| folder.value)
}
