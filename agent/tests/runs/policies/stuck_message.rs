//! Q197792: event 4116 stands and mail waits; an empty start mends it, and the mail is replayed in two
//! parts.

use std::path::Path;
use std::time::Duration;

use mailmend_agent::host::Host;
use mailmend_agent::host::simulated::{SimSettings, SimWorld};

use super::{Case, stuck_outbound_routing};
use crate::site::{GUARD, IMC, Site, changed};

pub(crate) const CASE: Case = Case {
    policy: "stuck-message",
    site,
    least_points: 600,
    ..stuck_outbound_routing::CASE
};

const TOOLS: &str = r#"
[tools.imcsave]
program = "/tools/mailmend-lab"
arguments = ["imcsave"]
verdicts = { saved = "item(s) saved", exists = "already exists" }

[tools.save-mtadata]
program = "/tools/mailmend-lab"
arguments = ["save-mtadata"]
verdicts = { saved = "MTA database saved" }

[tools.mtacheck]
program = "/tools/mailmend-lab"
arguments = ["mtacheck"]
verdicts = { clean = "Database clean, no errors detected", repaired = "Database repaired, some data may have been lost", serious = "Database has serious errors", missing = "missing from the Boot Environment" }

[limits]"#;

fn site(seed: u64) -> Site {
    let world = SimWorld::new(SimSettings {
        seed,
        ..SimSettings::default()
    });
    world.add_outbound(4, 300);
    for account in world.balance().accounts {
        for file in account.live {
            world.set_age(&file, Duration::from_secs(31 * 60));
        }
    }
    // The service works on with what it loaded when it started; a start without mail in its way helps.
    let recalculate = ["recalculate".to_owned()];
    let host = world.host();
    let tool = Path::new("/tools/mailmend-lab");
    host.tools()
        .run(tool, &recalculate, Duration::from_secs(60))
        .unwrap();
    world.write_event(IMC, 4116, "An error occurred while reading a message");
    let edits = [
        ("first = 10", "first = 2"),
        ("observe = \"60s\"", "observe = \"10s\""),
    ];
    let guard = GUARD
        .replace(
            "services = [\"MSExchangeIMC\"]\n\n[tools.r",
            "services = [\"MSExchangeIMC\", \"MSExchangeMTA\"]\n\n[tools.r",
        )
        .replace("\n[limits]", TOOLS);
    Site::on(world, seed, &changed("stuck-message", &edits), &guard)
}
