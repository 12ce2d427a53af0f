//! What the parts of a policy say of each other: ids, roles, earlier steps.

use std::collections::BTreeMap;

use crate::fault::{FaultCode, Sink};
use crate::step::Action;

use super::context::{Reference, Why};
use super::header::DetectDraft;
use super::reader::Located;
use super::roles::RoleDraft;
use super::steps::StepDraft;
use super::words::{did_you_mean, listed};

/// Notes what does not fit. Returns whether every id and reference does, so that rules about the
/// steps as a whole can be judged.
pub(crate) fn check(
    roles: &[RoleDraft],
    detect: Option<&DetectDraft>,
    steps: &[StepDraft],
    references: &[Reference],
    sink: &Sink,
) -> bool {
    role_names(roles, detect, steps, sink);
    let before = sink.count();
    duplicate_ids(steps, sink);
    for reference in references {
        earlier_step(reference, steps, sink);
    }
    sink.count() == before
}

fn duplicate_ids(steps: &[StepDraft], sink: &Sink) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, id) in steps
        .iter()
        .enumerate()
        .filter_map(|(at, step)| Some((at, step.id.as_ref()?)))
    {
        if let Some(first) = seen.insert(id.value.as_str(), at) {
            let message = format!(
                "the id `{}` is that of step {} already",
                id.value,
                first + 1
            );
            sink.hinted(
                FaultCode::DuplicateStep,
                &id.span,
                message,
                "give each step an id of its own",
            );
        }
    }
}

fn role_names(roles: &[RoleDraft], detect: Option<&DetectDraft>, steps: &[StepDraft], sink: &Sink) {
    let known: Vec<&str> = roles.iter().map(|role| role.name.value.as_str()).collect();
    let uses = steps
        .iter()
        .filter_map(|step| step.on.as_ref())
        .chain(detect.and_then(|detect| detect.on.as_ref()));
    let mut used = Vec::new();
    for on in uses {
        used.push(on.value.as_str());
        // Where no role could be read there is a fault already, and one is enough.
        if known.is_empty() || known.contains(&on.value.as_str()) {
            continue;
        }
        let message = format!("there is no role `{}`", on.value);
        let hint = did_you_mean(on.value.as_str(), known.iter().copied())
            .unwrap_or_else(|| format!("`[roles]` has {}", listed(&known)));
        sink.hinted(FaultCode::UnknownRole, &on.span, message, hint);
    }
    for role in roles {
        if !used.contains(&role.name.value.as_str()) {
            let message = format!(
                "no step and no detection uses the role `{}`",
                role.name.value
            );
            let hint = "remove the role, or say `on` which step it is for";
            sink.hinted(FaultCode::UnusedRole, &role.name.span, message, hint);
        }
    }
}

fn earlier_step(reference: &Reference, steps: &[StepDraft], sink: &Sink) {
    let named = |step: &StepDraft| step.id.as_ref().is_some_and(|id| id.value == reference.to);
    let Some(at) = steps.iter().position(named) else {
        let message = format!("there is no step `{}`", reference.to);
        let ids = steps
            .iter()
            .take(reference.from)
            .filter_map(|step| step.id.as_ref());
        let hint = did_you_mean(reference.to.as_str(), ids.map(|id| id.value.as_str()))
            .unwrap_or_else(|| "name a step that comes before this one".to_owned());
        sink.hinted(FaultCode::UnknownStep, &reference.span, message, hint);
        return;
    };
    if at >= reference.from {
        let which = if at == reference.from {
            "this step itself"
        } else {
            "a later step"
        };
        let message = format!(
            "`{}` is {which}, whose outcome is not known yet",
            reference.to
        );
        let hint = "name a step that comes before this one";
        sink.hinted(FaultCode::LaterStep, &reference.span, message, hint);
        return;
    }
    let (target, from) = (&steps[at], &steps[reference.from]);
    if matches!(reference.why, Why::Of)
        && target
            .action
            .is_some_and(|action| action != "queue.quarantine")
    {
        let message = format!("the step `{}` takes nothing into custody", reference.to);
        let hint = "name a `queue.quarantine` step";
        sink.hinted(FaultCode::NotAQuarantine, &reference.span, message, hint);
        return;
    }
    if let Why::Answer(answer) = &reference.why {
        answer_offered(answer, target, sink);
    }
    if let (Some(theirs), Some(ours)) = (&target.on, &from.on)
        && theirs.value != ours.value
    {
        let message = format!(
            "the step `{}` runs on `{}`, this one on `{}`",
            reference.to, theirs.value, ours.value
        );
        let hint = match &reference.why {
            Why::Of => "mail goes back only to the server that it was taken from",
            Why::Outcome | Why::Answer(_) => {
                "an agent knows the outcome of its own steps only; a failed step of another role ends the run anyway"
            }
        };
        sink.hinted(FaultCode::OtherRole, &reference.span, message, hint);
    }
}

/// A condition can only hold for an answer that the other step offers and takes for done.
fn answer_offered(answer: &Located<String>, target: &StepDraft, sink: &Sink) {
    let Some(Action::HumanTask { accept, .. }) = target.step.as_ref().map(|step| &step.action)
    else {
        if target.action.is_some_and(|action| action != "human.task") {
            let message = "the step that is named asks nobody".to_owned();
            let hint = "name a `human.task` step";
            sink.hinted(FaultCode::AnswerNotOffered, &answer.span, message, hint);
        }
        return;
    };
    if !accept.contains(&answer.value) {
        let message = format!("the step that is named does not accept `{}`", answer.value);
        let hint =
            did_you_mean(&answer.value, accept.iter().map(String::as_str)).unwrap_or_else(|| {
                "name one of its `accept`: with any other the run ends there".to_owned()
            });
        sink.hinted(FaultCode::AnswerNotOffered, &answer.span, message, hint);
    }
}
