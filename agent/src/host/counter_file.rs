//! The counters of the mail service, as the lab's service writes them: `pid N` and a line for each queue,
//! its name in policies and how many messages it holds. They count only while that process lives.

use std::path::PathBuf;

use mailmend_policy::condition::Queue;

use crate::host::{Counters, HostError, HostErrorKind, here};

#[derive(Debug)]
pub(super) struct CounterFile(pub(super) Option<PathBuf>);

impl Counters for CounterFile {
    fn queued(&self, queue: Queue) -> Result<u64, HostError> {
        let fail = |reason: String| {
            HostError::unchanged(
                HostErrorKind::NotFound,
                format!("read the counter of `{}`", queue.name()),
                reason,
            )
        };
        let path = self
            .0
            .as_deref()
            .ok_or_else(|| fail("`counters_file` is not set".into()))?;
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let mut value = None;
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("pid", pid)) if !pid.parse().is_ok_and(here::lives) => {
                    return Err(fail("the service does not run".into()));
                }
                Some((name, count)) if name == queue.name() => value = count.parse().ok(),
                _ => {}
            }
        }
        value.ok_or_else(|| fail("the service has no such counter".into()))
    }
}
