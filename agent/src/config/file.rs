//! The configuration file's text, with what wins over it → a configuration, or every fault.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_policy::name::ServerName;
use mailmend_policy::units::{duration, write_duration};

use super::{
    Config, ConfigError, DEFAULT_LOOK, ENVIRONMENT, HostSettings, Origin, Overrides, Place,
    Setting, typed,
};
use crate::evidence::log_time::LogTime;
use crate::faults::known;
use crate::host::MachineName;
use crate::toml_file::{Located, Sink, Span, Table, parse};

pub(super) fn from_text(
    file: &Path,
    text: &str,
    flags: &Overrides,
    environment: &Overrides,
) -> Result<Config, ConfigError> {
    let sink = Sink::default();
    let document = parse(text, &sink);
    let table = Table::new(&document, "the configuration", &sink);
    let line =
        |span: &Span| Origin::File(text[..span.start.min(text.len())].matches('\n').count() + 1);

    let hint = "write the server's name: letters, digits, `-`, `_` and `.`";
    let named = table.parsed::<ServerName>("name", hint);
    let name = over(
        flags.name.as_deref(),
        environment.name.as_deref(),
        ("--name", ENVIRONMENT[1]),
        |text| text.parse::<ServerName>().map_err(|why| why.to_string()),
    )?
    .or_else(|| named.map(|found| setting(found.value, line(&found.span))));
    let stated = table.text("controller").and_then(|found| {
        address(found.value)
            .map_err(|why| sink.fault(&found.span, why, "write `https://HOST:PORT`"))
            .ok()
            .map(|value| setting(value, line(&found.span)))
    });
    let controller = over(
        flags.controller.as_deref(),
        environment.controller.as_deref(),
        ("--controller", ENVIRONMENT[2]),
        address,
    )?
    .or(stated);
    if name.is_none() {
        table.need("name", "name = \"SERVER\"");
    }
    if controller.is_none() {
        table.need("controller", "controller = \"https://HOST:PORT\"");
    }
    let data = path(
        [&flags.data, &environment.data],
        ("--data", ENVIRONMENT[3]),
        table.path("data"),
        Place::Data,
        line,
    );
    let guard = path(
        [&flags.guard, &environment.guard],
        ("--guard", ENVIRONMENT[4]),
        table.path("guard"),
        Place::Guard,
        line,
    );
    let smtp_log_time = log_time(&table, "smtp_log_time", line);
    let event_log_time = log_time(&table, "event_log_time", line);
    table.need("host", "[host]\nprovider = \"windows\"");
    let host = table.table("host").and_then(|below| {
        let place = line(&below.span);
        host(below).map(|value| setting(value, place))
    });
    let look_every = table
        .table("symptoms")
        .and_then(|below| look_every(below, line))
        .unwrap_or_else(|| setting(DEFAULT_LOOK, Origin::Default));
    let facts = table.table("facts").map(facts).unwrap_or_default();
    table.finish();

    let shown = file.display().to_string();
    if let Some(faults) = sink.finish(const { known("A001-config-faulty") }, &shown, text) {
        return Err(faults.into());
    }
    match (name, controller, host) {
        (Some(name), Some(controller), Some(host)) => Ok(Config {
            file: file.to_path_buf(),
            name,
            controller,
            data,
            guard,
            host,
            look_every,
            smtp_log_time,
            event_log_time,
            facts,
        }),
        // Each that is missing has been told above: this is for the reader of the types.
        _ => Err(ConfigError::Override {
            from: "the configuration",
            why: "a value is there and cannot be read".into(),
        }),
    }
}

fn setting<T>(value: T, origin: Origin) -> Setting<T> {
    Setting { value, origin }
}

/// What a flag says, or else the environment.
fn over<T>(
    flag: Option<&str>,
    variable: Option<&str>,
    names: (&'static str, &'static str),
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Setting<T>>, ConfigError> {
    let (text, from, origin) = match (flag, variable) {
        (Some(text), _) => (text, names.0, Origin::Flag(names.0)),
        (None, Some(text)) => (text, names.1, Origin::Environment(names.1)),
        (None, None) => return Ok(None),
    };
    match read(text) {
        Ok(value) => Ok(Some(setting(value, origin))),
        Err(why) => Err(ConfigError::Override { from, why }),
    }
}

fn path(
    said: [&Option<PathBuf>; 2],
    names: (&'static str, &'static str),
    stated: Option<Located<PathBuf>>,
    default: Place,
    line: impl Fn(&Span) -> Origin,
) -> Setting<PathBuf> {
    match (said, stated) {
        ([Some(path), _], _) => setting(typed(path), Origin::Flag(names.0)),
        ([None, Some(path)], _) => setting(typed(path), Origin::Environment(names.1)),
        ([None, None], Some(found)) => setting(found.value, line(&found.span)),
        ([None, None], None) => setting(default.standard(), Origin::Default),
    }
}

/// `https://HOST:PORT`, nothing before or after.
fn address(text: &str) -> Result<String, String> {
    let shown = text.escape_debug();
    let uri: tonic::transport::Uri = text
        .parse()
        .map_err(|why| format!("`controller` is `{shown}`, which is no address: {why}"))?;
    if uri.scheme_str() != Some("https") {
        let why = format!(
            "`controller` is `{shown}`: agents speak over TLS only, write `https://HOST:PORT`"
        );
        return Err(why);
    }
    if uri.port_u16().is_none_or(|port| port == 0)
        || uri.host().is_none_or(str::is_empty)
        || !matches!(uri.path(), "" | "/")
        || uri.query().is_some()
        || uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
    {
        let why =
            format!("`controller` is `{shown}`, it has to be `https://HOST:PORT` and nothing else");
        return Err(why);
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn host(table: Table<'_>) -> Option<HostSettings> {
    table.need("provider", "provider = \"windows\"");
    let provider = table.text("provider")?;
    match provider.value {
        "unix" => unix(table),
        "windows" => windows(table),
        other => {
            let message = format!("`provider` cannot be `{}`", other.escape_debug());
            table
                .sink
                .fault(&provider.span, message, "it is `windows` or `unix`");
            None
        }
    }
}

fn unix(table: Table<'_>) -> Option<HostSettings> {
    for (key, example) in [
        ("service_socket", "service_socket = \"/path/of/socket\""),
        (
            "registry_file",
            "registry_file = \"/path/of/registry.toml\"",
        ),
        ("events_file", "events_file = \"/path/of/events.log\""),
    ] {
        table.need(key, example);
    }
    let service_socket = table.path("service_socket");
    let registry_file = table.path("registry_file");
    let events_file = table.path("events_file");
    let counters_file = table.path("counters_file");
    let clock_factor = clock_factor(&table);
    table.finish();
    Some(HostSettings::Unix {
        service_socket: service_socket?.value,
        registry_file: registry_file?.value,
        events_file: events_file?.value,
        counters_file: counters_file.map(|path| path.value),
        clock_factor,
    })
}

fn windows(table: Table<'_>) -> Option<HostSettings> {
    let hint = "write the name of the other machine, such as `OSLO-B`; leave it out for this one";
    let machine = table.parsed::<MachineName>("machine", hint);
    let events_file = table.path("events_file");
    let counters_file = table.path("counters_file");
    let custody_over_smb = table.truth("custody_over_smb").unwrap_or_default();
    if custody_over_smb && machine.is_none() {
        let message = "`custody_over_smb` is true, and no other machine is served";
        let hint = "leave it out, or name the other machine in `machine`";
        let place = table.span.start..table.span.start;
        table.sink.fault(&place, message, hint);
    }
    let clock_factor = clock_factor(&table);
    table.finish();
    Some(HostSettings::Windows {
        machine: machine.map(|name| name.value),
        events_file: events_file.map(|path| path.value),
        counters_file: counters_file.map(|path| path.value),
        custody_over_smb,
        clock_factor,
    })
}

fn clock_factor(table: &Table<'_>) -> f64 {
    let Some(factor) = table.real("lab_clock_factor") else {
        return 1.0;
    };
    if !(1.0..=100_000.0).contains(&factor.value) {
        let message = format!("`lab_clock_factor` is {}", factor.value);
        let hint = "it may be 1 to 100000; leave it out outside the lab";
        table.sink.fault(&factor.span, message, hint);
    }
    factor.value
}

fn log_time(
    table: &Table<'_>,
    key: &'static str,
    line: impl Fn(&Span) -> Origin,
) -> Setting<LogTime> {
    let hint = "write \"utc\", \"local\" or a distance such as \"+02:00\"";
    match table.parsed::<LogTime>(key, hint) {
        Some(found) => setting(found.value, line(&found.span)),
        None => setting(LogTime::default(), Origin::Default),
    }
}

/// More often costs more than it tells; more seldom, and symptoms are found too late.
const LOOKS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(3600);

fn look_every(table: Table<'_>, line: impl Fn(&Span) -> Origin) -> Option<Setting<Duration>> {
    let found = table.text("every").and_then(|every| {
        let hint = format!(
            "it may be {} to {}, such as \"60s\"",
            write_duration(*LOOKS.start()),
            write_duration(*LOOKS.end())
        );
        match duration(every.value) {
            Ok(value) if LOOKS.contains(&value) => Some(setting(value, line(&every.span))),
            Ok(value) => {
                let message = format!("`every` is {}", write_duration(value));
                table.sink.fault(&every.span, message, &hint);
                None
            }
            Err(why) => {
                table.sink.fault(&every.span, why.to_string(), &hint);
                None
            }
        }
    });
    table.finish();
    found
}

fn facts(table: Table<'_>) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for (name, value) in table.named_texts() {
        let shaped = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.value.is_empty() || name.value.len() > 63 || !name.value.chars().all(shaped) {
            let message = format!(
                "`{}` cannot be the name of a fact",
                name.value.escape_debug()
            );
            let hint = "write letters, digits, `.`, `-` and `_`, with dots in quotes: \"ims.direction\" = \"both\"";
            table.sink.fault(&name.span, message, hint);
        }
        if value.value.len() > 256 || value.value.contains(char::is_control) {
            let message = format!(
                "the fact `{}` is too long or has control characters",
                name.value
            );
            table
                .sink
                .fault(&value.span, message, "write one line of at most 256 bytes");
        }
        facts.insert(name.value.to_owned(), value.value.to_owned());
    }
    facts
}
