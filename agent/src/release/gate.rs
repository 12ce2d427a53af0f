//! Whether held mail may be given back now; nothing is changed by asking.

use mailmend_policy::condition::{Condition, EventMatch, Since};
use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{BatchId, RunId, RunState};

use super::{held, queue_named, scope};
use crate::condition::{Scene, Verdict, judge};
use crate::faults::known;
use crate::host::ServiceState;
use crate::inbox::Refusal;
use crate::journal::JournalError;
use crate::queue::{MAIL_SERVICE, QueueCare};
use crate::station::Station;

/// Sent mail could not be removed from the store (Q296879): whoever stops the service sends it again.
const EVENT_NOT_REMOVED: u32 = 3038;

/// Why held mail of this run may not be given back now.
///
/// # Errors
/// Where the journal cannot be read.
pub(crate) fn refusal(
    station: &Station,
    run: RunId,
    state: &RunState,
    only: Option<&[BatchId]>,
) -> Result<Option<Refusal>, JournalError> {
    let refused = |why: String| Refusal::new(const { known("A073-release-refused") }, why);
    if let Some(refusal) = beside(station, run, state)? {
        return Ok(Some(refusal));
    }
    let mut named = only.iter().copied().flatten();
    if let Some(batch) = named.find(|batch| !state.batches.contains_key(batch)) {
        return Ok(Some(Refusal::new(
            const { known("A086-batch-unknown") },
            format!("run `{run}` has no batch `{batch}` on this server"),
        )));
    }
    let batches = scope(state, only);
    if held(state, &batches) == 0 {
        return Ok(Some(refused(
            "nothing is held there; what is in doubt or poison is settled first, with `mailmend custody settle`"
                .into(),
        )));
    }
    for batch in batches.iter().filter_map(|id| state.batches.get(id)) {
        let queue = queue_named(&batch.queue)
            .ok_or_else(|| format!("queue `{}` is not known here", batch.queue));
        if let Err(why) = queue.and_then(|queue| QueueCare::open(station, run, queue).map(drop)) {
            return Ok(Some(refused(why)));
        }
    }
    Ok(refused_service(station))
}

/// Why nothing may be given back because of what else goes on here.
pub(crate) fn beside(
    station: &Station,
    run: RunId,
    state: &RunState,
) -> Result<Option<Refusal>, JournalError> {
    let refused = |why: String| Refusal::new(const { known("A073-release-refused") }, why);
    // Once it is ordered, only what disturbs service now stands in its way: a run that was taken on since
    // finds this one's section in its own.
    let ordered = state.release.is_some();
    for other in station.journal.open_runs() {
        if other == run {
            continue;
        }
        let open = station.state(other)?;
        if open.section.is_some() {
            return Ok(Some(refused(format!(
                "run `{other}` has a section open on this server; wait until it is over"
            ))));
        }
        if !ordered {
            return Ok(Some(refused(format!(
                "run `{other}` is open on this server; wait until it has ended, or abort its rollout"
            ))));
        }
    }
    Ok(None)
}

/// Why the mail service may not be stopped and started now for the sake of held mail.
pub(crate) fn refused_service(station: &Station) -> Option<Refusal> {
    let refused = |why: String| Refusal::new(const { known("A073-release-refused") }, why);
    let Ok(service) = MAIL_SERVICE.parse::<ServiceName>() else {
        return Some(refused(format!("`{MAIL_SERVICE}` is no service")));
    };
    if let Err(refusal) = station.guard.allows_service(&service) {
        return Some(refusal.into());
    }
    if let Some(why) = stop_forbidden(station, &service) {
        return Some(refused(why));
    }
    used_up(station).map(refused)
}

/// Why the guard's hourly allowance does not reach for one more section with its start.
fn used_up(station: &Station) -> Option<String> {
    let limits = station.guard.limits();
    let (sections, restarts) = (station.sections_this_hour(), station.restarts_this_hour());
    if sections >= limits.sections_per_hour {
        return Some(format!(
            "A053-section-refused: {sections} sections were begun within an hour, the guard file allows {}",
            limits.sections_per_hour
        ));
    }
    (restarts >= limits.restarts_per_hour).then(|| {
        format!(
            "A052-restarts-used-up: services were started {restarts} times within an hour, the guard file allows {}",
            limits.restarts_per_hour
        )
    })
}

/// Why the mail service may not be stopped; nothing where it is stopped already.
pub(super) fn stop_forbidden(station: &Station, service: &ServiceName) -> Option<String> {
    let host = station.host.as_ref();
    let status = host.services().query(service);
    if status.is_ok_and(|status| status.state == ServiceState::Stopped) {
        return None;
    }
    let not_removed = Condition::Event(EventMatch {
        source: MAIL_SERVICE.to_owned(),
        ids: vec![EVENT_NOT_REMOVED],
        since: Since::LastStart,
        at_least: 1,
        contains: None,
    });
    let facts = station.facts();
    let judged = judge(
        &not_removed,
        Scene {
            host,
            facts: &facts,
            run_began_ms: None,
            ended: &|_| None,
            answered: &|_| None,
        },
    );
    match judged.verdict {
        Verdict::False => None,
        Verdict::True => Some(format!(
            "A057-forbidden: event {EVENT_NOT_REMOVED} stands: sent mail could not be removed from the store, and stopping `{service}` sends it again (Q296879): {}",
            judged.evidence
        )),
        Verdict::CannotTell => Some(format!(
            "A058-cannot-tell: whether event {EVENT_NOT_REMOVED} stands, with which `{service}` must not be stopped: {}",
            judged.evidence
        )),
    }
}
