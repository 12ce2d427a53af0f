//! A policy, valid by construction: [`crate::parse`] is the only way to one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::name::{PolicyName, RoleName};
use crate::role::Role;
use crate::step::Step;
use crate::strategy::Strategy;
use crate::version::VersionRange;

/// What to do about one problem, on which servers, within which limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The policy's name.
    pub name: PolicyName,
    /// Its version, from 1; a published version never changes.
    pub version: u32,
    /// One line for people.
    pub title: String,
    /// The article that it carries out.
    pub source: Source,
    /// The product and versions that it is for.
    pub applies_to: AppliesTo,
    /// Its roles; each is used by a step or by `detect`.
    pub roles: BTreeMap<RoleName, Role>,
    /// What it may cost.
    pub limits: Limits,
    /// The symptom.
    pub detect: Detect,
    /// How a rollout goes through the sites, unless the rollout says otherwise.
    pub strategy: Strategy,
    /// The steps, in order; never empty.
    pub steps: Vec<Step>,
}

/// Where a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The article, such as `Q268494`.
    pub article: String,
    /// Where the policy does not do what the article says, and why.
    pub deviations: Vec<Deviation>,
}

/// One deviation from the article.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviation {
    /// The article's step.
    pub step: String,
    /// Why the policy does otherwise.
    pub why: String,
}

/// Which servers a policy is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliesTo {
    /// The product; `exchange` is the only one so far.
    pub product: String,
    /// The versions.
    pub versions: VersionRange,
}

/// What a run may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The longest that a section may keep a service down before the agent takes the exit.
    pub max_outage: Duration,
    /// The most service starts of one run on one agent.
    pub max_restarts: u32,
    /// The most files that one quarantine may take.
    pub max_files: u64,
}

/// The symptom that a policy mends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detect {
    /// The role whose agents judge it.
    pub on: RoleName,
    /// All must hold.
    pub all: Vec<Condition>,
}
