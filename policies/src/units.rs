//! Durations and sizes as policies write them: one integer and one unit, `"90s"` or `"10MiB"`.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZES: [(&str, u64); 4] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("B", 1),
];

/// Why a text is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitFault {
    /// Not a duration.
    #[error(
        "`{0}` is not a duration: write one whole number and one unit of ms, s, m, h, d, such as `90s` or `15m`"
    )]
    NotADuration(String),
    /// Not a size.
    #[error(
        "`{0}` is not a size: write one whole number and one unit of B, KiB, MiB, GiB, such as `10MiB`"
    )]
    NotASize(String),
    /// More than can be counted.
    #[error("`{0}` is more than can be counted")]
    TooLarge(String),
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<Option<u64>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    // A leading zero would be a second way to write the same number.
    if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
        return None;
    }
    Some(
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor)),
    )
}

/// Reads a duration such as `500ms`, `90s`, `15m`, `2h` or `3d`.
///
/// # Errors
/// Where the text is not one whole number and one unit.
pub fn duration(text: &str) -> Result<Duration, UnitFault> {
    read(text, &DURATIONS)
        .ok_or_else(|| UnitFault::NotADuration(text.to_owned()))?
        .map(Duration::from_millis)
        .ok_or_else(|| UnitFault::TooLarge(text.to_owned()))
}

/// Reads a size such as `512B`, `10MiB` or `2GiB`, in bytes.
///
/// # Errors
/// Where the text is not one whole number and one unit.
pub fn size(text: &str) -> Result<u64, UnitFault> {
    read(text, &SIZES)
        .ok_or_else(|| UnitFault::NotASize(text.to_owned()))?
        .ok_or_else(|| UnitFault::TooLarge(text.to_owned()))
}

/// Writes a duration in the largest unit that divides it, as [`duration`] reads it; what is below a
/// millisecond is cut off.
#[must_use]
pub fn write_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = DURATIONS
        .iter()
        .rev()
        .find(|(_, factor)| millis >= *factor && millis.is_multiple_of(*factor))
        .unwrap_or(&DURATIONS[1]);
    format!("{}{unit}", millis / factor)
}

/// Writes a size in the largest unit that divides it, as [`size`] reads it.
#[must_use]
pub fn write_size(bytes: u64) -> String {
    let (unit, factor) = SIZES[..3]
        .iter()
        .rev()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .unwrap_or(&SIZES[3]);
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_one_number_and_one_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("3d"), Ok(Duration::from_secs(259_200)));
        for bad in [
            "", "90", "s", "1h30m", "1.5h", "-1s", "+1s", " 1s", "1 s", "1S", "01s", "1w", "٣s",
        ] {
            assert!(
                matches!(duration(bad), Err(UnitFault::NotADuration(_))),
                "{bad}"
            );
        }
        assert!(matches!(
            duration("99999999999999999999d"),
            Err(UnitFault::TooLarge(_))
        ));
    }

    #[test]
    fn sizes_are_binary_and_exact() {
        assert_eq!(size("10MiB"), Ok(10 << 20));
        assert_eq!(size("0B"), Ok(0));
        for bad in ["10", "10MB", "10mib", "1.5GiB", "MiB", "10M"] {
            assert!(matches!(size(bad), Err(UnitFault::NotASize(_))), "{bad}");
        }
        assert!(matches!(
            size("99999999999GiB"),
            Err(UnitFault::TooLarge(_))
        ));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0_u64..1 << 50, bytes in 0_u64..1 << 60) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(duration(&write_duration(time)), Ok(time));
            prop_assert_eq!(size(&write_size(bytes)), Ok(bytes));
        }
    }
}
