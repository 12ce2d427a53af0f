//! Messages that vanished are given back from escrow on a person's word: once, however often that comes and
//! wherever the agent dies, and never what is not missing any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mailmend_agent::engine::Engine;
use mailmend_agent::guard::Guard;
use mailmend_agent::host::Host;
use mailmend_agent::host::simulated::{Crash, run_until_killed};
use mailmend_agent::inbox::Refusal;
use mailmend_agent::runner::Rest;
use mailmend_proto::run::{Custody, Ended, Event, SectionEnd};

use crate::site::{GUARD, IMC, Site};
use crate::vanished::{IN, KEPT, copies, missing, recover, vanished};

fn count(site: &Site, custody: Custody) -> u64 {
    let counts = site.state().custody_counts();
    counts.get(&custody).copied().unwrap_or(0)
}

fn everything_once(site: &Site, told: &str) {
    let balance = site.world.balance();
    assert!(
        balance.accounts.iter().all(|a| a.delivered == 1),
        "{told}: {:?}",
        balance.accounts
    );
}

fn taken(engine: &Engine, site: &Site) {
    engine.recover().expect("recovery writes its records");
    engine
        .order(&recover(site, 1, &[]))
        .expect("the order is taken");
    engine.carry_on(site.run).expect("the recovery goes on");
}

fn refused(site: &Site, id: u128, messages: &[&str]) -> Refusal {
    let before = site.events().len();
    let refused = site
        .engine(0)
        .order(&recover(site, id, messages))
        .unwrap_err();
    assert_eq!(site.events().len(), before, "nothing was changed");
    refused
}

/// The person's word about what vanished: `mts_id` of each.
fn ids(site: &Site) -> Vec<String> {
    missing(site).into_iter().map(|one| one.mts_id).collect()
}

#[test]
fn what_vanished_is_given_back_from_escrow_and_delivered_once() {
    let site = vanished();
    let kept = copies(&site);
    let sections = site.sections().len();
    let engine = site.engine(0);
    engine.recover().unwrap();
    engine.order(&recover(&site, 1, &[])).unwrap();
    assert_eq!(site.ended(), None, "the run is open again");
    assert_eq!(engine.carry_on(site.run).unwrap(), Rest::Over);
    site.check("recovered");
    everything_once(&site, "recovered");
    assert_eq!(site.ended(), Some(Ended::Released));
    assert_eq!(count(&site, Custody::GoneWithEvidence), 3);
    assert_eq!(site.sections().len(), sections + 1);
    assert_eq!(site.sections().last(), Some(&SectionEnd::Committed));
    assert_eq!(copies(&site), kept, "a copy goes by evidence and retention");
    // The same order, in this life and the next, changes nothing.
    let after = site.events().len();
    engine.order(&recover(&site, 1, &[])).unwrap();
    engine.carry_on(site.run).unwrap();
    let engine = site.engine(0);
    taken(&engine, &site);
    assert_eq!(site.events().len(), after);
    // Another one finds all of them in custody, and says so.
    let other = refused(&site, 2, &[]);
    assert_eq!(other.code, "A092-recover-refused");
    assert_eq!(
        other.why.matches("gone-with-evidence").count(),
        3,
        "{other}"
    );
    let named = refused(&site, 3, &[&ids(&site)[0]]);
    assert!(named.why.contains("in custody already"), "{named}");
}

#[test]
fn killed_at_any_point_of_a_recovery_the_end_balances() {
    let mut killed = 0;
    for dies_at in 1.. {
        let site = vanished();
        let life = run_until_killed(|| taken(&site.engine(dies_at), &site));
        if life.is_ok() {
            break;
        }
        let told = format!("killed at {dies_at}: {life:?}");
        let engine = site.engine(0);
        engine.recover().unwrap();
        assert!(site.world.is_running(IMC), "{told}: service is down");
        assert!(site.state().section.is_none(), "{told}: a section is open");
        taken(&engine, &site);
        site.check(&told);
        everything_once(&site, &told);
        assert_eq!(
            site.ended(),
            Some(Ended::Released),
            "{told}: {:?}",
            site.alarms()
        );
        assert_eq!(count(&site, Custody::GoneWithEvidence), 3, "{told}");
        killed += 1;
    }
    eprintln!("killed at {killed} points of a recovery");
    assert!(killed > 100, "only {killed} points");
}

/// Every fifth point, with a second death among the first calls of the life that mends it.
#[test]
fn killed_again_while_a_recovery_is_mended_the_end_balances() {
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut twice, mut tried) = (0, 0);
    for dies_at in (1..).step_by(5) {
        let site = vanished();
        let mut killed = 0;
        for dies_at in [dies_at, rng.u64(1..60), 0] {
            if run_until_killed(|| taken(&site.engine(dies_at), &site)).is_ok() {
                break;
            }
            killed += 1;
        }
        let told = format!("killed {killed} times, first at {dies_at}");
        site.check(&told);
        everything_once(&site, &told);
        assert_eq!(site.ended(), Some(Ended::Released), "{told}");
        if killed == 0 {
            break;
        }
        tried += 1;
        twice += usize::from(killed == 2);
    }
    eprintln!("killed twice in {twice} of {tried} recoveries");
    assert!(twice * 10 >= tried * 7, "{twice} of {tried}");
}

/// Power is lost in the middle; the machine comes up and starts its services by itself.
#[test]
fn without_power_at_any_point_of_a_recovery_nothing_is_lost_and_service_comes_up() {
    let mut cut = 0;
    for dies_at in (1..).step_by(3) {
        let site = vanished();
        let life = run_until_killed(|| taken(&site.engine(dies_at), &site));
        if life.is_ok() {
            break;
        }
        site.world.crash(Crash::Power);
        site.world.advance(Duration::from_secs(30));
        let told = format!("power lost at {dies_at}: {life:?}");
        let engine = site.engine(0);
        engine.recover().unwrap();
        // Where the order did not outlive the power, the person gives it again; where it did, it is the same.
        engine.order(&recover(&site, 1, &[])).unwrap();
        engine.carry_on(site.run).unwrap();
        engine.watch().unwrap();
        site.check_after_power(&told);
        assert!(site.ended().is_some(), "{told}: the recovery does not end");
        cut += 1;
    }
    assert!(cut > 30, "only {cut} points");
}

#[test]
fn every_order_twice_and_another_beside_it_places_each_message_once() {
    let site = vanished();
    let engine = site.engine(0);
    for _ in 0..2 {
        engine.order(&recover(&site, 1, &[])).unwrap();
    }
    // Two people order at once: the second one comes too late, whatever it names.
    for (id, message) in (10..).zip(ids(&site)) {
        let beside = engine.order(&recover(&site, id, &[&message])).unwrap_err();
        assert!(beside.why.contains("not closed"), "{beside}");
    }
    engine.carry_on(site.run).unwrap();
    for _ in 0..2 {
        engine.order(&recover(&site, 1, &[])).unwrap();
        engine.carry_on(site.run).unwrap();
    }
    site.check("ordered again and again");
    everything_once(&site, "ordered again and again");
    let placed = |event: &Event| match event {
        Event::ReplayIntended { entries, .. } => entries.clone(),
        _ => Vec::new(),
    };
    let placed: Vec<(u32, u32)> = site.events().iter().flat_map(placed).collect();
    assert_eq!(placed, [(0, 2)]);
}

#[test]
fn one_named_message_is_given_back_and_the_others_stay_missing() {
    let site = vanished();
    let engine = site.engine(0);
    let all = missing(&site);
    let file = PathBuf::from(&all[1].escrow);
    let file = file.file_name().unwrap().to_str().unwrap();
    // By one of its ids or by the file of its copy; twice is once.
    engine
        .order(&recover(
            &site,
            1,
            &[&all[0].message_id, file, &all[1].escrow],
        ))
        .unwrap();
    engine.carry_on(site.run).unwrap();
    assert_eq!(count(&site, Custody::GoneWithEvidence), 2);
    let left = site.world.balance();
    assert_eq!(left.accounts.iter().filter(|a| a.delivered == 0).count(), 1);
    engine.order(&recover(&site, 2, &[])).unwrap();
    engine.carry_on(site.run).unwrap();
    site.check("one after the other");
    everything_once(&site, "one after the other");
    let detail = closing(&site);
    assert!(
        detail.contains("1 messages were given back")
            && detail.matches("in custody already").count() == 2,
        "{detail}"
    );
}

/// How the last part of the run ended.
fn closing(site: &Site) -> String {
    let closed = site
        .events()
        .into_iter()
        .rev()
        .find_map(|event| match event {
            Event::Closed { detail, .. } => Some(detail),
            _ => None,
        });
    closed.expect("it is closed")
}

/// The server's own doing: one that was thought missing comes through after all.
fn comes_through(site: &Site, copy: &Path) {
    let mut bytes = Vec::new();
    let host = site.world.host();
    std::io::Read::read_to_end(&mut host.spool().open(copy).unwrap(), &mut bytes).unwrap();
    let name = copy.file_name().unwrap();
    site.world
        .put_file(&Path::new(IN).join(name), &bytes, Duration::ZERO);
    site.world.advance(Duration::from_secs(60));
}

#[test]
fn what_was_delivered_after_all_is_refused_by_name_and_the_rest_given_back() {
    let site = vanished();
    let all = missing(&site);
    comes_through(&site, Path::new(&all[1].escrow));
    let named = refused(&site, 1, &[&all[0].mts_id, &all[1].mts_id]);
    assert_eq!(named.code, "A092-recover-refused");
    assert!(
        named.why.contains(&all[1].message_id)
            && named.why.contains("delivered after all")
            && !named.why.contains(&all[0].message_id),
        "{named}"
    );
    // Who orders all gets the others, and is told.
    let engine = site.engine(0);
    engine.order(&recover(&site, 2, &[])).unwrap();
    engine.carry_on(site.run).unwrap();
    site.check("the rest");
    everything_once(&site, "the rest");
    let detail = closing(&site);
    assert!(
        detail.contains("2 messages were given back") && detail.contains(&all[1].message_id),
        "{detail}"
    );
}

#[test]
fn what_is_delivered_between_the_order_and_the_stop_is_not_placed() {
    let site = vanished();
    let all = missing(&site);
    site.engine(0).order(&recover(&site, 1, &[])).unwrap();
    comes_through(&site, Path::new(&all[2].escrow));
    let engine = site.engine(0);
    engine.recover().unwrap();
    engine.carry_on(site.run).unwrap();
    site.check("delivered in between");
    everything_once(&site, "delivered in between");
    assert_eq!(count(&site, Custody::GoneWithEvidence), 3);
    // Nothing is left to be given back: then service is not even stopped.
    let site = vanished();
    site.engine(0).order(&recover(&site, 1, &[])).unwrap();
    for one in missing(&site) {
        comes_through(&site, Path::new(&one.escrow));
    }
    let starts = site.world.starts(IMC);
    let engine = site.engine(0);
    engine.carry_on(site.run).unwrap();
    site.check("all delivered in between");
    everything_once(&site, "all delivered in between");
    assert_eq!(site.world.starts(IMC), starts);
}

#[test]
fn a_copy_that_is_not_the_one_that_was_found_is_refused() {
    let site = vanished();
    let all = missing(&site);
    let other = Path::new(&all[0].escrow);
    site.world
        .put_file(other, b"another message", Duration::ZERO);
    let changed = refused(&site, 1, &[&all[0].mts_id]);
    assert!(changed.why.contains("has the digest"), "{changed}");
    site.world.host().spool().remove(other).unwrap();
    let gone = refused(&site, 2, &[&all[0].mts_id]);
    assert!(gone.why.contains("not there any more"), "{gone}");
    let engine = site.engine(0);
    engine.order(&recover(&site, 3, &[])).unwrap();
    engine.carry_on(site.run).unwrap();
    assert_eq!(count(&site, Custody::GoneWithEvidence), 2);
}

#[test]
fn a_copy_that_changes_after_the_order_is_named_and_never_placed() {
    let site = vanished();
    let all = missing(&site);
    site.engine(0).order(&recover(&site, 1, &[])).unwrap();
    site.world.put_file(
        Path::new(&all[0].escrow),
        b"another message",
        Duration::ZERO,
    );
    let engine = site.engine(0);
    engine.recover().unwrap();
    engine.carry_on(site.run).unwrap();
    assert_eq!(count(&site, Custody::GoneWithEvidence), 2);
    assert_eq!(count(&site, Custody::InDoubt), 1);
    assert!(site.alarms().iter().any(|code| code == "A089-mail-missing"));
    assert_eq!(site.world.strangers_sent(), 0);
}

#[test]
fn the_guard_and_what_goes_on_beside_it_hold_for_a_recovery_too() {
    let mut site = vanished();
    let all = ids(&site);
    let ample = Arc::clone(&site.guard);
    let limit = format!("{GUARD}\n").replace("[limits]", "[limits]\nfiles_per_action = 1");
    site.guard = Arc::new(Guard::parse("guard.toml", &limit).unwrap());
    let much = refused(&site, 1, &[]);
    assert_eq!(much.code, "A082-custody-limit");
    assert!(much.why.contains("name fewer"), "{much}");
    let limit = GUARD.replace("sections_per_hour = 40", "sections_per_hour = 0");
    site.guard = Arc::new(Guard::parse("guard.toml", &limit).unwrap());
    let none = refused(&site, 2, &[]);
    assert!(none.why.contains("A053"), "{none}");
    site.guard = ample;
    site.world.write_event(IMC, 3038, "could not remove");
    let stands = refused(&site, 3, &[&all[0]]);
    assert!(stands.why.contains("3038"), "{stands}");
    // Somebody else's run is open.
    let mut other = site.assignment.clone();
    other.run = uuid::Uuid::from_u128(77).to_string();
    other.fence = 9;
    site.engine(0).admit(&other).unwrap();
    let beside = refused(&site, 4, &[]);
    assert!(beside.why.contains(&other.run), "{beside}");
    let mut open = recover(&site, 5, &[]);
    open.run = other.run;
    let open = site.engine(0).order(&open).unwrap_err();
    assert!(open.why.contains("not closed"), "{open}");
}

#[test]
fn what_names_no_message_that_vanished_is_one_clear_error() {
    let site = vanished();
    let nobody = refused(&site, 1, &["<nobody@nowhere>"]);
    assert!(nobody.why.contains("run reconciled"), "{nobody}");
    assert!(refused(&site, 2, &[""]).why.contains("lists no message"));
    let never = Site::small(1);
    never.live(&[]);
    let nothing = refused(&never, 1, &[]);
    assert!(nothing.why.contains("not reconciled anything"), "{nothing}");
    let copies = site.world.host().spool().list(Path::new(KEPT)).unwrap();
    assert!(copies.len() >= 3, "they stay where they are");
}

#[test]
fn a_recovery_that_could_not_go_on_leaves_what_it_took_up_to_a_release() {
    let site = vanished();
    let engine = site.engine(0);
    engine.order(&recover(&site, 1, &[])).unwrap();
    site.world.write_event(IMC, 3038, "could not remove");
    engine.carry_on(site.run).unwrap();
    assert_eq!(site.ended(), Some(Ended::AtRest));
    assert_eq!(count(&site, Custody::Held), 3);
    site.check("3038 after the order");
    let again = refused(&site, 2, &[]);
    assert!(again.why.contains("mailmend custody release"), "{again}");
    site.world.by_hand(IMC, false);
    site.world.advance(Duration::from_secs(10));
    let engine = site.engine(0);
    let release = mailmend_proto::wire::Release::default();
    let what = mailmend_proto::wire::order::What::Release(release);
    engine.order(&site.order(3, what)).unwrap();
    engine.carry_on(site.run).unwrap();
    site.check("released");
    everything_once(&site, "released");
}
