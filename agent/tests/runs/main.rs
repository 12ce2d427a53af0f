//! Whole runs on the simulated host: the shipped policies, an agent that dies anywhere, a
//! service that misbehaves, a controller that goes away.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod fingerprints;
#[cfg(test)]
mod immunity;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod person;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod recover;
#[cfg(test)]
mod search;
#[cfg(test)]
mod service;
#[cfg(test)]
mod site;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod vanished;
#[cfg(test)]
mod whole;
