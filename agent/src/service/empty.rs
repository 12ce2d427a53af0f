//! A mail service that does not come up although its queues are empty: what is to be looked at then.

use mailmend_policy::condition::Queue;

use super::Care;
use crate::condition::{is_spool_name, queue_folder};
use crate::faults::known;
use crate::queue::MAIL_SERVICE;

/// What to look at where the service dies of an empty queue.
pub(crate) const ELSEWHERE: &str = "Exclude causes in the configuration first: an administrator's mailbox without an X.400 address (Q149542), a dial-up connection whose name is wrong (Q199771), the extension imcext.dll (Q169681). Then look at MTS-IN and MTS-OUT in the store (Q165505), and at the MTA";

impl Care<'_> {
    /// Why the service did not come up, with what to look at where its queues are empty. They are looked at after
    /// its end, and it may as well be misconfigured: no message is said to be at fault.
    ///
    /// Whoever reads it may see this one line only: the step that started the service, the exit of its section
    /// and the watchdog each say it.
    pub(super) fn with_elsewhere(&self, why: String) -> String {
        if !self.is_mail_with_nothing_to_read() {
            return why;
        }
        format!(
            "{why}; {}: In and Out are empty now: if a message ends it, that message is in the store, not in the spool. {ELSEWHERE}",
            const { known("A122-poison-not-in-spool") }
        )
    }

    fn is_mail_with_nothing_to_read(&self) -> bool {
        let host = &*self.station.host;
        let queues = [
            Queue::InboundAwaitingConversion,
            Queue::OutboundAwaitingDelivery,
        ];
        self.service.as_str().eq_ignore_ascii_case(MAIL_SERVICE)
            && queues.iter().all(|queue| {
                let folder = queue_folder(*queue, host).ok();
                let files = folder.and_then(|folder| host.spool().list(&folder).ok());
                files.is_some_and(|files| !files.iter().any(|file| is_spool_name(&file.name)))
            })
    }
}
