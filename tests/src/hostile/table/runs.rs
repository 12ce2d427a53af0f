//! Messages about runs: assignments, watermarks, fences, acknowledgements.

use std::collections::BTreeMap;

use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;

use super::Row;
use super::values::{Rows, bytes, numbers, numbers32, texts};

pub(super) fn assignment(right: &wire::Assignment) -> Vec<Row> {
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

pub(super) fn advance(right: &wire::Advance) -> Vec<Row> {
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

pub(super) fn unwind(right: &wire::Unwind) -> Vec<Row> {
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

pub(super) fn fence(right: &wire::Fence) -> Vec<Row> {
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

pub(super) fn acknowledge(right: wire::Acknowledge) -> Vec<Row> {
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
