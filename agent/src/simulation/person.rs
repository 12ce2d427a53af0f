//! What a person does at a simulated server before saying that it is done.

use mailmend_policy::step::Action;
use mailmend_proto::run::{Fate, RunState};
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;

use crate::host::simulated::SimWorld;
use crate::inbox::Bound;

/// Does what the order says was done: a scanner is excluded, what the run lists as sent is removed. What this
/// world has nothing for is only said.
pub(super) fn acts(world: &SimWorld, bound: &Bound, state: &RunState, order: &wire::Order) {
    let Some(What::Answer(answer)) = &order.what else {
        return;
    };
    let Some(step) = bound.plan.steps.get(answer.step as usize) else {
        return;
    };
    let Action::HumanTask { accept, .. } = &step.action else {
        return;
    };
    if !accept.contains(&answer.answer) {
        return;
    }
    match step.id.as_str() {
        "exclude-scanner" => world.set_scanned(false),
        "remove-sent" | "remove-sent-again" => {
            // What the last reconciliation before this step lists.
            let listed = state.reconciled.range(..answer.step).next_back();
            let sent: Vec<&str> = listed
                .iter()
                .flat_map(|(_, found)| &found.messages)
                .filter(|message| message.fate == Fate::Delivered)
                .map(|message| message.mts_id.as_str())
                .collect();
            world.remove_from_mts_out(&sent);
        }
        _ => {}
    }
}
