//! One look: every watched policy that applies to this server, judged as its `detect` step would be.

mod read_only;

use mailmend_policy::plan::VERSION_FACT;
use mailmend_policy::policy::Policy;
use mailmend_policy::version::Version;

use super::watchlist::Watching;
use super::{Judged, Standing};
use crate::condition::{Scene, Verdict, judge_all};
use crate::host::{Facts, Host};

use read_only::ReadOnly;

/// Judges what is watched. A policy that is not for this server has no judgement. `disturbed`: why
/// nothing can be told now.
pub(super) fn look(
    host: &dyn Host,
    facts: &Facts,
    watching: &Watching,
    disturbed: Option<&str>,
) -> Vec<Judged> {
    let host = ReadOnly::new(host);
    let mut labels = facts.clone();
    labels.extend(watching.labels.clone());
    let scene = Scene {
        host: &host,
        facts,
        run_began_ms: None,
        // No run is there of which a step could have ended.
        ended: &|_| None,
        answered: &|_| None,
    };
    let judged = watching.watched.iter().filter_map(|watched| {
        let (standing, evidence) = match &watched.policy {
            Err(why) => (Standing::CannotTell, why.clone()),
            Ok(policy) => match applies(policy, &labels) {
                Applies::No => return None,
                Applies::CannotTell(why) => (Standing::CannotTell, why),
                Applies::Yes => match disturbed {
                    Some(why) => (Standing::CannotTell, why.to_owned()),
                    None => {
                        let judged = judge_all(&policy.detect.all, scene);
                        let standing = match judged.verdict {
                            Verdict::True => Standing::Stands,
                            Verdict::False => Standing::Absent,
                            Verdict::CannotTell => Standing::CannotTell,
                        };
                        (standing, judged.evidence)
                    }
                },
            },
        };
        Some(Judged {
            of: watched.of.clone(),
            standing,
            evidence: vec![evidence],
        })
    });
    judged.collect()
}

enum Applies {
    Yes,
    No,
    CannotTell(String),
}

/// Whether a policy's symptom is to be looked for here: its `detect` role selects this server, and its
/// versions hold of the Exchange that is there.
fn applies(policy: &Policy, labels: &Facts) -> Applies {
    let role = policy.roles.get(&policy.detect.on);
    if !role.is_some_and(|role| role.select.selects(labels)) {
        return Applies::No;
    }
    match labels.get(VERSION_FACT).map(|text| text.parse::<Version>()) {
        None => Applies::CannotTell(format!("the server reports no `{VERSION_FACT}`")),
        Some(Err(why)) => Applies::CannotTell(why.to_string()),
        Some(Ok(version)) if policy.applies_to.versions.holds(version) => Applies::Yes,
        Some(Ok(_)) => Applies::No,
    }
}
