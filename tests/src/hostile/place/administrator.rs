//! What an administrator writes: the agent's configuration, its guard file, and the tools that it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::door::HostileController;
use super::{CLOCK, NARROW, Numbers, Width};
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::programs::Programs;
use crate::whole_file;
use crate::world::Server;

/// A text as TOML writes it.
fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

/// Writes what an administrator would write, and the tools that the guard file names.
pub(super) fn administer(
    folder: &Path,
    server: &Server,
    programs: &Programs,
    controller: &HostileController,
    width: Width,
) -> Result<(), LabError> {
    let tools = folder.join("tools");
    fs::create_dir_all(&tools).attempting(|| "make the folder of tools".to_owned())?;
    for (name, call) in [
        ("submit-test-mail", "submit"),
        ("recalculate-routing", "recalculate"),
    ] {
        let script = format!(
            "#!/bin/sh\n\
             line={name}\nfor argument in \"$@\"; do line=\"$line$(printf '\\037%s' \"$argument\")\"; done\n\
             printf '%s\\n' \"$line\" >> '{}'\nexec '{}' tool {call} --server-dir '{}' \"$@\"\n",
            folder.join("told/tools").display(),
            programs.lab.display(),
            server.dir.root().display()
        );
        tool(&tools.join(name), &script)?;
    }
    let told = folder.join("told/forbidden");
    tool(
        &tools.join("forbidden"),
        &format!("#!/bin/sh\necho ran >> '{}'\necho done\n", told.display()),
    )?;
    let guard = guard_file(folder, server, width);
    whole_file::write(&server.dir.agent().join("guard.toml"), guard.as_bytes())?;
    let config = format!(
        "name = \"{}\"\ncontroller = \"https://{}\"\ndata = {}\nguard = {}\n\n{}\n[symptoms]\nevery = \"10s\"\n\n[facts]\n\"ims.direction\" = \"both\"\n",
        server.name,
        controller.address,
        quoted(&server.dir.agent().join("data")),
        quoted(&server.dir.agent().join("guard.toml")),
        server.platform.host(&server.dir, CLOCK.0),
    );
    whole_file::write(&server.dir.agent().join("agent.toml"), config.as_bytes())
}

/// The root that the agent is pinned to, among the tools: it must stay as it is.
pub(super) const ROOT: &str = "root.toml";

fn tool(path: &Path, script: &str) -> Result<(), LabError> {
    let attempted = || format!("write `{}`", path.display());
    fs::write(path, script).attempting(attempted)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).attempting(attempted)
}

fn guard_file(folder: &Path, server: &Server, width: Width) -> String {
    let Numbers {
        restarts,
        sections,
        tools,
        files,
        bytes,
        aside_per_hour,
        aside,
    } = NARROW;
    let root = quoted(&server.dir.exchsrvr());
    let of_tools = |name: &str| quoted(&folder.join("tools").join(name));
    let both = format!(
        "[tools.recalculate-routing]\nprogram = {}\nverdicts = {{ requested = \"requested\" }}\n\
         [tools.submit-test-mail]\nprogram = {}\nflags = {{ to = {{ flag = \"--to\", pattern = \"address\" }} }}\n\
         verdicts = {{ submitted = \"submitted\" }}\n",
        of_tools("recalculate-routing"),
        of_tools("submit-test-mail"),
    );
    let policies = match width {
        Width::Signed => format!("policies = \"signed\"\ntrust_root = {}\n", of_tools(ROOT)),
        Width::Narrow | Width::Wide => "policies = \"unsigned\"\n".to_owned(),
    };
    match width {
        Width::Narrow | Width::Signed => format!(
            "{policies}roots = [{root}]\nservices = [\"{ims}\"]\n\
             [limits]\nrestarts_per_hour = {restarts}\nsections_per_hour = {sections}\ntools_per_hour = {tools}\n\
             files_per_action = {files}\nbytes_per_action = {bytes}\nescrow_files = {files}\nescrow_bytes = {bytes}\n\
             [watchdog]\nservices = [\"{ims}\"]\n\
             [immunity]\nmax_per_hour = {aside_per_hour}\nmax_files = {aside}\n{both}",
            ims = ims::SERVICE,
        ),
        Width::Wide => format!(
            "{policies}roots = [{root}, {jungle}]\nservices = [\"{ims}\", \"{mta}\"]\n\
             [limits]\nrestarts_per_hour = 1000\nsections_per_hour = 1000\ntools_per_hour = 1000\n\
             [hold]\nfolder = {hold}\n[immunity]\nmax_per_hour = 1000\nmax_files = 1000\n{both}\
             [tools.forbidden]\nprogram = {forbidden}\nverdicts = {{ done = \"done\" }}\n",
            ims = ims::SERVICE,
            mta = ims::MTA,
            jungle = quoted(&folder.join("jungle")),
            hold = quoted(&folder.join("jungle/mailmend-held")),
            forbidden = of_tools("forbidden"),
        ),
    }
}
