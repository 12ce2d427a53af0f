//! Custody on real folders with a kill or a failure at any point, and on the simulated site.

mod disk;
mod folders;
mod named;
mod place;
mod power;
mod site;
mod whole;

use std::collections::BTreeMap;

use mailmend_proto::run::{Custody, Event, RunId};
use uuid::Uuid;

use super::*;
use crate::custody::quarantine::Take;
use crate::custody::replay::{Give, Which};

const RUN: RunId = RunId(Uuid::from_u128(0xA));

fn imc() -> ServiceName {
    "MSExchangeIMC".parse().unwrap()
}

fn admitted() -> Event {
    Event::Admitted {
        fence: 1,
        plan: mailmend_policy::digest::Digest::of(b"plan"),
        policy: mailmend_policy::digest::Digest::of(b"policy"),
        assignment: Vec::new(),
    }
}

fn begin(desk: &Desk<'_>) {
    if desk.journal.state(desk.run).unwrap().is_none() {
        desk.append(vec![admitted()]).unwrap();
    }
}

const NO_LIMITS: Limits = Limits {
    files: u64::MAX,
    bytes: u64::MAX,
    least_free: 0,
};

/// Answers by spool name; what is not listed was not seen.
#[derive(Default)]
struct Answers(BTreeMap<String, Sent>);

impl Answers {
    fn with(mut self, name: &str, sent: Sent) -> Self {
        self.0.insert(name.to_owned(), sent);
        self
    }
}

impl Evidence for Answers {
    fn of(&self, messages: &[MessageKey]) -> Vec<Sent> {
        messages
            .iter()
            .map(|message| {
                let answer = self.0.get(&message.spool_name);
                answer.cloned().unwrap_or(Sent::NotSeen)
            })
            .collect()
    }
}

fn delivered() -> Sent {
    Sent::Delivered {
        evidence: vec!["20261121.log:3".into()],
    }
}

fn begun() -> Sent {
    Sent::Begun {
        evidence: vec!["L0000000.LOG:9".into()],
    }
}

fn cannot_tell() -> Sent {
    Sent::CannotTell {
        why: "the log has a gap".into(),
    }
}
