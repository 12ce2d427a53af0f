//! An eye on an agent's process from outside: what it starts, whom it speaks with, how large it grows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The pause between two looks. A program that lives shorter is told by itself: allowed tools write down each call, and
/// so does the canary that is never to be run.
const PAUSE: Duration = Duration::from_millis(15);

/// What may be seen.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// The port of the controller.
    pub port: u16,
    /// A child is one of these where its command line has one of these texts.
    pub programs: Vec<String>,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    /// Looks.
    looks: AtomicU64,
    /// The most resident memory, bytes.
    memory: AtomicU64,
    against: Mutex<BTreeSet<String>>,
    children: Mutex<BTreeSet<u32>>,
}

/// Looks at a process until it is dropped.
#[derive(Debug)]
pub struct Eye {
    pid: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Eye {
    /// Opens it.
    #[must_use]
    pub fn open(allowed: Allowed) -> Self {
        let (pid, over) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let seen = Arc::new(Seen::default());
        let looking = (Arc::clone(&pid), Arc::clone(&over), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let (pid, over, seen) = looking;
            while !over.load(Ordering::SeqCst) {
                let now = pid.load(Ordering::SeqCst);
                if now != 0 {
                    seen.look(now, &allowed);
                }
                // Other processes tell nothing.
                std::thread::sleep(PAUSE);
            }
        });
        Self {
            pid,
            over,
            seen,
            thread: Some(thread),
        }
    }

    /// Looks at this process from now on.
    pub fn follow(&self, pid: Option<u32>) {
        self.pid.store(pid.unwrap_or(0), Ordering::SeqCst);
    }

    /// What was seen that may not be.
    #[must_use]
    pub fn against(&self) -> Vec<String> {
        let against = self.seen.against.lock();
        let against = against.unwrap_or_else(PoisonError::into_inner);
        against.iter().cloned().collect()
    }

    /// The most resident memory that was seen, bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.seen.memory.load(Ordering::SeqCst)
    }

    /// How often it looked.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.seen.looks.load(Ordering::SeqCst)
    }
}

impl Drop for Eye {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn look(&self, pid: u32, allowed: &Allowed) {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if let Some(memory) = most_memory(pid) {
            self.memory.fetch_max(memory, Ordering::SeqCst);
        }
        let mut found = foreign_sockets(pid, allowed.port);
        let mut known = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for (child, line) in children(pid) {
            let may = allowed
                .programs
                .iter()
                .any(|program| line.contains(program.as_str()));
            // A child that has not become its program yet is a copy of the agent itself.
            if !may && Some(&line) != command_line(pid).as_ref() && !line.is_empty() {
                found.push(format!("it started `{line}`"));
            }
            known.insert(child);
        }
        drop(known);
        let mut against = self.against.lock().unwrap_or_else(PoisonError::into_inner);
        against.extend(found);
    }
}

/// The most of a command line that is looked at, bytes: more than the agent's and its tools' together.
const COMMAND_LINE: usize = 64 << 10;

/// The command line of a process, its parts with blanks between them.
///
/// In a single read: what several of them put together is of no program where the process becomes another, or ends,
/// between two of them.
fn command_line(pid: u32) -> Option<String> {
    let mut line = vec![0; COMMAND_LINE];
    let mut file = fs::File::open(format!("/proc/{pid}/cmdline")).ok()?;
    let read = file.read(&mut line).ok()?;
    let line = String::from_utf8_lossy(line.get(..read)?);
    Some(line.trim_end_matches('\0').replace('\0', " "))
}

/// The most resident memory that a process ever had, bytes.
#[must_use]
pub fn most_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// The processes that a process has started and not buried, with their command lines.
fn children(pid: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let listed = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in listed
            .split_whitespace()
            .filter_map(|text| text.parse().ok())
        {
            if let Some(line) = command_line(child) {
                found.push((child, line));
            }
        }
    }
    found
}

/// Sockets of a process that listen, or lead elsewhere than to a port of this machine's loopback network.
fn foreign_sockets(pid: u32, port: u16) -> Vec<String> {
    let own: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|target| {
            let target = target.to_str()?;
            Some(
                target
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    if own.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        for (inode, (remote, state)) in sockets(pid, table) {
            if !own.contains(&inode) {
                continue;
            }
            let loopback = remote
                .strip_suffix(&format!(":{port:04X}"))
                .is_some_and(|address| address.ends_with("7F") && address.len() == 8);
            // 07 is closed: it leads nowhere yet or any more.
            let to_nobody = table == "tcp" && state == "07";
            if !(table == "tcp" && state != "0A" && loopback || to_nobody) {
                found.push(format!(
                    "it has a {table} socket to {remote} in state {state}"
                ));
            }
        }
    }
    found
}

/// The sockets of a table by inode: the other end, and the state.
fn sockets(pid: u32, table: &str) -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, remote, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
            return None;
        };
        let other = ((*remote).to_owned(), (*state).to_owned());
        Some(((*inode).to_owned(), other))
    };
    text.lines().skip(1).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::awaited;

    #[test]
    fn a_listening_socket_a_foreign_connection_and_a_foreign_child_are_seen() {
        // This test looks at its own process, and does what an agent must not.
        let allowed = |port| Allowed {
            port,
            programs: vec!["/bin/allowed".to_owned()],
        };
        let me = std::process::id();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = foreign_sockets(me, 1);
        assert!(told.iter().any(|one| one.contains("state 0A")), "{told:?}");
        let _connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let to = format!(":{port:04X} in state 01");
        assert!(foreign_sockets(me, 1).iter().any(|one| one.contains(&to)));
        assert!(
            !foreign_sockets(me, port)
                .iter()
                .any(|one| one.contains(&to))
        );
        let eye = Eye::open(allowed(port));
        eye.follow(Some(me));
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("77")
            .spawn()
            .unwrap();
        let limit = Duration::from_secs(20);
        awaited::or_fail("the child to be seen", limit, || {
            eye.against().iter().any(|one| one.contains("sleep 77"))
        })
        .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(eye.memory() > 0 && eye.looks() > 0);
    }
}
