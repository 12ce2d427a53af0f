//! How a rollout goes through the sites.

use serde::{Deserialize, Serialize};

/// The order and tolerance of a rollout over sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    /// How many sites are mended at once, 1 to 1000; 1 unless told.
    pub sites_at_once: u32,
    /// The rollout halts as soon as `failed > max_failed` runs have failed; 0 unless told.
    pub max_failed: u32,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            sites_at_once: 1,
            max_failed: 0,
        }
    }
}
