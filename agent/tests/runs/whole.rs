//! A queue that is held as a whole folder: what may be left of it by a power loss, by calls that fail, by a
//! machine that cannot do it, and how long service is away.

use std::time::Duration;

use mailmend_agent::host::HostErrorKind;
use mailmend_agent::host::simulated::run_until_killed;
use mailmend_proto::run::{Ended, Event};

use crate::policies::stuck_outbound_whole::site;
use crate::site::IMC;

#[test]
fn whatever_a_power_loss_leaves_of_a_folder_that_is_held_whole_nothing_is_lost() {
    let (mut points, mut worlds) = (0, 0);
    for point in 1.. {
        let cut = site(1);
        let life = run_until_killed(|| {
            let engine = cut.engine(point);
            engine.recover().expect("recovery writes its records");
            cut.control(&engine);
        });
        let Err(kill) = life else {
            break;
        };
        // The rest of the run is like any other's; the sweep of the policy cuts the power there too.
        if cut.state().section.is_none() && !cut.state().batches.is_empty() {
            break;
        }
        points += 1;
        for (number, left) in cut.power_cuts().into_iter().enumerate() {
            left.world.advance(Duration::from_secs(30));
            let (_, engine) = left.live(&[]);
            engine.watch().expect("the watchdog writes its records");
            let told = format!("power lost at {kill:?}, remains {number}");
            left.check_after_power(&told);
            assert!(left.ended().is_some(), "{told}: the run does not end");
            assert!(left.state().folders.is_empty(), "{told}: not listed");
            worlds += 1;
        }
    }
    eprintln!("{points} points, {worlds} worlds");
    assert!(points > 100 && worlds > points + 10);
}

#[test]
fn whichever_call_on_files_fails_around_a_whole_folder_nothing_is_lost_and_service_is_up() {
    let mut failed = 0;
    for (kind, happens) in [
        (HostErrorKind::Io, true),
        (HostErrorKind::Io, false),
        (HostErrorKind::NoSpace, false),
        (HostErrorKind::Denied, false),
    ] {
        for n in 1.. {
            let site = site(5);
            site.world.fail_any_at(n, kind, happens);
            site.live_through_failures();
            if site.world.failure_is_due() {
                break;
            }
            let told = format!("call {n} failed with {kind:?}, happened: {happens}");
            site.check(&told);
            assert!(site.ended().is_some(), "{told}: the run does not end");
            assert!(site.state().folders.is_empty(), "{told}: not listed");
            failed += 1;
        }
    }
    eprintln!("{failed} calls failed");
    assert!(failed > 300, "only {failed}");
}

#[test]
fn what_is_no_message_is_in_the_queue_folder_again_before_the_start() {
    let site = site(1);
    let notes = std::path::Path::new("/exchsrvr/imcdata/Out/readme.txt");
    site.world.put_file(notes, b"of a person", Duration::ZERO);
    site.live(&[]);
    site.check("with notes");
    assert_eq!(site.ended(), Some(Ended::Committed));
    let engine = site.engine(0);
    drop(engine);
    let host = site.world.host();
    let spool = mailmend_agent::host::Host::spool(&host);
    let there = |path: &std::path::Path| spool.look(path).unwrap().is_some();
    assert!(there(notes));
    assert!(there(std::path::Path::new("/exchsrvr/imcdata/Out/Archive")));
    let order: Vec<&str> = site.events().iter().map(Event::name).collect();
    let at = |name: &str| order.iter().position(|event| *event == name).unwrap();
    assert!(at("folder-intended") < at("batch-intended"));
}

#[test]
fn whenever_the_service_dies_or_somebody_starts_it_nothing_is_lost_and_duplicates_are_named() {
    for by_hand in [true, false] {
        let mut points = 0;
        for n in 1.. {
            let site = site(4);
            let reached = site.live_while(n, move |world| {
                if by_hand {
                    world.by_hand(IMC, true);
                    world.advance(Duration::from_secs(5));
                } else {
                    world.kill_service(IMC);
                }
            });
            if !reached {
                break;
            }
            let told = format!("by hand: {by_hand}, at point {n} of the journal");
            site.check(&told);
            assert!(site.ended().is_some(), "{told}");
            points = n;
        }
        assert!(points > 80, "only {points} points");
    }
}

#[test]
fn killed_at_any_point_of_an_unwinding_the_end_balances() {
    let unwound = |dies_at: u64| {
        let site = site(1);
        let story = |dies_at| {
            let engine = site.engine(dies_at);
            engine.recover().unwrap();
            engine.admit(&site.assignment).unwrap();
            let through = site.plan.sections[0].last + 1;
            engine.advance(site.run, 1, through).unwrap();
            engine.carry_on(site.run).unwrap();
            engine.unwind(site.run, 1, 0, true).unwrap();
            engine.carry_on(site.run).unwrap();
        };
        let life = run_until_killed(|| story(dies_at));
        story(0);
        let told = format!("killed at {dies_at}: {life:?}");
        site.check(&told);
        assert!(site.state().folders.is_empty(), "{told}: not listed");
        assert!(site.ended().is_some(), "{told}");
        life.is_err()
    };
    let killed = (1..).step_by(3).take_while(|point| unwound(*point)).count();
    assert!(killed > 80, "only {killed}");
}
