//! An agent that is killed in the middle of a section and stays away: the doctor names it once it is overdue, and
//! has nothing to say when it is back.

use super::*;

/// Stops and starts the mail service, with times that are overdue soon.
const RESTART: &str = r#"
schema = "mailmend/v1"
name = "restart-ims"
version = 1
title = "The mail service is started anew"

[source]
article = "Q268494"

[applies_to]
product = "exchange"
versions = ">=5.0, <5.6"

[roles]
outbound = { select = "ims.direction=outbound", bind = "each" }

[limits]
max_outage = "40s"
max_restarts = 2

[detect]
on = "outbound"
all = [{ service = "MSExchangeIMC", is = "running" }]

[[step]]
id = "stop-ims"
on = "outbound"
action = "service.stop"
service = "MSExchangeIMC"
timeout = "10s"
then = "kill"
forbid = [{ event = { source = "MSExchangeIMC", id = 3038, since = "last-start" }, why = "sent mail could not be removed from the store; stopping now sends it again (Q296879)" }]

[[step]]
id = "start-ims"
on = "outbound"
action = "service.start"
service = "MSExchangeIMC"
observe = "10s"
timeout = "20s"
"#;
/// What the doctor's command ends with where something is overdue.
const OVERDUE: i32 = 3;
/// The longest of the steps, the 2 minutes that a report may take, and room for a busy machine.
const UNTIL_OVERDUE: Duration = Duration::from_secs(20 + 120 + 40);

/// The doctor's exit code, and what it found.
fn doctor(room: &Room) -> (Option<i32>, Value) {
    let (code, answer, said) = room.operator.ended(&["doctor"]).unwrap();
    assert!(answer["controller"].is_object(), "{answer:#}\n{said}");
    (code, answer)
}

#[test]
fn the_doctor_names_an_agent_that_is_away_in_mid_section_for_too_long_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut room = Room::bring_up(folder.path(), ClockFactor(1), SiteSpec::well());
    let file = folder.path().join("restart-ims.toml");
    std::fs::write(&file, RESTART).unwrap();
    room.ask(&["policy", "publish", file.to_str().unwrap()]);
    let (code, well) = doctor(&room);
    assert_eq!(
        (code, &well["overdue"]),
        (Some(0), &Value::from(0)),
        "{well:#}"
    );
    assert_eq!(well["controller"]["connected"], 2 * SITES);

    let name = room.b(0).name.clone();
    let rollout = room.start("restart-ims", &["--waves", "1 site,100%"]);
    room.until_stopping(room.b(0));
    assert!(room.fleet.kill_agent(&name));
    let (code, soon) = doctor(&room);
    assert_eq!(code, Some(0), "not overdue yet: {soon:#}");

    let mut last = (None, Value::Null);
    awaited::or_fail("the doctor to name it", UNTIL_OVERDUE, || {
        last = doctor(&room);
        last.0 == Some(OVERDUE)
    })
    .unwrap_or_else(|why| panic!("{why}: {:#}", last.1));
    let found = last.1;
    assert_eq!(found["overdue"], 1, "{found:#}");
    let finding = &found["findings"][0];
    assert_eq!(finding["severity"], "grave", "{found:#}");
    assert_eq!(finding["kind"], "step", "{found:#}");
    let text = |field: &str| finding[field].as_str().unwrap_or_default();
    assert!(
        text("holder").contains(&name) && text("holder").contains("not connected"),
        "{found:#}"
    );
    assert!(
        text("release").contains(&format!("start mailmend-agent on {name}")),
        "{found:#}"
    );
    // One agent that is away harms no other site.
    room.assert_untouched(1..SITES);

    room.fleet.start_agent(&name).unwrap();
    let mut last = (None, Value::Null);
    awaited::or_fail("the doctor to be content", LIMIT, || {
        last = doctor(&room);
        last.0 == Some(0)
    })
    .unwrap_or_else(|why| panic!("{why}: {:#}", last.1));
    assert_eq!(last.1["overdue"], 0, "{:#}", last.1);
    awaited::or_fail("service", LIMIT, || room.b(0).ims_runs()).unwrap();
    // The doctor is content as soon as the agent has told of it; the controller decides a moment later and goes on with
    // the other sites. An agent that is told to end in mid-section brings its service up first, which takes its time.
    let mut shown = Value::Null;
    awaited::or_fail("the rollout to end", LIMIT, || {
        shown = room.ask(&["rollout", "show", &rollout]);
        let runs = shown["runs"].as_array().unwrap();
        shown["state"] != "running" && runs.iter().all(|run| run["phase"] != "running")
    })
    .unwrap_or_else(|why| panic!("{why}: {shown:#}"));
    room.end();
}
