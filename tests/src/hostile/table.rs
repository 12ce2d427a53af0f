//! Every message that a controller can send, with every field abused.
//!
//! Each message is taken apart whole, without `..`: a variant or a field that is added to the contract does not build
//! here until somebody has said how it is abused.

use std::collections::BTreeMap;

use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use mailmend_proto::wire::to_agent::Message;

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
pub const KINDS: usize = 11;

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
    ]
}

fn fingerprint() -> wire::Fingerprint {
    wire::Fingerprint {
        id: "0190a5a0-0000-7000-8000-000000000001".to_owned(),
        hash: vec![1; 32],
        size: 4000,
        body: vec![2; 32],
        body_bytes: 2000,
        message_id: "<1@x>".to_owned(),
        provenance: "found elsewhere".to_owned(),
    }
}

/// Every row of every message.
#[must_use]
pub fn rows(now: &Honest) -> Vec<Row> {
    honest(now).into_iter().flat_map(abused).collect()
}

fn texts(right: &str) -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        "x",
        "..",
        "../../../../etc/passwd",
        "/etc/passwd",
        "C:\\",
        "\\\\host\\share\\x",
        "a\0b",
        "\u{202e}\u{1b}[2J\r\n",
        "${imcdata}/../x",
        "$(touch x)`touch x`",
        "00000000-0000-0000-0000-000000000000",
        "0190a5a0-0000-7000-8000-00000000ffff",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push(format!("{{{right}}}"));
    all.push(format!("{right}/../{right}"));
    all.push("A".repeat(300_000));
    all
}

fn numbers(right: u64) -> [u64; 8] {
    [
        0,
        1,
        right.wrapping_sub(1),
        right.saturating_add(1),
        u64::from(u32::MAX),
        i64::MAX.unsigned_abs(),
        i64::MAX.unsigned_abs() + 1,
        u64::MAX,
    ]
}

fn numbers32(right: u32) -> [u32; 7] {
    let half = i32::MAX.unsigned_abs();
    [
        0,
        1,
        right.wrapping_sub(1),
        right.saturating_add(1),
        half,
        half + 1,
        u32::MAX,
    ]
}

fn bytes(right: &[u8]) -> Vec<Vec<u8>> {
    let mut flipped = right.to_vec();
    if let Some(first) = flipped.first_mut() {
        *first ^= 1;
    }
    vec![
        Vec::new(),
        vec![0],
        vec![0xff; 31],
        vec![0; 32],
        vec![0xff; 33],
        flipped,
        [right, &[0]].concat(),
        vec![b'['; 300_000],
    ]
}

fn repeated<T: Clone>(all: &[T], times: usize) -> Vec<T> {
    std::iter::repeat_n(all, times).flatten().cloned().collect()
}

/// The rows of one message.
struct Rows {
    of: &'static str,
    rows: Vec<Row>,
}

impl Rows {
    fn new(of: &'static str) -> Self {
        Self {
            of,
            rows: Vec::new(),
        }
    }

    fn add(&mut self, field: &str, ends: bool, message: Message) {
        self.rows.push(Row {
            what: format!("{}.{field}", self.of),
            message,
            ends,
        });
    }

    fn each<T>(
        &mut self,
        field: &str,
        values: impl IntoIterator<Item = T>,
        make: impl Fn(T) -> Message,
    ) {
        for value in values {
            self.add(field, false, make(value));
        }
    }
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

fn assignment(right: &wire::Assignment) -> Vec<Row> {
    let wire::Assignment {
        run,
        fence,
        policy_name,
        policy_text,
        plan_digest,
        site,
        subject,
        servers,
        traceparent,
    } = right.clone();
    let with = || right.clone();
    let mut rows = Rows::new("assignment");
    rows.each("run", texts(&run), |run| {
        Message::Assignment(wire::Assignment { run, ..with() })
    });
    rows.each("fence", numbers(fence), |fence| {
        // Of a run of its own: the same run again is taken for the first one.
        let run = uuid::Uuid::now_v7().to_string();
        Message::Assignment(wire::Assignment {
            run,
            fence,
            policy_text: b"x".to_vec(),
            ..with()
        })
    });
    rows.each("policy_name", texts(&policy_name), |policy_name| {
        Message::Assignment(wire::Assignment {
            policy_name,
            ..with()
        })
    });
    rows.each("policy_text", bytes(&policy_text), |policy_text| {
        Message::Assignment(wire::Assignment {
            policy_text,
            ..with()
        })
    });
    rows.each("plan_digest", bytes(&plan_digest), |plan_digest| {
        Message::Assignment(wire::Assignment {
            plan_digest,
            ..with()
        })
    });
    rows.each("site", texts(&site), |site| {
        Message::Assignment(wire::Assignment { site, ..with() })
    });
    rows.each("subject", texts(&subject), |subject| {
        Message::Assignment(wire::Assignment { subject, ..with() })
    });
    let sides = texts(&traceparent).into_iter().chain([
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        "ff-00000000000000000000000000000000-0000000000000000-ff".to_owned(),
    ]);
    rows.each("traceparent", sides, |traceparent| {
        Message::Assignment(wire::Assignment {
            traceparent,
            ..with()
        })
    });
    rows.each("servers", lists(&servers), |servers| {
        Message::Assignment(wire::Assignment { servers, ..with() })
    });
    rows.rows
}

/// Lists of servers: none, the same twice, thousands, and each field of one abused.
fn lists(right: &[wire::Server]) -> Vec<Vec<wire::Server>> {
    let Some(wire::Server {
        name,
        site,
        labels,
        actions,
    }) = right.first().cloned()
    else {
        return vec![Vec::new()];
    };
    let one = || right[0].clone();
    let many = |count: usize| -> Vec<wire::Server> {
        let named = |at| wire::Server {
            name: format!("srv-{at}"),
            ..one()
        };
        right.iter().cloned().chain((1..count).map(named)).collect()
    };
    let mut all = vec![Vec::new(), [right, right].concat(), many(900), many(7_000)];
    all.extend(
        texts(&name)
            .into_iter()
            .map(|name| vec![wire::Server { name, ..one() }]),
    );
    all.extend(
        texts(&site)
            .into_iter()
            .map(|site| vec![wire::Server { site, ..one() }]),
    );
    for text in texts("ims.direction") {
        let labels = labels
            .clone()
            .into_iter()
            .chain([(text.clone(), text)])
            .collect();
        all.push(vec![wire::Server { labels, ..one() }]);
    }
    for text in texts("check") {
        let actions = actions.iter().cloned().chain([text]).collect();
        all.push(vec![wire::Server { actions, ..one() }]);
    }
    all.push(vec![wire::Server {
        labels: BTreeMap::new(),
        ..one()
    }]);
    all.push(vec![wire::Server {
        actions: Vec::new(),
        ..one()
    }]);
    all
}

fn advance(right: &wire::Advance) -> Vec<Row> {
    let wire::Advance {
        run,
        fence,
        through,
    } = right.clone();
    let mut rows = Rows::new("advance");
    rows.each("run", texts(&run), |run| {
        Message::Advance(wire::Advance {
            run,
            ..right.clone()
        })
    });
    rows.each("fence", numbers(fence), |fence| {
        Message::Advance(wire::Advance {
            fence,
            ..right.clone()
        })
    });
    rows.each("through", numbers32(through), |through| {
        Message::Advance(wire::Advance {
            through,
            ..right.clone()
        })
    });
    rows.rows
}

fn unwind(right: &wire::Unwind) -> Vec<Row> {
    let wire::Unwind {
        run,
        fence,
        down_to,
        last,
    } = right.clone();
    let mut rows = Rows::new("unwind");
    rows.each("run", texts(&run), |run| {
        Message::Unwind(wire::Unwind {
            run,
            ..right.clone()
        })
    });
    rows.each("fence", numbers(fence), |fence| {
        Message::Unwind(wire::Unwind {
            fence,
            ..right.clone()
        })
    });
    rows.each("down_to", numbers32(down_to), |down_to| {
        Message::Unwind(wire::Unwind {
            down_to,
            ..right.clone()
        })
    });
    rows.each("last", [!last, last], |last| {
        Message::Unwind(wire::Unwind {
            last,
            ..right.clone()
        })
    });
    rows.rows
}

fn fence(right: &wire::Fence) -> Vec<Row> {
    let wire::Fence { run, fence } = right.clone();
    let mut rows = Rows::new("fence");
    rows.each("run", texts(&run), |run| {
        Message::Fence(wire::Fence { run, fence })
    });
    rows.each("fence", numbers(fence), |fence| {
        Message::Fence(wire::Fence {
            fence,
            ..right.clone()
        })
    });
    rows.rows
}

fn acknowledge(right: wire::Acknowledge) -> Vec<Row> {
    let wire::Acknowledge { seq } = right;
    let mut rows = Rows::new("acknowledge");
    for low in [0, seq / 2, seq] {
        rows.add(
            "seq",
            false,
            Message::Acknowledge(wire::Acknowledge { seq: low }),
        );
    }
    for high in [i64::MAX.unsigned_abs(), u64::MAX] {
        rows.add(
            "seq",
            true,
            Message::Acknowledge(wire::Acknowledge { seq: high }),
        );
    }
    rows.rows
}

fn trail_head(right: &wire::TrailHead) -> Vec<Row> {
    let wire::TrailHead { seq, hash } = right.clone();
    let mut rows = Rows::new("trail_head");
    rows.each("seq", numbers(seq), |seq| {
        let hash = hash.clone();
        Message::TrailHead(wire::TrailHead { seq, hash })
    });
    for hash in bytes(&hash) {
        let ends = hash.len() != 32;
        rows.add(
            "hash",
            ends,
            Message::TrailHead(wire::TrailHead { seq, hash }),
        );
    }
    rows.rows
}

fn order(right: &wire::Order) -> Vec<Row> {
    let wire::Order {
        id,
        run,
        by,
        why,
        what,
        fence,
    } = right.clone();
    // Each is an order of its own, or the first would be all that is looked at.
    let with = || wire::Order {
        id: uuid::Uuid::now_v7().to_string(),
        ..right.clone()
    };
    let mut rows = Rows::new("order");
    rows.each("id", texts(&id), |id| {
        Message::Order(wire::Order { id, ..with() })
    });
    rows.each("run", texts(&run), |run| {
        Message::Order(wire::Order { run, ..with() })
    });
    rows.each("by", texts(&by), |by| {
        Message::Order(wire::Order { by, ..with() })
    });
    rows.each("why", texts(&why), |why| {
        Message::Order(wire::Order { why, ..with() })
    });
    rows.each("fence", numbers(fence), |fence| {
        Message::Order(wire::Order { fence, ..with() })
    });
    rows.add(
        "what",
        false,
        Message::Order(wire::Order {
            what: None,
            ..with()
        }),
    );
    for what in what.into_iter().flat_map(|what| sorts(&what)) {
        rows.add(
            "what",
            false,
            Message::Order(wire::Order {
                what: Some(what),
                ..with()
            }),
        );
    }
    rows.rows
}

/// Each field of a sort of order, abused.
fn sorts(right: &What) -> Vec<What> {
    match right {
        What::Answer(right) => {
            let wire::AnswerTask { step, answer } = right.clone();
            let of_step = numbers32(step).map(|step| wire::AnswerTask {
                step,
                answer: answer.clone(),
            });
            let of_answer = texts(&answer)
                .into_iter()
                .map(|answer| wire::AnswerTask { step, answer });
            of_step
                .into_iter()
                .chain(of_answer)
                .map(What::Answer)
                .collect()
        }
        What::Release(right) => {
            let wire::Release { batch, fingerprint } = right.clone();
            let of_batch = texts(&batch).into_iter().map(|batch| wire::Release {
                batch,
                fingerprint: fingerprint.clone(),
            });
            let of_print = texts(&fingerprint)
                .into_iter()
                .map(|fingerprint| wire::Release {
                    batch: batch.clone(),
                    fingerprint,
                });
            of_batch.chain(of_print).map(What::Release).collect()
        }
        What::Settle(right) => {
            let wire::Settle {
                batch,
                entries,
                custody,
            } = right.clone();
            let with = || right.clone();
            let mut all: Vec<wire::Settle> = texts(&batch)
                .into_iter()
                .map(|batch| wire::Settle { batch, ..with() })
                .collect();
            all.extend(
                ranges(&entries)
                    .into_iter()
                    .map(|entries| wire::Settle { entries, ..with() }),
            );
            let states = (0..=9).chain([custody.wrapping_neg(), i32::MIN, i32::MAX]);
            all.extend(states.map(|custody| wire::Settle { custody, ..with() }));
            all.into_iter().map(What::Settle).collect()
        }
        What::Recover(right) => {
            let wire::Recover { messages } = right.clone();
            let mut all: Vec<Vec<String>> =
                texts("<1@x>").into_iter().map(|text| vec![text]).collect();
            all.extend([Vec::new(), vec!["<1@x>".to_owned(); 50_000], messages]);
            all.into_iter()
                .map(|messages| What::Recover(wire::Recover { messages }))
                .collect()
        }
        What::Immunize(right) => {
            let wire::Immunize { batch, entry } = right.clone();
            let of_batch = texts(&batch)
                .into_iter()
                .map(|batch| wire::Immunize { batch, entry });
            let of_entry = numbers32(entry).map(|entry| wire::Immunize {
                entry,
                ..right.clone()
            });
            of_batch.chain(of_entry).map(What::Immunize).collect()
        }
    }
}

fn ranges(right: &[wire::Range]) -> Vec<Vec<wire::Range>> {
    let all = |first, last| wire::Range { first, last };
    let mut lists = vec![
        Vec::new(),
        vec![all(0, u32::MAX)],
        vec![all(u32::MAX, 0)],
        vec![all(u32::MAX, u32::MAX)],
        vec![all(0, u32::MAX); 10_000],
    ];
    if let Some(wire::Range { first, last }) = right.first() {
        lists.push(vec![all(*last, *first)]);
        lists.push(vec![all(*first, last.saturating_add(1_000_000))]);
    }
    lists
}

fn watches(right: &wire::Watches) -> Vec<Row> {
    let wire::Watches { watches, labels } = right.clone();
    let mut rows = Rows::new("watches");
    let of = |watches: Vec<wire::Watch>| wire::Watches {
        watches,
        labels: labels.clone(),
    };
    let mut lists = vec![
        Vec::new(),
        repeated(&watches, 64),
        repeated(&watches, 1_000),
    ];
    if let Some(wire::Watch {
        policy,
        version,
        digest,
        text,
    }) = watches.first().cloned()
    {
        let one = || watches[0].clone();
        lists.extend(
            texts(&policy)
                .into_iter()
                .map(|policy| vec![wire::Watch { policy, ..one() }]),
        );
        lists.extend(numbers32(version).map(|version| vec![wire::Watch { version, ..one() }]));
        lists.extend(
            bytes(&digest)
                .into_iter()
                .map(|digest| vec![wire::Watch { digest, ..one() }]),
        );
        for text in bytes(&text) {
            // With the digest that it has: it is parsed.
            let digest = blake3::hash(&text).as_bytes().to_vec();
            lists.push(vec![wire::Watch {
                digest,
                text,
                ..one()
            }]);
        }
    }
    rows.each("watches", lists, |list| Message::Watches(of(list)));
    rows.each("labels", texts("ims.direction"), |text| {
        let labels = BTreeMap::from([(text.clone(), text)]);
        Message::Watches(wire::Watches {
            watches: watches.clone(),
            labels,
        })
    });
    rows.rows
}

fn audit(right: &wire::AuditRequest) -> Vec<Row> {
    let wire::AuditRequest { id, run } = right.clone();
    let mut rows = Rows::new("audit");
    rows.each("id", texts(&id), |id| {
        Message::Audit(wire::AuditRequest {
            id,
            run: run.clone(),
        })
    });
    rows.each("run", texts(&run), |run| {
        Message::Audit(wire::AuditRequest {
            run,
            ..right.clone()
        })
    });
    rows.rows
}

fn immunity(right: &wire::Immunity) -> Vec<Row> {
    let wire::Immunity {
        generation,
        fingerprints,
        in_hand,
    } = right.clone();
    let with = || right.clone();
    let mut rows = Rows::new("immunity");
    rows.each("generation", numbers(generation), |generation| {
        Message::Immunity(wire::Immunity {
            generation,
            ..with()
        })
    });
    rows.each("in_hand", [!in_hand, in_hand], |in_hand| {
        Message::Immunity(wire::Immunity { in_hand, ..with() })
    });
    let mut lists = vec![
        Vec::new(),
        repeated(&fingerprints, 4_001),
        vec![fingerprint(); 2],
    ];
    if let Some(wire::Fingerprint {
        id,
        hash,
        size,
        body,
        body_bytes,
        message_id,
        provenance,
    }) = fingerprints.first().cloned()
    {
        let one = || fingerprints[0].clone();
        lists.extend(
            texts(&id)
                .into_iter()
                .map(|id| vec![wire::Fingerprint { id, ..one() }]),
        );
        lists.extend(
            bytes(&hash)
                .into_iter()
                .map(|hash| vec![wire::Fingerprint { hash, ..one() }]),
        );
        lists.extend(numbers(size).map(|size| vec![wire::Fingerprint { size, ..one() }]));
        lists.extend(
            bytes(&body)
                .into_iter()
                .map(|body| vec![wire::Fingerprint { body, ..one() }]),
        );
        lists.extend(numbers(body_bytes).map(|body_bytes| {
            vec![wire::Fingerprint {
                body_bytes,
                ..one()
            }]
        }));
        lists.extend(texts(&message_id).into_iter().map(|message_id| {
            vec![wire::Fingerprint {
                message_id,
                ..one()
            }]
        }));
        lists.extend(texts(&provenance).into_iter().map(|provenance| {
            vec![wire::Fingerprint {
                provenance,
                ..one()
            }]
        }));
    }
    rows.each("fingerprints", lists, |fingerprints| {
        Message::Immunity(wire::Immunity {
            fingerprints,
            ..with()
        })
    });
    rows.rows
}

/// Frames that are no message, or none that may be taken: each with what it is.
#[must_use]
pub fn broken() -> Vec<(&'static str, Vec<u8>)> {
    use super::door::framed;
    let deep = |levels: usize| {
        // A message in a message, as field 1, again and again.
        let mut inner = Vec::new();
        for _ in 0..levels {
            let mut outer = vec![0x0a];
            prost::encoding::encode_varint(inner.len() as u64, &mut outer);
            outer.extend_from_slice(&inner);
            inner = outer;
        }
        inner
    };
    vec![
        ("an empty message", framed(&[])),
        ("noise", framed(&[0xff; 100])),
        ("a field of a newer version", framed(&[0xfa, 0x3f, 1, 0])),
        (
            "a length beyond the end",
            framed(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x07]),
        ),
        (
            "a text that is no UTF-8",
            framed(&[0x1a, 4, 0x0a, 2, 0xff, 0xfe]),
        ),
        ("a field of another type", framed(&[0x18, 1])),
        ("a tag of nothing", framed(&[0x00, 0x00])),
        ("ten thousand levels", framed(&deep(10_000))),
        ("a varint without end", framed(&[0x80; 64])),
        (
            "a compressed frame",
            [&[1][..], &framed(&[0; 8])[1..]].concat(),
        ),
        (
            "a frame of an unknown kind",
            [&[7][..], &framed(&[0; 8])[1..]].concat(),
        ),
        ("nine mebibytes", framed(&vec![0x0a; 9 << 20])),
        (
            "a length of four gibibytes",
            vec![0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3],
        ),
    ]
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
