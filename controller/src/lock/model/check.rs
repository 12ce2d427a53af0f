//! What must hold in every world that can be reached, and what must be reachable.

use stateright::Property;

use super::agent::{Part, highest};
use super::controller::Phase;
use super::{Protocol, Scope, World, id};

pub(super) const ONE_SECTION: &str = "never two disruptive sections at a site and role at once";
pub(super) const FENCES_RISE: &str = "a fence never falls";
pub(super) const HELD: &str = "whoever may disturb holds the site";
pub(super) const SECOND_RUN: &str = "a second run disturbs after the first has ended";
pub(super) const COMMITTED: &str = "a run is committed";
pub(super) const TAKEN_BACK: &str = "a run whose sections were over is taken back";
pub(super) const LATE: &str = "an agent takes on what it had refused";
pub(super) const RELEASED: &str = "a second release is over and the site is free";
pub(super) const REFUSED: &str = "a refused release frees the site for another run";

pub(super) fn properties(scope: Scope) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::always(ONE_SECTION, |_, world: &World| sections(world) <= 1),
        Property::always(FENCES_RISE, |_, world: &World| {
            world.agents.iter().all(|agent| {
                let ever = highest(&agent.journal);
                highest(agent.memory()) == ever && ever <= world.minted
            })
        }),
        Property::always(HELD, |_, world: &World| whoever_may_disturb_holds(world)),
    ];
    match scope {
        Scope::Runs => all.extend([
            Property::sometimes(SECOND_RUN, |_, world: &World| {
                let first = &world.runs[0];
                first.phase == Phase::Over && first.committed && disturbs(world, 1)
            }),
            Property::sometimes(COMMITTED, |_, world: &World| {
                world
                    .runs
                    .iter()
                    .all(|run| run.phase == Phase::Over && run.committed)
            }),
            Property::sometimes(TAKEN_BACK, |_, world: &World| {
                world.runs[0].phase == Phase::Over
                    && world.agents.iter().all(|agent| agent.told(0).ended == 2)
            }),
            Property::sometimes(LATE, |_, world: &World| {
                world.runs[0].phase == Phase::Over
                    && world.runs[0].refused[0]
                    && world.agents[0].told(0).closed
            }),
        ]),
        Scope::Releases => all.extend([
            Property::sometimes(RELEASED, |_, world: &World| {
                world.held.is_none() && world.agents[0].told(0).released == [true, true]
            }),
            Property::sometimes(REFUSED, |_, world: &World| {
                world.releases[0].fence > 0
                    && !world.agents[0].told(0).released[0]
                    && world.held.is_some_and(|held| held.run == id(1))
                    && disturbs(world, 1)
            }),
        ]),
    }
    all
}

fn parts(world: &World, run: usize) -> impl Iterator<Item = Part> + '_ {
    world
        .agents
        .iter()
        .map(move |agent| Part::of(&agent.journal, run))
}

fn disturbs(world: &World, run: usize) -> bool {
    parts(world, run).any(|part| part.in_section())
}

fn sections(world: &World) -> usize {
    (0..2)
        .flat_map(|run| parts(world, run))
        .filter(Part::in_section)
        .count()
}

fn whoever_may_disturb_holds(world: &World) -> bool {
    (0..2).all(|run| {
        world.held.is_some_and(|held| held.run == id(run))
            || !parts(world, run).any(|part| part.may_disturb())
    })
}
