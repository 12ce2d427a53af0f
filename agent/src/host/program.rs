//! A program that was started: its end within a limit, and what it printed.

use std::io::Read;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How much of each stream is kept.
pub(super) const KEPT: u64 = 1024 * 1024;
/// How long the pipes may stay open after the program ended: what it started may hold them.
const DRAIN: Duration = Duration::from_secs(2);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// Its exit status, or `None` when the limit has passed. Until then it is not reaped, so its number
/// cannot pass to another process.
pub(super) fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= limit {
            return Ok(None);
        }
        // A child cannot be waited for with a limit, so it is looked at until then.
        std::thread::sleep(LOOK.min(limit));
    }
}

/// What a program prints, read so that it never blocks.
pub(super) struct Printed([Option<Receiver<Vec<u8>>>; 2]);

impl Printed {
    pub(super) fn by(child: &mut Child) -> Self {
        Self([
            child.stdout.take().map(collect),
            child.stderr.take().map(collect),
        ])
    }

    /// Standard output, then standard error; `end` ends what holds a stream open that should be at its end.
    pub(super) fn text(self, ended: bool, end: impl Fn()) -> String {
        let drained = Instant::now() + DRAIN;
        let mut bytes = Vec::new();
        for stream in self.0.into_iter().flatten() {
            let left = drained.saturating_duration_since(Instant::now());
            match stream.recv_timeout(if ended { left } else { Duration::ZERO }) {
                Ok(read) => bytes.extend(read),
                Err(_) => end(),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Reads a stream to its end, so that the program never blocks, and keeps the first part.
fn collect(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        // An error ends the stream as its end does; what came before it still counts.
        let _ = stream.by_ref().take(KEPT).read_to_end(&mut kept);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        // Nobody waits any more where the limit has passed.
        let _ = sender.send(kept);
    });
    receiver
}
