//! Spans of what this agent does: a fold of its journal, told beside the work and never by it.
//!
//! The journal says when each step was begun and ended, so spans outlive a crash: the next start reads the records of
//! open runs again and goes on with the same trace. A span that was told before the crash is told again, with the same
//! id.

mod fold;

use std::time::Duration;

use mailmend_policy::name::ServerName;
use mailmend_telemetry::trace::Tracer;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::journal::{Journal, JournalError};
use fold::Traces;

/// So many bytes of records are read at once.
const AT_ONCE: usize = 1 << 20;
/// How long until a journal that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(30);

/// Tells spans until `stop`; what is in the journal then is told before it ends. Without anybody who listens it ends at
/// once.
pub async fn follow(journal: Journal, name: ServerName, tracer: Tracer, stop: CancellationToken) {
    if !tracer.is_on() {
        return;
    }
    let mut head = journal.subscribe();
    let mut following = Following {
        traces: Traces::new(name),
        after: None,
    };
    loop {
        let (journal, tracer) = (journal.clone(), tracer.clone());
        // Reading blocks, as all files do.
        let read = tokio::task::spawn_blocking(move || {
            let read = following.read(&journal, &tracer);
            (following, read)
        });
        let read = match read.await {
            Ok((back, read)) => {
                following = back;
                read
            }
            Err(why) => {
                warn!("no spans are told any more, a defect, please report it: {why}");
                return;
            }
        };
        if stop.is_cancelled() {
            return;
        }
        if let Err(why) = read {
            warn!("spans wait, the journal could not be read for them: {why}");
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            changed = head.changed() => if changed.is_err() { return },
        }
    }
}

struct Following {
    traces: Traces,
    /// The last record that was read; none: nothing yet.
    after: Option<u64>,
}

impl Following {
    fn read(&mut self, journal: &Journal, tracer: &Tracer) -> Result<(), JournalError> {
        let mut after = match self.after {
            Some(after) => after,
            None => {
                let head = journal.head();
                for run in journal.open_runs() {
                    for record in journal.records(run)? {
                        if record.seq <= head {
                            self.traces
                                .after(&record)
                                .into_iter()
                                .for_each(|span| tracer.tell(span));
                        }
                    }
                }
                head
            }
        };
        loop {
            self.after = Some(after);
            let records = journal.after(after, AT_ONCE)?;
            let Some(last) = records.last() else {
                return Ok(());
            };
            after = last.seq;
            for record in &records {
                if !self.traces.knows(record.run) {
                    // Closed before the agent started, and open again: what came before is folded, not told.
                    for earlier in journal.records(record.run)? {
                        if earlier.seq < record.seq {
                            drop(self.traces.after(&earlier));
                        }
                    }
                }
                self.traces
                    .after(record)
                    .into_iter()
                    .for_each(|span| tracer.tell(span));
            }
        }
    }
}
