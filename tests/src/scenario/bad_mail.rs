//! Mail that lies in a server's queues when a scenario begins, some of it bad.

use std::time::{Duration, SystemTime};

use super::stage::{LIMIT, Stage};
use crate::event_log;
use crate::fault::{BadMessage, Faults, Place};
use crate::ims;
use crate::lab_error::LabError;
use crate::load::{Begins, Submission};
use crate::server_dir::ServerDir;

/// The event that the IMS writes when it starts.
pub(super) const STARTED: u32 = 1000;

/// A message that is to lie in a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lying {
    /// Where.
    pub(super) begins: Begins,
    /// What is wrong with it; `None`: nothing.
    pub(super) bad: Option<BadMessage>,
}

/// Has mail lie in the queues of the server with this index, the first longest, all since before `since`;
/// its IMS is stopped meanwhile, learns what is bad when it starts, and comes to what that does. Returns
/// the messages in the same order.
pub(super) fn lay(
    stage: &mut Stage<'_>,
    server: usize,
    mail: &[Lying],
    since: SystemTime,
) -> Result<Vec<Submission>, LabError> {
    let services = stage.world.servers[server].services();
    let dir = stage.world.servers[server].dir.clone();
    services.stop(ims::SERVICE, LIMIT)?;
    let mut faults = Faults::read(&dir)?;
    let mut sent = Vec::with_capacity(mail.len());
    for (number, lying) in mail.iter().enumerate() {
        // Files of one second have an order in life, too.
        let age = Duration::from_millis(10 * (mail.len() - number) as u64);
        let message = stage.send_to_begin(server, Some(since - age), lying.begins)?;
        if let Some(bad) = lying.bad {
            faults.messages.insert(message.body_hash.clone(), bad);
        }
        sent.push(message);
    }
    faults.write(&dir)?;
    // It may die before it can be seen to run.
    let _ = services.start(ims::SERVICE, LIMIT);
    Ok(sent)
}

/// Which of `count` messages are bad: `bad` of them, anywhere.
pub(super) fn drawn(seed: u64, count: usize, bad: usize) -> Vec<bool> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x6261_6420);
    let mut drawn: Vec<bool> = (0..count).map(|number| number < bad).collect();
    random.shuffle(&mut drawn);
    drawn
}

/// How often the IMS of a server has written one of these events.
pub(super) fn events(server: &ServerDir, ids: &[u32]) -> Result<usize, LabError> {
    let all = event_log::read(&server.events())?;
    let wanted =
        |event: &&event_log::Event| event.source == ims::SERVICE && ids.contains(&event.id);
    Ok(all.iter().filter(wanted).count())
}

/// As [`events`], since the IMS last started.
pub(super) fn events_since_start(server: &ServerDir, ids: &[u32]) -> Result<usize, LabError> {
    let all = event_log::read(&server.events())?;
    let own = all.iter().filter(|event| event.source == ims::SERVICE);
    let since = own.rev().take_while(|event| event.id != STARTED);
    Ok(since.filter(|event| ids.contains(&event.id)).count())
}

/// Where a message is bad, by where it lies.
pub(super) const fn place(begins: Begins) -> Place {
    match begins {
        Begins::Sent | Begins::InMta { .. } => Place::MtsOut,
        Begins::Converted => Place::Out,
        Begins::Received => Place::In,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_draws_which_messages_are_bad() {
        for bad in [0, 1, 2, 5] {
            let some = drawn(3, 40, bad);
            assert_eq!(some.iter().filter(|bad| **bad).count(), bad);
            assert_eq!(some, drawn(3, 40, bad));
        }
        assert_ne!(drawn(3, 40, 5), drawn(4, 40, 5));
    }
}
