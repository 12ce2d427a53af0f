//! Sections: consecutive steps of one role between which a service is disturbed.
//!
//! The rules of [`crate::lint`] and the planner read the same outline, so what is refused and what is
//! planned cannot disagree.

use crate::name::ServiceName;
use crate::step::{Action, Step};

/// Where a section of a policy begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The step that opens it, by its place in the policy from 0.
    pub first: usize,
    /// The step that closes it; the same one for a search, which restarts the service by itself.
    pub last: usize,
    /// The service that is stopped first and started last.
    pub service: ServiceName,
    /// Services stopped and started again within it, in the order in which to start them.
    pub inner: Vec<ServiceName>,
}

impl Outline {
    /// Whether a step belongs to it.
    #[must_use]
    pub const fn contains(&self, step: usize) -> bool {
        self.first <= step && step <= self.last
    }
}

/// What keeps the steps of a policy from falling into sections. Steps by their place, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disorder {
    /// The step stops a service that nothing starts again.
    NeverStarted {
        /// The step that stops it.
        stop: usize,
    },
    /// The step stops a service that an earlier one has stopped already.
    StoppedTwice {
        /// The step.
        step: usize,
    },
    /// The step belongs to another role than the section that it stands in.
    Interrupted {
        /// The step that opened the section.
        opened: usize,
        /// The step.
        step: usize,
    },
    /// The step starts a service while one that was stopped after it is still stopped.
    NotNested {
        /// The step that starts it.
        start: usize,
        /// The step that stopped the other.
        stopped: usize,
    },
    /// A search, which starts and stops the service by itself, stands in a section.
    SearchInside {
        /// The search.
        step: usize,
    },
}

/// The sections of a policy's steps, and what is out of order.
#[must_use]
pub fn outlines(steps: &[Step]) -> (Vec<Outline>, Vec<Disorder>) {
    let mut sections = Vec::new();
    let mut disorders = Vec::new();
    // The services that are stopped now, in the order in which they were, with the step that did it.
    let mut stopped: Vec<(usize, &ServiceName)> = Vec::new();
    let mut inner: Vec<ServiceName> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if let Some((opened, _)) = stopped.first()
            && steps[*opened].on != step.on
        {
            disorders.push(Disorder::Interrupted {
                opened: *opened,
                step: at,
            });
            continue;
        }
        match &step.action {
            Action::ServiceStop { service, .. } => {
                if stopped.iter().any(|(_, other)| *other == service) {
                    disorders.push(Disorder::StoppedTwice { step: at });
                } else {
                    stopped.push((at, service));
                }
            }
            // Ending a process that a stop has ended already changes nothing.
            Action::ServiceKill { service }
                if !stopped.iter().any(|(_, other)| *other == service) =>
            {
                stopped.push((at, service));
            }
            Action::ServiceStart { service, .. } => {
                let Some(found) = stopped.iter().position(|(_, other)| *other == service) else {
                    continue;
                };
                for (later, _) in stopped.drain(found + 1..) {
                    disorders.push(Disorder::NotNested {
                        start: at,
                        stopped: later,
                    });
                }
                let opened = stopped.pop();
                match opened {
                    Some((first, service)) if stopped.is_empty() => sections.push(Outline {
                        first,
                        last: at,
                        service: service.clone(),
                        inner: std::mem::take(&mut inner),
                    }),
                    _ => inner.push(service.clone()),
                }
            }
            Action::QueueSearch { service, .. } => {
                if stopped.is_empty() {
                    let service = service.clone();
                    sections.push(Outline {
                        first: at,
                        last: at,
                        service,
                        inner: Vec::new(),
                    });
                } else {
                    disorders.push(Disorder::SearchInside { step: at });
                }
            }
            _ => {}
        }
    }
    disorders.extend(
        stopped
            .into_iter()
            .map(|(stop, _)| Disorder::NeverStarted { stop }),
    );
    (sections, disorders)
}
