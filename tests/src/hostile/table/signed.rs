//! What is signed of policies, each field abused. No agent ends its session over it: it refuses, or did not ask.

use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;

use super::Row;
use super::values::Rows;

/// A document with one signature; nothing of it is believed by anybody.
fn document(kind: &str) -> wire::SignedDocument {
    wire::SignedDocument {
        text: format!("kind = \"{kind}\"\nversion = 1\n").into_bytes(),
        signatures: vec![wire::DocumentSignature {
            key: vec![7; 32],
            signature: vec![7; 64],
        }],
    }
}

/// A set of documents in the shape that an honest controller sends.
pub(super) fn documents() -> wire::TrustDocuments {
    wire::TrustDocuments {
        roots: vec![document("root")],
        timestamp: Some(document("timestamp")),
        catalogue: Some(document("catalogue")),
    }
}

/// All rows of signed documents.
pub(super) fn trust(right: &wire::TrustDocuments) -> Vec<Row> {
    let wire::TrustDocuments {
        roots,
        timestamp,
        catalogue,
    } = right;
    let mut rows = Rows::new("trust");
    let mut add = |what: &str, sent: wire::TrustDocuments| {
        rows.add(what, false, Message::Trust(sent));
    };
    let many = std::iter::repeat_n(document("root"), 1000).collect();
    for (what, roots) in [
        ("roots: none", Vec::new()),
        ("roots: a thousand", many),
        ("roots: another kind", vec![document("catalogue")]),
        ("roots: twice", [roots.clone(), roots.clone()].concat()),
    ] {
        add(
            what,
            wire::TrustDocuments {
                roots,
                ..right.clone()
            },
        );
    }
    for (what, timestamp, catalogue) in [
        ("timestamp: none", None, catalogue.clone()),
        ("catalogue: none", timestamp.clone(), None),
        (
            "timestamp: the catalogue",
            catalogue.clone(),
            catalogue.clone(),
        ),
        (
            "catalogue: the timestamp",
            timestamp.clone(),
            timestamp.clone(),
        ),
    ] {
        add(
            what,
            wire::TrustDocuments {
                timestamp,
                catalogue,
                ..right.clone()
            },
        );
    }
    let wire::SignedDocument { text, signatures } = document("timestamp");
    let wire::DocumentSignature { key, signature } = signatures[0].clone();
    let with = |text: Vec<u8>, signatures: Vec<wire::DocumentSignature>| wire::TrustDocuments {
        timestamp: Some(wire::SignedDocument { text, signatures }),
        ..right.clone()
    };
    for (what, text) in [
        ("text: empty", Vec::new()),
        ("text: no text", vec![0xff; 64]),
        ("text: a mebibyte", vec![b'#'; 1 << 20]),
        ("text: brackets", vec![b'['; 2000]),
    ] {
        add(what, with(text, signatures.clone()));
    }
    let many = std::iter::repeat_n(signatures[0].clone(), 10_000).collect();
    add("signatures: none", with(text.clone(), Vec::new()));
    add("signatures: ten thousand", with(text.clone(), many));
    for (what, key, signature) in [
        ("key: empty", Vec::new(), signature.clone()),
        ("key: long", vec![7; 33], signature),
        ("signature: empty", key.clone(), Vec::new()),
        ("signature: long", key, vec![7; 65]),
    ] {
        add(
            what,
            with(
                text.clone(),
                vec![wire::DocumentSignature { key, signature }],
            ),
        );
    }
    rows.rows
}
