//! After an unclean stop: what may have been sent is set aside before any start.
//!
//! A service that was killed or died may have sent files that are still in its queue, and sends them again
//! when it starts. Those that the logs show delivered are gone with evidence; those whose sending
//! began and was not answered are in doubt. Where the logs cannot tell, everything in the queue is in
//! doubt. They go into custody; the rest of the queue stays and is sent when the service starts.

use super::quarantine::{Take, Taken, Verdict, judge, take_judged};
use super::survey::survey;
use super::{CustodyError, Desk, Evidence, HowStopped, Stopped};

/// Sets aside what may have been sent, in the queue folder of `take`. Nothing in doubt: nothing is
/// changed, and there is no batch. The guard's limits hold here too.
///
/// # Errors
/// As [`super::quarantine::Prepared::take`].
pub fn set_aside_in_doubt(
    desk: &Desk<'_>,
    take: &Take,
    stopped: &Stopped,
    evidence: &dyn Evidence,
) -> Result<Taken, CustodyError> {
    stopped.still(desk.host)?;
    // Whoever calls this does not trust the stop, whatever the proof says of it.
    let stopped = Stopped {
        how: HowStopped::Uncleanly,
        ..stopped.clone()
    };
    let mut judged = judge(
        survey(desk.host, &take.source)?,
        take.queue,
        &stopped,
        evidence,
    );
    judged
        .files
        .retain(|(_, verdict)| *verdict != Verdict::Unsent);
    if judged.files.is_empty() {
        return Ok(Taken {
            left: judged.suspects,
            ..Taken::default()
        });
    }
    let take = &Take {
        batch: desk.unused(take.batch)?,
        ..take.clone()
    };
    let files = judged.files.len() as u64;
    let bytes = judged.files.iter().map(|(file, _)| file.info.size).sum();
    super::quarantine::ready(desk, take, files, bytes)?;
    take_judged(desk, take, judged, &stopped)
}
