//! The world behaves as the real site would, so that a sweep over it means something.

use std::io::Read;

use mailmend_policy::name::ServiceName;

use super::world::{GWART, IMCDATA, OUT, QUEUE_DAT, ROUTE};
use super::*;
use crate::host::{Clock, Effect, FileKind, HostError, Services, Spool, Tools};

fn imc() -> ServiceName {
    "MSExchangeIMC".parse().unwrap()
}

fn healthy() -> SimSettings {
    SimSettings {
        stale_routes: false,
        ..SimSettings::default()
    }
}

fn until(host: &SimHost, state: ServiceState) {
    for _ in 0..1000 {
        if host.query(&imc()).unwrap().state == state {
            return;
        }
        host.sleep(Duration::from_millis(100));
    }
    panic!("the service never became {state:?}");
}

fn restart(host: &SimHost) {
    host.request_stop(&imc()).unwrap();
    until(host, ServiceState::Stopped);
    host.request_start(&imc()).unwrap();
    until(host, ServiceState::Running);
}

#[test]
fn stale_routes_hold_all_mail_until_recalculated_and_then_restarted() {
    let world = SimWorld::new(SimSettings::default());
    world.add_outbound(5, 100);
    let host = world.host();
    let delivered = || {
        world
            .balance()
            .accounts
            .iter()
            .map(|a| a.delivered)
            .sum::<usize>()
    };
    let modified = |path: &str| host.look(Path::new(path)).unwrap().unwrap().modified_ms;
    assert!(
        modified(ROUTE) < modified(GWART),
        "the symptom that Q268494 shows"
    );

    restart(&host);
    host.sleep(Duration::from_secs(600));
    assert_eq!(delivered(), 0, "a restart alone does not help");
    let recalculate = ["recalculate".to_owned()];
    host.run(Path::new("/tool"), &recalculate, Duration::from_secs(60))
        .unwrap();
    host.sleep(Duration::from_secs(600));
    assert_eq!(delivered(), 0, "recalculation alone does not help either");
    restart(&host);
    host.sleep(Duration::from_secs(60));
    assert_eq!(delivered(), 5);
    assert!(modified(ROUTE) > modified(GWART));
    let balance = world.balance();
    assert!(
        balance
            .accounts
            .iter()
            .all(|a| a.live.is_empty() && a.delivered == 1)
    );
}

#[test]
fn the_same_seed_and_the_same_calls_give_the_same_world() {
    let run = |seed| {
        let world = SimWorld::new(SimSettings { seed, ..healthy() });
        world.add_outbound(6, 50);
        let host = world.host();
        host.sleep(Duration::from_millis(700));
        world.kill_service("MSExchangeIMC");
        world.crash(Crash::Power);
        world.advance(Duration::from_secs(10));
        format!("{:?}{:?}", world.balance(), world.lock().disk.files())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_killed_service_leaves_files_at_every_stage_and_sends_again_what_it_did_not_remove() {
    let (mut begun, mut twice) = (0, 0);
    for at in (0..600).step_by(10) {
        let world = SimWorld::new(healthy());
        world.add_outbound(1, 50);
        world.advance(Duration::from_millis(at));
        let before = world.balance().accounts[0].clone();
        world.kill_service("MSExchangeIMC");
        world.by_hand("MSExchangeIMC", true);
        world.advance(Duration::from_secs(60));
        let after = &world.balance().accounts[0];
        assert!(!after.is_lost() && after.live.is_empty());
        begun += usize::from(before.delivered == 0);
        twice += usize::from(after.delivered == 2);
        assert_eq!(
            after.delivered,
            before.delivered + usize::from(!before.live.is_empty())
        );
    }
    assert!(
        begun > 0 && twice > 0,
        "the sweep reached both ({begun}, {twice})"
    );
}

#[test]
fn a_poison_message_kills_the_service_each_time() {
    let world = SimWorld::new(healthy());
    let poison = world.add_poison();
    for _ in 0..2 {
        world.advance(Duration::from_secs(5));
        assert!(!world.has_process("MSExchangeIMC"));
        let status = world.host().query(&imc()).unwrap();
        assert_eq!(
            (status.state, status.exit_code),
            (ServiceState::Stopped, Some(0xC000_0005))
        );
        world.by_hand("MSExchangeIMC", true);
    }
    let balance = world.balance();
    let account = balance.by_spool_name(&poison).unwrap();
    assert_eq!((account.delivered, account.live.len()), (0, 1));
}

#[test]
fn a_service_that_lies_works_on_until_its_process_is_ended() {
    let world = SimWorld::new(healthy());
    let host = world.host();
    let process = host.query(&imc()).unwrap().process.unwrap();
    let faults = ServiceFaults {
        lies_stopped: true,
        ..ServiceFaults::default()
    };
    world.set_faults("MSExchangeIMC", faults);
    host.request_stop(&imc()).unwrap();
    assert_eq!(host.query(&imc()).unwrap().state, ServiceState::Stopped);
    assert!(host.process_alive(&process).unwrap());
    assert_eq!(
        host.probe_exclusive(Path::new(QUEUE_DAT)).unwrap_err().kind,
        HostErrorKind::Locked
    );
    world.add_outbound(1, 10);
    host.sleep(Duration::from_secs(5));
    assert_eq!(
        world.balance().accounts[0].delivered,
        1,
        "it sends although it is \"stopped\""
    );
    assert_eq!(
        host.request_start(&imc()).unwrap_err().kind,
        HostErrorKind::Service(1067),
        "the port is taken"
    );
    host.end_process(&process).unwrap();
    assert!(!host.process_alive(&process).unwrap());
    host.probe_exclusive(Path::new(QUEUE_DAT)).unwrap();
    assert_eq!(
        host.end_process(&process).unwrap_err().kind,
        HostErrorKind::NotFound
    );
}

#[test]
fn a_service_may_refuse_to_stop_or_flap_or_be_disabled() {
    let world = SimWorld::new(healthy());
    let host = world.host();
    let faults = ServiceFaults {
        refuses_stop: true,
        dies_after: vec![50, 50],
        ..ServiceFaults::default()
    };
    world.set_faults("MSExchangeIMC", faults);
    let process = host.query(&imc()).unwrap().process.unwrap();
    host.request_stop(&imc()).unwrap();
    host.sleep(Duration::from_secs(600));
    let status = host.query(&imc()).unwrap();
    assert_eq!(
        (status.state, status.accepts_stop),
        (ServiceState::Stopping, false)
    );
    assert_eq!(
        host.request_stop(&imc()).unwrap_err().kind,
        HostErrorKind::Service(1061)
    );
    host.end_process(&process).unwrap();
    for _ in 0..2 {
        host.request_start(&imc()).unwrap();
        until(&host, ServiceState::Running);
        host.sleep(Duration::from_secs(1));
        let status = host.query(&imc()).unwrap();
        assert_eq!(
            (status.state, status.exit_code),
            (ServiceState::Stopped, Some(1067))
        );
    }
    host.request_start(&imc()).unwrap();
    host.sleep(Duration::from_secs(60));
    assert_eq!(host.query(&imc()).unwrap().state, ServiceState::Running);
    assert_eq!(
        host.request_start(&imc()).unwrap_err().kind,
        HostErrorKind::Service(1056)
    );
    let mta = "MSExchangeMTA".parse().unwrap();
    assert_eq!(host.running_dependents(&mta).unwrap(), [imc()]);
    assert_eq!(
        host.request_stop(&mta).unwrap_err().kind,
        HostErrorKind::Service(1051)
    );
}

#[test]
fn a_stop_finishes_what_is_on_its_way() {
    for at in (0..600).step_by(10) {
        let world = SimWorld::new(healthy());
        world.add_outbound(4, 50);
        let host = world.host();
        host.sleep(Duration::from_millis(at));
        host.request_stop(&imc()).unwrap();
        until(&host, ServiceState::Stopped);
        for account in world.balance().accounts {
            assert_eq!(account.delivered + account.live.len(), 1, "at {at} ms");
        }
    }
}

#[test]
fn every_changing_call_can_be_cut_before_and_after() {
    let act = |host: &SimHost| {
        let held = Path::new("/exchsrvr/held/b1");
        host.make_folder(held).unwrap();
        host.write_new(&held.join("MANIFEST.tsv"), b"manifest")
            .unwrap();
        for file in host.list(Path::new(OUT)).unwrap() {
            if file.kind == FileKind::File {
                let target = held.join(&file.name);
                host.move_new(&Path::new(OUT).join(&file.name), &target)
                    .unwrap();
            }
        }
        host.sync_folder(held).unwrap();
        host.sync_folder(Path::new(OUT)).unwrap();
    };
    let mut n = 0;
    let mut seen = std::collections::BTreeSet::new();
    loop {
        n += 1;
        let world = SimWorld::new(SimSettings::default());
        world.add_outbound(3, 50);
        let host = world.host();
        world.kill_at(n);
        let end = run_until_killed(|| act(&host));
        let Err(kill) = end else { break };
        seen.insert(kill.what);
        world.crash(if n % 2 == 0 {
            Crash::Power
        } else {
            Crash::Process
        });
        let balance = world.balance();
        assert!(
            balance.lost().is_empty() && balance.altered().is_empty(),
            "{kill:?}"
        );
        // The manifest is never there in part.
        let host = world.host();
        if let Ok(mut file) = host.open(Path::new("/exchsrvr/held/b1/MANIFEST.tsv")) {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "manifest");
        }
    }
    for what in [
        "move a file",
        "moved a file",
        "wrote a temporary file",
        "synced a folder",
    ] {
        assert!(seen.contains(what), "{what} was never cut: {seen:?}");
    }
}

#[test]
fn a_dead_agent_changes_nothing_any_more() {
    let world = SimWorld::new(SimSettings::default());
    let names = world.add_outbound(1, 50);
    let old = world.host();
    world.crash(Crash::Process);
    let from = Path::new(OUT).join(&names[0]);
    let to = Path::new("/exchsrvr/imcdata/Work/X");
    assert!(run_until_killed(|| old.move_new(&from, to)).is_err());
    assert_eq!(
        world.balance().accounts[0].live,
        std::slice::from_ref(&from)
    );
    world.host().move_new(&from, to).unwrap();
    assert_eq!(world.balance().accounts[0].elsewhere, [to.to_owned()]);
}

#[test]
fn a_chosen_call_on_files_fails_once_and_says_whether_it_may_have_happened() {
    let world = SimWorld::new(SimSettings::default());
    let host = world.host();
    let path = Path::new("/exchsrvr/imcdata/X");
    world.fail_at(1, HostErrorKind::NoSpace);
    let error = host.write_new(path, b"x").unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (HostErrorKind::NoSpace, Effect::None)
    );
    world.fail_at(2, HostErrorKind::Io);
    host.write_new(path, b"x").unwrap();
    let error = host.sync_folder(Path::new(IMCDATA)).unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (HostErrorKind::Io, Effect::Unknown)
    );
    let mut happened = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let world = SimWorld::new(SimSettings {
            seed,
            ..SimSettings::default()
        });
        let name = world.add_outbound(1, 10).remove(0);
        let host = world.host();
        world.fail_at(1, HostErrorKind::Io);
        let error = host
            .move_new(&Path::new(OUT).join(name), Path::new("/exchsrvr/X"))
            .unwrap_err();
        assert_eq!(error.effect, Effect::Unknown);
        happened.insert(world.balance().accounts[0].live.is_empty());
    }
    assert_eq!(happened.len(), 2, "unknown means both");
}

#[test]
fn volumes_and_links_are_as_strict_as_on_a_real_machine() {
    let world = SimWorld::new(SimSettings::default());
    let name = world.add_outbound(1, 10).remove(0);
    world.put_link(Path::new("/exchsrvr/link"));
    let host = world.host();
    let from = Path::new(OUT).join(&name);
    let kind = |result: Result<(), HostError>| result.unwrap_err().kind;
    assert_eq!(
        kind(host.move_new(&from, Path::new("/other/X"))),
        HostErrorKind::CrossVolume
    );
    assert!(
        !host
            .same_volume(Path::new(OUT), Path::new("/other"))
            .unwrap()
    );
    assert_eq!(
        kind(host.move_new(&from, Path::new("/exchsrvr/link/X"))),
        HostErrorKind::Reparse
    );
    assert_eq!(
        kind(host.move_new(&from, Path::new("/exchsrvr/link"))),
        HostErrorKind::Exists
    );
    assert_eq!(kind(host.link_new(&from, &from)), HostErrorKind::Exists);
    assert_eq!(
        kind(host.remove(Path::new("/exchsrvr/link"))),
        HostErrorKind::Reparse
    );
    let error = host.query(&"Nothing".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Service(1060));
}

#[test]
fn a_submitted_probe_waits_for_the_service_and_is_delivered_by_it() {
    let world = SimWorld::new(healthy());
    let host = world.host();
    host.request_stop(&imc()).unwrap();
    until(&host, ServiceState::Stopped);
    let arguments = [
        "submit".to_owned(),
        "--to".to_owned(),
        "a@b.example".to_owned(),
    ];
    let output = host
        .run(Path::new("/tool"), &arguments, Duration::from_secs(60))
        .unwrap();
    let account = world.balance().accounts.remove(0);
    assert_eq!(output.text, format!("submitted {}\n", account.mts_id));
    assert!(account.in_mts_out && !account.is_lost());
    host.request_start(&imc()).unwrap();
    host.sleep(Duration::from_secs(10));
    assert_eq!(world.balance().accounts[0].delivered, 1);
}

#[test]
fn what_could_not_be_removed_from_mts_out_is_sent_again_at_the_next_start() {
    for removed in [false, true] {
        let world = SimWorld::new(healthy());
        world.set_scanned(true);
        world.add_outbound(2, 100);
        let host = world.host();
        host.sleep(Duration::from_secs(10));
        assert!(world.balance().accounts.iter().all(|a| a.delivered == 1));
        assert_eq!(world.count_in_mts_out(), 2);
        world.set_scanned(false);
        let ids: Vec<String> = world
            .balance()
            .accounts
            .into_iter()
            .map(|a| a.mts_id)
            .collect();
        if removed {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            world.remove_from_mts_out(&ids);
        }
        host.request_stop(&imc()).unwrap();
        until(&host, ServiceState::Stopped);
        host.request_start(&imc()).unwrap();
        host.sleep(Duration::from_secs(10));
        assert_eq!(
            world.balance().duplicated().len(),
            if removed { 0 } else { 2 }
        );
        assert_eq!(world.count_in_mts_out(), 0);
    }
}
