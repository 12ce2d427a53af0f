//! How deep the queues are: telemetry for plans and for people, counted at an interval.
//!
//! Counting is no part of any decision on this server. It has a thread of its own, reads folders only, and
//! rests nine times as long as it took, so that folders of any size cost a tenth of one thread at most.

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_proto::wire;
use tokio::sync::watch;

use crate::condition::{is_spool_name, queue_folder};
use crate::host::{FileKind, Host};
use crate::station::Station;
use crate::symptoms::{STILL_LOOKING, pause_after};

/// How often queues are counted and at most told of, in uptime.
pub const EVERY: Duration = Duration::from_secs(30);

/// What was counted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Depths {
    /// The queues that could be counted, in the order of [`Queue::ALL`].
    pub queues: Vec<wire::QueueDepth>,
    /// When they were counted, in uptime; `None`: they were not yet.
    pub counted: Option<Duration>,
}

impl Depths {
    /// As it is told to the controller.
    #[must_use]
    pub fn to_wire(&self) -> wire::Queues {
        wire::Queues {
            queues: self.queues.clone(),
        }
    }

    fn without_time(&self) -> Vec<wire::QueueDepth> {
        let mut queues = self.queues.clone();
        for queue in &mut queues {
            queue.at_ms = 0;
        }
        queues
    }
}

/// Whether the controller is to hear of a count. `told` is what this session told last: within
/// [`EVERY`] nothing follows it; after [`STILL_LOOKING`] it is told that nothing has changed.
#[must_use]
pub fn worth_telling(told: Option<&Depths>, now: &Depths) -> bool {
    let Some(counted) = now.counted else {
        return false;
    };
    let Some(told) = told else {
        return true;
    };
    let since = counted.saturating_sub(told.counted.unwrap_or_default());
    since >= STILL_LOOKING || (since >= EVERY && told.without_time() != now.without_time())
}

/// Counts the queues again and again.
pub struct Counter {
    station: Arc<Station>,
    depths: watch::Sender<Depths>,
}

impl Counter {
    /// A counter that has not counted.
    #[must_use]
    pub fn new(station: Arc<Station>) -> Self {
        Self {
            station,
            depths: watch::Sender::default(),
        }
    }

    /// What each count finds.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Depths> {
        self.depths.subscribe()
    }

    /// Counts once.
    pub fn count(&self) {
        let host = self.station.host.as_ref();
        let queues = Queue::ALL
            .iter()
            .filter_map(|(_, queue)| match depth(*queue, host) {
                Ok(depth) => Some(depth),
                Err(why) => {
                    tracing::debug!(queue = queue.name(), "could not be counted: {why}");
                    None
                }
            })
            .collect();
        self.depths.send_replace(Depths {
            queues,
            counted: Some(self.station.now().since_boot),
        });
    }

    /// Counts until the station stops.
    pub fn run(&self) {
        while !self.station.stopping() {
            let began = self.station.now().since_boot;
            if catch_unwind(AssertUnwindSafe(|| self.count())).is_err() {
                tracing::error!("counting the queues ended in a defect; please report it");
            }
            let now = self.station.now().since_boot;
            let rest = pause_after(now.saturating_sub(began), EVERY);
            // Interrupted only by the shutdown that ends the loop.
            let _ = self.station.wait_for(now + rest, rest, || Ok(None::<()>));
        }
    }
}

/// How deep one queue is, or why that cannot be told.
fn depth(queue: Queue, host: &dyn Host) -> Result<wire::QueueDepth, String> {
    let at_ms = host.clock().wall_ms();
    let mut depth = wire::QueueDepth {
        queue: queue.name().to_owned(),
        at_ms,
        ..wire::QueueDepth::default()
    };
    if queue.folder().is_none() {
        let counted = host.counters().queued(queue);
        depth.messages = counted.map_err(|error| format!("could not {error}"))?;
        return Ok(depth);
    }
    let folder = queue_folder(queue, host)?;
    let listed = host.spool().list(&folder);
    let files = listed.map_err(|error| format!("could not {error}"))?;
    let waiting = files
        .iter()
        .filter(|file| file.kind == FileKind::File && is_spool_name(&file.name));
    for file in waiting {
        depth.messages += 1;
        depth.bytes = depth.bytes.saturating_add(file.size);
        if depth.oldest_ms == 0 || file.modified_ms < depth.oldest_ms {
            depth.oldest_ms = file.modified_ms;
        }
    }
    Ok(depth)
}
