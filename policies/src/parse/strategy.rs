//! `[strategy]`: waves, tolerance, budgets, windows, gate and approvals. What could never go on is refused
//! here as far as the text alone tells it; the rest when the targets are known.

use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::{FaultCode, Faults, Sink};
use crate::section;
use crate::step::Step;
use crate::strategy::{
    Approve, Day, Gate, LastPath, LocalTime, MOST_COUNT, MOST_SITES_AT_ONCE, MOST_WAVES,
    MOST_WINDOWS, MaxUnavailable, NoZone, Share, Strategy, Window, Zone, longest_opening,
};
use crate::units::write_duration;

use super::reader::{Located, Reader, Span};
use super::value::{list, number, table, text, word, wrong_type};
use super::words::listed;

pub(crate) const GATES: [(&str, Gate); 2] = [("none", Gate::None), ("health", Gate::Health)];

pub(crate) const APPROVALS: [(&str, Approve); 4] = [
    ("none", Approve::None),
    ("before-first", Approve::BeforeFirst),
    ("after-first", Approve::AfterFirst),
    ("each-wave", Approve::EachWave),
];

pub(crate) const LAST_PATHS: [(&str, LastPath); 2] =
    [("accept", LastPath::Accept), ("refuse", LastPath::Refuse)];

/// What stands for no windows at all.
pub(crate) const ALWAYS: &str = "always";

/// The longest soak.
pub(crate) const LONGEST_SOAK: Duration = Duration::from_secs(30 * 86_400);

/// The strategy of a policy, with the place of its windows.
pub(crate) struct StrategyDraft {
    pub(crate) strategy: Option<Strategy>,
    windows: Span,
}

/// The strategy of a policy: what it does not say is as in the default one.
pub(crate) fn strategy(root: &Reader<'_>) -> StrategyDraft {
    let unless = Strategy::default();
    let none = StrategyDraft {
        strategy: None,
        windows: 0..0,
    };
    if root.get("strategy").is_none() {
        return StrategyDraft {
            strategy: Some(unless),
            ..none
        };
    }
    root.table("strategy").map_or(none, |reader| {
        let windows = reader.place("windows");
        StrategyDraft {
            strategy: keys(reader, &unless),
            windows,
        }
    })
}

/// Reads a strategy that overrides another: a TOML file with the keys of `[strategy]` at its top, or below
/// `[strategy]` as a policy has them. What it does not say stays as it is in `base`; of `max_unavailable` each key
/// stands for itself.
///
/// # Errors
/// All faults of the file with their places, under the same limits as a policy's. That the windows are long
/// enough for the policy's sections is only seen in [`Strategy::resolve`].
pub fn overridden(base: &Strategy, text: &[u8], name: &str) -> Result<Strategy, Faults> {
    let (strategy, faults) = super::file(text, name, |root, sink| over(root, base, sink));
    strategy.ok_or(faults)
}

fn over(root: &DeTable<'_>, base: &Strategy, sink: &Sink) -> Option<Strategy> {
    let reader = Reader::new(root, 0..0, "the strategy", sink);
    if !reader.has("strategy") {
        return keys(reader, base);
    }
    let strategy = reader
        .table("strategy")
        .and_then(|reader| keys(reader, base));
    reader.finish(|_| {
        Some("write the keys at the top, or all of them below `[strategy]`".to_owned())
    });
    strategy
}

/// Notes where windows are too short for what the steps may do to a service.
pub(crate) fn fit(draft: &StrategyDraft, max_outage: Duration, steps: &[Step], sink: &Sink) {
    let Some(longest) = draft
        .strategy
        .as_ref()
        .and_then(|strategy| longest_opening(&strategy.windows))
    else {
        return;
    };
    if longest <= max_outage && !section::outlines(steps).0.is_empty() {
        let (longest, outage) = (write_duration(longest), write_duration(max_outage));
        let message = format!(
            "the windows are open for {longest} at most, and a section may take `max_outage` {outage}: it would never fit"
        );
        let hint = format!("use windows longer than {outage}, or lower `max_outage`");
        sink.hinted(FaultCode::NeverProgresses, &draft.windows, message, hint);
    }
}

/// All keys of a strategy; those that are not there as in `unless`.
fn keys(reader: Reader<'_>, unless: &Strategy) -> Option<Strategy> {
    let waves = or(&reader, "waves", &unless.waves, waves);
    let soak = or(&reader, "soak", &unless.soak, |reader| {
        reader.duration("soak", Duration::ZERO, LONGEST_SOAK)
    });
    let gate = or(&reader, "gate", &unless.gate, |reader| {
        reader.word("gate", &GATES)
    });
    let sites_at_once = or(&reader, "sites_at_once", &unless.sites_at_once, |reader| {
        reader.number32("sites_at_once", 1, MOST_SITES_AT_ONCE)
    });
    let max_failed = or(&reader, "max_failed", &unless.max_failed, |reader| {
        share(reader.get("max_failed")?, "max_failed", reader.sink)
    });
    let max_unavailable = or(
        &reader,
        "max_unavailable",
        &unless.max_unavailable,
        |reader| max_unavailable(reader, &unless.max_unavailable),
    );
    let windows = or(&reader, "windows", &unless.windows, windows);
    let approve = or(&reader, "approve", &unless.approve, |reader| {
        reader.word("approve", &APPROVALS)
    });
    let last_path = or(&reader, "last_path", &unless.last_path, |reader| {
        reader.word("last_path", &LAST_PATHS)
    });
    reader.finish(|_| None);
    Some(Strategy {
        waves: waves?,
        soak: soak?,
        gate: gate?,
        sites_at_once: sites_at_once?,
        max_failed: max_failed?,
        max_unavailable: max_unavailable?,
        windows: windows?,
        approve: approve?,
        last_path: last_path?,
    })
}

/// The value of a key; where it is not there, another.
fn or<'a, T: Clone>(
    reader: &Reader<'a>,
    key: &'static str,
    unless: &T,
    read: impl FnOnce(&Reader<'a>) -> Option<T>,
) -> Option<T> {
    match reader.get(key) {
        Some(_) => read(reader),
        None => Some(unless.clone()),
    }
}

fn waves(reader: &Reader<'_>) -> Option<Vec<Share>> {
    let sink = reader.sink;
    let entries = few(reader.list("waves")?, "waves", MOST_WAVES, sink)?;
    let mut waves: Vec<Share> = Vec::new();
    let mut whole = true;
    for (at, entry) in entries.iter().enumerate() {
        let Some(wave) = wave(entry, sink) else {
            whole = false;
            continue;
        };
        let span = entry.span();
        let never = |message: String, hint: &str| {
            sink.hinted(FaultCode::NeverProgresses, &span, message, hint);
        };
        let said = sites(wave);
        if matches!(wave, Share::Count(0) | Share::Percent(0)) {
            never(
                format!("a wave of `{said}` reaches no site"),
                "begin with at least `1 site` or `1%`",
            );
            whole = false;
        }
        // How a number and a part compare is only known with the targets.
        let before = waves.iter().rev().find(|before| match (before, wave) {
            (Share::Count(before), Share::Count(now))
            | (Share::Percent(before), Share::Percent(now)) => *before >= now,
            (Share::Percent(100), Share::Count(_)) => true,
            _ => false,
        });
        if let Some(before) = before {
            never(
                format!("`{said}` comes after `{}`: waves must rise", sites(*before)),
                "a wave is what is reached by its end, all waves before it included",
            );
            whole = false;
        }
        if let Share::Percent(percent @ ..100) = wave
            && at + 1 == entries.len()
        {
            never(
                format!(
                    "the last wave reaches {percent}% of the sites, so the rollout could never end"
                ),
                "let the last wave be `100%`",
            );
            whole = false;
        }
        waves.push(wave);
    }
    whole.then_some(waves)
}

/// What a wave reaches, as `waves` writes it.
fn sites(share: Share) -> String {
    match share {
        Share::Count(1) => "1 site".to_owned(),
        Share::Count(count) => format!("{count} sites"),
        Share::Percent(_) => share.to_string(),
    }
}

fn wave(entry: &Spanned<DeValue<'_>>, sink: &Sink) -> Option<Share> {
    if let Some(count) = entry.get_ref().as_integer() {
        let message = format!("a wave is {count}, it has to be a text in quotes");
        let hint = format!("say of what: `\"{count} sites\"` or `\"{count}%\"`");
        sink.hinted(FaultCode::WrongType, &entry.span(), message, hint);
        return None;
    }
    let found = text(entry, "waves", sink)?;
    let share = Share::from_str(found.value)
        .ok()
        .filter(|share| sites(*share) == found.value);
    let Some(share) = share else {
        let message = format!("`{}` is no wave", found.value.escape_debug());
        let hint =
            "write whole numbers with what they count, such as `1 site`, `12 sites` or `10%`";
        sink.hinted(FaultCode::BadShare, &found.span, message, hint);
        return None;
    };
    in_range(share, "waves", &found.span, sink)
}

/// A count without quotes or a percentage in them.
fn share(value: &Spanned<DeValue<'_>>, key: &str, sink: &Sink) -> Option<Share> {
    match value.get_ref() {
        DeValue::Integer(_) => number(value, key, 0, MOST_COUNT.into(), sink)
            .and_then(|count| u32::try_from(count).ok())
            .map(Share::Count),
        DeValue::String(found) => {
            let read = Share::from_str(found).ok();
            let Some(part @ Share::Percent(_)) = read else {
                let message = format!(
                    "`{key}` is `{}`, which is no percentage",
                    found.escape_debug()
                );
                let hint = match read {
                    Some(Share::Count(count)) => format!("write {count} without quotes"),
                    _ => "write a number such as 3, or a percentage such as `\"5%\"`, 0 to 100"
                        .to_owned(),
                };
                sink.hinted(FaultCode::BadShare, &value.span(), message, hint);
                return None;
            };
            Some(part)
        }
        _ => {
            wrong_type(
                key,
                "a whole number, or a percentage in quotes",
                value,
                sink,
            );
            None
        }
    }
}

fn in_range(share: Share, key: &str, span: &Span, sink: &Sink) -> Option<Share> {
    if let Share::Count(count) = share
        && count > MOST_COUNT
    {
        let message = format!("`{key}` has {count}, at most {MOST_COUNT} are allowed");
        sink.fault(FaultCode::OutOfRange, span, message);
        return None;
    }
    Some(share)
}

fn max_unavailable(reader: &Reader<'_>, unless: &MaxUnavailable) -> Option<MaxUnavailable> {
    let sink = reader.sink;
    let reader = reader.table("max_unavailable")?;
    if reader.keys().next().is_none() {
        let message = "`max_unavailable` says nothing";
        let hint = "add `site = 1`, `fleet = \"10%\"` or both";
        sink.hinted(FaultCode::MissingKey, &reader.span, message, hint);
    }
    let budget = |key: &'static str, unless: Share| {
        let Some(value) = reader.get(key) else {
            return Some(unless);
        };
        let share = share(value, key, sink)?;
        if matches!(share, Share::Count(0) | Share::Percent(0)) {
            let message = format!(
                "`max_unavailable.{key}` is {share}: `0 + 1 > {share}`, so no server could ever be taken out of service"
            );
            sink.hinted(
                FaultCode::NeverProgresses,
                &value.span(),
                message,
                "allow at least 1",
            );
            return None;
        }
        Some(share)
    };
    let site = budget("site", unless.site);
    let fleet = budget("fleet", unless.fleet);
    reader.finish(|_| None);
    Some(MaxUnavailable {
        site: site?,
        fleet: fleet?,
    })
}

fn windows(reader: &Reader<'_>) -> Option<Vec<Window>> {
    let sink = reader.sink;
    let value = reader.get("windows")?;
    match value.get_ref() {
        DeValue::String(said) if said == ALWAYS => return Some(Vec::new()),
        DeValue::String(said) => {
            let message = format!("`windows` cannot be `{}`", said.escape_debug());
            let hint = format!("it is `{ALWAYS}` or a list of windows in brackets");
            sink.hinted(FaultCode::UnknownValue, &value.span(), message, hint);
            return None;
        }
        DeValue::Array(none) if none.is_empty() => {
            let message = "`windows` is empty: that could mean always as well as never";
            let hint = format!("write `windows = \"{ALWAYS}\"`, or give at least one window");
            sink.hinted(FaultCode::EmptyList, &value.span(), message, hint);
            return None;
        }
        _ => {}
    }
    let entries = few(list(value, "windows", sink)?, "windows", MOST_WINDOWS, sink)?;
    let mut windows: Vec<Window> = Vec::new();
    let mut whole = true;
    for entry in entries {
        let Some(window) = table(entry, "windows", "the window", sink).and_then(window) else {
            whole = false;
            continue;
        };
        if windows.contains(&window) {
            let message = "the window is in `windows` twice";
            sink.hinted(
                FaultCode::DuplicateEntry,
                &entry.span(),
                message,
                "give it once",
            );
            whole = false;
        }
        windows.push(window);
    }
    whole.then_some(windows)
}

fn window(reader: Reader<'_>) -> Option<Window> {
    let sink = reader.sink;
    let days = reader
        .need_list("days", "days = [\"sat\", \"sun\"]")
        .and_then(|entries| days(entries, sink));
    let from = reader
        .need_text("from", "from = \"22:00\"")
        .and_then(|found| time(&found, "from", sink));
    let to = reader
        .need_text("to", "to = \"04:00\"")
        .and_then(|found| time(&found, "to", sink));
    let zone = reader
        .need_text("zone", "zone = \"Europe/Oslo\"")
        .and_then(|found| zone(&found, sink));
    reader.finish(|_| None);
    Some(Window {
        days: days?,
        from: from?,
        to: to?,
        zone: zone?,
    })
}

fn days(entries: &[Spanned<DeValue<'_>>], sink: &Sink) -> Option<Vec<Day>> {
    let words = Day::ALL.map(|day| (day.name(), day));
    let mut days: Vec<Day> = Vec::new();
    let mut whole = true;
    for entry in entries {
        let Some(day) =
            text(entry, "days", sink).and_then(|found| word(&found, "days", &words, sink))
        else {
            whole = false;
            continue;
        };
        if days.contains(&day) {
            let message = format!("`{}` is in `days` twice", day.name());
            sink.fault(FaultCode::DuplicateEntry, &entry.span(), message);
            whole = false;
        }
        days.push(day);
    }
    whole.then_some(days)
}

fn time(found: &Located<&str>, key: &str, sink: &Sink) -> Option<LocalTime> {
    let read = found.value.parse();
    if read.is_err() {
        let message = format!(
            "`{key}` is `{}`, which is not a time of day",
            found.value.escape_debug()
        );
        let hint = if found.value == "24:00" {
            "the end of a day is `00:00`: a window that does not end after it begins ends on the next day"
        } else {
            "write hours and minutes such as `22:00`, from `00:00` to `23:59`"
        };
        sink.hinted(FaultCode::BadTime, &found.span, message, hint);
    }
    read.ok()
}

fn zone(found: &Located<&str>, sink: &Sink) -> Option<Zone> {
    match found.value.parse() {
        Ok(zone) => Some(zone),
        Err(fault @ NoZone(_)) => {
            let message = format!("`{}` names no time zone", found.value.escape_debug());
            let near = fault.near();
            let hint = if near.is_empty() {
                "write a name of the IANA database such as `Europe/Oslo` or `UTC`".to_owned()
            } else {
                let near: Vec<&str> = near.iter().map(String::as_str).collect();
                format!("near it are {}", listed(&near))
            };
            sink.hinted(FaultCode::UnknownZone, &found.span, message, hint);
            None
        }
    }
}

/// The entries of a list, where they are not too many.
fn few<'a>(
    entries: &'a [Spanned<DeValue<'a>>],
    key: &str,
    most: usize,
    sink: &Sink,
) -> Option<&'a [Spanned<DeValue<'a>>]> {
    if let Some(beyond) = entries.get(most) {
        let message = format!(
            "`{key}` has {} entries, at most {most} are allowed",
            entries.len()
        );
        sink.fault(FaultCode::TooMany, &beyond.span(), message);
        return None;
    }
    Some(entries)
}

#[cfg(test)]
mod tests;
