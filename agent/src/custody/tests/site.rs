//! Custody on the simulated site: a whole section, killed at every point, balanced against what the
//! site itself says became of each message.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_proto::run::{RunState, ServiceChange};

use super::*;
use crate::host::simulated::{Crash, SimHost, SimSettings, SimWorld, run_until_killed};
use crate::host::{Clock, Services};
use crate::journal::{Journal, MemoryJournal};

pub(super) const OUT: &str = "/exchsrvr/imcdata/Out";
const IMCDATA: &str = "/exchsrvr/imcdata";

/// What outlives the agent.
pub(super) struct Site {
    pub(super) world: SimWorld,
    pub(super) kept: MemoryJournal,
}

impl Site {
    pub(super) fn new(seed: u64, messages: usize, starts_at_boot: bool) -> Self {
        let world = SimWorld::new(SimSettings {
            seed,
            stale_routes: false,
            starts_at_boot,
            // Slow enough that mail waits while the story is told.
            send_ms: 400,
            connections: 1,
            ..SimSettings::default()
        });
        world.add_outbound(messages, 60);
        let switch = world.kill_switch();
        let kept = MemoryJournal::new(Uuid::from_u128(u128::from(seed)))
            .with_hook(std::sync::Arc::new(move |point| switch.point(point)));
        Self { world, kept }
    }

    /// One life of an agent that takes the queue into custody, sets the index aside and gives the mail
    /// back; recovery first.
    pub(super) fn life(&self, boot: &str, kill_at: u64) {
        let host = self.world.host();
        self.world.kill_at(kill_at);
        let journal = Journal::memory(&self.kept).unwrap();
        let desk = Desk {
            host: &host,
            journal: &journal,
            run: RUN,
        };
        begin(&desk);
        Agent {
            host: &host,
            desk,
            boot,
        }
        .tell();
    }
}

pub(super) struct Agent<'a> {
    pub(super) host: &'a SimHost,
    pub(super) desk: Desk<'a>,
    pub(super) boot: &'a str,
}

impl Agent<'_> {
    fn state(&self) -> RunState {
        let state = self.desk.journal.state(RUN).unwrap().unwrap();
        RunState::clone(&state)
    }

    fn change(&self, change: ServiceChange) {
        let event = Event::ServiceChanged {
            service: imc(),
            change,
            pid: 0,
        };
        self.desk.append(vec![event]).unwrap();
    }

    fn tell(&self) {
        let last = self.state().services.get(&imc()).copied();
        let rebooted = self.host.uptime().boot != self.boot;
        if rebooted || (last.is_some() && last != Some(ServiceChange::Started)) {
            self.recover(last, rebooted);
        }
        if self
            .state()
            .batches
            .values()
            .all(|batch| batch.step.is_none())
        {
            let take = self.take(Some(3));
            let prepared = quarantine::prepare(&self.desk, take).unwrap();
            let stopped = self.stop(false);
            prepared
                .take(&self.desk, &stopped, &Records(self.host))
                .unwrap();
            index::set_aside(&self.desk, Path::new(IMCDATA), &stopped).unwrap();
            self.give_back(&stopped);
            self.start();
        }
        for round in 0..120 {
            let over = round == 119;
            let ids: Vec<BatchId> = self.state().batches.keys().copied().collect();
            let mut done = true;
            for id in ids {
                let settling = settle::settle(&self.desk, id, &Records(self.host), over).unwrap();
                done &= settling.is_over();
            }
            if done {
                break;
            }
            self.host.sleep(Duration::from_secs(1));
        }
    }

    fn recover(&self, last: Option<ServiceChange>, rebooted: bool) {
        let status = self.host.query(&imc()).unwrap();
        let running = status.process.is_some();
        let unclean = rebooted || (!running && last == Some(ServiceChange::StartIntended));
        // The agent stops it again, whoever started it, and finishes what was interrupted.
        let stopped = self.stop(unclean);
        recover::recover(
            &self.desk,
            recover::Circumstances {
                stopped: Some(&stopped),
                may_have_run: running || rebooted,
            },
            &Records(self.host),
        )
        .unwrap();
        if unclean {
            in_doubt::set_aside_in_doubt(
                &self.desk,
                &self.take(None),
                &stopped,
                &Records(self.host),
            )
            .unwrap();
        }
        self.give_back(&stopped);
        self.start();
    }

    pub(super) fn take(&self, step: Option<u32>) -> Take {
        Take {
            batch: BatchId(Uuid::from_u128(u128::from(self.desk.journal.head()))),
            step,
            queue: Queue::OutboundAwaitingDelivery,
            source: PathBuf::from(OUT),
            held_root: PathBuf::from("/exchsrvr/mailmend-held"),
            limits: NO_LIMITS,
        }
    }

    pub(super) fn give_back(&self, stopped: &Stopped) {
        let ids: Vec<BatchId> = self.state().batches.keys().copied().collect();
        for batch in ids {
            let give = Give {
                batch,
                step: None,
                target: PathBuf::from(OUT),
                which: Which::All,
            };
            replay::check(&self.desk, give)
                .unwrap()
                .place(&self.desk, stopped)
                .unwrap();
        }
    }

    pub(super) fn stop(&self, unclean: bool) -> Stopped {
        self.change(ServiceChange::StopIntended);
        let process = self.host.query(&imc()).unwrap().process;
        let how = if unclean {
            HowStopped::Uncleanly
        } else {
            HowStopped::Cleanly
        };
        for _ in 0..600 {
            // Refused where it is stopped or still on its way.
            let _ = self.host.request_stop(&imc());
            self.host.sleep(Duration::from_millis(100));
            if let Ok(stopped) = Stopped::prove(self.host, &imc(), process.as_ref(), how) {
                self.change(ServiceChange::Stopped);
                return stopped;
            }
        }
        panic!("the service never stopped");
    }

    fn start(&self) {
        self.change(ServiceChange::StartIntended);
        self.host.request_start(&imc()).unwrap();
        for _ in 0..600 {
            self.host.sleep(Duration::from_millis(100));
            if self.host.query(&imc()).unwrap().state == ServiceState::Running {
                self.change(ServiceChange::Started);
                return;
            }
        }
        panic!("the service never started");
    }
}

/// I1 against the site's own account of every message.
pub(super) fn balances(site: &Site, context: &str, duplicates_allowed: bool) -> [usize; 2] {
    let balance = site.world.balance();
    let lines = ledger::of_server(&Journal::memory(&site.kept).unwrap()).unwrap();
    assert_eq!(site.world.strangers_sent(), 0, "{context}");
    assert!(
        balance.altered().is_empty(),
        "{context}: {:?}",
        balance.altered()
    );
    assert!(balance.lost().is_empty(), "{context}: {:?}", balance.lost());
    let (mut delivered, mut doubtful) = (0, 0);
    for account in &balance.accounts {
        let own: Vec<&ledger::Line> = lines
            .iter()
            .filter(|line| line.mts_id == account.mts_id)
            .collect();
        let is = |state: Custody| own.iter().any(|line| line.custody == state);
        let told = format!("{context}: {account:?} {own:#?}");
        assert!(
            duplicates_allowed || account.delivered <= 1,
            "sent twice, {told}"
        );
        let active = own
            .iter()
            .filter(|line| matches!(line.custody, Custody::Held | Custody::Replaying))
            .count();
        assert!(active <= 1, "two entries for one message, {told}");
        if is(Custody::GoneWithEvidence) {
            assert!(
                account.delivered > 0,
                "evidence of what did not happen, {told}"
            );
        }
        if is(Custody::Held) {
            assert!(account.delivered == 0 && account.live.is_empty(), "{told}");
        }
        // Whatever is neither delivered nor waiting in the queue is named by the ledger.
        if account.delivered == 0 && account.live.is_empty() {
            assert!(
                is(Custody::Held) || is(Custody::InDoubt),
                "forgotten, {told}"
            );
        }
        delivered += usize::from(account.delivered > 0);
        doubtful += usize::from(is(Custody::InDoubt));
    }
    [delivered, doubtful]
}

const MESSAGES: usize = 4;

fn sweep(crash: Crash, starts_at_boot: bool, second_kills: &[u64], every: usize) {
    let site = Site::new(1, MESSAGES, starts_at_boot);
    let boot = site.world.host().uptime().boot;
    let points = {
        let before = site.world.kill_switch().passed();
        site.life(&boot, 0);
        let [delivered, doubtful] = balances(&site, "undisturbed", false);
        assert_eq!((delivered, doubtful), (MESSAGES, 0));
        site.world.kill_switch().passed() - before
    };
    assert!(points > 100, "{points}");
    let (mut kills, mut delivered_in_all, mut runs) = (0, 0, 0);
    for first in (1..=points).step_by(every) {
        for &second in second_kills {
            let site = Site::new(first, MESSAGES, starts_at_boot);
            for kill in [first, second] {
                if kill > 0 && run_until_killed(|| site.life(&boot, kill)).is_err() {
                    kills += 1;
                    site.world.crash(crash);
                    if crash == Crash::Power && !starts_at_boot {
                        // A person starts what the service needs, and leaves the service to the agent.
                        for service in ["SA", "DS", "IS", "MTA"] {
                            site.world.by_hand(&format!("MSExchange{service}"), true);
                            site.world.advance(Duration::from_secs(5));
                        }
                    }
                    if crash == Crash::Process {
                        // The world goes on without an agent for a while.
                        site.world.advance(Duration::from_millis(first * 37 % 3000));
                    }
                }
            }
            site.life(&boot, 0);
            let context = format!("{crash:?} at {first} and {second}");
            let [delivered, _] = balances(&site, &context, starts_at_boot);
            assert!(
                site.world.is_running("MSExchangeIMC"),
                "{context}: left stopped"
            );
            delivered_in_all += delivered;
            runs += 1;
        }
    }
    assert!(kills >= runs - runs / 4, "{kills} kills in {runs} runs");
    assert!(
        delivered_in_all * 2 > runs * MESSAGES,
        "most mail is delivered, not put in doubt: {delivered_in_all} of {}",
        runs * MESSAGES
    );
}

#[test]
fn the_agent_killed_at_every_point_and_again_while_recovering_loses_and_doubles_nothing() {
    sweep(Crash::Process, false, &[0, 7, 23], 1);
}

#[test]
fn power_lost_at_every_point_loses_nothing_and_doubles_nothing_that_the_agent_starts() {
    sweep(Crash::Power, false, &[0, 11], 1);
}

#[test]
fn power_lost_with_a_service_that_starts_with_the_machine_loses_nothing() {
    sweep(Crash::Power, true, &[0, 11], 1);
}
