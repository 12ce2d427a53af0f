//! Reading what a start showed: from the queue, the logs and the events, and from nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mailmend_policy::condition::Queue;
use mailmend_policy::step::IfStillRunning;
use mailmend_proto::run::Custody;

use super::start::{Running, refused};
use super::suspects::named_in;
use super::watch::Ended;
use super::{Hunt, Stop, Trouble};
use crate::condition::is_spool_name;
use crate::custody::Evidence;
use crate::custody::search::{Observation, Search};
use crate::custody::settle::settle;
use crate::custody::verify::key;
use crate::evidence::begun::{Begun, begun_since};
use crate::evidence::{Direction, MessageKey, Sent, spool_file};
use crate::host::{FileInfo, FileKind};

impl Hunt<'_> {
    /// Brings a watched start to its observation. The service is stopped then, unless the search is over with
    /// it: nothing leaves the queue between an observation and the next start.
    pub(super) fn conclude(
        &self,
        search: &Search,
        running: &Running<'_>,
        ended: Ended,
        pid: Option<u32>,
    ) -> Result<Result<(), Stop>, Trouble> {
        let _alone = self.work.station.disturb();
        let seen = match ended {
            Ended::Crashed => self.after_crash(running, pid)?,
            Ended::Hung(open) => self.after_hang(running, &open)?,
            Ended::Quiet | Ended::OutOfTime => {
                self.care().note_watched(pid)?;
                let out_of_time = ended == Ended::OutOfTime;
                return self.after_quiet(search, running, out_of_time);
            }
        };
        match seen {
            Ok(seen) => {
                self.record_observed(running.start, &seen)?;
                Ok(Ok(()))
            }
            Err(stop) => Ok(Err(stop)),
        }
    }

    fn after_crash(
        &self,
        running: &Running<'_>,
        pid: Option<u32>,
    ) -> Result<Result<Observation, Stop>, Trouble> {
        if pid.is_some() {
            self.care().note_watched(None)?;
        }
        // Somebody started it again, or it hangs on its way up.
        let disturbed = self.is_up();
        if disturbed {
            if let Some(why) = self.work.forbidden(true)? {
                return Ok(Err(Stop(why)));
            }
            if let Err(stop) = self.stopped()? {
                return Ok(Err(stop));
            }
        }
        let mut seen = match self.look(running, true)? {
            Ok(seen) => seen,
            Err(stop) => return Ok(Err(stop)),
        };
        seen.disturbed |= disturbed && pid.is_some();
        Ok(Ok(seen))
    }

    /// What hangs is ended by force, as the policy ends the service, and counts as a crash.
    fn after_hang(
        &self,
        running: &Running<'_>,
        open: &[u32],
    ) -> Result<Result<Observation, Stop>, Trouble> {
        if let Some(why) = self.work.forbidden(true)? {
            return Ok(Err(Stop(why)));
        }
        let process = self.status().and_then(|status| status.process);
        match (self.stopping().0, process) {
            (IfStillRunning::Kill, Some(process)) => {
                if let Err(not) = self.care().end(&process)? {
                    return Ok(Err(Stop(not.why)));
                }
            }
            _ => {
                return Ok(Err(Stop(format!(
                    "A050-service-not-stopped: `{}` hangs, and the policy does not let its process be ended (`then = \"kill\"` of its `service.stop`)",
                    self.service
                ))));
            }
        }
        let mut seen = match self.look(running, true)? {
            Ok(seen) => seen,
            Err(stop) => return Ok(Err(stop)),
        };
        let open: Vec<u32> = open
            .iter()
            .copied()
            .filter(|index| seen.still_there.contains(index))
            .collect();
        seen.locked = open.first().copied().or(seen.locked);
        if !open.is_empty() {
            let mut flying: BTreeSet<u32> = open.into_iter().collect();
            flying.extend(seen.in_flight.take().unwrap_or_default());
            seen.in_flight = Some(flying.into_iter().collect());
        }
        Ok(Ok(seen))
    }

    fn after_quiet(
        &self,
        search: &Search,
        running: &Running<'_>,
        out_of_time: bool,
    ) -> Result<Result<(), Stop>, Trouble> {
        let mut seen = match self.look(running, false)? {
            Ok(seen) => seen,
            Err(stop) => return Ok(Err(stop)),
        };
        seen.disturbed |= out_of_time;
        let forbidden = self.work.forbidden(true)?;
        if self.is_over_with(search, &seen)? || forbidden.is_some() {
            self.record_observed(running.start, &seen)?;
            return Ok(match forbidden {
                Some(why) if !self.is_over_with(search, &seen)? => Err(Stop(why)),
                _ => Ok(()),
            });
        }
        if let Err(stop) = self.stopped()? {
            return Ok(Err(stop));
        }
        let mut seen = match self.look(running, false)? {
            Ok(seen) => seen,
            Err(stop) => return Ok(Err(stop)),
        };
        seen.disturbed |= out_of_time;
        self.record_observed(running.start, &seen)?;
        Ok(Ok(()))
    }

    /// What is to be seen of a start. What left the queue is settled, or in doubt, in the ledger too.
    pub(super) fn look(
        &self,
        running: &Running<'_>,
        crashed: bool,
    ) -> Result<Result<Observation, Stop>, Trouble> {
        let desk = self.queue.desk();
        let records = self.queue.records();
        if let Err(error) = settle(&desk, self.batch, &records, true) {
            return Ok(refused(error)?.map(|()| Observation::default()));
        }
        let spool = self.work.host().spool();
        let files = match spool.list(self.queue.folder()) {
            Ok(files) => files,
            Err(error) => {
                return Ok(Err(Stop(format!(
                    "A081-custody-precondition: could not {error}"
                ))));
            }
        };
        let batch = self.entries()?;
        let by_id: BTreeMap<u64, &FileInfo> =
            files.iter().map(|info| (info.file_id, info)).collect();
        let held = Path::new(&batch.held);
        let (mut there, mut keys, mut still_there) = (Vec::new(), Vec::new(), Vec::new());
        for index in running.fed {
            let Some(entry) = batch.entries.get(*index as usize) else {
                continue;
            };
            match (by_id.get(&entry.file_id), entry.custody) {
                (Some(info), _) => {
                    keys.push(key(&desk, &batch, held, entry, &info.name));
                    there.push((*index, info.name.clone()));
                }
                // It could not be placed: it is held, and was not fed.
                (None, Custody::Held) => still_there.push(*index),
                (None, _) => {}
            }
        }
        let delivered: Vec<bool> = records
            .of(&keys)
            .iter()
            .map(|sent| matches!(sent, Sent::Delivered { .. }))
            .collect();
        let begun = match self.which {
            Queue::OutboundAwaitingDelivery => {
                begun_since(self.work.host(), running.since_ms, &keys)
            }
            // No log tells which inbound message is being converted.
            _ => None,
        };
        let in_flight = begun.map(|begun| {
            let flying = |begun: Begun| match begun {
                Begun::Not => false,
                Begun::Answered => !crashed,
                Begun::Unanswered => true,
            };
            let of = there.iter().zip(begun).zip(&delivered);
            of.filter(|((_, begun), delivered)| flying(*begun) && !**delivered)
                .map(|(((index, _), _), _)| *index)
                .collect()
        });
        let mut settled: Vec<u32> = batch
            .entries
            .iter()
            .filter(|entry| entry.custody == Custody::GoneWithEvidence)
            .map(|entry| entry.index)
            .collect();
        for ((index, _), delivered) in there.iter().zip(delivered) {
            if delivered {
                settled.push(*index);
            } else {
                still_there.push(*index);
            }
        }
        let named = self.named(running.since_ms, &there);
        let ours: BTreeSet<u64> = batch.entries.iter().map(|entry| entry.file_id).collect();
        let disturbed = self.strangers(&ours, running.since_ms, crashed);
        let locked = if crashed {
            let ids = by_id.keys().copied().collect();
            self.open_files(&ids, running.fed)?.first().copied()
        } else {
            None
        };
        Ok(Ok(Observation {
            crashed,
            settled,
            still_there,
            in_flight,
            named,
            locked,
            disturbed,
        }))
    }

    /// The file that an event since then names, the last of them.
    fn named(&self, since_ms: i64, there: &[(u32, String)]) -> Option<u32> {
        let events = self.work.host().events();
        let events = events.read(self.service.as_str(), since_ms).ok()?;
        events.iter().rev().filter_map(named_in).find_map(|name| {
            let same = |(_, other): &&(u32, String)| other.eq_ignore_ascii_case(name);
            there.iter().find(same).map(|(index, _)| *index)
        })
    }

    /// Whether mail that is not of the search may have been in flight at a crash. What the service stayed up
    /// with once is not suspected again.
    fn strangers(&self, ours: &BTreeSet<u64>, since_ms: i64, crashed: bool) -> bool {
        let host = self.work.host();
        let mut disturbed = false;
        for (queue, direction) in [
            (Queue::OutboundAwaitingDelivery, Direction::Outbound),
            (Queue::InboundAwaitingConversion, Direction::Inbound),
        ] {
            let Some(folder) = queue.folder().map(|name| self.queue.imcdata().join(name)) else {
                continue;
            };
            let mut files = host.spool().list(&folder).unwrap_or_default();
            files.retain(|info| {
                info.kind == FileKind::File
                    && is_spool_name(&info.name)
                    && !ours.contains(&info.file_id)
            });
            let mut cleared = self.cleared.borrow_mut();
            if !crashed {
                cleared.extend(files.iter().map(|info| info.file_id));
                continue;
            }
            files.retain(|info| !cleared.contains(&info.file_id));
            let keys: Vec<MessageKey> = files
                .iter()
                .map(|info| {
                    let header = host
                        .spool()
                        .open(&folder.join(&info.name))
                        .ok()
                        .and_then(|mut file| spool_file::read(&mut *file).ok())
                        .unwrap_or_default();
                    MessageKey::new(&info.name, header, info.modified_ms, direction)
                })
                .collect();
            if keys.is_empty() {
                continue;
            }
            disturbed |= match direction {
                Direction::Outbound => begun_since(host, since_ms, &keys)
                    .is_none_or(|begun| begun.contains(&Begun::Unanswered)),
                Direction::Inbound => {
                    let sent = self.queue.records().of(&keys);
                    sent.iter()
                        .any(|sent| !matches!(sent, Sent::Delivered { .. }))
                }
            };
        }
        disturbed
    }
}
