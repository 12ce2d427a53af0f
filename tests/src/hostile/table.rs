//! Every message that a controller can send, with every field abused.
//!
//! Each message is taken apart whole, without `..`: a variant or a field that is added to the contract does not build
//! here until somebody has said how it is abused.

mod broken;
mod lists;
mod orders;
mod runs;
mod signed;
mod values;

use std::collections::BTreeMap;

use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use mailmend_proto::wire::to_agent::Message;

pub use broken::broken;
use lists::{audit, fingerprint, immunity, trail_head, watches};
use orders::order;
use runs::{acknowledge, advance, assignment, fence, unwind};
use signed::{documents, trust};
use values::{Rows, texts};

/// A message with one field abused.
#[derive(Debug, Clone)]
pub struct Row {
    /// The message and the field.
    pub what: String,
    /// The message.
    pub message: Message,
    /// Whether an agent ends the session over it; where this is not so, it must stay.
    pub ends: bool,
}

/// What an honest controller would say now: everything of it is right.
#[derive(Debug, Clone, Default)]
pub struct Honest {
    /// A run that the agent knows, if there is one.
    pub run: String,
    /// A fence that is obeyed.
    pub fence: u64,
    /// A batch of that run.
    pub batch: String,
    /// A new order.
    pub order: String,
    /// The last record that came.
    pub seq: u64,
    /// An assignment that would be taken on.
    pub assignment: wire::Assignment,
}

/// How many kinds of message there are.
pub const KINDS: usize = 12;

/// The place of a message in the contract, from 0.
#[must_use]
pub const fn kind(message: &Message) -> usize {
    match message {
        Message::Welcome(_) => 0,
        Message::Assignment(_) => 1,
        Message::Advance(_) => 2,
        Message::Unwind(_) => 3,
        Message::Fence(_) => 4,
        Message::Acknowledge(_) => 5,
        Message::Order(_) => 6,
        Message::Watches(_) => 7,
        Message::Audit(_) => 8,
        Message::Immunity(_) => 9,
        Message::TrailHead(_) => 10,
        Message::Trust(_) => 11,
    }
}

/// One honest message of each kind; orders of each sort.
#[must_use]
pub fn honest(now: &Honest) -> Vec<Message> {
    let order = |what| {
        Message::Order(wire::Order {
            id: now.order.clone(),
            run: now.run.clone(),
            by: "somebody".to_owned(),
            why: "because".to_owned(),
            what: Some(what),
            fence: now.fence,
        })
    };
    vec![
        Message::Welcome(wire::Welcome {
            acknowledged: 0,
            journal: String::new(),
        }),
        Message::Assignment(now.assignment.clone()),
        Message::Advance(wire::Advance {
            run: now.run.clone(),
            fence: now.fence,
            through: 1,
        }),
        Message::Unwind(wire::Unwind {
            run: now.run.clone(),
            fence: now.fence,
            down_to: 1,
            last: false,
        }),
        Message::Fence(wire::Fence {
            run: now.run.clone(),
            fence: now.fence,
        }),
        Message::Acknowledge(wire::Acknowledge { seq: now.seq }),
        order(What::Answer(wire::AnswerTask {
            step: 1,
            answer: "yes".to_owned(),
        })),
        order(What::Release(wire::Release {
            batch: now.batch.clone(),
            fingerprint: String::new(),
        })),
        order(What::Settle(wire::Settle {
            batch: now.batch.clone(),
            entries: vec![wire::Range { first: 0, last: 3 }],
            custody: wire::Custody::GoneWithEvidence.into(),
        })),
        order(What::Recover(wire::Recover {
            messages: vec!["<1@x>".to_owned()],
        })),
        order(What::Immunize(wire::Immunize {
            batch: now.batch.clone(),
            entry: 0,
        })),
        Message::Watches(wire::Watches {
            watches: vec![wire::Watch {
                policy: now.assignment.policy_name.clone(),
                version: 1,
                digest: blake3::hash(&now.assignment.policy_text)
                    .as_bytes()
                    .to_vec(),
                text: now.assignment.policy_text.clone(),
            }],
            labels: BTreeMap::from([("site".to_owned(), "oslo".to_owned())]),
        }),
        Message::Audit(wire::AuditRequest {
            id: now.order.clone(),
            run: now.run.clone(),
        }),
        Message::TrailHead(wire::TrailHead {
            seq: now.seq,
            hash: vec![7; 32],
        }),
        Message::Immunity(wire::Immunity {
            generation: 1,
            fingerprints: vec![fingerprint()],
            in_hand: false,
        }),
        Message::Trust(documents()),
    ]
}

/// Every row of every message.
#[must_use]
pub fn rows(now: &Honest) -> Vec<Row> {
    honest(now).into_iter().flat_map(abused).collect()
}

/// All rows of an honest message.
#[must_use]
pub fn abused(message: Message) -> Vec<Row> {
    match message {
        Message::Welcome(right) => welcome(right),
        Message::Assignment(right) => assignment(&right),
        Message::Advance(right) => advance(&right),
        Message::Unwind(right) => unwind(&right),
        Message::Fence(right) => fence(&right),
        Message::Acknowledge(right) => acknowledge(right),
        Message::Order(right) => order(&right),
        Message::Watches(right) => watches(&right),
        Message::Audit(right) => audit(&right),
        Message::Immunity(right) => immunity(&right),
        Message::TrailHead(right) => trail_head(&right),
        Message::Trust(right) => trust(&right),
    }
}

/// Any welcome that is not the first message ends a session; the first one is abused by [`welcomes`].
fn welcome(right: wire::Welcome) -> Vec<Row> {
    let mut rows = Rows::new("welcome");
    rows.add("again", true, Message::Welcome(right));
    rows.rows
}

/// Welcomes that no session begins with.
#[must_use]
pub fn welcomes() -> Vec<Row> {
    let wire::Welcome {
        acknowledged,
        journal,
    } = wire::Welcome::default();
    let mut rows = Rows::new("welcome");
    for acknowledged in [i64::MAX.unsigned_abs(), u64::MAX] {
        let journal = journal.clone();
        rows.add(
            "acknowledged",
            true,
            Message::Welcome(wire::Welcome {
                acknowledged,
                journal,
            }),
        );
    }
    for journal in texts("").into_iter().filter(|text| !text.is_empty()) {
        rows.add(
            "journal",
            true,
            Message::Welcome(wire::Welcome {
                acknowledged,
                journal,
            }),
        );
    }
    rows.rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_of_message_has_rows_for_each_of_its_fields() {
        let now = Honest {
            assignment: wire::Assignment {
                servers: vec![wire::Server::default()],
                ..wire::Assignment::default()
            },
            ..Honest::default()
        };
        let kinds: BTreeSet<usize> = honest(&now).iter().map(kind).collect();
        assert_eq!(kinds, (0..KINDS).collect());
        let rows = rows(&now);
        let fields: BTreeSet<&str> = rows.iter().map(|row| row.what.as_str()).collect();
        let kinds: BTreeSet<usize> = rows.iter().map(|row| kind(&row.message)).collect();
        assert_eq!(kinds, (0..KINDS).collect());
        for (message, field) in [
            ("welcome", "again"),
            ("assignment", "servers"),
            ("advance", "through"),
            ("unwind", "last"),
            ("fence", "fence"),
            ("acknowledge", "seq"),
            ("order", "what"),
            ("watches", "labels"),
            ("audit", "run"),
            ("immunity", "in_hand"),
        ] {
            assert!(fields.contains(format!("{message}.{field}").as_str()));
        }
        assert!(rows.len() > 600, "{}", rows.len());
        assert!(welcomes().iter().all(|row| row.ends));
    }
}
