//! The protocol of locks and fences as a model that is explored whole: a controller, two agents of one site
//! and role, and between them a network that loses, repeats and delays whatever it likes.
//!
//! What decides is the code that runs: [`super::take`], [`super::after`], [`super::is_over`] and
//! [`super::all_begun`] of the controller, [`fence::admit`] and [`fence::obey`] of the agent. The model adds
//! what they are embedded in. Everything that was ever said to an agent may reach it at any time, also long
//! after and again and again, or never; so a controller that dies between storing and telling, or that tells
//! everything anew when it comes back, is in it without a step of its own: what it says is a function of what
//! it has stored. Reports come in order, because the controller takes a journal in by its numbers.
//!
//! Each of [`Rules`] can be switched off; `tests.rs` has the checker find what it is for.

mod agent;
mod check;
mod controller;

use mailmend_proto::fence;
use mailmend_proto::run::RunId;
use stateright::{Model, Property};
use uuid::Uuid;

use super::Held;
use agent::Agent;
use controller::{Release, Run};

/// What the protocol rests on. All of it holds in the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rules {
    /// Agents refuse what is older than what they have seen.
    fences: bool,
    /// What an agent knows survives its restart.
    journal: bool,
    /// A site is given to one run at a time.
    role_lock: bool,
    /// No lock is freed because time has passed.
    no_lease: bool,
    /// A word about an older grant does not free a newer one.
    own_token: bool,
    /// A run is not given its site for a second release before the first one is over.
    one_release: bool,
}

const ALL: Rules = Rules {
    fences: true,
    journal: true,
    role_lock: true,
    no_lease: true,
    own_token: true,
    one_release: true,
};

/// What is explored: each small enough to be explored whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Two runs want the site, each with a section on both agents; a person may abort either.
    Runs,
    /// A run that was closed on agent 0 holds mail there; a person may order two releases of it, and
    /// another run wants the site for agent 1.
    Releases,
}

#[derive(Debug, Clone, Copy)]
struct Protocol {
    rules: Rules,
    scope: Scope,
    /// Whether runs may be aborted and refused.
    trouble: bool,
}

/// Everything there is: what the controller has stored, what was ever said, and the agents.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    held: Option<Held>,
    minted: u64,
    runs: [Run; 2],
    /// Of run 0, at agent 0.
    releases: [Release; 2],
    agents: [Agent; 2],
}

/// Something that happens: to the controller, to an agent, or by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The controller gives a run the site.
    Assign(usize),
    /// It lets an agent go on.
    Advance(usize, usize),
    /// It tells all agents of a run that it is committed.
    Commit(usize),
    /// It has an agent take back what it did.
    Unwind(usize, usize),
    /// It sees that a run has ended.
    Finish(usize),
    /// It takes in the next record of an agent's journal.
    TakeIn(usize),
    /// It hears that an agent refused a run.
    HearRefusal(usize, usize),
    /// It hears whether an agent has taken a release.
    HearAnswer(usize, bool),
    /// A person wants a run taken back.
    Abort(usize),
    /// A person orders a release.
    OrderRelease(usize),
    /// Time passes: the lock is freed. Only without [`Rules::no_lease`].
    Expire,
    /// An agent gets an assignment, and takes it or refuses it for a reason of its own.
    GetAssignment(usize, usize, bool),
    /// An agent gets an advance.
    GetAdvance(usize, usize),
    /// An agent hears that the run is committed.
    GetCommit(usize, usize),
    /// An agent gets an order to unwind.
    GetUnwind(usize, usize),
    /// Agent 0 gets a release, and takes it or refuses it for a reason of its own.
    GetRelease(usize, bool),
    /// An agent goes on by itself: begins or ends a section, or closes.
    GoOn(usize),
    /// An agent dies and comes back; what it had open is brought to its exit.
    Restart(usize),
}

/// The id of a run of the model.
const fn id(run: usize) -> RunId {
    RunId(Uuid::from_u128(run as u128 + 1))
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.scope, self.trouble)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.controller_steps(self.rules, steps);
        world.agent_steps(steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.after(self.rules, step);
        // What changes nothing is no step.
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        check::properties(self.scope)
    }
}

impl World {
    fn new(scope: Scope, trouble: bool) -> Self {
        let mut world = Self {
            held: None,
            minted: 0,
            runs: [Run::waiting([true, true]), Run::waiting([true, true])],
            releases: [Release::default(); 2],
            agents: [Agent::default(), Agent::default()],
        };
        if scope == Scope::Releases {
            world.minted = 1;
            world.runs = [Run::ended(1, [true, false]), Run::waiting([false, true])];
            world.agents[0] = Agent::that_closed(0, 1);
            world.runs[1].refusable = trouble;
            world.runs[1].abortable = trouble;
        } else {
            for release in &mut world.releases {
                release.wanted = false;
            }
            // The first goes wrong in every way; the second is there to be met by what is left of it.
            world.runs[0].refusable = trouble;
            world.runs[0].abortable = trouble;
        }
        world
    }
}

mod tests;
