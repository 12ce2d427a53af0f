//! Rules about sections: what is stopped is started, and only what is stopped is touched.

use crate::condition::{Condition, StepWas};
use crate::fault::FaultCode;
use crate::section::Disorder;
use crate::step::Action;

use super::{Case, IMS, Rule};

pub(super) const NEVER_STARTED: Rule = Rule {
    code: FaultCode::NeverStarted,
    reason: "add a `service.start` of it on the same role: a stopped service keeps receiving mail that nobody can reroute (Q263714)",
    check: |case| {
        for disorder in case.disorders {
            match disorder {
                Disorder::NeverStarted { stop } => {
                    case.broken(
                        *stop,
                        "service",
                        "the service that is stopped here is never started again",
                    );
                }
                Disorder::NotNested { start, stopped } => {
                    let still = &case.steps[*stopped].id;
                    let message = format!(
                        "the service is started while what `{still}` stopped is still stopped"
                    );
                    case.broken(*start, "service", message);
                }
                _ => {}
            }
        }
    },
};

pub(super) const STOPPED_TWICE: Rule = Rule {
    code: FaultCode::StoppedTwice,
    reason: "remove one: two steps that believe to have stopped it cannot both be unwound (Q197792 stops and starts in pairs)",
    check: |case| {
        for disorder in case.disorders {
            match disorder {
                Disorder::StoppedTwice { step } => {
                    case.broken(*step, "service", "the service is stopped here already");
                }
                Disorder::SearchInside { step } => {
                    let message = "a search starts and stops the service by itself, and it is stopped here already";
                    case.broken(*step, "service", message);
                }
                _ => {}
            }
        }
    },
};

pub(super) const SECTION_INTERRUPTED: Rule = Rule {
    code: FaultCode::SectionInterrupted,
    reason: "move it before the stop or after the start: an outage must not wait for another server (Q268494 recalculates while the service is down)",
    check: |case| {
        for disorder in case.disorders {
            if let Disorder::Interrupted { opened, step } = disorder {
                let opened = &case.steps[*opened];
                let message = format!(
                    "the step runs on another role while `{}` keeps a service of `{}` down",
                    opened.id, opened.on
                );
                case.broken(*step, "on", message);
            }
        }
    },
};

/// Whether a step touches the spool folders or the queue index.
const fn touches_spool(action: &Action) -> bool {
    matches!(
        action,
        Action::QueueQuarantine { .. } | Action::QueueResetIndex {} | Action::QueueReplay { .. }
    )
}

/// Whether the mail service is stopped just before a step.
fn ims_stopped(case: &Case<'_>, at: usize) -> bool {
    let role = &case.steps[at].on;
    case.steps[..at]
        .iter()
        .rev()
        .filter(|step| step.on == *role)
        .find_map(|step| match &step.action {
            Action::ServiceStop { service, .. } | Action::ServiceKill { service }
                if service.as_str() == IMS =>
            {
                Some(true)
            }
            Action::ServiceStart { service, .. } if service.as_str() == IMS => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

pub(super) const LIVE_SPOOL: Rule = Rule {
    code: FaultCode::LiveSpool,
    reason: "stop MSExchangeIMC first: it holds queue.dat open and sends what is moved under it (Q302863, Q168883)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            if touches_spool(&step.action) && !ims_stopped(case, at) {
                let message = format!("`{}` stands where MSExchangeIMC runs", step.action.name());
                case.broken(at, "action", message);
            }
        }
    },
};

pub(super) const INDEX_KEPT: Rule = Rule {
    code: FaultCode::IndexKept,
    reason: "add `queue.reset-index` after the files have changed and before the start: queue.dat lists files that are no longer there (Q148727, Q197792)",
    check: |case| {
        let mut changed: Option<usize> = None;
        for (at, step) in case.steps.iter().enumerate() {
            match &step.action {
                Action::QueueQuarantine { .. } | Action::QueueReplay { .. } => changed = Some(at),
                Action::QueueResetIndex {} => changed = None,
                Action::ServiceStart { service, .. } if service.as_str() == IMS => {
                    if let Some(by) = changed.take() {
                        let message = format!(
                            "the service starts with the index from before `{}`",
                            case.steps[by].id
                        );
                        case.broken(at, "service", message);
                    }
                }
                _ => {}
            }
        }
    },
};

/// A section is carried out whole or not at all: its later steps may only ask whether the stop, or
/// an earlier step of the section, was done.
pub(super) const SECTION_CONDITIONAL: Rule = Rule {
    code: FaultCode::SectionConditional,
    reason: "give the start no `when`, and where the stop has one, give every later step `when = [{ step = \"<the stop>\", was = \"done\" }]`: else files are moved under a running service, or it stays down (Q168883)",
    check: |case| {
        for section in case
            .sections
            .iter()
            .filter(|section| section.first != section.last)
        {
            let stop = &case.steps[section.first];
            let follows = Condition::Step {
                step: stop.id.clone(),
                was: StepWas::Done,
            };
            for at in section.first + 1..=section.last {
                let step = &case.steps[at];
                if !stop.when.is_empty() && !step.when.contains(&follows) {
                    let message = format!(
                        "the step is carried out even where `{}` is skipped",
                        stop.id
                    );
                    case.broken(at, "when", message);
                }
                let starts = matches!(step.action, Action::ServiceStart { .. });
                let only_follows = step.when.iter().all(|condition| *condition == follows);
                if starts && !only_follows {
                    let message = format!("the start may be skipped though `{}` was done", stop.id);
                    case.broken(at, "when", message);
                }
            }
        }
    },
};

pub(super) const ASKED_IN_SECTION: Rule = Rule {
    code: FaultCode::AskedInSection,
    reason: "ask before the stop or after the start: mail waits while a person thinks (Q197792 has the store's folders cleared while the service runs)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let asks = matches!(step.action, Action::HumanTask { .. });
            if let Some(section) = case.section_of(at).filter(|_| asks) {
                let message = format!(
                    "a person is asked while `{}` keeps `{}` down",
                    case.steps[section.first].id, section.service
                );
                case.broken(at, "action", message);
            }
        }
    },
};

pub(super) const RETURN_IN_SECTION: Rule = Rule {
    code: FaultCode::ReturnInSection,
    reason: "put it on the start or after it: a section must always be able to end (Q268494 has no way back at all)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let inside = case.section_of(at).is_some_and(|section| at < section.last);
            if step.point_of_no_return && inside {
                let message = "the point of no return stands where a service is down";
                case.broken(at, "point_of_no_return", message);
            }
        }
    },
};
