//! A small swarm against the real controller and the bare server: everything that the large one measures, judged by what
//! must come about and by no time.

use std::path::Path;
use std::time::Duration;

use mailmend_lab::programs::Programs;
use mailmend_lab::swarm::{self, Swarm};

#[test]
fn a_swarm_is_pushed_to_rolled_out_over_and_comes_back_resumed_and_nothing_of_it_is_lost() {
    let lab = Path::new(env!("CARGO_BIN_EXE_mailmend-lab"));
    let programs = Programs::built_beside(lab).unwrap_or_else(|why| panic!("{}", why.whole()));
    let swarm = Swarm {
        agents: 200,
        slow: 20,
        patience: Duration::from_secs(60),
        bare: true,
        keep: false,
    };
    let outcome = swarm::run(&swarm, &programs, &|_| ());
    let outcome = outcome.unwrap_or_else(|why| panic!("{}", why.whole()));
    // That it got here says that all connected, all answered the push, and all came back after the kill.
    assert_eq!(outcome.succeeded, outcome.runs, "{outcome:?}");
    assert_eq!(outcome.runs, 400, "two rollouts over all");
    assert_eq!(outcome.steps_stored, outcome.steps_due, "{outcome:?}");
    for figures in [Some(&outcome.controller), outcome.bare.as_ref()] {
        let figures = figures.unwrap();
        let all = figures.resumed + figures.full;
        assert!(
            all >= 200 && figures.resumed * 20 >= all * 19,
            "{figures:?}"
        );
    }
    let ours = &outcome.controller;
    let grown = ours.slow_bytes.saturating_sub(ours.slow_before_bytes);
    // 24 policies of 64 KiB were pushed past each slow reader: less than that is held for it.
    assert!(grown < 20 * (24 << 16), "{grown} bytes");
}
