//! Lists that replace the former ones, watches and fingerprints, and requests for an audit.

use std::collections::BTreeMap;

use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;

use super::Row;
use super::values::{Rows, bytes, numbers, numbers32, repeated, texts};

pub(super) fn watches(right: &wire::Watches) -> Vec<Row> {
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

pub(super) fn audit(right: &wire::AuditRequest) -> Vec<Row> {
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

pub(super) fn immunity(right: &wire::Immunity) -> Vec<Row> {
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

pub(super) fn fingerprint() -> wire::Fingerprint {
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

pub(super) fn trail_head(right: &wire::TrailHead) -> Vec<Row> {
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
