//! A virus scanner that scans the service's own mailbox (Q296879): what was sent cannot be removed from MTS-OUT,
//! event 3038 says so, and the next start of the service sends it again.

use std::collections::BTreeSet;

use super::SimWorld;
use super::world::World;

impl SimWorld {
    /// Lets a scanner scan the service's mailbox from now on, or no more; what stands in MTS-OUT stays there.
    pub fn set_scanned(&self, scanned: bool) {
        self.lock().scanned = scanned;
    }

    /// Removes messages from MTS-OUT by MTS-ID as a person does by hand, sent or not; others are left.
    pub fn remove_from_mts_out(&self, mts_ids: &[&str]) {
        let mut world = self.lock();
        let world = &mut *world;
        for message in &mut world.messages {
            let there = message.in_mts_out || message.unremoved;
            if there && mts_ids.contains(&message.mts_id.as_str()) {
                message.in_mts_out = false;
                message.unremoved = false;
                if !world
                    .saved
                    .values()
                    .any(|saved| saved.contains(&message.mts_id))
                {
                    world.removed_unsaved.push(message.mts_id.clone());
                }
            }
        }
    }

    /// The MTS-IDs that were taken out of MTS-OUT by hand while no saved copy had them.
    #[must_use]
    pub fn removed_unsaved(&self) -> Vec<String> {
        self.lock().removed_unsaved.clone()
    }

    /// Deletes the service and makes it anew, by hand: what its mailbox still holds is deleted with it, and its
    /// folder is a new one that nothing holds.
    pub fn recreate_ims(&self) {
        self.by_hand("MSExchangeIMC", false);
        self.advance(std::time::Duration::from_secs(5));
        let mut world = self.lock();
        for message in &mut world.messages {
            message.in_mts_out = false;
            message.unremoved = false;
        }
        world.scanned = false;
        drop(world);
        self.by_hand("MSExchangeIMC", true);
        self.advance(std::time::Duration::from_secs(5));
    }

    /// How many messages MTS-OUT holds: those that wait, and those that could not be removed.
    #[must_use]
    pub fn count_in_mts_out(&self) -> usize {
        self.lock().mts_out().len()
    }
}

impl World {
    /// imcsave: copies MTS-OUT to a place, and never to one that exists.
    pub(super) fn save_mts_out(&mut self, place: &str) -> String {
        if self.saved.contains_key(place) {
            return format!("The directory Backup/{place} already exists.\n");
        }
        let ids: BTreeSet<String> = self.mts_out().into_iter().map(str::to_owned).collect();
        let told = format!("{} item(s) saved.\n", ids.len());
        self.saved.insert(place.to_owned(), ids);
        told
    }

    /// The MTS-ID of each message in MTS-OUT.
    pub(super) fn mts_out(&self) -> Vec<&str> {
        self.messages
            .iter()
            .filter(|message| message.in_mts_out || message.unremoved)
            .map(|message| message.mts_id.as_str())
            .collect()
    }

    /// The service has sent a message and removes it from MTS-OUT, where the scanner lets it.
    pub(super) fn remove_sent(&mut self, number: usize) {
        if self.scanned {
            self.messages[number].unremoved = true;
            let id = &self.messages[number].mts_id;
            let text = format!(
                "Message {id} was sent and could not be removed from the outbound folder of the store"
            );
            self.event("MSExchangeIMC", 3038, &text);
        }
    }

    /// A start of the service takes what stands in MTS-OUT for mail that waits.
    pub(super) fn send_unremoved_again(&mut self) {
        for message in &mut self.messages {
            message.in_mts_out |= std::mem::take(&mut message.unremoved);
        }
    }
}
