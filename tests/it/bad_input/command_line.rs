//! Arguments that make no sense, and a controller that is not there.

use std::io::Write;
use std::net::TcpListener;

use super::ended::run;
use super::place::{Place, all_of, bare, programs, untouched};

#[test]
fn ids_that_name_nothing_or_too_little_are_refused() {
    let place = Place::served();
    place
        .operator(&["rollout", "show", "0123456789ab"])
        .refused(1, "C036-not-found");
    place
        .operator(&["run", "show", "0123456789ab"])
        .refused(1, "C036-not-found");
    place
        .operator(&["agent", "show", "NOBODY"])
        .refused(1, "C036-not-found");
    for short in ["01", "", "zzzzzz", "--"] {
        let ended = place.operator(&["rollout", "show", short]);
        assert!(
            ended.stderr.starts_with("error[C035-usage]: "),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_selector_that_selects_nothing_or_everything_is_refused() {
    let place = Place::served();
    place
        .operator(&["policy", "publish", "--shipped", "stuck-outbound-routing"])
        .succeeded();
    let plan =
        |selector| place.operator(&["rollout", "plan", "stuck-outbound-routing", "-l", selector]);
    plan("site in (").refused(2, "C080-selector");
    plan("").refused(2, "C080-selector");
    plan("site=nowhere").refused(2, "C081-nothing-selected");
    let start = [
        "rollout",
        "start",
        "stuck-outbound-routing",
        "--yes",
        "-l",
        "site=nowhere",
    ];
    place.operator(&start).refused(2, "C081-nothing-selected");
    let none = place.operator(&["rollout", "list", "-o", "json"]);
    assert!(
        !none.succeeded().contains("\"id\""),
        "nothing was started: {}",
        none.stdout
    );
}

#[test]
fn an_address_that_is_none_or_has_no_controller_is_told() {
    let place = Place::served();
    let ask = |address| place.operator(&["agent", "list", "--controller", address]);
    ask("ftp://127.0.0.1").refused(2, "C025-controller-address");
    ask("https://127.0.0.1:1").refused(6, "C020-unreachable");
    // Somebody else: a mail server, which speaks first and in the clear.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut caller, _)) = listener.accept() {
            let _ = caller.write_all(b"220 mail.example ESMTP\r\n");
        }
    });
    ask(&address).refused(6, "C020-unreachable");
    let agent = place.enrol("x", &["--controller", &address]);
    agent.refused(6, "A026-controller-untrusted");
}

#[test]
fn an_argument_that_the_agent_does_not_know_has_a_code_too() {
    let place = Place::new();
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["ledger", "--state", "lost"],
        &["run", "--output", "x"],
    ] {
        let ended = place.agent(arguments);
        let said = &ended.stderr;
        assert!(
            said.starts_with("error[A007-usage]: "),
            "{arguments:?}: {said}"
        );
    }
    place.agent(&["--help"]).succeeded();
}

#[test]
fn a_port_that_is_taken_is_told_and_the_controller_there_goes_on() {
    let mut place = Place::served();
    let own = place.path("own");
    let serve = |address: &str, data: &std::path::Path| {
        let mut command = bare(&programs().mailmend);
        command
            .args(["serve", "--listen", address, "--data"])
            .arg(data);
        run(&mut command)
    };
    let ended = serve(place.address(), &own);
    let said = ended.refused(1, "C010-address-taken");
    assert!(said.contains(place.address()), "{said}");
    // What the first start made is taken by the next one.
    let before = all_of(&own);
    serve(place.address(), &own).refused(1, "C010-address-taken");
    let keys = |all: &std::collections::BTreeMap<_, _>| {
        all.keys().cloned().collect::<Vec<std::path::PathBuf>>()
    };
    assert_eq!(keys(&before), keys(&all_of(&own)));
    // An address of another machine.
    serve("203.0.113.1:7268", &own).refused(1, "C011-address");
    // The same data folder.
    let before = all_of(&place.controller_data);
    serve("127.0.0.1:0", &place.controller_data).refused(1, "C101-store-locked");
    untouched(&place.controller_data, &before);
    assert!(place.is_served());
    place.operator(&["agent", "list"]).succeeded();
}
