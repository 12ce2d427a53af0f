use super::*;
use crate::config::Flags;

const NOW: i64 = 1_780_000_000_000;

fn finding(severity: wire::Severity, overdue: bool) -> wire::Finding {
    wire::Finding {
        severity: severity.into(),
        kind: "held".to_owned(),
        place: "run 0198c5aa on EXA1".to_owned(),
        predicate: "3 messages that are held are given back or settled".to_owned(),
        holder: "a person".to_owned(),
        since_ms: NOW - 86_400_000,
        expected_ms: NOW - 60_000,
        overdue,
        release: "mailmend run ledger 0198c5aa --state held; mailmend custody release 0198c5aa \
                  --why ..."
            .to_owned(),
    }
}

fn report(findings: Vec<wire::Finding>) -> wire::DoctorReport {
    let overdue = findings.iter().filter(|finding| finding.overdue).count();
    wire::DoctorReport {
        now_ms: NOW,
        version: "0.1.0".to_owned(),
        schema: 35,
        agents: 4,
        connected: 3,
        rollouts: 1,
        waiting: 7,
        overdue: u32::try_from(overdue).unwrap(),
        findings,
        ..wire::DoctorReport::default()
    }
}

fn good() -> Vec<Check> {
    vec![clocks(NOW, NOW)]
}

#[test]
fn a_finding_is_told_with_what_who_since_expected_and_the_command_in_80_columns() {
    let report = report(vec![finding(wire::Severity::Grave, true)]);
    let text = told(&report, &good(), &Output::fixed(80));
    for part in [
        "3 of 4 agents connected, 1 rollouts open",
        "7 waiting, 1 overdue",
        "grave held: run 0198c5aa on EXA1",
        "3 messages that are held",
        "1d ago (2026-05-27T20:26:40Z)",
        "1m ago (2026-05-28T20:25:40Z)",
        "mailmend run ledger 0198c5aa --state held",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let view = serde_json::to_value(DoctorView::of(Some(&report), &good())).unwrap();
    assert_eq!(view["overdue"], 1);
    assert_eq!(view["findings"][0]["kind"], "held");
    assert_eq!(view["findings"][0]["expected"], "2026-05-28T20:25:40Z");
    assert_eq!(view["controller"]["schema"], 35);
}

#[test]
fn the_exit_code_says_whether_somebody_is_needed() {
    assert_eq!(exit(&report(Vec::new()), &good()), Exit::Success);
    let notice = report(vec![finding(wire::Severity::Notice, false)]);
    assert_eq!(exit(&notice, &good()), Exit::Success);
    let overdue = report(vec![finding(wire::Severity::Overdue, true)]);
    assert_eq!(exit(&overdue, &good()), Exit::Waiting);
    let apart = vec![clocks(NOW, NOW + 61_000)];
    assert_eq!(exit(&report(Vec::new()), &apart), Exit::Waiting);
    let text = told(&report(Vec::new()), &apart, &Output::fixed(80));
    assert!(text.contains("61 s from the controller's"), "{text}");
    assert!(text.contains("7 waiting, nothing is overdue"), "{text}");
}

#[test]
fn what_is_wrong_here_is_told_without_a_controller() {
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().display().to_string();
    let flags = Flags::from([
        ("controller", "http://127.0.0.1".to_owned()),
        ("identity", identity.clone()),
    ]);
    let settings = Settings::load(&flags).unwrap();
    let checks = local::checks(&settings, NOW);
    assert!(checks.iter().all(|check| !check.good), "{checks:#?}");
    assert!(checks[0].what.contains("does not begin with https://"));
    assert!(checks[1].what.contains("operator.pem"));
    let text = local::told(&checks, &Output::fixed(80));
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    // A certificate of its own is judged by the time that is given.
    let authority = crate::enrol::Authority::open_or_create(folder.path(), NOW).unwrap();
    let identity = authority.operator_folder(NOW).unwrap();
    let flags = Flags::from([
        ("controller", "https://127.0.0.1:7268".to_owned()),
        ("identity", identity.display().to_string()),
    ]);
    let settings = Settings::load(&flags).unwrap();
    let found = |now_ms| local::checks(&settings, now_ms);
    assert!(
        found(NOW).iter().all(|check| check.good),
        "{:#?}",
        found(NOW)
    );
    let later = found(NOW + 4000 * 86_400_000);
    assert!(
        !later[2].good && later[2].what.starts_with("it ended"),
        "{later:#?}"
    );
    let earlier = found(NOW - 4000 * 86_400_000);
    assert!(
        !earlier[2].good && earlier[2].what.starts_with("good only from"),
        "{earlier:#?}"
    );
}
