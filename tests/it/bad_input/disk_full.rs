//! Volumes without room: a small one of its own is mounted for each test.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mailmend_lab::awaited;
use mailmend_lab::programs;
use mailmend_lab::scenario::Report;
use mailmend_lab::service_manager::{Answer, State};

use super::place::{Place, SERVER, all_of, bare, programs, untouched};

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");

/// A small volume, unmounted at the end.
struct Volume {
    folder: tempfile::TempDir,
}

impl Volume {
    /// `None`, said loudly, where this account may not mount.
    fn of(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "mailmend-test"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!(
                "LEFT OUT: no volume can be mounted by this account, so no disk was full: run as root"
            );
            return None;
        }
        Some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room. Answers the file that has it.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("full");
        let mut file = std::fs::File::create(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let block = vec![0; size];
            while file.write_all(&block).is_ok() {}
        }
        path
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_volume_keeps_an_agent_from_its_first_start_and_a_freed_one_does_not() {
    let Some(volume) = Volume::of("1m") else {
        return;
    };
    let mut place = Place::served();
    place.agent_data = volume.path().join("agent");
    place.configure();
    std::fs::create_dir(&place.agent_data).unwrap();
    let full = volume.fill();
    place.agent(&["run"]).refused(1, "A013-journal-unusable");
    let token = place.token(SERVER);
    place.enrol(&token, &[]).refused(1, "A014-data-folder");
    assert!(!place.agent_data.join("agent.pem").exists());
    std::fs::remove_file(full).unwrap();
    // The token was not used up by it.
    place.enrol(&token, &[]).succeeded();
    place.works_and_says("connected");
}

#[test]
fn a_volume_that_fills_up_keeps_what_the_agent_has_written() {
    let Some(volume) = Volume::of("1m") else {
        return;
    };
    let mut place = Place::served();
    place.agent_data = volume.path().join("agent");
    place.configure();
    place.enrol(&place.token(SERVER), &[]).succeeded();
    place.works_and_says("connected");
    let before = all_of(&place.agent_data);
    let full = volume.fill();
    // The certificate that is there stays when a new one cannot be written.
    place
        .enrol(&place.token(SERVER), &["--again"])
        .refused(1, "A014-data-folder");
    untouched(&place.agent_data, &before);
    std::fs::remove_file(full).unwrap();
    place.works_and_says("connected");
}

#[test]
fn a_full_store_refuses_and_goes_on_by_itself_when_there_is_room() {
    let Some(volume) = Volume::of("4m") else {
        return;
    };
    let mut place = Place::new();
    place.controller_data = volume.path().join("controller");
    place.serve();
    let kept = place.token(SERVER);
    let full = volume.fill();
    let publish = ["policy", "publish", "--shipped", "stuck-outbound-routing"];
    // What fits into the pages that are there may still be written; not much does.
    let refused = (0..200).find_map(|number| {
        let name = format!("SRV{number}");
        let ended = place.operator(&["agent", "token", &name, "--site", "oslo"]);
        (!ended.stderr.is_empty()).then_some(ended)
    });
    refused.unwrap().refused(1, "C104-store-full");
    place.operator(&publish).refused(1, "C104-store-full");
    assert!(place.is_served());
    place.operator(&["agent", "list"]).succeeded();
    std::fs::remove_file(full).unwrap();
    place.operator(&publish).succeeded();
    place.enrol(&kept, &[]).succeeded();
    place.close();
    place.serve();
    let list = place.operator(&["policy", "list"]);
    assert!(list.succeeded().contains("stuck-outbound-routing"));
}

#[test]
fn a_controller_does_not_start_on_a_full_volume_and_leaves_nothing_half() {
    let Some(volume) = Volume::of("1m") else {
        return;
    };
    let mut place = Place::new();
    place.controller_data = volume.path().join("controller");
    let full = volume.fill();
    let ended = place.serving();
    let said = &ended.stderr;
    let told = ["C002-data-folder", "C104-store-full", "C105-store-file"];
    let found = told
        .into_iter()
        .find(|code| said.contains(&format!("error[{code}]")));
    ended.refused(1, found.unwrap_or_else(|| panic!("{said}")));
    std::fs::remove_file(full).unwrap();
    place.serve();
    place.operator(&["agent", "list"]).succeeded();
}

#[test]
fn a_volume_without_room_for_the_held_mail_is_found_before_the_service_is_stopped() {
    // The services of the lab are links to its program, so it stands on the volume too; the rest is less
    // than the guard's `least_free_bytes` from the beginning.
    let program = std::fs::metadata(LAB).unwrap().len();
    let Some(volume) = Volume::of(&(program + (50 << 20)).to_string()) else {
        return;
    };
    let lab = volume.path().join("mailmend-lab");
    std::fs::copy(LAB, &lab).unwrap();
    let output = bare(&lab)
        .env("TMPDIR", volume.path())
        .env(programs::MAILMEND, &programs().mailmend)
        .env(programs::AGENT, &programs().agent)
        .args(["run", "stuck-outbound", "--messages", "20", "--json"])
        .arg("--waited-before")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("A083-no-room"), "{told}");
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap_or_else(|| panic!("{told}"));
    let report: Report = serde_json::from_str(last).unwrap_or_else(|why| panic!("{why}: {last}"));
    assert!(
        report.service_running && report.restarts == 0 && report.longest_outage_ms == 0,
        "{report:#?}"
    );
    assert_eq!(
        (report.lost, report.held, report.duplicated),
        (0, 0, 0),
        "{report:#?}"
    );
    assert!(
        report.symptom_after >= report.symptom_before && report.symptom_before > 0,
        "everything is where it was: {report:#?}"
    );
}

/// A service manager of one service, which is found dead once `dead` is set.
fn manager(socket: &Path, dead: Arc<AtomicBool>) {
    let listener = UnixListener::bind(socket).unwrap();
    // It ends with the tests' process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = String::new();
            let read = BufReader::new(&stream).read_line(&mut request);
            let stopped = dead.load(Ordering::Relaxed);
            let answer = Answer {
                ok: true,
                state: Some(if stopped {
                    State::Stopped
                } else {
                    State::Running
                }),
                exit_code: stopped.then_some(1067),
                accepts_stop: Some(!stopped),
                dependents: Some(Vec::new()),
                ..Answer::default()
            };
            let line = serde_json::to_string(&answer).unwrap() + "\n";
            // Whoever hung up does not want the answer.
            let _ = read.and_then(|_| stream.write_all(line.as_bytes()));
        }
    });
}

#[test]
fn an_agent_that_can_write_nothing_down_any_more_ends_with_a_code_of_its_own() {
    let Some(volume) = Volume::of("1m") else {
        return;
    };
    let mut place = Place::new();
    place.agent_data = volume.path().join("agent");
    place.configure();
    let dead = Arc::new(AtomicBool::new(false));
    manager(&place.path("socket"), Arc::clone(&dead));
    let guard = std::fs::read_to_string(place.path("guard.toml")).unwrap();
    let guard = format!("{guard}[watchdog]\nservices = [\"MSExchangeIMC\"]\n");
    place.file("guard.toml", guard);
    let log = std::fs::File::create(place.path("agent.log")).unwrap();
    let mut command = place.agent_command(&programs().agent);
    let mut agent = command.arg("run").stderr(log).spawn().unwrap();
    let said = || std::fs::read_to_string(place.path("agent.log")).unwrap_or_default();
    let begun = awaited::until(Duration::from_secs(30), || said().contains("recovered"));
    let full = volume.fill();
    // The watchdog has something to write down, and cannot.
    dead.store(true, Ordering::Relaxed);
    let mut code = None;
    let _ = awaited::until(Duration::from_secs(30), || {
        code = agent.try_wait().unwrap().and_then(|ended| ended.code());
        code.is_some()
    });
    // Whatever became of it, it does not outlive the test.
    let _ = agent.kill();
    let _ = agent.wait();
    assert!(begun.is_some(), "{}", said());
    assert_eq!(code, Some(8), "{}", said());
    assert!(said().contains("A012-journal-poisoned"), "{}", said());
    std::fs::remove_file(full).unwrap();
    dead.store(false, Ordering::Relaxed);
    place.works_and_says("recovered");
}
