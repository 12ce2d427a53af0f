//! The exit of a section: service is started, whatever happened in it.

use mailmend_policy::name::ServiceName;
use mailmend_policy::plan::Plan;
use mailmend_policy::step::Action;
use mailmend_proto::run::{Ended, Event, Outcome, RunId, RunState, SectionEnd, ServiceChange};

use super::ExitReason;
use crate::ablation::{Mechanism, off};
use crate::faults::known;
use crate::host::ServiceState;
use crate::journal::JournalError;
use crate::service::{Care, Start};
use crate::station::{Station, Trouble};

/// The services that a run changed and has not started again since.
pub(crate) fn stopped_by(state: &RunState) -> impl Iterator<Item = &ServiceName> {
    state
        .services
        .iter()
        .filter(|(_, change)| **change != ServiceChange::Started)
        .map(|(service, _)| service)
}

/// Starts everything that the section disturbed and writes down how it ended: service is up, or a
/// person is called.
pub(crate) fn take(
    station: &Station,
    run: RunId,
    plan: Option<&Plan>,
    section: u32,
    why: &ExitReason,
) -> Result<(), Trouble> {
    let state = station.state(run)?;
    let mut failures = Vec::new();
    let mut started = Vec::new();
    let services = in_order(&state, plan, section);
    let left = |_: &ServiceName| !off(Mechanism::ExitStartsService);
    for service in services.into_iter().filter(left) {
        let touched = state
            .services
            .get(&service)
            .is_some_and(|change| *change != ServiceChange::Started);
        let runs = station
            .host
            .services()
            .query(&service)
            .is_ok_and(|status| status.state == ServiceState::Running);
        if runs && !touched {
            continue;
        }
        let care = Care {
            station,
            run,
            service: &service,
        };
        match care.start(Start::BACK)? {
            Ok(detail) => started.push(detail),
            Err(not) => failures.push(not.why),
        }
    }
    let reason = told(why, plan);
    if failures.is_empty() {
        let detail = format!("{reason}; {}", started.join("; "));
        let how = SectionEnd::Exited;
        let ended = Event::SectionEnded {
            section,
            how,
            detail,
        };
        station.record(run, vec![ended])?;
        return Ok(());
    }
    let text = format!("{reason}; service is down: {}", failures.join("; "));
    tracing::error!(%run, "A054-service-left-down: {text}");
    station.record(
        run,
        vec![
            Event::SectionEnded {
                section,
                how: SectionEnd::HandedOver,
                detail: text.clone(),
            },
            Event::Alarm {
                code: const { known("A054-service-left-down") }.into(),
                text,
            },
        ],
    )?;
    Ok(())
}

/// Starts what an open section stopped, for an agent that may do nothing else. A section in which a step
/// was interrupted stays open: what became of that step is for the next start of the agent to find out.
pub(crate) fn leave(station: &Station, run: RunId) -> Result<(), Trouble> {
    let _alone = station.disturb();
    let state = station.state(run)?;
    let Some(open) = &state.section else {
        return Ok(());
    };
    if state.acting().is_none() {
        let section = open.section;
        drop(state);
        return take(station, run, None, section, &ExitReason::GuardBroken);
    }
    for service in in_order(&state, None, open.section) {
        let status = station.host.services().query(&service);
        if status.is_ok_and(|status| status.state == ServiceState::Running) {
            continue;
        }
        let care = Care {
            station,
            run,
            service: &service,
        };
        match care.start(Start::BACK)? {
            Ok(detail) => tracing::warn!(%run, %service, "{detail}"),
            Err(not) => tracing::error!(%run, %service, "{}", not.why),
        }
    }
    Ok(())
}

/// A run whose plan this agent does not make any more, because it is of another version: service is
/// started, and a person is called.
pub(crate) fn stranded(station: &Station, run: RunId, why: &str) -> Result<(), JournalError> {
    let _alone = station.disturb();
    let state = station.state(run)?;
    let mut text = format!("run `{run}` cannot be carried on: {why}");
    let mut events = Vec::new();
    if let Some(step) = state.acting() {
        events.push(Event::StepFinished {
            step,
            attempt: 1,
            outcome: Outcome::Unknown,
            detail: text.clone(),
            evidence: Vec::new(),
        });
    }
    if let Some(open) = &state.section {
        let mut down = Vec::new();
        let touched: Vec<ServiceName> = stopped_by(&state).cloned().collect();
        for service in std::iter::once(&open.service).chain(&touched) {
            let care = Care {
                station,
                run,
                service,
            };
            match care.start(Start::BACK) {
                Ok(Ok(_)) | Err(Trouble::Interrupted) => {}
                Ok(Err(not)) => down.push(not.why),
                Err(Trouble::Journal(error)) => return Err(error),
            }
        }
        let how = if down.is_empty() {
            SectionEnd::Exited
        } else {
            text = format!("{text}; service is down: {}", down.join("; "));
            SectionEnd::HandedOver
        };
        events.push(Event::SectionEnded {
            section: open.section,
            how,
            detail: text.clone(),
        });
    }
    events.push(Event::Alarm {
        code: const { known("A068-at-rest") }.into(),
        text: text.clone(),
    });
    events.push(Event::Closed {
        how: Ended::AtRest,
        detail: text,
    });
    drop(state);
    station.record(run, events)
}

/// The services of a section in the order in which to start them: the last one stopped comes first,
/// the section's own after those inside it, and what only depends on them last.
fn in_order(state: &RunState, plan: Option<&Plan>, section: u32) -> Vec<ServiceName> {
    let mut services: Vec<ServiceName> = Vec::new();
    let mut add = |service: &ServiceName| {
        if !services.contains(service) {
            services.push(service.clone());
        }
    };
    let planned = plan.and_then(|plan| {
        let index = usize::try_from(section).ok()?;
        Some((plan, plan.sections.get(index)?))
    });
    if let Some((plan, planned)) = planned {
        let within = plan
            .steps
            .iter()
            .filter(|step| planned.first <= step.index && step.index <= planned.last);
        for step in within.rev() {
            if let Action::ServiceStop { service, .. } | Action::ServiceKill { service } =
                &step.action
            {
                add(service);
            }
        }
    }
    if let Some(open) = &state.section {
        add(&open.service);
    }
    stopped_by(state).for_each(&mut add);
    services
}

fn told(why: &ExitReason, plan: Option<&Plan>) -> String {
    match why {
        ExitReason::BudgetOver => {
            "A060-budget-over: the time that service may be disturbed is over".into()
        }
        ExitReason::Failed(step) => {
            let id = usize::try_from(*step)
                .ok()
                .and_then(|index| plan?.steps.get(index))
                .map_or("?", |step| step.id.as_str());
            format!("step `{id}` failed")
        }
        ExitReason::Unwinding => "unwinding was ordered".into(),
        ExitReason::NotStarted => "the step that starts the service was skipped".into(),
        ExitReason::UndoEnded => "the undo ended".into(),
        ExitReason::ReleaseFailed(why) => format!("the release could not go on: {why}"),
        ExitReason::ShuttingDown => "A067-shutdown: the agent is shutting down".into(),
        ExitReason::GuardBroken => "the guard file cannot be used any more".into(),
    }
}

/// The services that an open section may have left down; none where no section is open.
fn disturbed(state: &RunState) -> impl Iterator<Item = &ServiceName> {
    let section = state.section.iter().map(|open| &open.service);
    let stopped = stopped_by(state).filter(|_| state.section.is_some());
    section.chain(stopped)
}

/// Whether every service that an open section of a run may have left down runs.
pub(crate) fn service_is_up(station: &Station, run: RunId) -> bool {
    let Ok(state) = station.state(run) else {
        return false;
    };
    let services = station.host.services();
    disturbed(&state).all(|service| {
        let status = services.query(service);
        status.is_ok_and(|status| status.state == ServiceState::Running)
    })
}

/// Service comes before the journal: where nothing can be written down any more, what a run stopped is
/// asked to start all the same. The next start of the agent sees in the event log that it was started.
pub(crate) fn service_up_without_journal(station: &Station, run: RunId) {
    let state: Result<_, JournalError> = station.state(run);
    let Ok(state) = state else {
        tracing::error!(%run, "the journal cannot be read: look whether services run on this server");
        return;
    };
    for service in disturbed(&state) {
        let status = station.host.services().query(service);
        if status.is_ok_and(|status| status.state == ServiceState::Running) {
            continue;
        }
        match station.host.services().request_start(service) {
            Ok(()) => {
                tracing::error!(%run, %service, "the journal failed; the service was asked to start");
            }
            Err(error) => {
                tracing::error!(%run, %service, %error, "the journal failed, and so did the start");
            }
        }
    }
}
