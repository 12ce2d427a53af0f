use super::*;

fn word(standing: Standing, version: u32, looked_ms: i64) -> Word {
    Word {
        agent: "a".parse().unwrap(),
        policy: "test".parse().unwrap(),
        version,
        standing,
        since_ms: 0,
        looked_ms,
        heard_ms: looked_ms,
        evidence: vec!["3 wait".into()],
    }
}

fn vitals(word: &Word) -> Vitals<'_> {
    Vitals {
        connected: true,
        alarm: None,
        looks: true,
        version: 2,
        closed_ms: Some(100),
        word: Some(word),
    }
}

#[test]
fn a_server_is_good_where_its_agent_is_there_nothing_was_raised_and_the_symptom_is_known_absent() {
    let absent = word(Standing::Absent, 2, 101);
    assert_eq!(health(&vitals(&absent)), Health::Good);
}

#[test]
fn what_was_seen_before_the_run_ended_or_for_another_version_says_nothing_of_what_came_of_it() {
    for old in [
        word(Standing::Absent, 2, 100),
        word(Standing::Absent, 1, 200),
    ] {
        assert!(matches!(health(&vitals(&old)), Health::CannotTell(_)));
    }
    let absent = word(Standing::Absent, 2, 101);
    for unknown in [
        Vitals {
            word: None,
            ..vitals(&absent)
        },
        Vitals {
            closed_ms: None,
            ..vitals(&absent)
        },
    ] {
        assert!(matches!(health(&unknown), Health::CannotTell(_)));
    }
}

#[test]
fn a_symptom_that_stands_is_bad_with_its_evidence_and_one_that_cannot_be_told_is_neither() {
    let stands = word(Standing::Stands, 2, 101);
    assert_eq!(
        health(&vitals(&stands)),
        Health::Bad("the symptom stands: 3 wait".into())
    );
    let unknown = word(Standing::CannotTell, 2, 101);
    assert!(matches!(health(&vitals(&unknown)), Health::CannotTell(why) if why.contains("3 wait")));
}

#[test]
fn an_alarm_since_the_run_is_bad_also_where_the_agent_has_gone_and_a_symptom_is_bad_too() {
    let absent = word(Standing::Absent, 2, 101);
    let alarmed = Vitals {
        connected: false,
        alarm: Some("A000-x: it does not start"),
        ..vitals(&absent)
    };
    assert!(matches!(health(&alarmed), Health::Bad(why) if why.contains("it does not start")));
    let stands = word(Standing::Stands, 2, 101);
    let away = Vitals {
        connected: false,
        ..vitals(&stands)
    };
    assert!(matches!(health(&away), Health::Bad(_)));
}

#[test]
fn an_agent_that_is_not_connected_cannot_be_told_whether_it_judges_the_symptom_or_not() {
    let absent = word(Standing::Absent, 2, 101);
    for looks in [true, false] {
        let away = Vitals {
            connected: false,
            looks,
            ..vitals(&absent)
        };
        assert!(matches!(health(&away), Health::CannotTell(_)));
    }
    let relay = Vitals {
        looks: false,
        word: None,
        closed_ms: None,
        ..vitals(&absent)
    };
    assert_eq!(health(&relay), Health::Good);
}
