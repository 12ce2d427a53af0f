//! What keeps a fingerprint from doing harm: only unused files move, and only so many.

use std::sync::Arc;
use std::time::Duration;

use mailmend_agent::ablation::Mechanism;
use mailmend_agent::guard::Guard;
use mailmend_proto::run::Custody;

use crate::fingerprints::{Kept, kept, life, of};
use crate::proof::proves;
use crate::site::{GUARD, Site};

#[test]
fn a_file_that_the_service_has_open_does_not_move() {
    proves(
        Mechanism::ExclusiveBeforeMoved,
        "a file that the service was sending was taken",
        || {
            let site = Site::healthy(4);
            let name = site.world.add_outbound(1, 300).remove(0);
            site.world.hang_on(&name);
            site.world.advance(Duration::from_secs(2));
            let fingerprint = of(&site, 1, &name);
            life(&site, 0, &[fingerprint]).look_for_poison().unwrap();
            assert!(
                kept(&site).is_empty(),
                "a file that the service was sending was taken"
            );
        },
    );
}

/// A controller that is not what it should be names every message of a queue, on a server whose logs tell what was sent,
/// or on one whose logs tell nothing, where all of it would be in doubt.
#[test]
fn no_more_messages_are_set_aside_than_the_guard_file_allows() {
    proves(
        Mechanism::ImmunityLimit,
        "more was set aside than allowed",
        || {
            for blind in [false, true] {
                let mut site = Site::small(3);
                site.world.set_events_unreadable(blind);
                let text = format!("{GUARD}\n[immunity]\nmax_per_hour = 2\n");
                site.guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
                let accounts = site.world.balance().accounts;
                let fingerprints: Vec<_> = (1..)
                    .zip(&accounts)
                    .map(|(number, account)| of(&site, number, &account.spool_name))
                    .collect();
                assert!(fingerprints.len() > 2);
                // A restart of the agent does not renew what is allowed.
                for _ in 0..2 {
                    let engine = life(&site, 0, &fingerprints);
                    engine.look_for_poison().unwrap();
                    site.world.advance(Duration::from_secs(120));
                    engine.look_for_poison().unwrap();
                }
                let taken = |one: &Kept| matches!(one.custody, Custody::Poison | Custody::InDoubt);
                let aside: Vec<_> = kept(&site).into_iter().filter(taken).collect();
                assert!(aside.len() == 2, "more was set aside than allowed");
                let doubt = |one: &Kept| one.custody == Custody::InDoubt;
                assert!(aside.iter().all(|one| one.marked && doubt(one) == blind));
                assert_eq!(site.alarms_of("A140-set-aside-on-sight").len(), 1);
                let told = site.alarms_of("A141-immunity-limit");
                assert!(!told.is_empty(), "nobody was told of the limit");
                // In an hour from now as many again, and never more than `max_files` in all.
                let text = format!("{GUARD}\n[immunity]\nmax_per_hour = 2\nmax_files = 3\n");
                site.guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
                for _ in 0..3 {
                    site.world.advance(Duration::from_secs(3700));
                    life(&site, 0, &fingerprints).look_for_poison().unwrap();
                }
                let aside = kept(&site).into_iter().filter(taken).count();
                assert!(aside == 3, "more was set aside than allowed");
                site.check_mail("limits of immunity");
            }
        },
    );
}
