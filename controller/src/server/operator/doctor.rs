//! The doctor: everything that is overdue or worth knowing, with the command that releases it.

use mailmend_proto::wire;
use tonic::Status;

use super::OperatorService;
use crate::doctor::{Matter, Picture, Severity, examine};

/// At most so many findings are told; what presses most comes first.
const MOST: usize = 1000;

impl OperatorService {
    pub(super) async fn examined(&self) -> Result<wire::DoctorReport, Status> {
        let certificates = self.authority.agent_validity();
        let picture = self.controller.picture(certificates).await?;
        Ok(report(&picture))
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn report(picture: &Picture) -> wire::DoctorReport {
    let now_ms = picture.now_ms;
    let matters = examine(picture);
    let overdue = matters.iter().filter(|matter| matter.is_overdue(now_ms));
    let overdue = number(overdue.count());
    let waiting = number(matters.len());
    let pressing: Vec<wire::Finding> = matters
        .into_iter()
        .filter_map(|matter| Some(finding(matter.severity(now_ms)?, matter, now_ms)))
        .collect();
    let connected = picture.agents.iter().filter(|agent| agent.connected);
    wire::DoctorReport {
        now_ms,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: picture.store.path.clone(),
        schema: picture.store.schema,
        store_bytes: picture.store.bytes,
        free_bytes: picture.store.free_bytes,
        agents: number(picture.agents.len()),
        connected: number(connected.count()),
        rollouts: number(picture.rollouts.len()),
        waiting,
        overdue,
        left_out: number(pressing.len().saturating_sub(MOST)),
        findings: pressing.into_iter().take(MOST).collect(),
    }
}

fn finding(severity: Severity, matter: Matter, now_ms: i64) -> wire::Finding {
    let severity = match severity {
        Severity::Grave => wire::Severity::Grave,
        Severity::Overdue => wire::Severity::Overdue,
        Severity::Notice => wire::Severity::Notice,
    };
    wire::Finding {
        severity: severity.into(),
        kind: matter.kind.name().to_owned(),
        overdue: matter.is_overdue(now_ms),
        place: matter.place,
        predicate: matter.predicate,
        holder: matter.holder,
        since_ms: matter.since_ms,
        expected_ms: matter.expected_ms.unwrap_or(0),
        release: matter.release,
    }
}
