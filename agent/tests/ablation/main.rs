//! For each safety mechanism one test that fails without it: the same story is told with all mechanisms,
//! and ends well, and without the one, and ends in harm. Built with the feature `ablation` only.

#[cfg(test)]
mod custody;
#[cfg(test)]
#[path = "../runs/fingerprints.rs"]
#[expect(dead_code, reason = "the whole runs use more of it")]
mod fingerprints;
#[cfg(test)]
mod immunity;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod recovery;
#[cfg(test)]
#[path = "../runs/site.rs"]
#[expect(dead_code, reason = "the whole runs use more of it")]
mod site;
#[cfg(test)]
mod spool;
#[cfg(test)]
#[path = "../runs/vanished.rs"]
#[expect(dead_code, reason = "the whole runs use more of it")]
mod vanished;
