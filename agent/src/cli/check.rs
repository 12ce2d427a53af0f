//! `check`: is everything there, and what would be allowed? Changes nothing.

use std::fmt::Display;

use clap::Args;
use mailmend_agent::config::Config;
use mailmend_agent::connection::dial;
use mailmend_agent::faults::known;
use mailmend_agent::guard::Guard;
use mailmend_agent::host::{Host, ServiceState};
use mailmend_agent::identity::{Identity, time};
use mailmend_agent::journal::Journal;
use mailmend_policy::condition::PathRoot;
use mailmend_policy::units::write_size;
use serde::Serialize;

use super::Output;
use super::failure::Failure;
use super::run::{host, now_ms, runtime};
use super::show::{Allowed, allowed};
use super::table::{json, print, say};
use super::trust;

#[derive(Args)]
pub(super) struct Check {
    /// Do not dial the controller
    #[arg(long)]
    offline: bool,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Looked {
    what: String,
    good: bool,
    detail: String,
}

#[derive(Serialize)]
struct Report {
    checks: Vec<Looked>,
    allowed: Vec<Allowed>,
}

pub(super) fn check(config: &Config, what: &Check, output: Output) -> Result<(), Failure> {
    let mut checks = Checks::default();
    checks.good("configuration", config.file.display());
    let guard = checks.look("guard file", Guard::read(&config.guard.value), |_| {
        config.guard.value.display().to_string()
    });
    let identity = Identity::load(&config.data.value, &config.name.value, now_ms());
    let identity = checks.look("certificate", identity, |identity| {
        format!(
            "of `{}` until {}",
            identity.name,
            time(identity.validity.until_ms)
        )
    });
    if let Some(guard) = &guard {
        let held = trust::held(config, guard);
        match &held.trouble {
            // At its first start an agent has none: the controller sends it.
            Some(refusal) if refusal.code != known("A162-trust-incomplete") => {
                checks.fault("policies", refusal);
            }
            _ => checks.good("policies", trust::line(&held)),
        }
    }
    journal(config, &mut checks);
    let host = host(config)?;
    machine(host.as_ref(), guard.as_ref(), &mut checks);
    if let Some(identity) = identity
        && !what.offline
    {
        controller(config, &identity, &mut checks)?;
    }
    let report = Report {
        checks: checks.0,
        allowed: guard.as_ref().map(allowed).unwrap_or_default(),
    };
    match output {
        Output::Json => json(&report)?,
        Output::Table => {
            print(output, &["checked", "", "detail"], &report.checks, |row| {
                let good = if row.good { "good" } else { "FAULT" };
                vec![row.what.clone(), good.to_owned(), row.detail.clone()]
            })?;
            say("")?;
            print(output, &["allowed", "value"], &report.allowed, |row| {
                vec![row.what.to_owned(), row.value.clone()]
            })?;
        }
    }
    if report.checks.iter().all(|looked| looked.good) {
        Ok(())
    } else {
        Err(Failure::already_told())
    }
}

#[derive(Default)]
struct Checks(Vec<Looked>);

impl Checks {
    fn good(&mut self, what: impl Into<String>, detail: impl Display) {
        self.0.push(Looked {
            what: what.into(),
            good: true,
            detail: detail.to_string(),
        });
    }

    fn fault(&mut self, what: impl Into<String>, detail: impl Display) {
        self.0.push(Looked {
            what: what.into(),
            good: false,
            detail: detail.to_string(),
        });
    }

    fn look<T, E: Display>(
        &mut self,
        what: &str,
        found: Result<T, E>,
        detail: impl Fn(&T) -> String,
    ) -> Option<T> {
        match found {
            Ok(found) => {
                self.good(what, detail(&found));
                Some(found)
            }
            Err(error) => {
                self.fault(what, error);
                None
            }
        }
    }
}

fn journal(config: &Config, checks: &mut Checks) {
    let file = config.journal_file();
    if file.exists() {
        checks.look("journal", Journal::read(&file), |journal| {
            format!(
                "{} records, {} of them known to the controller, {} runs open",
                journal.head(),
                journal.acknowledged(),
                journal.open_runs().len()
            )
        });
    } else {
        checks.good("journal", "none yet; it is made at the first start");
    }
}

fn machine(host: &dyn Host, guard: Option<&Guard>, checks: &mut Checks) {
    for (name, root) in [
        ("imcdata", PathRoot::Imcdata),
        ("mtadata", PathRoot::Mtadata),
        ("tracking log", PathRoot::Trackinglog),
    ] {
        let Some(folder) =
            checks.look(name, host.root(root), |folder| folder.display().to_string())
        else {
            continue;
        };
        if root == PathRoot::Imcdata
            && let Some(guard) = guard
        {
            space(host, guard, &folder, checks);
        }
    }
    let Some(guard) = guard else {
        return;
    };
    for service in guard.services() {
        let what = format!("service {service}");
        checks.look(&what, host.services().query(service), |status| {
            let state = match status.state {
                ServiceState::Running => "running",
                ServiceState::Stopped => "stopped",
                ServiceState::Starting => "starting",
                ServiceState::Stopping => "stopping",
            };
            match &status.process {
                Some(process) => format!("{state}, process {}", process.pid),
                None => state.to_owned(),
            }
        });
    }
}

/// Where held mail would go: allowed, on the volume of the queues, with enough space.
fn space(host: &dyn Host, guard: &Guard, imcdata: &std::path::Path, checks: &mut Checks) {
    let file = imcdata.join("Out").join("AAAAAAAA");
    if let Err(refusal) = guard.allows_path(&file) {
        checks.fault("queues", refusal);
    }
    let beside = imcdata.parent().map(|folder| folder.join("mailmend-held"));
    if let Some(hold) = guard
        .hold_folder()
        .map(std::path::Path::to_path_buf)
        .or(beside)
    {
        match guard.allows_path(&hold) {
            Ok(()) => checks.good("hold folder", hold.display()),
            Err(refusal) => checks.fault("hold folder", refusal),
        }
    }
    match host.spool().free_bytes(imcdata) {
        Ok(free) if free < guard.limits().least_free_bytes => {
            let least = write_size(guard.limits().least_free_bytes);
            let free = write_size(free);
            checks.fault(
                "free space",
                format!("{free}, and {least} have to stay free"),
            );
        }
        Ok(free) => checks.good("free space", format!("{} MiB", free >> 20)),
        Err(error) => checks.fault("free space", error),
    }
}

fn controller(config: &Config, identity: &Identity, checks: &mut Checks) -> Result<(), Failure> {
    let address = &config.controller.value;
    let dialled = runtime()?.block_on(dial(address, &identity.ca_pem, Some(identity), now_ms()));
    checks.look("controller", dialled, |_| {
        format!("{address} answers and is trusted")
    });
    Ok(())
}
