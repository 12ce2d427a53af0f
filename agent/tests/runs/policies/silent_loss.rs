//! Q157684: copies of all spool files are kept, a person lets mail run, and nothing is missing.

use std::path::Path;

use mailmend_agent::engine::Engine;
use mailmend_agent::host::simulated::{SimSettings, SimWorld};
use mailmend_proto::run::{Ended, Outcome, StepState};

use super::{Again, Case, stuck_outbound_routing};
use crate::site::{GUARD, Site, changed};

pub(crate) const CASE: Case = Case {
    policy: "silent-loss",
    site,
    least_points: 40,
    // It disturbs nothing: a recovery has nothing to mend, and passes no point.
    again: Again {
        every: 1,
        in_run: true,
    },
    ends: &[Ended::Committed],
    check: |site, told| {
        (stuck_outbound_routing::CASE.check)(site, told);
        let found = site.step_state("find-missing");
        let done = matches!(
            found,
            Some(StepState::Finished {
                outcome: Outcome::Done,
                ..
            })
        );
        assert!(done, "{told}: {found:?}");
        // Escrow stands, whatever was killed, and nothing is called vanished that was not.
        let state = site.state();
        assert_eq!(state.escrows.len(), 2, "{told}");
        for escrow in state.escrows.values() {
            assert!(Path::new(&escrow.kept_in).is_absolute(), "{told}");
        }
        let detail = site.detail("find-missing");
        assert!(detail.contains(", 0 vanished"), "{told}: {detail}");
    },
};

fn site(seed: u64) -> Site {
    let world = SimWorld::new(SimSettings {
        seed,
        stale_routes: false,
        ..SimSettings::default()
    });
    world.add_outbound(4, 300);
    // The simulated server is a 5.0.
    let edits = [("<4.0.994.63", "<5.5")];
    let mut site = Site::on(world, seed, &changed("silent-loss", &edits), GUARD);
    site.people = answer;
    site
}

/// A person answers what is asked, once.
fn answer(site: &Site, engine: &Engine) {
    let state = engine.state(site.run).unwrap();
    for step in [site.index("let-mail-run"), site.index("decide-on-missing")] {
        let asked = matches!(state.steps.get(&step), Some(StepState::Intended { .. }));
        if asked && !state.answers.contains_key(&step) {
            engine.order(&site.accepted(step)).unwrap();
        }
    }
}
