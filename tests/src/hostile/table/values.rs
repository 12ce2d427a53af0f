//! What is put into a field instead of what is right.

use mailmend_proto::wire::to_agent::Message;

use super::Row;

pub(super) fn texts(right: &str) -> Vec<String> {
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

pub(super) fn numbers(right: u64) -> [u64; 8] {
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

pub(super) fn numbers32(right: u32) -> [u32; 7] {
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

pub(super) fn bytes(right: &[u8]) -> Vec<Vec<u8>> {
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

pub(super) fn repeated<T: Clone>(all: &[T], times: usize) -> Vec<T> {
    std::iter::repeat_n(all, times).flatten().cloned().collect()
}

/// The rows of one message.
pub(super) struct Rows {
    of: &'static str,
    pub(super) rows: Vec<Row>,
}

impl Rows {
    pub(super) fn new(of: &'static str) -> Self {
        Self {
            of,
            rows: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, field: &str, ends: bool, message: Message) {
        self.rows.push(Row {
            what: format!("{}.{field}", self.of),
            message,
            ends,
        });
    }

    pub(super) fn each<T>(
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
