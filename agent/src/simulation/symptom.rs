//! Simulated servers that have the symptom of a shipped policy.

use std::path::Path;
use std::time::Duration;

use crate::guard::Guard;
use crate::host::Host;
use crate::host::simulated::{Harm, SimSettings, SimWorld};

/// The mail service of a simulated server.
pub const IMC: &str = "MSExchangeIMC";

const GUARD: &str = r#"
policies = "unsigned"
roots = ["/exchsrvr"]
services = ["MSExchangeIMC", "MSExchangeMTA"]

[tools.recalculate-routing]
program = "/tools/simulated"
arguments = ["recalculate"]

[tools.submit-test-mail]
program = "/tools/simulated"
arguments = ["submit"]
flags = { to = { flag = "--to", pattern = "address" } }

[tools.imcsave]
program = "/tools/simulated"
arguments = ["imcsave"]
fresh_place = "--place"
verdicts = { saved = "item(s) saved", exists = "already exists" }

[tools.list-mts-out]
program = "/tools/simulated"
arguments = ["list-mts-out"]
verdicts = { listed = "item(s) listed" }

[tools.export-connector]
program = "/tools/simulated"
arguments = ["export-connector"]
fresh_place = "--place"
verdicts = { exported = "connector settings exported", exists = "already exists" }

[tools.compare-connector]
program = "/tools/simulated"
arguments = ["compare-connector"]
only_reads = true
verdicts = { recreated = "connector recreated", unchanged = "the connector is the exported one" }

[tools.store-room]
program = "/tools/simulated"
arguments = ["store-room"]
only_reads = true
verdicts = { enough = "enough room", short = "too little room" }

[tools.save-mtadata]
program = "/tools/simulated"
arguments = ["save-mtadata"]
verdicts = { saved = "MTA database saved" }

[tools.mtacheck]
program = "/tools/simulated"
arguments = ["mtacheck"]
verdicts = { clean = "Database clean, no errors detected", repaired = "Database repaired, some data may have been lost", serious = "Database has serious errors", missing = "missing from the Boot Environment" }

[limits]
restarts_per_hour = 300
sections_per_hour = 60
tools_per_hour = 1000

[watchdog]
services = ["MSExchangeIMC"]
"#;

/// What a simulated agent may touch, with a watchdog or without, or the guard of an agent that may touch nothing.
///
/// # Panics
/// Never: the text is fixed, and a test reads it.
#[must_use]
pub fn guard(allows: bool, watchdog: bool) -> Guard {
    let text = if allows && watchdog {
        GUARD.to_owned()
    } else if allows {
        GUARD
            .split("\n[watchdog]")
            .next()
            .unwrap_or_default()
            .to_owned()
    } else {
        "policies = \"unsigned\"\nroots = [\"/nowhere\"]\nservices = []\n".to_owned()
    };
    match Guard::parse("guard.toml", &text) {
        Ok(guard) => guard,
        Err(fault) => unreachable!("the simulated guard file: {fault}"),
    }
}

/// How a simulated server begins.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Decides every name, text and chance.
    pub seed: u64,
    /// The shipped policy whose symptom stands; empty, or unknown: none does.
    pub symptom: String,
    /// How many messages wait.
    pub messages: u32,
    /// How many times slower than others its services start and stop.
    pub slowness: u32,
}

/// A server on which that symptom stands, and which has waited long enough to show it.
#[must_use]
pub fn server(beginning: &Beginning) -> SimWorld {
    let stale = matches!(
        beginning.symptom.as_str(),
        "stuck-outbound-routing" | "stuck-message"
    );
    let slow = u64::from(beginning.slowness.max(1));
    let world = SimWorld::new(SimSettings {
        seed: beginning.seed,
        stale_routes: stale,
        start_ms: 800 * slow,
        stop_ms: 500 * slow,
        ..SimSettings::default()
    });
    let messages = usize::try_from(beginning.messages).unwrap_or(usize::MAX);
    match beginning.symptom.as_str() {
        "stuck-outbound-routing" => {
            world.add_outbound(messages, 300);
            age(&world, 16);
        }
        "stuck-message" => {
            world.add_outbound(messages, 300);
            age(&world, 31);
            // The service works on with what it loaded when it started; a start without mail helps.
            let host = world.host();
            let recalculate = ["recalculate".to_owned()];
            let limit = Duration::from_secs(60);
            // The simulated tool never fails here.
            let _ = host
                .tools()
                .run(Path::new("/tools/simulated"), &recalculate, limit);
            world.write_event(IMC, 4116, "An error occurred while reading a message");
            world.set_tool_answer("mtacheck", 0, "Database clean, no errors detected\n");
            world.set_tool_answer("save-mtadata", 0, "MTA database saved\n");
        }
        "corrupt-message" => dead(&world, messages),
        "sent-not-removed" => {
            world.set_scanned(true);
            world.add_outbound(messages, 300);
            world.advance(Duration::from_secs(10 + u64::from(beginning.messages)));
            world.set_tool_answer("export-connector", 0, "connector settings exported\n");
            world.set_tool_answer(
                "compare-connector",
                0,
                "the connector is the exported one\n",
            );
            world.set_tool_answer("store-room", 0, "enough room\n");
        }
        _ => {}
    }
    world
}

/// The service has died of a message in its queue, which holds others too. No watchdog cares for it: one would
/// have started it again with what it may have been sending set aside, and with that the message itself.
fn dead(world: &SimWorld, messages: usize) {
    world.by_hand(IMC, false);
    world.advance(Duration::from_secs(20));
    world.add_outbound(messages, 300);
    world.add_bad_outbound(Harm::Crash);
    world.by_hand(IMC, true);
    for _ in 0..60 {
        if world.has_process(IMC) {
            world.advance(Duration::from_secs(1));
        }
    }
    age(world, 16);
}

fn age(world: &SimWorld, minutes: u64) {
    for file in world
        .balance()
        .accounts
        .iter()
        .flat_map(|account| &account.live)
    {
        world.set_age(file, Duration::from_secs(minutes * 60));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulated_guard_files_are_understood() {
        assert!(guard(true, true).watchdog().services.len() == 1);
        assert!(guard(true, false).watchdog().services.is_empty());
        assert!(
            guard(true, false)
                .allows_service(&IMC.parse().unwrap())
                .is_ok()
        );
        assert!(
            guard(false, true)
                .allows_service(&IMC.parse().unwrap())
                .is_err()
        );
    }
}
