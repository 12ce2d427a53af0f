//! What Windows' own tools say of a server, against what its agent reports.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::platform::Platform;
use crate::platform::wine::{self, Windows};
use crate::programs::Programs;
use crate::scenario::fleet::{Fleet, Guarded};
use crate::world::{Server, SiteSpec, World, WorldSpec};

/// How long a service may take to stop or start.
const LIMIT: Duration = Duration::from_secs(60);
const PARAMETERS: &str = r"HKLM\System\CurrentControlSet\Services\MSExchangeIMC\Parameters";

/// Stands a site of Windows servers up, and compares: `reg query` with the facts that the agents report to the
/// controller, and `sc query` with the state that they report of the service, while it runs and when it was
/// stopped by `sc stop`. Returns a line for each comparison.
///
/// # Errors
/// Where the two do not agree, or the site does not stand.
pub(super) fn check(folder: &Path, say: &dyn Fn(&str)) -> Result<Vec<String>, LabError> {
    let programs = Programs::locate()?;
    let platform = Platform::Wine(Windows::prepare(folder, say)?);
    let scratch = tempfile::Builder::new()
        .prefix("mailmend-lab-")
        .tempdir()
        .attempting(|| "make a folder for the world".to_owned())?;
    let spec = WorldSpec {
        sites: vec![SiteSpec::well()],
        platform: platform.clone(),
        ..WorldSpec::default()
    };
    let mut world = World::build(scratch.path(), spec, &programs.lab)?;
    let guard = |_: &Server| Guarded {
        // What is stopped here is to stay so until it was looked at.
        watchdog: false,
        ..Guarded::default()
    };
    let mut fleet = Fleet::start(&world, &programs, &guard)?;
    let listed = fleet.operator.ask(&["agent", "list"])?;
    let mut agreed = Vec::new();
    for server in &world.servers {
        let agents = listed["agents"].as_array().into_iter().flatten();
        let facts = agents
            .filter(|agent| agent["name"] == server.name.as_str())
            .map(|agent| agent["facts"].clone())
            .next()
            .unwrap_or_default();
        agreed.push(root(server, &facts)?);
        for wanted in ["RUNNING", "STOPPED", "RUNNING"] {
            agreed.push(state(server, &platform, &programs, wanted)?);
            let order = if wanted == "RUNNING" { "stop" } else { "start" };
            tool(server, &["sc", order, ims::SERVICE])?;
            let services = server.services();
            let after = |wanted| {
                crate::awaited::or_fail(&format!("`sc {order}`"), LIMIT, || {
                    services
                        .ask(crate::service_manager::Op::Query, ims::SERVICE)
                        .is_ok_and(|answer| answer.state == Some(wanted))
                })
            };
            after(if order == "stop" {
                crate::service_manager::State::Stopped
            } else {
                crate::service_manager::State::Running
            })?;
        }
    }
    let _ = fleet.stop();
    world.stop();
    Ok(agreed)
}

/// The folder of the IMS: in the registry, and as the agent reports it.
fn root(server: &Server, facts: &Value) -> Result<String, LabError> {
    let told = tool(server, &["reg", "query", PARAMETERS, "/v", "RootDir"])?;
    let in_registry = told
        .lines()
        .find_map(|line| line.trim().strip_prefix("RootDir"))
        .and_then(|rest| rest.trim().strip_prefix("REG_SZ"))
        .map(str::trim);
    let reported = facts["imcdata"].as_str();
    if in_registry.is_some() && in_registry == reported {
        return Ok(format!(
            "{}: `reg query` and the agent: RootDir is {}",
            server.name,
            reported.unwrap_or_default()
        ));
    }
    Err(differ(server, "reg query", &told, &facts.to_string()))
}

/// The state of the service: as `sc query` has it, and as the agent reports it.
fn state(
    server: &Server,
    platform: &Platform,
    programs: &Programs,
    wanted: &str,
) -> Result<String, LabError> {
    let told = tool(server, &["sc", "query", ims::SERVICE])?;
    let launch = platform.agent(&server.dir, programs);
    let mut agent = wine::command(&launch);
    agent
        .args(["check", "--offline", "--output", "json", "--config"])
        .arg(platform.written(&server.dir.agent().join("agent.toml")));
    // It ends with a fault where anything is not as it should be; what matters here is what it prints.
    let reported = printed(&mut agent, "mailmend-agent check")?;
    let report: Value = serde_json::from_str(&reported).unwrap_or_default();
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    let what = format!("service {}", ims::SERVICE);
    let detail = checks
        .iter()
        .find(|check| check["what"] == what.as_str())
        .and_then(|check| check["detail"].as_str())
        .unwrap_or_default();
    let state = told
        .lines()
        .find_map(|line| line.trim().strip_prefix("STATE"))
        .unwrap_or_default();
    if state.contains(wanted) && detail.starts_with(&wanted.to_lowercase()) {
        return Ok(format!(
            "{}: `sc query` and the agent: {} is {wanted}",
            server.name,
            ims::SERVICE
        ));
    }
    Err(differ(server, "sc query", &told, &reported))
}

/// Runs one of Windows' own tools on a server.
fn tool(server: &Server, arguments: &[&str]) -> Result<String, LabError> {
    let (program, arguments) = arguments.split_first().unwrap_or((&"", &[]));
    let program = format!("{program}.exe");
    let launch = wine::launch(&server.dir.wine(), program.as_ref());
    let mut command = wine::command(&launch);
    printed(command.args(arguments), &program)
}

fn printed(command: &mut Command, what: &str) -> Result<String, LabError> {
    let output = command
        .output()
        .attempting(|| format!("run `{what}` under Wine"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn differ(server: &Server, tool: &str, told: &str, reported: &str) -> LabError {
    LabError::Refused {
        attempted: format!("find `{tool}` and the agent of {} agree", server.name),
        reason: format!("the tool says `{told}`, the agent `{reported}`"),
    }
}
