//! `mailmend doctor`: what is overdue over the whole fleet, and what keeps this machine from asking.

use mailmend_proto::wire;
use serde::Serialize;

use super::connection::Controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Mood, Output, Shown};
use super::view::some;
use super::when::{absolute, both, now_ms};
use crate::config::Settings;

mod local;

use local::Check;

/// A clock may be so far from the controller's before it is told, milliseconds.
const APART_MS: u64 = 60_000;

pub(super) async fn run(output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let here_ms = now_ms();
    let mut checks = local::checks(settings, here_ms);
    let asked = match Controller::from_settings(settings) {
        Ok(controller) => {
            controller
                .ask(
                    "ask the controller",
                    wire::DoctorRequest {},
                    |mut client, request| async move { client.doctor(request).await },
                )
                .await
        }
        Err(failure) => Err(failure),
    };
    let report = match asked {
        Ok(report) => report,
        Err(failure) => {
            // What was found here is the answer to why it cannot be asked.
            output.answer(&DoctorView::of(None, &checks), |output| {
                local::told(&checks, output)
            })?;
            return Err(failure);
        }
    };
    checks.push(clocks(here_ms, report.now_ms));
    output.answer(&DoctorView::of(Some(&report), &checks), |output| {
        told(&report, &checks, output)
    })?;
    Ok(exit(&report, &checks))
}

fn exit(report: &wire::DoctorReport, checks: &[Check]) -> Exit {
    if report.overdue > 0 || checks.iter().any(|check| !check.good) {
        Exit::Waiting
    } else {
        Exit::Success
    }
}

/// This machine's clock against the controller's.
fn clocks(here_ms: i64, there_ms: i64) -> Check {
    let apart = here_ms.abs_diff(there_ms);
    Check {
        name: "clock",
        good: apart <= APART_MS,
        what: if apart <= APART_MS {
            "as the controller's, to a minute".to_owned()
        } else {
            format!(
                "{} s from the controller's; set the wrong one: timedatectl set-ntp true",
                apart / 1000
            )
        },
    }
}

fn severity(finding: &wire::Finding) -> &'static str {
    match wire::Severity::try_from(finding.severity) {
        Ok(wire::Severity::Grave) => "grave",
        Ok(wire::Severity::Overdue) => "overdue",
        Ok(wire::Severity::Notice) => "notice",
        _ => "unknown",
    }
}

fn told(report: &wire::DoctorReport, checks: &[Check], output: &Output) -> String {
    let mut text = String::new();
    if checks.iter().any(|check| !check.good) {
        text.push_str(&local::told(checks, output));
        text.push('\n');
    }
    text.push_str(&format!(
        "controller {}, schema {}: {} of {} agents connected, {} rollouts open\n",
        report.version, report.schema, report.connected, report.agents, report.rollouts
    ));
    text.push_str(&match (report.findings.len(), report.overdue) {
        (0, _) => format!("{} waiting, nothing is overdue\n", report.waiting),
        (_, overdue) => format!("{} waiting, {overdue} overdue\n", report.waiting),
    });
    for finding in &report.findings {
        text.push_str(&one(finding, output, report.now_ms));
    }
    if report.left_out > 0 {
        text.push_str(&format!("\nand {} more\n", report.left_out));
    }
    text
}

fn one(finding: &wire::Finding, output: &Output, now_ms: i64) -> String {
    let name = severity(finding);
    let mood = match name {
        "notice" => Mood::Faint,
        _ => Mood::Bad,
    };
    let mut pairs: Vec<(&str, Shown)> = vec![
        ("waits until", (&finding.predicate).into()),
        ("held by", (&finding.holder).into()),
    ];
    if finding.since_ms != 0 {
        pairs.push(("since", both(finding.since_ms, now_ms).into()));
    }
    if finding.expected_ms != 0 {
        pairs.push(("expected", both(finding.expected_ms, now_ms).into()));
    }
    pairs.push(("release", (&finding.release).into()));
    format!(
        "\n{} {}: {}\n{}",
        output.paint(name, mood),
        finding.kind,
        finding.place,
        output.pairs(pairs)
    )
}

#[derive(Debug, Serialize)]
struct DoctorView<'a> {
    /// None: it could not be asked.
    controller: Option<ControllerView>,
    local: &'a [Check],
    overdue: u32,
    left_out: u32,
    findings: Vec<FindingView>,
}

#[derive(Debug, Serialize)]
struct ControllerView {
    version: String,
    schema: i64,
    store: String,
    store_bytes: u64,
    free_bytes: Option<u64>,
    agents: u32,
    connected: u32,
    rollouts: u32,
    waiting: u32,
}

#[derive(Debug, Serialize)]
struct FindingView {
    severity: &'static str,
    kind: String,
    place: String,
    predicate: String,
    holder: String,
    since: Option<String>,
    expected: Option<String>,
    overdue: bool,
    release: Option<String>,
}

impl<'a> DoctorView<'a> {
    fn of(report: Option<&wire::DoctorReport>, local: &'a [Check]) -> Self {
        let finding = |finding: &wire::Finding| FindingView {
            severity: severity(finding),
            kind: finding.kind.clone(),
            place: finding.place.clone(),
            predicate: finding.predicate.clone(),
            holder: finding.holder.clone(),
            since: absolute(finding.since_ms),
            expected: absolute(finding.expected_ms),
            overdue: finding.overdue,
            release: some(&finding.release),
        };
        Self {
            controller: report.map(|report| ControllerView {
                version: report.version.clone(),
                schema: report.schema,
                store: report.store.clone(),
                store_bytes: report.store_bytes,
                free_bytes: report.free_bytes,
                agents: report.agents,
                connected: report.connected,
                rollouts: report.rollouts,
                waiting: report.waiting,
            }),
            local,
            overdue: report.map_or(0, |report| report.overdue),
            left_out: report.map_or(0, |report| report.left_out),
            findings: report
                .map(|report| report.findings.iter().map(finding).collect())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
