//! Lays the steps of a policy out over the servers of one binding.

use std::time::Duration;

use crate::digest::Digest;
use crate::name::{RoleName, ServerName, StepId};
use crate::policy::Policy;
use crate::section::{Outline, outlines};
use crate::step::{Action, Step};

use super::bind::Binding;
use super::{DETECT, Plan, PlannedStep, Section};

/// How long judging the symptom may take.
const DETECT_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn plan(policy: &Policy, policy_digest: Digest, binding: &Binding) -> Plan {
    let (outlines, _) = outlines(&policy.steps);
    let mut layout = Layout {
        policy,
        outlines,
        steps: Vec::new(),
        sections: Vec::new(),
    };
    let servers = |role: &RoleName| binding.roles.get(role).map_or(&[][..], Vec::as_slice);
    for server in servers(&policy.detect.on) {
        layout.detect(server);
    }
    let mut begin = 0;
    // The consecutive steps of a role are carried out server by server, so that a section stays
    // together and never two servers of a role are disturbed at once.
    for block in policy.steps.chunk_by(|one, next| one.on == next.on) {
        for server in servers(&block[0].on) {
            layout.block(block, begin, server);
        }
        begin += block.len();
    }
    Plan {
        policy: policy.name.clone(),
        policy_version: policy.version,
        policy_digest,
        site: binding.site.clone(),
        subject: binding.subject.clone(),
        bindings: binding.roles.clone(),
        limits: policy.limits,
        steps: layout.steps,
        sections: layout.sections,
    }
}

struct Layout<'p> {
    policy: &'p Policy,
    outlines: Vec<Outline>,
    steps: Vec<PlannedStep>,
    sections: Vec<Section>,
}

/// A place in a plan. A plan has at most 200 steps for each of its servers, far below the limit.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Layout<'_> {
    fn detect(&mut self, server: &ServerName) {
        let detect = &self.policy.detect;
        self.steps.push(PlannedStep {
            index: place(self.steps.len()),
            id: detect_id(),
            role: detect.on.clone(),
            server: server.clone(),
            action: Action::Detect {
                all: detect.all.clone(),
            },
            timeout: DETECT_TIMEOUT,
            when: Vec::new(),
            forbid: Vec::new(),
            point_of_no_return: false,
            section: None,
            why: None,
        });
    }

    /// One server's steps of a block that begins at `begin` in the policy.
    fn block(&mut self, block: &[Step], begin: usize, server: &ServerName) {
        let offset = self.steps.len();
        let end = begin + block.len();
        let within = self
            .outlines
            .iter()
            .filter(|outline| begin <= outline.first && outline.last < end);
        let before = self.sections.len();
        for (at, outline) in within.enumerate() {
            self.sections.push(Section {
                index: place(before + at),
                server: server.clone(),
                role: block[0].on.clone(),
                first: place(offset + outline.first - begin),
                last: place(offset + outline.last - begin),
                service: outline.service.clone(),
                inner: outline.inner.clone(),
                budget: self.policy.limits.max_outage,
            });
        }
        for (at, step) in block.iter().enumerate() {
            let index = place(offset + at);
            let section = self.sections[before..]
                .iter()
                .find(|section| section.first <= index && index <= section.last)
                .map(|section| section.index);
            self.steps.push(PlannedStep {
                index,
                id: step.id.clone(),
                role: step.on.clone(),
                server: server.clone(),
                action: step.action.clone(),
                timeout: step.timeout,
                when: step.when.clone(),
                forbid: step.forbid.clone(),
                point_of_no_return: step.point_of_no_return,
                section,
                why: step.why.clone(),
            });
        }
    }
}

fn detect_id() -> StepId {
    DETECT.parse().expect("`detect` is lower-case letters")
}
