//! Q268494: mail waits on Server B, which only sends, because its routing is stale.
//!
//! The peer of each site has moved. The directory knows, Server A knows, Server B does not. Mail through
//! A is delivered; mail through B stays in `Out`. A rollout of the shipped policy is to mend it, while
//! users go on sending.
//!
//! In the variant `false-success` the recalculation says that it succeeded and writes no table (Q182798):
//! no mail may be moved then.

use std::time::{Duration, SystemTime};

use super::room::Room;
use super::stage::{LIMIT, Stage};
use super::{Options, Scenario};
use crate::awaited;
use crate::clock_factor::ClockFactor;
use crate::lab_error::LabError;
use crate::server_dir::{ServerDir, spooled};
use crate::truth::{self, Fate, OnDisk};
use crate::world::{Server, SiteSpec};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "stuck-outbound",
    article: "Q268494",
    about: "outbound mail waits because the routing of the server that only sends is stale",
    policy: "stuck-outbound-routing",
    variants: &["stale", FALSE_SUCCESS],
    bad: 0,
    room: |options| Box::new(StuckOutbound::new(options)),
};
const FALSE_SUCCESS: &str = "false-success";
/// When mail counts as stuck: as the policy says, in time of life.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);
/// How long the lab watches that nothing leaves a stuck server, in real time.
const WATCHED: Duration = Duration::from_millis(500);

struct StuckOutbound {
    late: usize,
    falsely: bool,
}

impl StuckOutbound {
    fn new(options: &Options) -> Self {
        Self {
            late: (options.messages / 10).min(20),
            falsely: options.variant.as_deref() == Some(FALSE_SUCCESS),
        }
    }
}

impl Room for StuckOutbound {
    fn site(&self, spec: &mut SiteSpec) {
        spec.stale_outbound = true;
        spec.recalculates_falsely = self.falsely;
    }

    /// Users send: a quarter through Server A, the rest through Server B; a tenth of all, at most twenty,
    /// while the site is being mended.
    fn break_site(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let options = stage.options;
        let factor = stage.world.spec.clock_factor;
        let long_ago = SystemTime::now() - factor.shorten(STUCK_AFTER + STUCK_AFTER / 5);
        let mut random = fastrand::Rng::with_seed(options.seed);
        for number in 0..options.messages - self.late {
            let site = number % options.sites;
            let b = random.u32(..4) > 0;
            let since = (options.waited_before && b).then_some(long_ago);
            stage.send(stage.both_way(site) + usize::from(b), since)?;
        }
        Ok(())
    }

    /// Waits until mail is stuck on every Server B, and watches that nothing leaves them. Returns how
    /// much is stuck; nothing where something left.
    fn await_symptom(&mut self, stage: &mut Stage<'_>) -> Result<usize, LabError> {
        let factor = stage.world.spec.clock_factor;
        let is_stuck = |server: &Server| stuck(&server.dir, factor).is_ok_and(|files| files > 0);
        awaited::or_fail("the symptom", factor.shorten(STUCK_AFTER) + LIMIT, || {
            stage.interrupted() || stage.outbound_only().all(is_stuck)
        })?;
        let before = delivered_by_outbound_only(stage)?;
        awaited::until(WATCHED, || stage.interrupted());
        stage.check_interrupted()?;
        if delivered_by_outbound_only(stage)? > before {
            return Ok(0);
        }
        stage.outbound_only().map(Server::waiting).sum()
    }

    fn late(&self) -> usize {
        self.late
    }

    /// Three of four go to a Server B, the second of each pair.
    fn send_late(&mut self, stage: &mut Stage<'_>, left: usize) -> Result<(), LabError> {
        let index = left % stage.servers().len();
        let server = if left.is_multiple_of(4) {
            index & !1
        } else {
            index | 1
        };
        stage.send(stage.both_way(0) + server, None)
    }

    /// Whether messages have waited too long on servers that only send.
    fn still_ill(&self, stage: &Stage<'_>) -> Result<bool, LabError> {
        let factor = stage.world.spec.clock_factor;
        let stuck = |server: &Server| stuck(&server.dir, factor);
        let each: Result<Vec<usize>, LabError> = stage.outbound_only().map(stuck).collect();
        Ok(each?.iter().any(|stuck| *stuck > 0))
    }

    fn rests_with(&self) -> Option<&'static str> {
        self.falsely.then_some("GWART0.MTA")
    }
}

/// How many messages of the servers that only send have been delivered.
fn delivered_by_outbound_only(stage: &Stage<'_>) -> Result<usize, LabError> {
    let world = &stage.world;
    let told = truth::tell(
        &world.submissions()?,
        &world.deliveries()?,
        &OnDisk::default(),
    );
    let of_b = |one: &&truth::Told| {
        let name = &one.submission.server;
        stage.outbound_only().any(|server| server.name == *name)
    };
    let delivered = told.iter().filter(|one| one.fate == Fate::DeliveredOnce);
    Ok(delivered.filter(of_b).count())
}

/// How many messages of a server have waited too long.
fn stuck(dir: &ServerDir, factor: ClockFactor) -> Result<usize, LabError> {
    let too_long = factor.shorten(STUCK_AFTER);
    let now = SystemTime::now();
    let waited = |written| now.duration_since(written).is_ok_and(|age| age > too_long);
    let files = spooled(&dir.outbound())?;
    Ok(files.iter().filter(|file| waited(file.written)).count())
}
