//! `mail.escrow`: from here on a second name of every file that appears in a queue folder is kept.

use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_proto::run::Event;

use super::{StepEnd, StepResult, Work};
use crate::escrow;
use crate::faults::known;

/// How long the step waits until the machine tells of new files, in real time.
const TOLD: Duration = Duration::from_secs(3);

/// Orders the escrow and keeps what the queue holds now. Ordering it again changes nothing.
pub(super) fn apply(work: &Work<'_>, queue: Queue, keep: Duration) -> StepResult {
    let care = match work.queue_care(queue) {
        Ok(care) => care,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    let refused = |why: String| {
        let code = const { known("A091-escrow-refused") };
        Ok(StepEnd::no_effect(format!("{code}: {why}")))
    };
    let station = work.station;
    if station.guard.limits().escrow_files == 0 {
        return refused("the guard file allows no file in escrow (`escrow_files`)".into());
    }
    let Some(name) = queue.folder() else {
        return refused(format!("queue `{}` is no folder of files", queue.name()));
    };
    let kept_in = escrow::kept_in(&station.guard, care.imcdata(), name);
    if let Err(error) = work.host().spool().make_folder(&kept_in) {
        return Ok(StepEnd::failed(&error));
    }
    match work.host().spool().same_volume(care.folder(), &kept_in) {
        Ok(true) => {}
        Ok(false) => {
            return refused(format!(
                "`{}` is on another volume than `{}`; name a folder on the queue's volume as `hold` in the guard file",
                kept_in.display(),
                care.folder().display()
            ));
        }
        Err(error) => return Ok(StepEnd::failed(&error)),
    }
    let (Some(folder), Some(kept)) = (care.folder().to_str(), kept_in.to_str()) else {
        return refused("the folder has a name that is no text".into());
    };
    let event = Event::EscrowOrdered {
        step: work.step.index,
        queue: queue.name().to_owned(),
        folder: folder.to_owned(),
        kept_in: kept.to_owned(),
        keep_ms: u64::try_from(keep.as_millis()).unwrap_or(u64::MAX),
    };
    work.record(vec![event])?;
    station.escrow.wake();
    let swept = station.escrow.sweep(station)?;
    // Mail that comes right after this step may live for milliseconds only.
    let told = station.escrow.await_watched(care.folder(), TOLD);
    let late = if told {
        ""
    } else {
        "; the machine does not tell of new files yet, they are looked for every minute"
    };
    Ok(StepEnd::done(format!(
        "a second name of every file in `{folder}` is kept in `{kept}`; {} now{late}",
        swept.new
    )))
}
