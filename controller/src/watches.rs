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
use crate::store::{PolicyRow, Store, StoreError};

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

/// What an agent is to look for, all of it: bound symptoms, and those that the gate of an open rollout
/// asks for. Of those two the gate's version is looked for while its rollout is open: a binding of another
/// version waits for so long.
///
/// # Errors
/// Where the store fails.
pub async fn watches(
    store: &Store,
    revisions: &Revisions,
    agent: &ServerName,
) -> Result<wire::Watches, StoreError> {
    let bindings = store.bindings().await?;
    let gated = store.gated_policies(agent).await?;
    let mut watches = wire::Watches::default();
    if bindings.is_empty() && gated.is_empty() {
        return Ok(watches);
    }
    let Some(agent) = store.agent(agent).await? else {
        return Ok(watches);
    };
    let server = agent.server();
    let mut wanted: BTreeMap<PolicyName, Arc<Revision>> = BTreeMap::new();
    for binding in bindings.values() {
        if let Some(revision) = revisions.of(store, binding).await?
            && let Some(policy) = &revision.policy
            && concerns(binding, policy, &server)
        {
            wanted.insert(binding.policy.clone(), revision);
        }
    }
    for (name, version) in gated {
        if let Some(revision) = revisions.get(store, &name, version).await?
            && let Some(policy) = &revision.policy
            && asked(policy, &server)
        {
            wanted.insert(name, revision);
        }
    }
    for revision in wanted.into_values() {
        watches.watches.push(wire::Watch {
            policy: revision.row.name.to_string(),
            version: revision.row.version,
            digest: revision.row.digest.as_bytes().to_vec(),
            text: revision.row.text.clone(),
        });
    }
    if watches.watches.is_empty() {
        return Ok(watches);
    }
    watches.labels = agent.labels.into_iter().collect();
    for named in ["site", "name"] {
        if let Some(value) = server.labels.get(named) {
            watches.labels.insert(named.to_owned(), value.clone());
        }
    }
    Ok(watches)
}
