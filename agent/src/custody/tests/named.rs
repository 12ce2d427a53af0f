//! What an event names is not given back.

use std::collections::BTreeSet;
use std::path::Path;

use super::site::{Agent, OUT, Site};
use super::*;
use crate::custody::named::set_named_aside;
use crate::evidence::event_log::IMS;
use crate::host::simulated::SimHost;
use crate::host::{FileKind, Spool};
use crate::journal::Journal;

/// Takes six messages into custody and gives back what may be; `trouble` comes between.
fn story(trouble: impl FnOnce(&Site, &[String])) -> (Site, Result<u64, CustodyError>, Vec<String>) {
    let site = Site::new(7, 6, false);
    let host = site.world.host();
    let names = queued(&host);
    let journal = Journal::memory(&site.kept).unwrap();
    let desk = Desk {
        host: &host,
        journal: &journal,
        run: RUN,
    };
    begin(&desk);
    let agent = Agent {
        host: &host,
        desk,
        boot: "boot",
    };
    let take = agent.take(Some(3));
    let batch = take.batch;
    let prepared = quarantine::prepare(&agent.desk, take).unwrap();
    let stopped = agent.stop(false);
    prepared
        .take(&agent.desk, &stopped, &Records(&host))
        .unwrap();
    trouble(&site, &names);
    let settled = set_named_aside(&agent.desk, batch, i64::MIN);
    if settled.is_ok() {
        agent.give_back(&stopped);
    }
    let back = queued(&host);
    (site, settled, back)
}

fn queued(host: &SimHost) -> Vec<String> {
    let files = host.list(Path::new(OUT)).unwrap();
    let files = files.into_iter().filter(|file| file.kind == FileKind::File);
    files.map(|file| file.name).collect()
}

fn poison(site: &Site) -> Vec<String> {
    let lines = ledger::of_server(&Journal::memory(&site.kept).unwrap()).unwrap();
    let poison = lines
        .into_iter()
        .filter(|line| line.custody == Custody::Poison);
    poison.map(|line| line.name).collect()
}

#[test]
fn a_message_that_an_event_names_stays_held_as_poison_and_the_others_come_back() {
    let (site, settled, back) = story(|site, names| {
        let text = format!("The spool file {} will be retried at restart.", names[2]);
        site.world.write_event(IMS, 4182, &text);
        // Neither another source nor another event names anything.
        site.world.write_event("Other", 4182, &names[0]);
        site.world.write_event(IMS, 2001, &names[1]);
        // A part of a longer word is no name.
        site.world.write_event(IMS, 4117, &format!("{}X", names[3]));
    });
    assert_eq!(settled.unwrap(), 1);
    let named = poison(&site);
    assert_eq!(named.len(), 1);
    assert_eq!(back.len(), 5, "{back:?}");
    assert!(!back.contains(&named[0]));
}

#[test]
fn an_event_older_than_the_file_names_another_one() {
    let (site, settled, back) = story(|site, names| {
        site.world.shift_wall_clock(-3_600_000);
        site.world.write_event(IMS, 4182, &names[2]);
        site.world.shift_wall_clock(3_600_000);
    });
    assert_eq!(settled.unwrap(), 0);
    assert_eq!((poison(&site), back.len()), (Vec::new(), 6));
}

#[test]
fn where_the_event_log_cannot_be_read_nothing_is_given_back() {
    let (site, settled, back) = story(|site, _| site.world.set_events_unreadable(true));
    assert!(matches!(settled, Err(CustodyError::Host(_))), "{settled:?}");
    assert_eq!((poison(&site), back), (Vec::new(), Vec::new()));
    let held: BTreeSet<Custody> = ledger::of_server(&Journal::memory(&site.kept).unwrap())
        .unwrap()
        .into_iter()
        .map(|line| line.custody)
        .collect();
    assert_eq!(held, BTreeSet::from([Custody::Held]));
}
