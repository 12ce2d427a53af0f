//! A broken site to mend by hand: the world of `stuck-outbound`, without controller and agents.
//!
//! It stands until it is interrupted, and then tells what became of every message. A person runs the
//! controller and the agents, as on real servers.

use std::time::{Duration, SystemTime};

use super::Options;
use super::fleet::{Guarded, administer};
use super::stage::Stage;
use super::stuck_outbound::STUCK_AFTER;
use crate::awaited;
use crate::lab_error::LabError;
use crate::programs::Programs;
use crate::truth::Told;
use crate::world::{SiteSpec, WorldSpec};

/// How often the site is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Stands until it is interrupted. `controller` is the address, `HOST:PORT`, that the agents'
/// configurations name. Returns what became of every message.
///
/// # Errors
/// Where the lab itself fails.
pub fn stand(
    options: &Options,
    controller: &str,
    programs: &Programs,
    say: &dyn Fn(&str),
) -> Result<Vec<Told>, LabError> {
    let spec = WorldSpec {
        sites: vec![SiteSpec::default(); options.sites],
        clock_factor: options.clock_factor,
        ..WorldSpec::default()
    };
    let mut stage = Stage::build(options, spec, programs, say)?;
    let long_ago = SystemTime::now() - options.clock_factor.shorten(STUCK_AFTER * 2);
    for number in 0..options.messages {
        // Every second server only sends, and its routing is stale.
        stage.send(2 * (number % options.sites) + 1, Some(long_ago))?;
    }
    for server in &stage.world.servers {
        let config = administer(
            server,
            programs,
            options.clock_factor,
            controller,
            &Guarded::default(),
        )?;
        say(&format!(
            "{}: --site {}, agent's configuration {}",
            server.name,
            server.site,
            config.display()
        ));
    }
    stage.chart()?;
    say("interrupt with Ctrl-C to end it");
    let mut last = usize::MAX;
    while !stage.interrupted() {
        let waiting = stage.waiting()?;
        if waiting != last {
            last = waiting;
            say(&format!("{waiting} message(s) wait in the queues"));
        }
        awaited::until(LOOK, || stage.interrupted());
    }
    stage.world.stop();
    stage.world.tell()
}
