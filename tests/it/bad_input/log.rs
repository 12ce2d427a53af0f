//! Whoever reads the log goes away. What is logged then is lost, and nothing else.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mailmend_lab::awaited;

use super::place::{Place, SERVER, bare, programs};

const LIMIT: Duration = Duration::from_secs(60);

/// A program whose log is read up to some text, and then no more.
struct Unheard(Child);

impl Unheard {
    fn after(text: &str, command: &mut Command) -> (Self, String) {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stderr.take().unwrap();
        let program = Self(child);
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            if line.contains(text) {
                return (program, line);
            }
        }
        panic!("it ended without `{text}`");
    }

    fn terminated(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_controller_whose_log_nobody_reads_goes_on_and_ends_in_order() {
    let place = Place::new();
    let mut serve = bare(&programs().mailmend);
    serve
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--log",
            "trace",
            "--data",
        ])
        .arg(&place.controller_data);
    let (mut controller, line) = Unheard::after("listens on https://", &mut serve);
    let (_, rest) = line.split_once("https://").unwrap();
    let address = format!("https://{}", rest.split(',').next().unwrap());
    for _ in 0..3 {
        place
            .operator(&["agent", "list", "--controller", &address])
            .succeeded();
    }
    assert_eq!(controller.terminated(), Some(0));
}

#[test]
fn an_agent_whose_log_nobody_reads_goes_on_and_ends_in_order() {
    let place = Place::served();
    place.enrol(&place.token(SERVER), &[]).succeeded();
    let mut run = place.agent_command(&programs().agent);
    run.args(["run", "--log", "trace"]);
    let (mut agent, _) = Unheard::after("begins", &mut run);
    awaited::or_fail("the agent's session", LIMIT, || {
        let list = place.operator(&["agent", "list", "-o", "json"]);
        let list: serde_json::Value = serde_json::from_str(list.succeeded()).unwrap();
        list.to_string().contains("\"connected\":true")
    })
    .unwrap();
    assert_eq!(agent.terminated(), Some(0));
}
