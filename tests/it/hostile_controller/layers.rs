//! The same evil against each layer alone: the language refuses it without a guard file, and the guard file refuses it
//! without the language. What a person approves is a plan's digest: `tests/it/steering/approved.rs`.

use std::path::Path;

use mailmend_agent::guard::Guard;
use mailmend_agent::inbox::{Asked, allowed};
use mailmend_policy::parse::parse;
use mailmend_policy::source::PolicySource;
use mailmend_policy::step::{Action, IfStillRunning, QuarantineUndo};

const GUARD: &str = r#"
policies = "unsigned"
roots = ["/srv/exchsrvr/imcdata/Out"]
services = ["MSExchangeIMC"]
[tools.submit-test-mail]
program = "/opt/tool"
[tools.submit-test-mail.flags]
to = { flag = "--to", pattern = "address" }
"#;

const WIDE: &str = r#"
policies = "unsigned"
roots = ["/srv/exchsrvr", "/srv/jungle"]
services = ["MSExchangeIMC", "MSExchangeMTA"]
[tools.submit-test-mail]
program = "/opt/tool"
verdicts = { done = "done" }
[tools.submit-test-mail.flags]
to = { flag = "--to", pattern = "address" }
[tools.forbidden]
program = "/opt/forbidden"
verdicts = { done = "done" }
"#;

fn service(name: &str) -> mailmend_policy::name::ServiceName {
    name.parse().unwrap()
}

fn run(tool: &str, with: &[(&str, &str)]) -> Action {
    let with = with
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Action::ToolRun {
        tool: tool.parse().unwrap(),
        with: with.collect(),
        accept: vec!["done".to_owned()],
    }
}

/// Actions that no parser has seen, each with the guard's code; `wide` where a wide guard file allows it.
fn evil() -> Vec<(Action, &'static str, bool)> {
    use mailmend_policy::condition::Queue;
    let to = |to: &str| Action::MailProbe {
        tool: "submit-test-mail".parse().unwrap(),
        to: to.to_owned(),
    };
    let inbound = Queue::InboundAwaitingConversion;
    vec![
        (
            Action::ServiceStop {
                service: service("MSExchangeMTA"),
                then: IfStillRunning::Kill,
            },
            "A030-guard-service",
            true,
        ),
        (
            Action::ServiceKill {
                service: service("MSExchangeMTA"),
            },
            "A030-guard-service",
            true,
        ),
        (
            Action::QueueSearch {
                of: "hold".parse().unwrap(),
                service: service("MSExchangeMTA"),
                observe: std::time::Duration::from_secs(1),
                max_restarts: u32::MAX,
                max_crashes: u32::MAX,
                max_duplicates: u64::MAX,
                max_bad: u32::MAX,
                in_flight: None,
            },
            "A030-guard-service",
            true,
        ),
        (run("forbidden", &[]), "A032-guard-tool", true),
        (
            run("submit-test-mail", &[("to", "a@b")]),
            "A032-guard-tool",
            true,
        ),
        (
            run("submit-test-mail", &[("to", "-oProxy=x")]),
            "A033-guard-flag",
            false,
        ),
        (
            run("submit-test-mail", &[("to", "a@b --to c@d")]),
            "A033-guard-flag",
            false,
        ),
        (
            run("submit-test-mail", &[("config", "/etc/passwd")]),
            "A033-guard-flag",
            false,
        ),
        (to("a@b\n--to\nc@d"), "A033-guard-flag", false),
        (to("$(touch x)@y"), "A033-guard-flag", false),
        (
            Action::QueueQuarantine {
                queue: inbound,
                undo: QuarantineUndo::Keep,
            },
            "A031-guard-path",
            true,
        ),
        (
            Action::MailEscrow {
                queue: inbound,
                keep: std::time::Duration::MAX,
            },
            "A031-guard-path",
            true,
        ),
        (Action::QueueResetIndex {}, "A031-guard-path", true),
    ]
}

#[test]
fn the_guard_alone_refuses_what_no_parser_has_seen() {
    let guard = |text| Guard::parse("guard.toml", text).unwrap();
    let (narrow, wide) = (guard(GUARD), guard(WIDE));
    let imcdata = Ok(Path::new("/srv/exchsrvr/imcdata").to_path_buf());
    for (action, code, in_wide) in evil() {
        let asked = |guard| {
            let asked = Asked {
                step: "evil",
                action: &action,
            };
            allowed(asked, guard, &imcdata)
                .err()
                .map(|refusal| refusal.code)
        };
        assert_eq!(asked(&narrow), Some(code), "{action:?}");
        assert_eq!(
            asked(&wide).is_none(),
            in_wide,
            "{action:?}: {:?}",
            asked(&wide)
        );
    }
    // Imcdata as a registry that was tampered with has it.
    for place in [
        "C:\\",
        "/",
        "/etc",
        "../..",
        "/srv/exchsrvr/imcdata/Out/../../..",
        "/srv/exchsrvr2/imcdata",
        "",
    ] {
        let imcdata = Ok(Path::new(place).to_path_buf());
        let hold = Action::QueueQuarantine {
            queue: mailmend_policy::condition::Queue::OutboundAwaitingDelivery,
            undo: QuarantineUndo::Keep,
        };
        let asked = Asked {
            step: "evil",
            action: &hold,
        };
        let refusal = allowed(asked, &wide, &imcdata).unwrap_err();
        assert_eq!(refusal.code, "A031-guard-path", "{place}");
    }
}

/// What the guard file would have to refuse otherwise: each is refused by the language alone, where no guard file is.
#[test]
fn the_language_alone_refuses_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/library/invalid");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let source = PolicySource::new("policy", std::fs::read(&path).unwrap());
        assert!(parse(&source).is_err(), "{}", path.display());
        count += 1;
    }
    assert!(count > 100, "{count}");
}
