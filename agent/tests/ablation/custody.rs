//! What keeps mail from being lost, doubled, or changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mailmend_agent::ablation::Mechanism;
use mailmend_agent::custody::{Desk, Records, Stopped, held_folder, quarantine, settle};
use mailmend_agent::host::simulated::{
    Harm, ServiceFaults, SimHost, SimSettings, SimWorld, run_until_killed,
};
use mailmend_agent::host::unix::{UnixHost, UnixSettings};
use mailmend_agent::host::{Clock, Host, HostErrorKind, ProcessIdentity, Services};
use mailmend_agent::host::{HostError, ServiceStatus};
use mailmend_agent::journal::Journal;
use mailmend_policy::condition::PathRoot;
use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{Custody, Event, ServiceChange};

use crate::proof::proves;
use crate::site::{GUARD, IMC, Site, changed};
use crate::spool::{
    BATCH, OUT, Spool, ask_to_stop, give_back, imc, quarantine as take_all, stopped, take,
};

/// The agent and the machine die at each point of a quarantine; every disk that can be left is looked at.
fn cut_everywhere() {
    for point in 1.. {
        let spool = Spool::new(2);
        let life = run_until_killed(|| spool.life(point, |desk, host| drop(take_all(desk, host))));
        if life.is_ok() {
            assert!(point > 20, "only {point} points");
            return;
        }
        for world in spool.world.power_cuts() {
            let kept = spool.kept.fork();
            Spool { world, kept }.nothing_is_lost();
        }
    }
}

#[test]
fn a_power_loss_between_the_two_syncs_of_a_move_leaves_a_name() {
    proves(Mechanism::HeldSyncedFirst, "lost: ", cut_everywhere);
}

#[test]
fn after_a_sync_that_failed_no_folder_is_synced_that_would_make_the_loss_durable() {
    proves(Mechanism::FailedSyncEndsMoving, "lost: ", || {
        for failing in 1..60 {
            let spool = Spool::new(2);
            spool.world.fail_any_at(failing, HostErrorKind::Io, false);
            spool.life(0, |desk, host| drop(take_all(desk, host)));
            for world in spool.world.power_cuts() {
                let kept = spool.kept.fork();
                Spool { world, kept }.nothing_is_lost();
            }
        }
    });
}

#[test]
fn wherever_a_quarantine_dies_the_ledger_names_every_file_that_left_the_queue() {
    proves(Mechanism::ManifestBeforeMove, "nobody knows of it", || {
        for point in 1.. {
            let spool = Spool::new(2);
            let life = run_until_killed(|| {
                spool.life(point, |desk, host| drop(take_all(desk, host)));
            });
            if life.is_ok() {
                return;
            }
            let states = spool.states();
            for account in spool.world.balance().accounts {
                let named = states.iter().any(|(name, _)| *name == account.spool_name);
                assert!(
                    account.delivered > 0 || !account.live.is_empty() || named,
                    "it is neither delivered nor in the queue, and nobody knows of it: {account:?}"
                );
            }
        }
    });
}

#[test]
fn wherever_a_replay_dies_nothing_counts_as_held_that_the_service_may_read() {
    proves(
        Mechanism::IntentionBeforePlace,
        "it counts as held and is in the queue",
        || {
            let mut died = 0;
            for point in 1.. {
                let spool = Spool::new(2);
                spool.life(0, |desk, host| take_all(desk, host).unwrap());
                let life = run_until_killed(|| {
                    spool.life(point, |desk, host| drop(give_back(desk, host)));
                });
                if life.is_ok() {
                    break;
                }
                died += 1;
                // What another start of the service would read now, and what the ledger says.
                let states = spool.states();
                let intended = spool.intended_replays() > 0;
                for account in spool.world.balance().accounts {
                    let held = states.contains(&(account.spool_name.clone(), Custody::Held));
                    assert!(
                        account.live.is_empty() || !held || intended,
                        "it counts as held and is in the queue: {account:?}"
                    );
                }
            }
            assert!(died > 10);
        },
    );
}

impl Spool {
    fn intended_replays(&self) -> usize {
        let journal = Journal::memory(&self.kept).unwrap();
        let state = journal.state(crate::spool::RUN).unwrap().unwrap();
        let replays = state.batches.values().map(|batch| batch.replays.len());
        replays.sum()
    }
}

fn unix() -> UnixHost {
    let nowhere = PathBuf::from("/nonexistent");
    UnixHost::new(UnixSettings {
        service_socket: nowhere.clone(),
        registry_file: nowhere.clone(),
        events_file: nowhere,
        counters_file: None,
        clock_factor: 1.0,
    })
}

#[test]
fn a_move_onto_another_message_fails_and_both_are_there() {
    proves(Mechanism::NoReplaceRename, "a message was replaced", || {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (from, to) = (root.join("QUEUED00"), root.join("HELD0000"));
        std::fs::write(&from, "one message").unwrap();
        std::fs::write(&to, "another message").unwrap();
        let moved = unix().spool().move_new(&from, &to);
        let kept = std::fs::read_to_string(&to).unwrap();
        assert_eq!(kept, "another message", "a message was replaced");
        assert_eq!(moved.unwrap_err().kind, HostErrorKind::Exists);
    });
}

#[test]
fn files_of_other_names_stay_in_the_queue_folder() {
    let notes = PathBuf::from(OUT).join("readme.txt");
    proves(
        Mechanism::OnlySpoolNames,
        "somebody's file was moved",
        || {
            let spool = Spool::new(2);
            spool.world.put_file(&notes, b"of a person", Duration::ZERO);
            spool.life(0, |desk, host| {
                take_all(desk, host).unwrap();
                let there = host.spool().look(&notes).unwrap();
                assert!(there.is_some(), "somebody's file was moved");
            });
        },
    );
}

/// A host whose service manager does not tell the process of a service.
struct NoProcess<'a>(&'a SimHost);

impl Host for NoProcess<'_> {
    fn services(&self) -> &dyn Services {
        self
    }
    fn spool(&self) -> &dyn mailmend_agent::host::Spool {
        self.0.spool()
    }
    fn registry(&self) -> &dyn mailmend_agent::host::Registry {
        self.0.registry()
    }
    fn events(&self) -> &dyn mailmend_agent::host::Events {
        self.0.events()
    }
    fn tools(&self) -> &dyn mailmend_agent::host::Tools {
        self.0.tools()
    }
    fn clock(&self) -> &dyn Clock {
        self.0.clock()
    }
    fn root(&self, root: PathRoot) -> Result<PathBuf, HostError> {
        self.0.root(root)
    }
}

impl Services for NoProcess<'_> {
    fn query(&self, service: &ServiceName) -> Result<ServiceStatus, HostError> {
        Ok(ServiceStatus {
            process: None,
            ..self.0.query(service)?
        })
    }
    fn request_stop(&self, service: &ServiceName) -> Result<(), HostError> {
        self.0.request_stop(service)
    }
    fn request_start(&self, service: &ServiceName) -> Result<(), HostError> {
        self.0.request_start(service)
    }
    fn end_process(&self, process: &ProcessIdentity) -> Result<(), HostError> {
        self.0.end_process(process)
    }
    fn process_alive(&self, process: &ProcessIdentity) -> Result<bool, HostError> {
        self.0.process_alive(process)
    }
    fn running_dependents(&self, service: &ServiceName) -> Result<Vec<ServiceName>, HostError> {
        self.0.running_dependents(service)
    }
}

/// What is delivered is not held, once the service has finished what it was doing.
fn held_is_not_delivered(spool: &Spool) {
    spool.world.advance(Duration::from_secs(120));
    for (name, state) in spool.states() {
        let account = spool.world.balance().by_spool_name(&name).cloned().unwrap();
        assert!(
            state != Custody::Held || account.delivered == 0,
            "it is held and was sent by a service that ran: {account:?}"
        );
    }
}

#[test]
fn no_file_moves_under_a_service_that_the_manager_says_is_running() {
    proves(
        Mechanism::StoppedByManager,
        "it is held and was sent by a service that ran",
        || {
            for begins_at in (1_000..1_120).step_by(3) {
                let spool = Spool::sending(12, 2);
                spool.world.advance(Duration::from_millis(begins_at));
                spool.life(0, |desk, host| {
                    let masked = NoProcess(host);
                    let desk = Desk {
                        host: &masked,
                        ..*desk
                    };
                    let prepared = quarantine::prepare(&desk, take(u64::MAX)).unwrap();
                    let how = mailmend_agent::custody::HowStopped::Cleanly;
                    if let Ok(stopped) = Stopped::prove(&masked, &imc(), None, how) {
                        let _ = prepared.take(&desk, &stopped, &Records(&masked));
                    }
                });
                held_is_not_delivered(&spool);
            }
        },
    );
}

#[test]
fn no_file_moves_under_a_process_that_lives_on_after_its_service_says_stopped() {
    proves(
        Mechanism::StoppedByProcess,
        "it is held and was sent by a service that ran",
        || {
            for begins_at in (1_000..1_120).step_by(3) {
                let spool = Spool::sending(12, 2);
                let lies = ServiceFaults {
                    lies_stopped: true,
                    ..ServiceFaults::default()
                };
                spool.world.set_faults(IMC, lies);
                spool.world.advance(Duration::from_millis(begins_at));
                spool.life(0, |desk, host| {
                    let process = host.query(&imc()).unwrap().process;
                    let prepared = quarantine::prepare(desk, take(u64::MAX)).unwrap();
                    host.request_stop(&imc()).unwrap();
                    let how = mailmend_agent::custody::HowStopped::Cleanly;
                    if let Ok(stopped) = Stopped::prove(host, &imc(), process.as_ref(), how) {
                        let _ = prepared.take(desk, &stopped, &Records(host));
                    }
                });
                held_is_not_delivered(&spool);
            }
        },
    );
}

/// Lets somebody start the service when the journal has taken the n-th record of `act`. Returns whether there
/// was such a record.
fn started_at_record(spool: &Spool, n: u64, act: impl FnOnce(&Desk<'_>, &SimHost)) -> bool {
    let host = spool.world.host();
    let passed = Arc::new(AtomicU64::new(0));
    let (world, counter) = (spool.world.clone(), Arc::clone(&passed));
    let kept = spool.kept.clone().with_hook(Arc::new(move |point| {
        let after = point == "journal: after append";
        if after && counter.fetch_add(1, Ordering::SeqCst) + 1 == n {
            world.by_hand(IMC, true);
            world.advance(Duration::from_secs(30));
        }
    }));
    let journal = Journal::memory(&kept).unwrap();
    let desk = Desk {
        host: &host,
        journal: &journal,
        run: crate::spool::RUN,
    };
    act(&desk, &host);
    passed.load(Ordering::SeqCst) >= n
}

/// Nothing that a service which runs may have open has moved, or come, under it since it was started.
fn no_move_under_the_service(spool: &Spool, before: &[Vec<PathBuf>]) {
    let accounts = spool.world.balance().accounts;
    let now: Vec<Vec<PathBuf>> = accounts.into_iter().map(|one| one.live).collect();
    assert_eq!(
        now, before,
        "files moved under a service that somebody had started"
    );
}

#[test]
fn nothing_moves_under_a_service_that_somebody_starts_between_the_proof_and_the_first_move() {
    proves(
        Mechanism::StoppedAtFirstMove,
        "files moved under a service that somebody had started",
        || {
            let places = |spool: &Spool| -> Vec<Vec<PathBuf>> {
                let accounts = spool.world.balance().accounts;
                accounts.into_iter().map(|one| one.live).collect()
            };
            for whole in [false, true] {
                // Taken: the intention is the first record.
                let spool = Spool::new(2);
                spool.life(0, |_, _| ());
                let before = places(&spool);
                let reached = started_at_record(&spool, 1, |desk, host| {
                    let prepared = quarantine::prepare(desk, take(u64::MAX)).unwrap();
                    let prepared = prepared.whole_from(desk, u64::from(whole));
                    ask_to_stop(host);
                    let proof = stopped(host).unwrap();
                    let taken = prepared.take(desk, &proof, &Records(host));
                    no_move_under_the_service(&spool, &before);
                    let error = taken.unwrap_err().to_string();
                    assert!(error.contains("A080-service-not-stopped"), "{error}");
                });
                assert!(reached);
            }
            // Given back: the same.
            let spool = Spool::new(2);
            spool.life(0, |desk, host| take_all(desk, host).unwrap());
            let before = places(&spool);
            // The first append of a replay is of its alarms, of which there are none.
            let reached = started_at_record(&spool, 1, |desk, host| {
                let given = give_back(desk, host);
                no_move_under_the_service(&spool, &before);
                let error = given.unwrap_err().to_string();
                assert!(error.contains("A080-service-not-stopped"), "{error}");
            });
            assert!(reached);
            assert!(
                spool
                    .states()
                    .iter()
                    .all(|(_, state)| *state == Custody::Held)
            );
        },
    );
}

/// A search in which one message crashes the service, and no log tells what was being sent then; how many each
/// crash may have sent.
fn searched_blindly(cap: usize) -> Vec<usize> {
    let world = SimWorld::new(SimSettings {
        seed: 3,
        stale_routes: false,
        connections: 8,
        ..SimSettings::default()
    });
    world.by_hand(IMC, false);
    world.advance(Duration::from_secs(5));
    world.add_outbound(12, 300);
    world.add_bad_outbound(Harm::CrashUnlogged);
    world.by_hand(IMC, true);
    world.advance(Duration::from_secs(2));
    world.write_event(IMC, 4037, "An exception was handled; the service ends.");
    for account in world.balance().accounts {
        for file in &account.live {
            world.set_age(file, Duration::from_secs(16 * 60));
        }
    }
    let cap = format!("max_duplicates = {cap}\n");
    let edits = [
        ("observe = \"2m\"", "observe = \"10s\""),
        ("observe = \"60s\"", "observe = \"10s\""),
        ("in_flight = 32\n", ""),
        ("max_duplicates = 50\n", &cap),
        // Small groups of a large queue would take more starts than the policy has.
        ("max_files = 100000", "max_files = 20"),
        ("max_bad = 5", "max_bad = 1"),
    ];
    let guard = GUARD.replace("restarts_per_hour = 40", "restarts_per_hour = 300");
    let site = Site::on(world, 3, &changed("corrupt-message", &edits), &guard);
    site.live(&[]);
    site.check("searched");
    let state = site.state();
    let starts = state.searches.values().flat_map(|search| &search.starts);
    let crashes = starts.filter_map(|start| start.observed.as_ref());
    let crashes = crashes.filter(|seen| seen.crashed);
    let there = |(first, last): &(u32, u32)| (last - first) as usize + 1;
    crashes
        .map(|seen| seen.still_there.iter().map(there).sum())
        .collect()
}

#[test]
fn a_crash_of_a_search_may_send_no_more_twice_than_the_policy_allows() {
    proves(
        Mechanism::DuplicateCap,
        "a crash may have sent more than the policy allows",
        || {
            let exposed = searched_blindly(3);
            assert!(!exposed.is_empty(), "nothing crashed");
            assert!(
                exposed.iter().all(|exposed| *exposed <= 3),
                "a crash may have sent more than the policy allows: {exposed:?}"
            );
        },
    );
}

#[test]
fn no_file_moves_while_somebody_has_the_index_of_the_queues_open() {
    proves(
        Mechanism::StoppedByOpenIndex,
        "files were moved while a process had the queues open",
        || {
            for n in 1.. {
                let site = Site::small(4);
                let early = Arc::new(AtomicBool::new(false));
                let hold = site.index("hold-outbound");
                let (kept, noted, run) = (site.storage.clone(), Arc::clone(&early), site.run);
                let reached = site.live_while(n, move |world| {
                    // Somebody starts it, and stops it again: it says that it stopped, and works on.
                    world.by_hand(IMC, true);
                    world.advance(Duration::from_secs(2));
                    let lies = ServiceFaults {
                        lies_stopped: true,
                        ..ServiceFaults::default()
                    };
                    world.set_faults(IMC, lies);
                    world.by_hand(IMC, false);
                    let state = Journal::memory(&kept).unwrap().state(run).unwrap();
                    let nothing_taken = state.is_some_and(|state| {
                        state.section.is_some()
                            && state.batches.is_empty()
                            && state.acting() != Some(hold)
                    });
                    noted.store(nothing_taken, Ordering::SeqCst);
                });
                if !reached {
                    break;
                }
                let ended = site.events().iter().any(|event| {
                    matches!(
                        event,
                        Event::ServiceChanged {
                            change: ServiceChange::Killed,
                            ..
                        }
                    )
                });
                assert!(
                    !early.load(Ordering::SeqCst) || ended || site.state().batches.is_empty(),
                    "files were moved while a process had the queues open, from point {n} on"
                );
            }
        },
    );
}

#[test]
fn a_held_file_whose_bytes_changed_is_not_given_back() {
    proves(
        Mechanism::HashBeforeReplay,
        "altered mail was given back",
        || {
            let spool = Spool::new(2);
            spool.life(0, |desk, host| {
                take_all(desk, host).unwrap();
                let held = held_folder(Path::new("/exchsrvr/mailmend-held"), BATCH);
                let files = host.spool().list(&held).unwrap();
                let file = files.iter().find(|file| file.name.len() == 8).unwrap();
                // Same size, same time, other bytes: a disk that lost a sector.
                let bytes = vec![b'?'; usize::try_from(file.size).unwrap()];
                let age = u64::try_from(host.wall_ms() - file.modified_ms).unwrap();
                let path = held.join(&file.name);
                spool
                    .world
                    .put_file(&path, &bytes, Duration::from_millis(age));
                give_back(desk, host).unwrap();
                let queued = host.spool().look(&Path::new(OUT).join(&file.name));
                assert!(queued.unwrap().is_none(), "altered mail was given back");
            });
        },
    );
}

#[test]
fn a_name_is_not_taken_out_of_the_queue_where_it_is_the_only_one() {
    proves(Mechanism::SecondNameBeforeWithdrawal, "lost: ", || {
        let spool = Spool::new(2);
        spool.life(0, |desk, host| {
            take_all(desk, host).unwrap();
            give_back(desk, host).unwrap();
            // Somebody empties the held folder.
            let held = held_folder(Path::new("/exchsrvr/mailmend-held"), BATCH);
            for file in host.spool().list(&held).unwrap() {
                host.spool().remove(&held.join(&file.name)).unwrap();
            }
            let prepared = quarantine::prepare(desk, take(u64::MAX)).unwrap();
            let _ = prepared.take(desk, &stopped(host).unwrap(), &Records(host));
        });
        spool.nothing_is_lost();
    });
}

#[test]
fn mail_that_somebody_took_out_of_the_queue_does_not_count_as_delivered() {
    proves(
        Mechanism::EvidenceBeforeGone,
        "counts as delivered and was not",
        || {
            let spool = Spool::new(2);
            spool.life(0, |desk, host| {
                take_all(desk, host).unwrap();
                give_back(desk, host).unwrap();
                for file in host.spool().list(Path::new(OUT)).unwrap() {
                    let from = Path::new(OUT).join(&file.name);
                    let to = Path::new("/exchsrvr/imcdata/Work").join(&file.name);
                    if file.name.len() == 8 {
                        host.spool().move_new(&from, &to).unwrap();
                    }
                }
                settle::settle(desk, BATCH, &Records(host), true).unwrap();
            });
            for (name, state) in spool.states() {
                let account = spool.world.balance().by_spool_name(&name).cloned().unwrap();
                assert!(
                    state != Custody::GoneWithEvidence || account.delivered > 0,
                    "`{name}` counts as delivered and was not"
                );
            }
        },
    );
}

#[test]
fn what_a_dead_service_may_have_sent_is_not_sent_again_by_the_start() {
    proves(
        Mechanism::InDoubtSetAside,
        "was delivered twice and is not named",
        || {
            for at in (0..1200).step_by(20) {
                let site = Site::healthy(at);
                site.world.add_outbound(6, 100);
                let engine = site.engine(0);
                engine.recover().unwrap();
                site.world.advance(Duration::from_millis(at));
                site.world.kill_service(IMC);
                engine.watch().unwrap();
                site.check(&format!("killed at {at} ms"));
            }
        },
    );
}

#[test]
fn a_replay_that_was_cut_short_is_made_whole_before_the_service_can_read_half_of_it() {
    proves(Mechanism::CustodyWholeBeforeStart, "call ", || {
        for n in 1..160 {
            let site = Site::small(5);
            site.world.fail_any_at(n, HostErrorKind::Io, false);
            site.live_through_failures();
            site.check(&format!("call {n} on files failed"));
        }
    });
}
