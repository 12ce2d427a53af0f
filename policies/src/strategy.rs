//! How a rollout goes through the sites: waves, tolerance, budgets, windows, health and approvals.
//!
//! A strategy stands in a policy as its default; a rollout may override any of its keys. Shares are
//! made numbers once, when the targets are frozen: see [`Strategy::resolve`].

mod resolve;
mod share;
mod window;
mod words;
mod zone;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use resolve::{Impossible, Resolved, Targets};
pub use share::{NotAShare, Share};
pub use window::{AHEAD, Day, LocalTime, NotATime, Opening, Window, longest_opening, opening};
pub use zone::{NoZone, Zone};

pub use crate::parse::overridden;

/// The most waves.
pub const MOST_WAVES: usize = 20;
/// The most windows.
pub const MOST_WINDOWS: usize = 32;
/// The most sites that are mended at once.
pub const MOST_SITES_AT_ONCE: u32 = 1000;
/// The largest number that a wave, a tolerance or a budget may be.
pub const MOST_COUNT: u32 = 100_000;

/// The order and tolerance of a rollout over sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Strategy {
    /// How far each wave goes: the sites that are begun by its end, of all sites of the rollout. Rising;
    /// the last is 100 %. One wave of everything unless told. 1 to 20 waves.
    pub waves: Vec<Share>,
    /// How long after the last run of a wave its sites are only watched; none unless told. 0 to 30 days.
    pub soak: Duration,
    /// What must be well after the soak before the next wave begins.
    pub gate: Gate,
    /// How many sites are mended at once, 1 to 1000; 1 unless told.
    pub sites_at_once: u32,
    /// The rollout halts as soon as `failed > max_failed` runs have failed; 0 unless told. A percentage is
    /// of the rollout's runs, rounded down.
    pub max_failed: Share,
    /// How many servers may be out of service at once.
    pub max_unavailable: MaxUnavailable,
    /// When service may be disturbed; always unless told. Any open window is enough. At most 32.
    pub windows: Vec<Window>,
    /// Before which waves a person is asked.
    pub approve: Approve,
    /// Whether a server may be disturbed that is the only outbound path of an address space by configuration.
    pub last_path: LastPath,
}

/// What must be well between waves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Nothing but `max_failed`.
    None,
    /// On every server of a mended site: its agent is connected, no alarm was raised since its run, and the
    /// policy's symptom is known not to stand. What cannot be told pauses the rollout.
    Health,
}

/// How many servers may be out of service at once: those that are being mended, those whose run failed
/// or needs a person, and those that cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaxUnavailable {
    /// Of one site, the server to be disturbed included. A percentage is rounded down.
    pub site: Share,
    /// Of all servers that the controller knows. A percentage is rounded down.
    pub fleet: Share,
}

/// What is done where mending takes the only outbound path of an address space away for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastPath {
    /// Mail waits for the section, `max_outage` at most: the plan says so, and goes on.
    Accept,
    /// The rollout is refused.
    Refuse,
}

/// Before which waves a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approve {
    /// Before none.
    None,
    /// Before the first one only.
    BeforeFirst,
    /// After the first one, before the second one only.
    AfterFirst,
    /// Before each.
    EachWave,
}

impl Approve {
    /// Whether a person is asked before a wave, counted from 0.
    #[must_use]
    pub const fn before(self, wave: u32) -> bool {
        match self {
            Self::None => false,
            Self::BeforeFirst => wave == 0,
            Self::AfterFirst => wave == 1,
            Self::EachWave => true,
        }
    }
}

impl Default for MaxUnavailable {
    fn default() -> Self {
        Self {
            site: Share::Percent(100),
            fleet: Share::Percent(100),
        }
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            waves: vec![Share::Percent(100)],
            soak: Duration::ZERO,
            gate: Gate::None,
            sites_at_once: 1,
            max_failed: Share::Count(0),
            max_unavailable: MaxUnavailable::default(),
            windows: Vec::new(),
            approve: Approve::None,
            last_path: LastPath::Accept,
        }
    }
}
