//! Q268494: outbound mail waits because the routes are stale.

use mailmend_proto::run::Ended;

use super::{Again, Case};
use crate::site::Site;

pub(crate) const CASE: Case = Case {
    policy: "stuck-outbound-routing",
    site: Site::small,
    least_points: 450,
    again: Again {
        every: 5,
        in_run: false,
    },
    ends: &[Ended::Committed],
    check: |site, told| {
        let balance = site.world.balance();
        assert!(
            balance.accounts.iter().all(|one| one.delivered == 1),
            "{told}: {:?}",
            balance.accounts
        );
    },
};
