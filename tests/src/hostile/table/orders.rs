//! Orders in the name of persons.

use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use mailmend_proto::wire::to_agent::Message;

use super::Row;
use super::values::{Rows, numbers, numbers32, texts};

pub(super) fn order(right: &wire::Order) -> Vec<Row> {
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
