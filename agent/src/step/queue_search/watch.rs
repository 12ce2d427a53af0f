//! Watching a start until it crashed, hangs, or nothing has moved for the declared time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_policy::condition::PathRoot;

use super::{Hunt, Trouble};
use crate::host::HostErrorKind;

/// How often the service is looked at.
const POLL: Duration = Duration::from_millis(500);

/// The time between two looks into the queue, at least and at most.
const LEAST_LOOK: Duration = Duration::from_millis(500);
const MOST_LOOK: Duration = Duration::from_secs(5);

/// While the logs grow a message may be under way, however slow; for so many windows that is believed.
const BELIEVED: u32 = 10;

/// How watching ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The service died.
    Crashed,
    /// Nothing moves, and it has these open.
    Hung(Vec<u32>),
    /// Nothing moves any more.
    Quiet,
    /// The step's time was over before.
    OutOfTime,
}

/// What was seen last, and when it changed.
struct Motion {
    there: BTreeSet<u64>,
    logs: u64,
    moved: Duration,
    logged: Duration,
}

impl Motion {
    /// Whether nothing moved for the window: no file left the queue, and where files are left, no log grew.
    fn is_quiet(&self, now: Duration, window: Duration) -> bool {
        let alive = if self.there.is_empty() {
            self.moved
        } else {
            self.logged.min(self.moved + window * (BELIEVED - 1))
        };
        now >= self.moved.max(alive) + window
    }
}

impl Hunt<'_> {
    pub(super) fn watch(&self, pid: u32, fed: &[u32]) -> Result<Ended, Trouble> {
        let ids = self.identities(fed)?;
        let start = self.now();
        let mut motion = Motion {
            there: ids.clone(),
            logs: 0,
            moved: start,
            logged: start,
        };
        let between = (self.observe / 20).clamp(LEAST_LOOK, MOST_LOOK);
        let mut looked = None;
        let until = self.work.until.max(start + self.observe);
        let ended = self.work.station.wait_for(until, POLL, || {
            if self.care().ended(pid).is_some() {
                return Ok(Some(Ended::Crashed));
            }
            let now = self.now();
            if looked.is_some_and(|at| now < at + between) {
                return Ok(None);
            }
            looked = Some(now);
            self.look_for_motion(&ids, &mut motion, now);
            if !motion.is_quiet(now, self.observe) {
                return Ok(None);
            }
            // It may have died since it was asked.
            if self.care().ended(pid).is_some() {
                return Ok(Some(Ended::Crashed));
            }
            let open = self.open_files(&motion.there, fed)?;
            Ok(Some(if open.is_empty() {
                Ended::Quiet
            } else {
                Ended::Hung(open)
            }))
        })?;
        Ok(ended.unwrap_or(Ended::OutOfTime))
    }

    fn look_for_motion(&self, ids: &BTreeSet<u64>, motion: &mut Motion, now: Duration) {
        let spool = self.work.host().spool();
        if let Ok(files) = spool.list(self.queue.folder()) {
            let there: BTreeSet<u64> = files
                .into_iter()
                .map(|info| info.file_id)
                .filter(|id| ids.contains(id))
                .collect();
            if there != motion.there {
                motion.there = there;
                motion.moved = now;
            }
        }
        let logs = self.bytes_logged();
        if logs != motion.logs {
            motion.logs = logs;
            motion.logged = now;
        }
    }

    /// The bytes of all logs that grow while mail moves.
    fn bytes_logged(&self) -> u64 {
        let host = self.work.host();
        let imcdata = self.queue.imcdata().join("Log");
        let tracking = host.root(PathRoot::Trackinglog).ok();
        let folders = [Some(imcdata), tracking];
        folders
            .iter()
            .flatten()
            .filter_map(|folder: &PathBuf| host.spool().list(Path::new(folder)).ok())
            .flatten()
            .map(|file| file.size)
            .sum()
    }

    /// Which of the files that were fed and are left somebody has open.
    pub(super) fn open_files(
        &self,
        there: &BTreeSet<u64>,
        fed: &[u32],
    ) -> Result<Vec<u32>, Trouble> {
        let batch = self.entries()?;
        let spool = self.work.host().spool();
        let Ok(files) = spool.list(self.queue.folder()) else {
            return Ok(Vec::new());
        };
        let names: BTreeMap<u64, String> = files
            .into_iter()
            .filter(|info| there.contains(&info.file_id))
            .map(|info| (info.file_id, info.name))
            .collect();
        let (indices, names): (Vec<u32>, Vec<&str>) = fed
            .iter()
            .filter_map(|index| {
                let entry = batch.entries.get(*index as usize)?;
                Some((*index, names.get(&entry.file_id)?.as_str()))
            })
            .unzip();
        let probed = spool.probe_each(self.queue.folder(), &names);
        let locked = |result: &Result<(), crate::host::HostError>| matches!(result, Err(error) if error.kind == HostErrorKind::Locked);
        Ok(indices
            .into_iter()
            .zip(probed)
            .filter(|(_, result)| locked(result))
            .map(|(index, _)| index)
            .collect())
    }

    /// The identities of these files on their volume.
    pub(super) fn identities(&self, fed: &[u32]) -> Result<BTreeSet<u64>, Trouble> {
        let batch = self.entries()?;
        Ok(fed
            .iter()
            .filter_map(|index| batch.entries.get(*index as usize))
            .map(|entry| entry.file_id)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_in_the_logs_counts_only_while_files_are_left_and_not_for_ever() {
        let seconds = Duration::from_secs;
        let window = seconds(10);
        let mut motion = Motion {
            there: BTreeSet::from([1]),
            logs: 0,
            moved: seconds(100),
            logged: seconds(100),
        };
        assert!(!motion.is_quiet(seconds(109), window));
        assert!(motion.is_quiet(seconds(110), window));
        motion.logged = seconds(109);
        assert!(!motion.is_quiet(seconds(118), window));
        assert!(motion.is_quiet(seconds(119), window));
        motion.logged = seconds(900);
        assert!(!motion.is_quiet(seconds(199), window));
        assert!(motion.is_quiet(seconds(200), window));
        motion.there.clear();
        assert!(motion.is_quiet(seconds(110), window));
    }
}
