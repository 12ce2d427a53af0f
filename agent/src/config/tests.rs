use std::path::Path;

use super::*;

const GOOD: &str = r#"name = "SRVB"
controller = "https://127.0.0.1:7268"
data = "/data/agent"

[host]
provider = "unix"
service_socket = "/lab/scm.sock"
registry_file = "/lab/registry.toml"
events_file = "/lab/events.log"

[facts]
"ims.direction" = "outbound"
"#;

fn read(text: &str, flags: &Overrides, environment: &Overrides) -> Result<Config, ConfigError> {
    file::from_text(Path::new("agent.toml"), text, flags, environment)
}

fn plain(text: &str) -> Result<Config, ConfigError> {
    read(text, &Overrides::default(), &Overrides::default())
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default() {
    let flags = Overrides {
        name: Some("FLAG".into()),
        ..Overrides::default()
    };
    let variables = |name: &'static str| match name {
        "MAILMEND_AGENT_NAME" => Some("ENVIRONMENT".to_owned()),
        "MAILMEND_AGENT_CONTROLLER" => Some("https://elsewhere:1".to_owned()),
        "MAILMEND_AGENT_DATA" => Some(String::new()),
        _ => None,
    };
    let config = read(GOOD, &flags, &Overrides::from_environment(variables)).unwrap();
    let origins: Vec<(String, String)> = config
        .shown()
        .into_iter()
        .map(|shown| (shown.value, shown.origin))
        .collect();
    let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(origins[0], pair("FLAG", "flag --name"));
    assert_eq!(
        origins[1],
        pair(
            "https://elsewhere:1",
            "environment MAILMEND_AGENT_CONTROLLER"
        )
    );
    assert_eq!(origins[2], pair("/data/agent", "file, line 3"));
    assert_eq!(origins[3], pair("/etc/mailmend/guard.toml", "default"));
    assert_eq!(config.facts["ims.direction"], "outbound");
}

#[test]
fn the_clocks_of_the_logs_are_utc_unless_the_administrator_says_otherwise() {
    let clocks = |text: &str| {
        let config = plain(&GOOD.replace("[host]", &format!("{text}\n[host]"))).unwrap();
        (config.log_times(), config.smtp_log_time.origin)
    };
    assert_eq!(clocks(""), (LogTimes::default(), Origin::Default));
    let (times, origin) = clocks("smtp_log_time = \"+02:00\"\nevent_log_time = \"local\"");
    assert_eq!(
        (times.smtp, times.events),
        (LogTime::Fixed(7200), LogTime::Local)
    );
    assert_eq!(origin, Origin::File(5));
}

#[test]
fn a_path_that_a_person_typed_is_taken_from_the_current_folder_on() {
    let flags = Overrides {
        guard: Some("guard.toml".into()),
        ..Overrides::default()
    };
    let config = read(GOOD, &flags, &Overrides::default()).unwrap();
    assert!(config.guard.value.is_absolute());
}

#[test]
fn each_mistake_is_told_at_its_place() {
    for (from, to, expected) in [
        (
            "name = \"SRVB\"",
            "",
            "the configuration needs the key `name`",
        ),
        (
            "name = \"SRVB\"",
            "name = \"SRV B\"",
            "1:8: `name`: `SRV B` has the character ' ' at position 4",
        ),
        (
            "https://",
            "http://",
            "2:14: `controller` is `http://127.0.0.1:7268`: agents speak over TLS only",
        ),
        (
            ":7268",
            "",
            "2:14: `controller` is `https://127.0.0.1`, it has to be",
        ),
        (":7268", ":7268/x", "it has to be `https://HOST:PORT`"),
        (":7268", ":99999", "it has to be `https://HOST:PORT`"),
        (
            "/data/agent",
            "data",
            "3:8: `data` is `data`, which is not an absolute path",
        ),
        ("\"unix\"", "\"dos\"", "6:12: `provider` cannot be `dos`"),
        (
            "\"unix\"",
            "\"windows\"",
            "7:1: `[host]` has no key `service_socket`",
        ),
        (
            "events_file",
            "event_file",
            "9:1: `[host]` has no key `event_file`",
        ),
        (
            "[host]",
            "[hosts]",
            "the configuration needs the key `host`",
        ),
        (
            "[facts]",
            "lab_clock_factor = 0.5\n[facts]",
            "`lab_clock_factor` is 0.5",
        ),
        (
            "[facts]",
            "lab_clock_factor = nan\n[facts]",
            "`lab_clock_factor` is",
        ),
        (
            "[host]",
            "smtp_log_time = \"CET\"\n[host]",
            "5:17: `smtp_log_time`: `CET` is no time of a log",
        ),
        ("\"outbound\"", "1", "`ims.direction` is a whole number"),
        (
            "\"ims.direction\"",
            "\"ims direction\"",
            "cannot be the name of a fact",
        ),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD);
        let error = plain(&text).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("A001-config-faulty"),
            "{error}"
        );
    }
}

#[test]
fn a_flag_that_makes_no_sense_is_named() {
    let flags = Overrides {
        controller: Some("127.0.0.1:7268".into()),
        ..Overrides::default()
    };
    let error = read(GOOD, &flags, &Overrides::default()).unwrap_err();
    assert!(error.to_string().contains("--controller"), "{error}");
}

#[test]
fn a_missing_file_says_how_to_name_it() {
    let flags = Overrides {
        file: Some("/nowhere/agent.toml".into()),
        ..Overrides::default()
    };
    let error = Config::load(&flags, &Overrides::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("A002-config-unreadable") && error.contains("--config"),
        "{error}"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = plain(&text);
    }
}

#[test]
fn how_often_symptoms_are_looked_for_is_stated_with_a_unit_and_within_reason() {
    let config = plain(GOOD).unwrap();
    assert_eq!(config.look_every.value.as_secs(), 60);
    assert_eq!(config.look_every.origin, Origin::Default);
    let config = plain(&format!("{GOOD}\n[symptoms]\nevery = \"2m\"\n")).unwrap();
    assert_eq!(config.look_every.value.as_secs(), 120);
    for bad in ["\"5s\"", "\"2h\"", "60", "\"often\""] {
        let refused = plain(&format!("{GOOD}\n[symptoms]\nevery = {bad}\n")).unwrap_err();
        assert!(
            refused.to_string().contains("it may be 10s to 1h") || bad == "60",
            "{bad}: {refused}"
        );
    }
}

const WINDOWS: &str = r#"name = "SRVB"
controller = "https://127.0.0.1:7268"

[host]
provider = "windows"
"#;

#[test]
fn windows_needs_nothing_more_and_can_serve_another_machine() {
    let settings = |more: &str| plain(&format!("{WINDOWS}{more}\n")).map(|read| read.host.value);
    let here = HostSettings::Windows {
        machine: None,
        events_file: None,
        counters_file: None,
        custody_over_smb: false,
        clock_factor: 1.0,
    };
    assert_eq!(settings("").unwrap(), here);
    let there = settings("machine = '\\\\OSLO-B'\ncustody_over_smb = true").unwrap();
    let HostSettings::Windows {
        machine: Some(machine),
        custody_over_smb: true,
        ..
    } = there
    else {
        panic!("{there:?}");
    };
    assert_eq!(machine.to_string(), "OSLO-B");
    for (more, expected) in [
        ("machine = 'oslo/b'", "6:11: `machine`: `oslo/b` is no name"),
        (
            "custody_over_smb = true",
            "4:1: `custody_over_smb` is true, and no other machine",
        ),
        (
            "machine = 'b'\ncustody_over_smb = 'yes'",
            "`custody_over_smb` is a text",
        ),
    ] {
        let error = settings(more).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
