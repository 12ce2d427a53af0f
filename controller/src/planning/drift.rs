//! Whether servers still are what a plan was made from.

use std::collections::BTreeMap;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_policy::plan::{Plan, Server, plan};
use mailmend_policy::policy::Policy;

/// What has changed of the servers of a plan's site, so that another plan would be made today; none:
/// nothing that planning reads.
#[must_use]
pub fn drift(
    policy: &Policy,
    policy_digest: Digest,
    frozen: &Plan,
    then: &[Server],
    now: &[Server],
) -> Option<String> {
    let now: Vec<Server> = now
        .iter()
        .filter(|server| server.site == frozen.site)
        .cloned()
        .collect();
    let plans = plan(policy, policy_digest, &now);
    let same = plans.as_ref().is_ok_and(|plans| {
        plans
            .iter()
            .any(|plan| plan.subject == frozen.subject && plan.digest() == frozen.digest())
    });
    if same {
        return None;
    }
    let changes = changes(then, &now);
    let what = if changes.is_empty() {
        "another plan would be made now".to_owned()
    } else {
        changes.join("; ")
    };
    let fault = match plans {
        Ok(_) => String::new(),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            format!(", and there is no plan now: {}", faults.join("; "))
        }
    };
    Some(format!("site {}: {what}{fault}", frozen.site))
}

/// What has changed of servers, in words.
fn changes(then: &[Server], now: &[Server]) -> Vec<String> {
    let by_name = |servers: &[Server]| -> BTreeMap<ServerName, Server> {
        let named = servers
            .iter()
            .map(|server| (server.name.clone(), server.clone()));
        named.collect()
    };
    let (then, now) = (by_name(then), by_name(now));
    let mut changes = Vec::new();
    for (name, before) in &then {
        let Some(after) = now.get(name) else {
            changes.push(format!("`{name}` is not there any more"));
            continue;
        };
        for key in before.labels.keys().chain(after.labels.keys()) {
            let (was, is) = (before.labels.get(key), after.labels.get(key));
            let told =
                |value: Option<&String>| value.map_or("absent".into(), |it| format!("`{it}`"));
            let change = format!("`{key}` of `{name}` was {}, is {}", told(was), told(is));
            if was != is && !changes.contains(&change) {
                changes.push(change);
            }
        }
        for action in before.actions.difference(&after.actions) {
            changes.push(format!("`{name}` cannot do `{action}` any more"));
        }
        for action in after.actions.difference(&before.actions) {
            changes.push(format!("`{name}` can do `{action}` now"));
        }
    }
    for name in now.keys().filter(|name| !then.contains_key(*name)) {
        changes.push(format!("`{name}` was added"));
    }
    changes
}
