//! After an unclean stop, before a start and before a quarantine: the inbound messages that the store may get twice
//! are named.
//!
//! The service hands a message over to the store, writes that down, and removes the file. One that died between
//! the first and the second hands the file over again when it starts, and no log tells which file that is
//! (outbound mail is told by the SMTP log, and what was begun there is set aside). Setting all inbound mail aside
//! for the few that were under way would keep it from its readers; so it stays, and is named.

use std::collections::BTreeSet;

use mailmend_policy::condition::Queue;
use mailmend_proto::run::{Custody, Event};

use super::Care;
use crate::custody::HowStopped;
use crate::custody::survey::is_spool_name;
use crate::faults::known;
use crate::host::{FileKind, HostErrorKind, ServiceStatus};
use crate::queue::{MAIL_SERVICE, QueueCare, how_stopped};
use crate::station::Trouble;

const CODE: &str = known("A111-inbound-again");

/// Names in one alarm: it fits a record and a screen.
const NAMES: usize = 100;

impl Care<'_> {
    /// Names what may be handed over twice by a start; nothing after a clean stop.
    pub(super) fn name_inbound(
        &self,
        status: &ServiceStatus,
    ) -> Result<Result<(), String>, Trouble> {
        if !self.service.as_str().eq_ignore_ascii_case(MAIL_SERVICE) {
            return Ok(Ok(()));
        }
        let state = self.station.state(self.run)?;
        if how_stopped(status, &state, self.station) == HowStopped::Cleanly {
            return Ok(Ok(()));
        }
        drop(state);
        self.name_inbound_there()
    }

    /// Names the inbound messages that wait in their queue, each once in a run, after an unclean stop. What a
    /// replay placed is in the ledger, which settles it.
    pub(crate) fn name_inbound_there(&self) -> Result<Result<(), String>, Trouble> {
        let care = match QueueCare::open(self.station, self.run, Queue::InboundAwaitingConversion) {
            Ok(care) => care,
            Err(why) => return Ok(Err(why)),
        };
        let there = match self.station.host.spool().names(care.folder()) {
            Ok(there) => there,
            // A server that receives nothing has no such folder.
            Err(error) if error.kind == HostErrorKind::NotFound => return Ok(Ok(())),
            Err(error) => return Ok(Err(format!("could not {error}"))),
        };
        let state = self.station.state(self.run)?;
        let entries = state.batches.values().flat_map(|batch| &batch.entries);
        let mut known: BTreeSet<String> = entries
            .filter(|entry| entry.custody == Custody::Replaying)
            .map(|entry| entry.name.clone())
            .collect();
        drop(state);
        for record in self.station.journal.records(self.run)? {
            if let Event::Alarm { code, text } = record.event
                && code == CODE
            {
                known.extend(text.split('`').skip(1).step_by(2).map(str::to_owned));
            }
        }
        let mut names: Vec<String> = there
            .into_iter()
            .filter(|(name, kind)| *kind == FileKind::File && is_spool_name(name))
            .map(|(name, _)| name)
            .filter(|name| !known.contains(name))
            .collect();
        names.sort_unstable();
        let alarms = names.chunks(NAMES).map(|names| Event::Alarm {
            code: CODE.to_owned(),
            text: format!(
                "the mail service stopped uncleanly, and no log tells which inbound message was under way: one or a few \
                 of these may reach the store twice, by the next start or when they are given back: `{}`",
                names.join("`, `")
            ),
        });
        let alarms: Vec<Event> = alarms.collect();
        if !alarms.is_empty() {
            self.station.record(self.run, alarms)?;
        }
        Ok(Ok(()))
    }
}
