//! Too much of everything: runs, audits, orders, fences, and a controller that takes nothing off the wire.

use std::fs;
use std::time::Duration;

use mailmend_lab::hostile::policies::Evil;
use mailmend_lab::hostile::verdict::MOST_MEMORY;
use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;
use uuid::Uuid;

use super::{begun, ended_well, listen_until, narrow};

/// A policy that asks a person and waits for days: each run of it stays open.
const WAITS: &str = r#"schema = "mailmend/v1"
name = "waits"
version = 1
title = "it waits for somebody"
[source]
article = "Q268494"
deviations = [{ step = "1", why = "none" }]
[applies_to]
product = "exchange"
versions = ">=4.0, <9.0"
[roles]
mail = { select = "ims.direction", bind = "each" }
[limits]
max_outage = "1m"
max_restarts = 1
[detect]
on = "mail"
all = [{ disk = "${imcdata}", free_over = "1B" }]
[[step]]
id = "ask"
on = "mail"
action = "human.task"
ask = "wait"
answers = ["yes", "no"]
accept = ["yes"]
timeout = "7d"
"#;

#[test]
fn an_agent_takes_no_more_runs_on_than_it_can_carry_out_and_buries_its_threads() {
    let (_folder, mut drive) = begun(narrow(13));
    let evil = Evil {
        kind: "waits",
        text: WAITS.into(),
    };
    for _ in 0..100 {
        drive.connected().unwrap();
        drive.assigned(&evil).unwrap();
        drive.release_all();
    }
    assert_eq!(drive.mind.runs.len(), 64, "{:?}", drive.mind.answers);
    assert_eq!(drive.mind.answers.get("A049-too-many-runs"), Some(&36));
    // All of them are undone, and asked for again and again.
    let fence = drive.mind.fence;
    let runs: Vec<String> = drive.mind.runs.iter().map(|run| run.id.clone()).collect();
    for run in &runs {
        drive.say(Message::Unwind(wire::Unwind {
            run: run.clone(),
            fence,
            down_to: 0,
            last: true,
        }));
    }
    drive.listen(Duration::from_secs(3));
    assert!(drive.assigned(&evil).unwrap(), "{:?}", drive.mind.answers);
    ended_well(drive);
}

#[test]
fn a_deaf_controller_that_asks_and_asks_does_not_make_the_agent_grow() {
    let (_folder, mut drive) = begun(narrow(14));
    drive.drop_line();
    drive.place.controller.be_deaf(true);
    drive.connected().unwrap();
    let long = "A".repeat(2 << 20);
    for _ in 0..100 {
        drive.say_at_most(
            Message::Audit(wire::AuditRequest {
                id: long.clone(),
                run: String::new(),
            }),
            Duration::from_millis(100),
        );
    }
    drive.listen(Duration::from_secs(2));
    let memory = drive.place.eye.memory();
    assert!(memory < MOST_MEMORY / 2, "{} MiB", memory >> 20);
    drive.place.controller.be_deaf(false);
    drive.drop_line();
    drive.connected().unwrap();
    // Its log does not repeat what it was told at length.
    let log = fs::metadata(drive.place.agent.output()).unwrap().len();
    assert!(log < 4 << 20, "{log} bytes");
    ended_well(drive);
}

/// A step of all servers, before the first one.
const OTHERS: &str = r#"[[step]]
id = "others"
on = "others"
action = "check"
all = [{ disk = "${imcdata}", free_over = "1B" }]
[[step]]"#;

#[test]
fn servers_without_end_are_not_planned() {
    let (_folder, mut drive) = begun(narrow(15));
    let mut honest = drive.honest();
    let mut one = honest.assignment.servers[0].clone();
    one.labels
        .retain(|name, _| ["ims.direction", "exchange.version"].contains(&name.as_str()));
    let policy = String::from_utf8(honest.assignment.policy_text.clone()).unwrap();
    // Each server against all of them: the square of what came.
    honest.assignment.policy_text = policy
        .replacen(
            "[limits]",
            "others = { select = \"ims.direction\", bind = \"all\", at_least = 1 }\n[limits]",
            1,
        )
        .replacen("[[step]]", OTHERS, 1)
        .into_bytes();
    honest.assignment.servers = (0..40_000)
        .map(|at| wire::Server {
            name: format!("s{at}"),
            actions: Vec::new(),
            ..one.clone()
        })
        .collect();
    honest.assignment.servers.push(one);
    honest.assignment.run = Uuid::now_v7().to_string();
    honest.assignment.fence = drive.mind.bump();
    drive.say(Message::Assignment(honest.assignment));
    listen_until(&mut drive, |mind| {
        mind.answers.contains_key("A046-assignment-malformed")
    });
    let refused = drive.mind.answers.get("A046-assignment-malformed");
    assert_eq!(refused, Some(&1), "{:?}", drive.mind.answers);
    let memory = drive.place.eye.memory();
    assert!(memory < MOST_MEMORY / 2, "{} MiB", memory >> 20);
    ended_well(drive);
}
