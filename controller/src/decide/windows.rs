//! Maintenance windows: service is disturbed only while one is open for as long as that may last.

use std::collections::BTreeSet;
use std::time::Duration;

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::Plan;
use mailmend_policy::preview::worst_case;
use mailmend_policy::strategy::{Opening, Window, opening};

use super::groups::Group;
use crate::mail_flow::MailFlow;

/// Whether something of a length may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// A window is open for long enough.
    Now,
    /// None is; the next one opens then, milliseconds since 1970 UTC.
    From(i64),
}

/// Whether service may be disturbed for so long, from now on.
#[must_use]
pub fn fit(windows: &[Window], outage: Duration, now_ms: i64) -> Fit {
    let lasts = i64::try_from(outage.as_millis()).unwrap_or(i64::MAX);
    match opening(windows, now_ms) {
        Opening::Open { until_ms: None } => Fit::Now,
        Opening::Open {
            until_ms: Some(until_ms),
        } if now_ms.saturating_add(lasts) <= until_ms => Fit::Now,
        Opening::Open {
            until_ms: Some(until_ms),
        } => match opening(windows, until_ms) {
            Opening::Shut { opens_ms } => Fit::From(opens_ms),
            // Never: what is joined to this one belongs to it.
            Opening::Open { .. } => Fit::From(until_ms),
        },
        Opening::Shut { opens_ms } => Fit::From(opens_ms),
    }
}

/// The longest that one of a plan's sections may keep service down; none where it disturbs none.
#[must_use]
pub fn longest_outage(plan: &Plan) -> Option<Duration> {
    let sections = worst_case(plan).sections;
    sections.iter().map(|section| section.downtime).max()
}

/// What releases of sections are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door<'a> {
    pub(super) windows: &'a [Window],
    pub(super) mail_flow: &'a MailFlow,
    pub(super) connected: &'a BTreeSet<ServerName>,
    pub(super) now_ms: i64,
}

impl Door<'_> {
    /// Whether a group of steps may be released. One that disturbs no service always may.
    pub(super) fn admits(&self, plan: &Plan, group: &Group<'_>) -> Result<(), Option<i64>> {
        if self.windows.is_empty() {
            return Ok(());
        }
        let costs = worst_case(plan).sections;
        let held: Vec<Duration> = plan
            .sections
            .iter()
            .filter(|section| (group.first..group.end).contains(&section.first))
            .filter_map(|section| costs.iter().find(|cost| cost.section == section.index))
            .map(|cost| cost.downtime)
            .collect();
        if held.is_empty() {
            return Ok(());
        }
        // What is released is told when the agent comes back, whatever the time is then.
        if !self.connected.contains(group.server) {
            return Err(None);
        }
        match fit(self.windows, held.iter().sum(), self.now_ms) {
            Fit::Now => Ok(()),
            Fit::From(opens_ms) => Err(Some(opens_ms)),
        }
    }
}

#[cfg(test)]
mod tests;
