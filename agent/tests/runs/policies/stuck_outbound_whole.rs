//! Q268494 with a queue that is held as a whole folder, however few files it has.

use std::sync::Arc;

use mailmend_agent::guard::Guard;
use mailmend_proto::run::{Ended, Event};

use super::{Case, stuck_outbound_routing};
use crate::site::{GUARD, Site};

pub(crate) const CASE: Case = Case {
    site,
    least_points: 400,
    ends: &[Ended::Committed],
    check: |site, told| {
        (stuck_outbound_routing::CASE.check)(site, told);
        let whole = |event: &Event| matches!(event, Event::FolderIntended { .. });
        assert!(site.events().iter().any(whole), "{told}: not held whole");
        assert!(site.state().folders.is_empty(), "{told}: not listed");
    },
    ..stuck_outbound_routing::CASE
};

pub(crate) fn site(seed: u64) -> Site {
    let mut site = Site::small(seed);
    let text = GUARD.replace("[limits]", "[limits]\nwhole_folder_from = 1");
    site.guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
    site
}
