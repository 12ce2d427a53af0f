//! What all readers of one file share: the faults, and who refers to which step.

use std::cell::{Cell, RefCell};

use crate::fault::{FaultCode, Sink};
use crate::name::StepId;

use super::reader::{Located, Span};

/// Where a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `[detect]`, before any run.
    Detect,
    /// At a step.
    Step,
}

/// How a step refers to an earlier one.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    /// By `of`: it must take files into custody.
    Of,
    /// By a condition on its outcome.
    Outcome,
    /// By a condition on the answer that a person gave: it must ask for it.
    Answer(Located<String>),
}

/// A step that names another.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    /// The place of the referring step in the file, from 0.
    pub(crate) from: usize,
    pub(crate) to: StepId,
    pub(crate) why: Why,
    pub(crate) span: Span,
}

/// What all readers of one file share.
pub(crate) struct Context<'s> {
    pub(crate) sink: &'s Sink,
    /// The place of the step that is being read, from 0.
    pub(crate) step: Cell<usize>,
    references: RefCell<Vec<Reference>>,
    conditions: Cell<usize>,
}

/// The most conditions of a file, those inside others included.
const MOST_CONDITIONS: usize = 1000;

impl<'s> Context<'s> {
    pub(crate) fn new(sink: &'s Sink) -> Self {
        Self {
            sink,
            step: Cell::new(0),
            references: RefCell::default(),
            conditions: Cell::new(0),
        }
    }

    /// Counts a condition, and tells whether it may be read; beyond the limit is a fault, once.
    pub(crate) fn one_more_condition(&self, span: &Span) -> bool {
        let before = self.conditions.replace(self.conditions.get() + 1);
        if before == MOST_CONDITIONS {
            let message = format!("the policy has more than {MOST_CONDITIONS} conditions");
            self.sink.hinted(
                FaultCode::TooMany,
                span,
                message,
                "split the policy into several",
            );
        }
        before < MOST_CONDITIONS
    }

    /// Notes that the step at hand asks for the outcome of another.
    pub(crate) fn refers(&self, to: &Located<StepId>) {
        self.note(to, Why::Outcome);
    }

    /// Notes that the step at hand takes the files of another.
    pub(crate) fn takes_of(&self, to: &Located<StepId>) {
        self.note(to, Why::Of);
    }

    /// Notes that the step at hand asks for the answer that a person gave to another.
    pub(crate) fn asks_answer_of(&self, to: &Located<StepId>, answer: Located<String>) {
        self.note(to, Why::Answer(answer));
    }

    fn note(&self, to: &Located<StepId>, why: Why) {
        let (to, span) = (to.value.clone(), to.span.clone());
        self.references.borrow_mut().push(Reference {
            from: self.step.get(),
            to,
            why,
            span,
        });
    }

    /// All references of the file.
    pub(crate) fn into_references(self) -> Vec<Reference> {
        self.references.into_inner()
    }
}
