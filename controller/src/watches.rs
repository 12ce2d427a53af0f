//! Which symptoms an agent is to look for: those of bound policies that may be about its server, and those
//! that the gate of an open rollout asks for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use mailmend_policy::name::{PolicyName, ServerName};
use mailmend_policy::parse::parse;
use mailmend_policy::plan::{Server, VERSION_FACT};
use mailmend_policy::policy::Policy;
use mailmend_policy::selector::Selector;
use mailmend_policy::source::PolicySource;
use mailmend_policy::version::Version;
use mailmend_proto::wire;

use crate::react::Binding;
use crate::store::{Outlook, PolicyRow, Store, StoreError};

/// A published policy and what it says; `None` where this version's rules refuse it.
#[derive(Debug)]
pub struct Revision {
    /// As it was published.
    pub row: PolicyRow,
    /// What it says.
    pub policy: Option<Policy>,
}

/// Published policies, read once: they never change.
#[derive(Debug, Default)]
pub struct Revisions(Mutex<HashMap<(PolicyName, u32), Arc<Revision>>>);

impl Revisions {
    /// The version of a policy that is bound; `None` where it is not there.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn of(
        &self,
        store: &Store,
        binding: &Binding,
    ) -> Result<Option<Arc<Revision>>, StoreError> {
        self.get(store, &binding.policy, binding.version).await
    }

    /// A version of a policy; `None` where it is not there.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn get(
        &self,
        store: &Store,
        policy: &PolicyName,
        version: u32,
    ) -> Result<Option<Arc<Revision>>, StoreError> {
        let key = (policy.clone(), version);
        let known = |revisions: &Self| {
            let read = revisions.0.lock().unwrap_or_else(PoisonError::into_inner);
            read.get(&key).cloned()
        };
        if let Some(revision) = known(self) {
            return Ok(Some(revision));
        }
        let Some(row) = store.policy(key.0.as_str(), key.1).await? else {
            return Ok(None);
        };
        let policy = parse(&PolicySource::new(row.name.as_str(), row.text.clone())).ok();
        let revision = Arc::new(Revision { row, policy });
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(key, revision.clone());
        Ok(Some(revision))
    }
}

/// Whether a binding is about a server: its selector selects it, it has the role that detects, and its
/// version is not known to be another. One of unknown version is looked at, and says so.
#[must_use]
pub fn concerns(binding: &Binding, policy: &Policy, server: &Server) -> bool {
    let selected = binding.selector.is_empty()
        || binding
            .selector
            .parse::<Selector>()
            .is_ok_and(|selector| selector.selects(&server.labels));
    let role = policy.roles.get(&policy.detect.on);
    let version = server.labels.get(VERSION_FACT);
    selected
        && role.is_some_and(|role| role.select.selects(&server.labels))
        && version
            .and_then(|text| text.parse::<Version>().ok())
            .is_none_or(|version| policy.applies_to.versions.holds(version))
}

/// Whether the gate of a rollout asks a server: it has the role that detects.
fn asked(policy: &Policy, server: &Server) -> bool {
    let role = policy.roles.get(&policy.detect.on);
    role.is_some_and(|role| role.select.selects(&server.labels))
}

/// An agent as its session knows it: read again when the inventory has changed.
#[derive(Debug, Default)]
pub struct Looking {
    /// At which generation, the server, and the labels that operators gave it.
    known: Option<(i64, Server, Labels)>,
    /// What it was told to look for.
    told: Option<Told>,
}

/// What tells one order to look from another: published policies never change.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    policies: Vec<(PolicyName, u32)>,
    labels: Labels,
}

type Labels = BTreeMap<String, String>;

impl Looking {
    /// What the agent is to be told now; none where it was told that already.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn news(
        &mut self,
        store: &Store,
        revisions: &Revisions,
        outlook: &Outlook,
        agent: &ServerName,
    ) -> Result<Option<wire::Watches>, StoreError> {
        let (wanted, labels) = self.wanted(store, revisions, outlook, agent).await?;
        let now = Told {
            policies: wanted
                .keys()
                .cloned()
                .zip(wanted.values().map(|found| found.row.version))
                .collect(),
            labels,
        };
        if self.told.as_ref() == Some(&now) {
            return Ok(None);
        }
        let watch = |revision: Arc<Revision>| wire::Watch {
            policy: revision.row.name.to_string(),
            version: revision.row.version,
            digest: revision.row.digest.as_bytes().to_vec(),
            text: revision.row.text.clone(),
        };
        let watches = wire::Watches {
            watches: wanted.into_values().map(watch).collect(),
            labels: now.labels.clone().into_iter().collect(),
        };
        self.told = Some(now);
        Ok(Some(watches))
    }
}

impl Looking {
    /// What the agent is to look for, all of it: bound symptoms, and those that the gate of an open rollout asks for, by
    /// the outlook. Of those two the gate's version is looked for while its rollout is open: a binding of another version
    /// waits for so long. With the labels that the agent is told with it.
    async fn wanted(
        &mut self,
        store: &Store,
        revisions: &Revisions,
        outlook: &Outlook,
        agent: &ServerName,
    ) -> Result<(BTreeMap<PolicyName, Arc<Revision>>, Labels), StoreError> {
        let bindings = &outlook.bindings;
        let none = BTreeMap::new();
        let gated = outlook.gated.get(agent).unwrap_or(&none);
        let mut wanted: BTreeMap<PolicyName, Arc<Revision>> = BTreeMap::new();
        if bindings.is_empty() && gated.is_empty() {
            return Ok((wanted, Labels::new()));
        }
        let current = |(at, ..): &&(i64, Server, Labels)| *at == outlook.generation;
        if self.known.as_ref().filter(current).is_none() {
            let Some(row) = store.agent(agent).await? else {
                return Ok((wanted, Labels::new()));
            };
            self.known = Some((outlook.generation, row.server(), row.labels));
        }
        let Some((_, server, given)) = &self.known else {
            return Ok((wanted, Labels::new()));
        };
        for binding in bindings.values() {
            if let Some(revision) = revisions.of(store, binding).await?
                && let Some(policy) = &revision.policy
                && concerns(binding, policy, server)
            {
                wanted.insert(binding.policy.clone(), revision);
            }
        }
        for (name, version) in gated {
            if let Some(revision) = revisions.get(store, name, *version).await?
                && let Some(policy) = &revision.policy
                && asked(policy, server)
            {
                wanted.insert(name.clone(), revision);
            }
        }
        if wanted.is_empty() {
            return Ok((wanted, Labels::new()));
        }
        let mut labels = given.clone();
        for named in ["site", "name"] {
            if let Some(value) = server.labels.get(named) {
                labels.insert(named.to_owned(), value.clone());
            }
        }
        Ok((wanted, labels))
    }
}
