//! What is configured and what is allowed.

use mailmend_agent::config::Config;
use mailmend_agent::guard::{Guard, Policies};
use mailmend_policy::units::write_size;
use serde::Serialize;

use super::Output;
use super::failure::Failure;
use super::table::print;

pub(super) fn config(config: &Config, output: Output) -> Result<(), Failure> {
    print(output, &["key", "value", "from"], &config.shown(), |row| {
        vec![row.key.clone(), row.value.clone(), row.origin.clone()]
    })
}

/// One thing that the guard allows.
#[derive(Serialize)]
pub(super) struct Allowed {
    pub(super) what: &'static str,
    pub(super) value: String,
}

/// All that the guard allows, in a fixed order.
pub(super) fn allowed(guard: &Guard) -> Vec<Allowed> {
    let row = |what, value| Allowed { what, value };
    let mut rows = vec![row(
        "carry out policies",
        match guard.policies() {
            Policies::Unsigned => "of whoever has the controller: unsigned".to_owned(),
            Policies::Signed { root } => format!("that are signed, by the root {}", root.display()),
        },
    )];
    for root in guard.roots() {
        rows.push(row("change files below", root.display().to_string()));
    }
    for service in guard.services() {
        rows.push(row("stop, start and end the service", service.to_string()));
    }
    for service in &guard.watchdog().services {
        rows.push(row("start again when found dead", service.to_string()));
    }
    for (name, tool) in guard.tools() {
        let mut call = format!("{name}: {}", tool.program().display());
        for argument in tool.fixed_arguments() {
            call.push(' ');
            call.push_str(argument);
        }
        for flag in tool.flags().values() {
            call.push_str(&format!(" [{} <{}>]", flag.flag, flag.pattern.name()));
        }
        if let Some(flag) = tool.fresh_place() {
            call.push_str(&format!(" {flag} <a new place each time>"));
        }
        rows.push(row("run the tool", call));
    }
    let hold = guard.hold_folder().map_or_else(
        || "mailmend-held beside Imcdata".into(),
        |f| f.display().to_string(),
    );
    rows.push(row("hold messages in", hold));
    let limits = guard.limits();
    for (what, value) in [
        (
            "service starts an hour",
            limits.restarts_per_hour.to_string(),
        ),
        ("sections an hour", limits.sections_per_hour.to_string()),
        ("tool calls an hour", limits.tools_per_hour.to_string()),
        ("files an action", limits.files_per_action.to_string()),
        ("bytes an action", write_size(limits.bytes_per_action)),
        ("bytes that stay free", write_size(limits.least_free_bytes)),
        (
            "queue held as a folder, from files",
            match limits.whole_folder_from {
                0 => "never".into(),
                files => files.to_string(),
            },
        ),
    ] {
        rows.push(row(what, value));
    }
    rows
}

pub(super) fn guard(guard: &Guard, output: Output) -> Result<(), Failure> {
    print(output, &["allowed", "value"], &allowed(guard), |row| {
        vec![row.what.to_owned(), row.value.clone()]
    })
}
