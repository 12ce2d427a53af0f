//! Bytes that are no message.

use super::super::door::framed;

/// Frames that are no message, or none that may be taken: each with what it is.
#[must_use]
pub fn broken() -> Vec<(&'static str, Vec<u8>)> {
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
