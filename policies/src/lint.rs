//! Dangerous shapes, as named rules: what the articles would do if they were carried out literally.
//!
//! A policy that breaks a rule of severity error does not parse, at the controller or at any agent.

mod limits;
mod proof;
mod sections;
mod service;
#[cfg(test)]
mod tests;
mod words;

use std::cell::RefCell;

use crate::fault::{FaultCode, Sink};
use crate::parse::StepPlaces;
use crate::policy::{Detect, Limits};
use crate::section::{Disorder, Outline, outlines};
use crate::step::Step;

/// The short name of the Internet Mail Service, Connector in 4.0.
pub(crate) const IMS: &str = "MSExchangeIMC";

/// A rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its code, which is its name too.
    pub code: FaultCode,
    /// Why it is there, with the article that shows the harm.
    pub reason: &'static str,
    check: fn(&Case<'_>),
}

/// Every rule, by code.
pub const RULES: &[Rule] = &[
    service::STOP_WHILE_3038,
    sections::NEVER_STARTED,
    service::UNOBSERVED,
    sections::LIVE_SPOOL,
    sections::INDEX_KEPT,
    service::STORE_KILLED,
    limits::TOO_MANY_RESTARTS,
    limits::OUTAGE_TOO_LONG,
    limits::SEARCH_CUT_SHORT,
    proof::RECALCULATION_UNPROVEN,
    proof::REPLAY_UNSETTLED,
    proof::CLEARED_UNSAVED,
    words::NEVER_TRUE,
    sections::SECTION_INTERRUPTED,
    sections::STOPPED_TWICE,
    service::KILLED_FIRST,
    proof::POISON_PUT_BACK,
    sections::SECTION_CONDITIONAL,
    service::DEPENDENTS_FORGOTTEN,
    proof::REPLAYED_TWICE,
    sections::RETURN_IN_SECTION,
    words::NEVER_DIFFERS,
    sections::ASKED_IN_SECTION,
    proof::HELD_FOR_GOOD,
    proof::NO_CANARY,
    proof::NOT_RECHECKED,
    words::UNEXPLAINED,
];

/// What the rules look at.
pub(crate) struct Subject<'a> {
    pub(crate) steps: &'a [Step],
    /// One for each step.
    pub(crate) places: &'a [StepPlaces],
    /// `None` where they could not be read.
    pub(crate) limits: Option<Limits>,
    /// `None` where it could not be read.
    pub(crate) detect: Option<&'a Detect>,
    pub(crate) detect_place: std::ops::Range<usize>,
}

/// A subject before one rule.
struct Case<'a> {
    steps: &'a [Step],
    sections: &'a [Outline],
    disorders: &'a [Disorder],
    limits: Option<Limits>,
    detect: Option<&'a Detect>,
    found: RefCell<Vec<(Where, String)>>,
}

/// Where a rule is broken.
#[derive(Debug, Clone, Copy)]
enum Where {
    /// At the value of a step's key; at its id where it has no such key.
    Step(usize, &'static str),
    /// At the conditions of `[detect]`.
    Detect,
}

impl Case<'_> {
    fn broken(&self, step: usize, key: &'static str, message: impl Into<String>) {
        self.found
            .borrow_mut()
            .push((Where::Step(step, key), message.into()));
    }

    fn broken_detect(&self, message: impl Into<String>) {
        self.found
            .borrow_mut()
            .push((Where::Detect, message.into()));
    }

    /// The section that a step stands in.
    fn section_of(&self, step: usize) -> Option<&Outline> {
        self.sections.iter().find(|section| section.contains(step))
    }
}

/// Notes every broken rule.
pub(crate) fn judge(subject: &Subject<'_>, sink: &Sink) {
    let (sections, disorders) = outlines(subject.steps);
    for rule in RULES {
        let case = Case {
            steps: subject.steps,
            sections: &sections,
            disorders: &disorders,
            limits: subject.limits,
            detect: subject.detect,
            found: RefCell::default(),
        };
        (rule.check)(&case);
        for (place, message) in case.found.into_inner() {
            let span = match place {
                Where::Step(step, key) => subject.places[step].of(key),
                Where::Detect => subject.detect_place.clone(),
            };
            sink.hinted(rule.code, &span, message, rule.reason);
        }
    }
}
