//! How long mail service was down, told by the world itself.

use std::time::Duration;

use super::SimWorld;
use super::control::IMC;
use super::world::World;
use crate::host::ServiceState;

/// How long the mail service of a simulated machine was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outage {
    /// Since when it is down, as time since the world began; none: it runs.
    pub since: Option<Duration>,
    /// In all, what goes on now included.
    pub total: Duration,
    /// The longest, what goes on now included.
    pub longest: Duration,
}

impl World {
    /// Looks whether service runs; called whenever that may have changed.
    pub(super) fn note_outage(&mut self) {
        let now = Duration::from_millis(self.elapsed_ms);
        let up = self
            .service(IMC)
            .is_some_and(|index| self.services[index].state == ServiceState::Running);
        match (up, self.outage.since) {
            (false, None) => self.outage.since = Some(now),
            (true, Some(since)) => {
                let down = now.saturating_sub(since);
                self.outage.total += down;
                self.outage.longest = self.outage.longest.max(down);
                self.outage.since = None;
            }
            _ => {}
        }
    }
}

impl SimWorld {
    /// How long mail service was down since the last call of [`Self::forget_outage`].
    #[must_use]
    pub fn outage(&self) -> Outage {
        let mut world = self.lock();
        world.note_outage();
        let mut outage = world.outage;
        if let Some(since) = outage.since {
            let down = Duration::from_millis(world.elapsed_ms).saturating_sub(since);
            outage.total += down;
            outage.longest = outage.longest.max(down);
        }
        outage
    }

    /// Counts from now on only.
    pub fn forget_outage(&self) {
        let mut world = self.lock();
        world.outage = Outage::default();
        world.note_outage();
    }
}
