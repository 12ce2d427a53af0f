//! A server that deleted mail without a word while escrow kept copies, and a run that found it out.

use std::path::Path;
use std::time::Duration;

use mailmend_agent::engine::Engine;
use mailmend_agent::host::Host;
use mailmend_agent::host::simulated::{SimSettings, SimWorld};
use mailmend_agent::runner::{Rest, Waiting};
use mailmend_proto::run::{Ended, Fate, ReconciledMessage};
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;

use crate::site::{GUARD, Site, changed};

pub(crate) const IN: &str = "/exchsrvr/imcdata/In";
const TRACKING: &str = "/exchsrvr/tracking.log";
pub(crate) const KEPT: &str = "/exchsrvr/mailmend-held/escrow/In";

/// Three of six messages that came in vanished; `silent-loss` found them, and has ended.
pub(crate) fn vanished() -> Site {
    let world = SimWorld::new(SimSettings {
        stale_routes: false,
        ..SimSettings::default()
    });
    world.add_inbound(6, 300);
    // The simulated server is a 5.0.
    let edits = [
        ("<4.0.994.63", "<5.5"),
        ("grace = \"48h\"", "grace = \"2m\""),
        ("over = \"14d\"", "over = \"1d\""),
    ];
    write_past(&world);
    let site = Site::on(world, 1, &changed("silent-loss", &edits), GUARD);
    let engine = site.engine(0);
    engine.recover().unwrap();
    engine.admit(&site.assignment).unwrap();
    let step = until_asked(&site, &engine);
    drop(engine);
    let host = site.world.host();
    let mut names: Vec<String> = host
        .spool()
        .list(Path::new(IN))
        .unwrap()
        .into_iter()
        .map(|file| file.name)
        .filter(|name| name.len() == 8)
        .collect();
    names.sort();
    // The service has the first ones in its hands.
    assert!(names.len() >= 5, "{names:?}");
    for name in &names[names.len() - 3..] {
        let copy = host.spool().look(&Path::new(KEPT).join(name)).unwrap();
        assert!(copy.is_some(), "escrow keeps `{name}`");
        host.spool().remove(&Path::new(IN).join(name)).unwrap();
    }
    site.world.advance(Duration::from_secs(180));
    let engine = site.engine(0);
    engine.recover().unwrap();
    engine.order(&site.answer(step, "look")).unwrap();
    site.control(&engine);
    assert_eq!(
        site.ended(),
        Some(Ended::Committed),
        "{:?}",
        site.failures()
    );
    let found = &site.state().reconciled;
    assert_eq!(missing(&site).len(), 3, "{found:?}");
    site
}

/// The server was there before: without records of earlier days nothing could be called missing.
fn write_past(world: &SimWorld) {
    for day in 2..=4 {
        let record = format!(
            "c=US;a= ;p=SIMULATED;l=PAST{day}\t1013\t1997.11.{day} 12:0:0\tIMS\tpeer\t<{day}@past.example>[PAST000{day}]\
             \t/o=SIMULATED/ou=SITE/cn=SENDER\t0\t1\t0\t0\t\t1\nsomebody@site.example\n"
        );
        let path = Path::new(TRACKING).join(format!("1997110{day}.log"));
        world.put_file(&path, record.as_bytes(), Duration::from_secs(86_400));
    }
}

/// Carries the run on until it asks a person for the first time.
fn until_asked(site: &Site, engine: &Engine) -> u32 {
    let mut through = 0;
    for _ in 0..20 {
        if let Rest::Waiting {
            waiting: Waiting::Answer(step),
            ..
        } = engine.carry_on(site.run).unwrap()
        {
            return step;
        }
        through = site.next_watermark(through);
        engine.advance(site.run, 1, through).unwrap();
    }
    panic!("nobody is asked");
}

/// What the run calls vanished.
pub(crate) fn missing(site: &Site) -> Vec<ReconciledMessage> {
    let state = site.state();
    let all = state.reconciled.values().flat_map(|found| &found.messages);
    all.filter(|one| one.fate == Fate::Vanished)
        .cloned()
        .collect()
}

/// The names of the copies of what vanished that are there.
pub(crate) fn copies(site: &Site) -> Vec<String> {
    let there = site.world.balance();
    let kept = missing(site).into_iter().filter(|one| {
        let mut names = there.accounts.iter().flat_map(|account| &account.elsewhere);
        names.any(|name| name == Path::new(&one.escrow))
    });
    kept.map(|one| one.escrow).collect()
}

/// The order to give back what vanished: these, or all.
pub(crate) fn recover(site: &Site, id: u128, messages: &[&str]) -> wire::Order {
    let messages = messages.iter().map(|&one| one.to_owned()).collect();
    site.order(id, What::Recover(wire::Recover { messages }))
}
