//! The users of a fleet: they send everywhere, before and while it is mended.

use crate::lab_error::LabError;
use crate::scenario::stage::Stage;

/// One in so many messages of a healthy site is sent while the fleet is mended.
const LATE: usize = 3;

/// Users, and where they will still send.
pub(super) struct Users {
    random: fastrand::Rng,
    /// The sites of the messages that are still to be sent; the last one is next.
    later: Vec<usize>,
}

impl Users {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed ^ 0x7573_6572),
            later: Vec::new(),
        }
    }

    /// Users of the healthy site that the stage is turned to send what they send before.
    pub(super) fn begin_at(&mut self, stage: &mut Stage<'_>, site: usize) -> Result<(), LabError> {
        let late = stage.options.messages / LATE;
        for _ in late..stage.options.messages {
            self.send(stage)?;
        }
        self.come_later(site, late);
        Ok(())
    }

    /// So many messages are sent there later.
    pub(super) fn come_later(&mut self, site: usize, count: usize) {
        self.later.extend(std::iter::repeat_n(site, count));
    }

    /// Puts what is sent later into an order.
    pub(super) fn mingle(&mut self) {
        self.random.shuffle(&mut self.later);
    }

    /// Whether any still want to send.
    pub(super) fn wait(&self) -> bool {
        !self.later.is_empty()
    }

    /// Where the next one sends.
    pub(super) fn next(&mut self) -> Option<usize> {
        self.later.pop()
    }

    /// A user sends through one of the servers of the site that the stage is turned to.
    pub(super) fn send(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let servers = stage.server_indexes();
        stage.send(self.random.usize(servers), None)
    }
}
