use std::collections::BTreeSet;

use super::*;
use crate::doctor::tests::{everything, well};
use mailmend_telemetry::trace::Counts;

/// The value of a series, by its name with labels.
fn value(text: &str, series: &str) -> Option<i64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

fn names(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split_once(' '))
        .map(|(name, kind)| match kind {
            // The type names the family, each series has the ending.
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        })
        .collect()
}

#[test]
fn every_series_is_there_with_0_where_nothing_waits() {
    let text = text(&well());
    for kind in Kind::ALL {
        let series = format!("mailmend_overdue{{kind=\"{}\"}}", kind.name());
        assert_eq!(value(&text, &series), Some(0), "{text}");
    }
    for phase in RunPhase::ALL {
        let series = format!("mailmend_runs{{phase=\"{}\"}}", phase.name());
        assert_eq!(value(&text, &series), Some(0));
    }
    assert_eq!(value(&text, "mailmend_agents_known"), Some(2));
    assert_eq!(value(&text, "mailmend_agents_connected"), Some(2));
    for kind in ["root", "catalogue", "timestamp"] {
        let series = format!("mailmend_trust_left_seconds{{kind=\"{kind}\"}}");
        assert_eq!(value(&text, &series), Some(0), "{text}");
    }
    assert_eq!(value(&text, "mailmend_agents_unsigned"), Some(0));
    assert_eq!(value(&text, "mailmend_store_bytes"), Some(1000));
    assert_eq!(
        value(&text, "mailmend_store_disk_free_bytes"),
        Some(100 << 30)
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_is_overdue_is_counted_by_kind_with_the_age_of_the_oldest() {
    let (mut picture, expected) = everything();
    for (kind, expected_ms) in expected {
        picture.now_ms = expected_ms;
        let overdue = format!("mailmend_overdue{{kind=\"{}\"}}", kind.name());
        assert_eq!(value(&text(&picture), &overdue), Some(0), "{kind:?}");
        picture.now_ms = expected_ms + 1;
        assert_eq!(value(&text(&picture), &overdue), Some(1), "{kind:?}");
    }
    let (mut picture, _) = everything();
    picture.now_ms += 90_000;
    let oldest = "mailmend_waiting_oldest_seconds{kind=\"held\"}";
    assert_eq!(value(&text(&picture), oldest), Some(90));
    let step = "mailmend_waiting{state=\"running\",kind=\"step\"}";
    assert_eq!(value(&text(&picture), step), Some(1));
    let order = "mailmend_waiting{state=\"none\",kind=\"order\"}";
    assert_eq!(value(&text(&picture), order), Some(1));
}

#[test]
fn spans_are_counted_also_where_nobody_takes_them() {
    let mut picture = well();
    let dropped = "mailmend_spans_dropped_total";
    assert_eq!(value(&text(&picture), dropped), Some(0));
    picture.spans = Counts {
        exported: 5,
        dropped: 7,
    };
    let text = text(&picture);
    assert_eq!(value(&text, "mailmend_spans_exported_total"), Some(5));
    assert_eq!(value(&text, dropped), Some(7));
}

#[test]
fn runs_rollouts_and_custody_are_counted_by_state() {
    let (mut picture, _) = everything();
    picture.runs = vec![(RunPhase::Running, 4)];
    picture.states = vec![(RolloutState::Halted, 2)];
    let text = text(&picture);
    assert_eq!(value(&text, "mailmend_runs{phase=\"running\"}"), Some(4));
    assert_eq!(value(&text, "mailmend_rollouts{state=\"halted\"}"), Some(2));
    for state in ["held", "in-doubt", "poison", "vanished"] {
        let series = format!("mailmend_custody_messages{{state=\"{state}\"}}");
        assert_eq!(value(&text, &series), Some(3), "{text}");
    }
    assert_eq!(value(&text, "mailmend_alarms_standing"), Some(1));
    let left = "mailmend_trust_left_seconds{kind=\"timestamp\"}";
    assert_eq!(value(&text, left), Some(4 * 86_400));
}

#[test]
fn labels_never_name_a_server_a_site_a_run_or_a_person() {
    let (picture, _) = everything();
    let text = text(&picture);
    for secret in [
        "EXA1", "EXD1", "oslo", "0000000", "anna", "new disk", "/data",
    ] {
        assert!(!text.contains(secret), "`{secret}`: {text}");
    }
    let (mut larger, _) = everything();
    for number in 0..100 {
        let mut agent = larger.agents[0].clone();
        agent.name = format!("EX{number}").parse().unwrap();
        larger.agents.push(agent);
    }
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(series(&super::text(&larger)), series(&text));
}

#[test]
fn the_documentation_lists_these_metrics_and_no_others() {
    let page = include_str!("../../../docs/observability.md");
    let listed: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `mailmend_"))
        .filter_map(|rest| rest.split(['`', '{']).next())
        .map(|name| format!("mailmend_{name}"))
        .collect();
    let (picture, _) = everything();
    assert_eq!(listed, names(&text(&picture)));
}
