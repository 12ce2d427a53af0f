//! Opens every archive again and uses what is in it, as whoever downloads it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Archives, Release, SUMS, VERSION, build, pack, run};
use crate::awaited;
use crate::lab_error::{Attempting, LabError};
use crate::windows::{self, Wine};

/// How long a service may take to be in a state under Wine.
const STATE: Duration = Duration::from_secs(60);

/// Checks archives that [`super::make`] has made.
///
/// # Errors
/// Where one of them is not what it should be, with what was looked at.
pub fn check(release: &Release, archives: &Archives, say: &dyn Fn(&str)) -> Result<(), LabError> {
    let scratch = tempfile::tempdir().attempting(|| "make a folder".into())?;
    let scratch = &scratch
        .path()
        .canonicalize()
        .attempting(|| "find a folder of our own".into())?;
    say("the sums");
    sums(&archives.folder)?;
    say("the same again, byte for byte");
    again(release, archives, &scratch.join("again"))?;
    say("the tar.gz");
    tar(archives, &scratch.join("tar"))?;
    say("the Debian package");
    deb(archives, &scratch.join("deb"))?;
    say("the zip, under Wine");
    let programs = windows::programs(&release.top);
    zip(archives, &programs, &scratch.join("zip"), say)
}

fn sums(folder: &Path) -> Result<(), LabError> {
    run(Command::new("sha256sum")
        .args(["--check", "--strict", SUMS])
        .current_dir(folder))
    .map(drop)
}

fn again(release: &Release, archives: &Archives, out: &Path) -> Result<(), LabError> {
    let read = |folder: &Path| {
        let file = folder.join(SUMS);
        fs::read_to_string(&file).attempting(|| format!("read `{}`", file.display()))
    };
    let twice = pack(release, &build(release)?, out, archives.time)?;
    expect(
        "pack the same programs twice",
        read(&twice.folder)? == read(&archives.folder)?,
        "the archives differ",
    )
}

fn tar(archives: &Archives, folder: &Path) -> Result<(), LabError> {
    make(folder)?;
    run(Command::new("tar")
        .args(["--extract", "--file"])
        .arg(archives.folder.join(&archives.linux))
        .arg("--directory")
        .arg(folder))?;
    let root = folder.join(archives.linux.trim_end_matches(".tar.gz"));
    prints(
        &mut Command::new(root.join("bin/mailmend")),
        &["--version"],
        VERSION,
    )?;
    let agent = root.join("bin/mailmend-agent");
    prints(&mut Command::new(&agent), &["--version"], VERSION)?;
    for file in ["README.md", "LICENSE", "docs/faults.md"] {
        expect(
            "find a document in the tar.gz",
            root.join(file).is_file(),
            file,
        )?;
    }
    let share = root.join("share");
    helped(
        &share,
        "mailmend",
        "man1/mailmend-rollout-start.1",
        "man1/mailmend.1",
    )?;
    helped(
        &share,
        "mailmend-agent",
        "man8/mailmend-agent-service-install.8",
        "man8/mailmend-agent.8",
    )?;
    let policies = listed(&root.join("policies"))?;
    expect(
        "find the policies",
        policies.len() >= 5,
        "there are too few",
    )?;
    run(Command::new(root.join("bin/mailmend"))
        .args(["policy", "check"])
        .args(&policies))?;
    let unit = fs::read_to_string(root.join("systemd/mailmend-agent.service"))
        .attempting(|| "read the unit".into())?;
    for line in [
        "ExecStart=\"/usr/bin/mailmend-agent\" \"service\" \"run\" \"--config\" \"/etc/mailmend/agent.toml\"",
        "StateDirectory=mailmend/agent",
        "ReadWritePaths=\"/srv/exchsrvr\"",
    ] {
        expect(
            "find what the unit starts",
            unit.lines().any(|found| found == line),
            line,
        )?;
    }
    examples(&agent, &root.join("etc/mailmend"), folder)
}

/// Completions that a shell understands, and pages of the manual.
fn helped(share: &Path, program: &str, below: &str, page: &str) -> Result<(), LabError> {
    let script = share.join("bash-completion/completions").join(program);
    run(Command::new("bash").arg("-n").arg(&script))?;
    for file in [
        script,
        share.join(format!("zsh/vendor-completions/_{program}")),
        share.join(format!("fish/vendor_completions.d/{program}.fish")),
    ] {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let good = text.contains(program) && text.contains("completions");
        expect("complete commands", good, &file.display().to_string())?;
    }
    for page in [page, below] {
        let file = share.join("man").join(page);
        // It also passes plain files on.
        let text = run(Command::new("zcat").arg("-f").arg(&file))?.stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        let good = text.contains(".SH SYNOPSIS");
        expect("read the manual", good, &file.display().to_string())?;
    }
    Ok(())
}

/// The agent reads the examples; only the folder of Exchange is not on this machine.
fn examples(agent: &Path, etc: &Path, scratch: &Path) -> Result<(), LabError> {
    let exchange = scratch.join("exchsrvr");
    make(&exchange)?;
    let guard = scratch.join("guard.toml");
    let text = fs::read_to_string(etc.join("guard.toml")).attempting(|| "read the guard".into())?;
    let text = text.replace("/srv/exchsrvr", &exchange.display().to_string());
    fs::write(&guard, text).attempting(|| "write a guard file".into())?;
    let config = etc.join("agent.toml").display().to_string();
    let guard = guard.display().to_string();
    let mut command = Command::new(agent);
    let arguments = ["guard", "check", "--config", &config, "--guard", &guard];
    prints(command.env_clear(), &arguments, "MSExchangeIMC")?;
    let mut command = Command::new(agent);
    prints(
        command.env_clear(),
        &["config", "--config", &config],
        "OSLO-B",
    )
}

fn deb(archives: &Archives, folder: &Path) -> Result<(), LabError> {
    make(folder)?;
    let package = archives.folder.join(&archives.debian);
    let root = folder.join("root");
    for below in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"] {
        make(&root.join(below))?;
    }
    for file in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
        fs::write(root.join(file), "").attempting(|| "write dpkg's lists".into())?;
    }
    let dpkg = |arguments: &[&str]| {
        run(Command::new("dpkg")
            .arg(format!("--root={}", root.display()))
            // What it depends on is on this machine, not in that folder, and so is a shell.
            .args([
                "--force-script-chrootless",
                "--force-depends",
                "--force-not-root",
            ])
            .args(arguments))
    };
    let path = package.display().to_string();
    dpkg(&["--install", &path])?;
    let agent = root.join("usr/bin/mailmend-agent");
    prints(&mut Command::new(&agent), &["--version"], VERSION)?;
    helped(
        &root.join("usr/share"),
        "mailmend-agent",
        "man8/mailmend-agent-service-install.8.gz",
        "man8/mailmend-agent.8.gz",
    )?;
    examples(&agent, &root.join("etc/mailmend"), folder)?;

    // What a package must never take: a message that is held, and the journal that knows whose it is.
    let kept = [
        root.join("var/lib/mailmend/agent/journal.db"),
        root.join("srv/exchsrvr/mailmend-held/run/AAAAAAAA"),
    ];
    for file in &kept {
        make(file.parent().unwrap_or(&root))?;
        fs::write(file, "mail").attempting(|| format!("write `{}`", file.display()))?;
    }
    let config = root.join("etc/mailmend/agent.toml");
    fs::write(&config, "# mine\n").attempting(|| "change the configuration".into())?;
    dpkg(&["--force-confold", "--install", &path])?;
    let mine = fs::read_to_string(&config).attempting(|| "read the configuration".into())?;
    expect("keep a changed configuration", mine == "# mine\n", &mine)?;
    dpkg(&["--remove", "mailmend-agent"])?;
    expect(
        "remove the package",
        !agent.exists() && config.exists(),
        "of program and configuration, the wrong one went",
    )?;
    let purged = dpkg(&["--purge", "mailmend-agent"])?;
    let told = String::from_utf8_lossy(&purged.stdout).into_owned();
    expect("be told what stays", told.contains("held mail"), &told)?;
    for file in &kept {
        let text = fs::read_to_string(file).unwrap_or_default();
        expect(
            "purge the package and keep mail",
            text == "mail",
            &file.display().to_string(),
        )?;
    }
    expect(
        "purge the configuration",
        !config.exists(),
        "it is still there",
    )
}

fn zip(
    archives: &Archives,
    programs: &Path,
    folder: &Path,
    say: &dyn Fn(&str),
) -> Result<(), LabError> {
    let wine = Wine::prepare(programs, &folder.join("wine"), say)?;
    let _awake = Awake::keep(&wine)?;
    let there = wine.drive().join("download");
    make(&there)?;
    run(Command::new("unzip")
        .arg("-q")
        .arg(archives.folder.join(&archives.windows))
        .arg("-d")
        .arg(&there))?;
    let name = archives.windows.trim_end_matches(".zip");
    let root = there.join(name);
    let exe = root.join("mailmend-agent.exe");
    prints(&mut wine.command(&exe), &["--version"], VERSION)?;
    let cmd = Path::new("cmd.exe");
    let script = |script: &str| format!(r"C:\download\{name}\{script}");

    // The example names a folder of Exchange that is not there yet: everything is put in its place, and
    // nothing is installed.
    let mut first = wine.command(cmd);
    let first = first
        .args(["/c", &script("install.cmd")])
        .output()
        .attempting(|| "run install.cmd".into())?;
    let told = String::from_utf8_lossy(&first.stderr).into_owned();
    expect(
        "be told of the folder that is not there",
        !first.status.success() && told.contains("A003-guard-faulty"),
        &told,
    )?;
    make(&wine.drive().join("exchsrvr"))?;
    let installed = wine
        .drive()
        .join("Program Files/mailmend/mailmend-agent.exe");
    let answer = |what: &[&str]| {
        let mut command = wine.command(&installed);
        let output = run(command.arg("service").args(what).args(["--output", "json"]))?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok::<_, LabError>(answer["outcome"].as_str().unwrap_or("nothing").to_owned())
    };
    let sc = |what: &str| {
        let output = run(wine
            .command(Path::new("sc.exe"))
            .args([what, "mailmend-agent"]))?;
        Ok::<_, LabError>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let state = |wanted: &str| {
        let mut told = String::new();
        let seen = awaited::until(STATE, || {
            told = sc("query").unwrap_or_default();
            told.contains(wanted)
        })
        .is_some();
        expect(
            &format!("see the service {wanted} with sc query"),
            seen,
            &told,
        )
    };
    let mut install = wine.command(cmd);
    prints(
        &mut install,
        &["/c", &script("install.cmd"), "--start"],
        "installed: ",
    )?;
    state("RUNNING")?;
    let again = answer(&["install"])?;
    expect("install it again", again == "unchanged", &again)?;
    let mut key = wine.command(Path::new("reg.exe"));
    let source = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\mailmend-agent";
    prints(&mut key, &["query", source], "EventCreate.exe")?;
    let stopped = run(wine
        .command(Path::new("net.exe"))
        .args(["stop", "mailmend-agent"]))?;
    drop(stopped);
    state("STOPPED")?;
    let query = sc("query")?;
    expect(
        "stop it in order",
        query.contains("WIN32_EXIT_CODE    : 0 "),
        &query,
    )?;
    let data = wine.drive().join("ProgramData/mailmend");
    let log = fs::read_to_string(data.join("logs/mailmend-agent.000001.log"))
        .attempting(|| "read the service's log".into())?;
    expect("find its end in its log", log.contains("run: ended"), &log)?;
    answer(&["install", "--start"])?;
    let gone = answer(&["uninstall"])?;
    expect("uninstall it while it runs", gone == "removed", &gone)?;
    let gone = answer(&["uninstall"])?;
    expect("uninstall it again", gone == "not-installed", &gone)?;
    for file in ["agent.toml", "guard.toml", "data/journal.db"] {
        expect(
            "keep what is not the service's",
            data.join(file).is_file(),
            file,
        )?;
    }
    Ok(())
}

/// Keeps a Windows of Wine's from ending when nothing runs in it: it would begin anew with the next program, and
/// start what starts by itself.
struct Awake(Child);

impl Awake {
    fn keep(wine: &Wine) -> Result<Self, LabError> {
        let mut command = wine.command(Path::new("cmd.exe"));
        command.args(["/c", "pause"]).stdin(Stdio::piped());
        // What this begins lives on, and would hold a pipe of ours open.
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.attempting(|| "keep Wine awake".into()).map(Self)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program that has to succeed and to print this.
fn prints(command: &mut Command, arguments: &[&str], wanted: &str) -> Result<(), LabError> {
    let output = run(command.args(arguments))?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    expect(&format!("read `{wanted}`"), told.contains(wanted), &told)
}

fn expect(attempted: &str, good: bool, reason: &str) -> Result<(), LabError> {
    if good {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: attempted.to_owned(),
        reason: reason.to_owned(),
    })
}

fn make(folder: &Path) -> Result<(), LabError> {
    fs::create_dir_all(folder).attempting(|| format!("make `{}`", folder.display()))
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>, LabError> {
    let attempted = || format!("read `{}`", folder.display());
    let entries = fs::read_dir(folder).attempting(attempted)?;
    entries
        .map(|entry| entry.map(|entry| entry.path()).attempting(attempted))
        .collect()
}
