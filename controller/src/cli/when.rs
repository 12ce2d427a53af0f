//! Times and durations as people read them.

use jiff::Timestamp;

const UNITS: [(u64, &str); 4] = [
    (86_400_000, "d"),
    (3_600_000, "h"),
    (60_000, "m"),
    (1000, "s"),
];

/// A duration: the two largest units, such as `1m30s` or `2d4h`.
pub(super) fn duration(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let first = UNITS
        .iter()
        .position(|(unit, _)| ms >= *unit)
        .unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[first];
    let whole = format!("{}{name}", ms / unit);
    match UNITS.get(first + 1) {
        Some((smaller, letter)) if (ms % unit) / smaller > 0 => {
            format!("{whole}{}{letter}", (ms % unit) / smaller)
        }
        _ => whole,
    }
}

/// A time as RFC 3339 UTC with seconds; `None` for 0, which means never.
pub(super) fn absolute(ms: i64) -> Option<String> {
    let at = Timestamp::from_millisecond(ms).ok().filter(|_| ms != 0)?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A time relative and absolute, such as `3m ago (2026-05-01T10:00:00Z)`; `-` for 0.
pub(super) fn both(ms: i64, now_ms: i64) -> String {
    absolute(ms).map_or_else(
        || "-".to_owned(),
        |at| format!("{} ({at})", relative(ms, now_ms)),
    )
}

/// The same, shorter, for a column: the date only where it is another day.
pub(super) fn column(ms: i64, now_ms: i64) -> String {
    let Some(at) = absolute(ms) else {
        return "-".to_owned();
    };
    let today = absolute(now_ms).is_some_and(|now| now[..10] == at[..10]);
    let at = if today {
        at[11..].to_owned()
    } else {
        format!("{} {}Z", &at[..10], &at[11..16])
    };
    format!("{}, {at}", relative(ms, now_ms))
}

/// How long ago, or in how long.
pub(super) fn relative(ms: i64, now_ms: i64) -> String {
    // What is made to last an hour has lasted some milliseconds when it is shown.
    let apart = (now_ms.abs_diff(ms) + 500) / 1000 * 1000;
    // One unit is enough beside the absolute time.
    let unit = UNITS
        .iter()
        .find(|(unit, _)| apart >= *unit)
        .unwrap_or(&UNITS[3]);
    let short = format!("{}{}", apart / unit.0, unit.1);
    match ms.cmp(&now_ms) {
        _ if apart < 1000 => "now".to_owned(),
        std::cmp::Ordering::Greater => format!("in {short}"),
        _ => format!("{short} ago"),
    }
}

/// The time now, milliseconds since 1970 UTC.
pub(super) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A count of bytes, such as `4.00KiB`: one word, so that a column does not break it.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_the_two_largest_units() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1s"),
            (90_000, "1m30s"),
            (600_000, "10m"),
            (3_600_500, "1h"),
            (187_200_000, "2d4h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn times_are_shown_relative_and_absolute() {
        let now = 1_780_000_000_000; // 2026-05-28T20:26:40Z
        assert_eq!(both(now - 180_000, now), "3m ago (2026-05-28T20:23:40Z)");
        assert_eq!(both(now + 3_600_000, now), "in 1h (2026-05-28T21:26:40Z)");
        assert_eq!(both(now + 3_599_990, now), "in 1h (2026-05-28T21:26:39Z)");
        assert_eq!(both(0, now), "-");
        assert_eq!(column(now - 180_000, now), "3m ago, 20:23:40Z");
        assert_eq!(column(now - 86_400_000, now), "1d ago, 2026-05-27 20:26Z");
        assert_eq!(column(now, now), "now, 20:26:40Z");
        assert_eq!(both(i64::MAX, now), "-");
    }
}
