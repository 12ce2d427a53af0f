//! The verdict can fail: with a guard file that is far too wide the same input has effects, and each is told.

use std::time::Duration;

use mailmend_lab::awaited;
use mailmend_lab::hostile::place::Width;
use mailmend_lab::hostile::play::{Drive, Settings};
use mailmend_lab::hostile::policies::Evil;

use super::begun;

const LIMIT: Duration = Duration::from_secs(40);

const HEAD: &str = r#"schema = "mailmend/v1"
name = "evil"
version = 1
title = "what a narrow guard file refuses"
[source]
article = "Q268494"
deviations = [{ step = "1", why = "none" }]
[applies_to]
product = "exchange"
versions = ">=4.0, <9.0"
[roles]
mail = { select = "ims.direction", bind = "each" }
[limits]
max_outage = "10m"
max_restarts = 100
[detect]
on = "mail"
all = [{ disk = "${imcdata}", free_over = "1B" }]
"#;

const FORBID: &str = r#"forbid = [{ event = { source = "MSExchangeIMC", id = 3038, since = "last-start" }, why = "x" }]"#;

fn evil(kind: &'static str, steps: &str) -> Evil {
    let text = format!("{HEAD}{steps}")
        .replace("FORBID", FORBID)
        .into_bytes();
    Evil { kind, text }
}

fn carried_out(drive: &mut Drive, evil: &Evil) -> bool {
    let taken = drive.assigned(evil).unwrap();
    drive.release_all();
    taken
}

const HOLD: &str = r#"
[[step]]
id = "stop"
on = "mail"
action = "service.stop"
service = "MSExchangeIMC"
then = "kill"
FORBID
[[step]]
id = "hold"
on = "mail"
action = "queue.quarantine"
queue = "inbound-awaiting-conversion"
undo = "replay"
[[step]]
id = "index"
on = "mail"
action = "queue.reset-index"
[[step]]
id = "start"
on = "mail"
action = "service.start"
service = "MSExchangeIMC"
observe = "10s"
[[step]]
id = "stop-again"
on = "mail"
action = "service.stop"
service = "MSExchangeIMC"
then = "kill"
FORBID
[[step]]
id = "back"
on = "mail"
action = "queue.replay"
of = "hold"
[[step]]
id = "index-again"
on = "mail"
action = "queue.reset-index"
[[step]]
id = "start-again"
on = "mail"
action = "service.start"
service = "MSExchangeIMC"
observe = "10s"
[[step]]
id = "settle"
on = "mail"
action = "queue.settle"
of = "hold"
timeout = "5m"
"#;

const OTHER: &str = r#"
[[step]]
id = "stop-ims"
on = "mail"
action = "service.stop"
service = "MSExchangeIMC"
then = "kill"
FORBID
[[step]]
id = "stop-mta"
on = "mail"
action = "service.stop"
service = "MSExchangeMTA"
then = "fail"
[[step]]
id = "start-mta"
on = "mail"
action = "service.start"
service = "MSExchangeMTA"
observe = "10s"
[[step]]
id = "start-ims"
on = "mail"
action = "service.start"
service = "MSExchangeIMC"
observe = "10s"
"#;

const TOOL: &str = r#"
[[step]]
id = "run"
on = "mail"
action = "tool.run"
tool = "forbidden"
accept = ["done"]
timeout = "1m"
"#;

/// The most runs that are asked for until the numbers of the narrow guard file are passed.
const MOST: usize = 40;

#[test]
fn with_a_guard_file_that_is_far_too_wide_the_verdict_tells_each_effect() {
    let (_folder, mut drive) = begun(Settings {
        seed: 10,
        actions: 0,
        width: Width::Wide,
    });
    drive.place.more_mail(6).unwrap();
    assert!(carried_out(&mut drive, &evil("tool", TOOL)));
    awaited::or_fail("the canary tool", LIMIT, || drive.place.canary_ran()).unwrap();
    assert!(carried_out(&mut drive, &evil("other", OTHER)));
    let touched = |drive: &Drive| {
        let history = drive.place.history().unwrap();
        history
            .iter()
            .any(|change| change.service == "MSExchangeMTA")
    };
    awaited::or_fail("the other service", LIMIT, || {
        drive.listen(Duration::from_millis(100));
        touched(&drive)
    })
    .unwrap();
    let stops = |drive: &Drive| {
        let history = drive.place.history().unwrap();
        mailmend_lab::hostile::verdict::counts(&history, "MSExchangeIMC").stops
    };
    awaited::or_fail("the sections", LIMIT, || {
        if drive.mind.runs.len() < MOST {
            let again = HOLD.replace(
                "id = \"stop\"",
                &format!("id = \"stop{}\"", drive.mind.runs.len()),
            );
            assert!(carried_out(&mut drive, &evil("hold", &again)));
        }
        drive.listen(Duration::from_secs(1));
        stops(&drive) > 4
    })
    .unwrap();
    let outcome = drive
        .finish(10)
        .unwrap_or_else(|error| panic!("{}", error.whole()));
    eprintln!("{outcome:#?}");
    let told = |words: &str| outcome.against.iter().any(|one| one.contains(words));
    for words in [
        "the program ran that is in no guard file",
        "`MSExchangeMTA` was touched",
        "jungle/mailmend-held",
        "was stopped",
        "it started `",
    ] {
        // A child that lives for a moment may pass the eye; that it ran, the canary has told.
        let seen = told(words) || words.starts_with("it started");
        assert!(seen, "`{words}` is not told: {:#?}", outcome.against);
    }
}
