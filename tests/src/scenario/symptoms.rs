//! What the agents say of the symptom once a site is mended: a binding `auto` acts on it, so it must be gone.

use serde_json::Value;

use super::operator::rows;
use super::stage::{LIMIT, Stage};
use crate::awaited;
use crate::lab_error::LabError;

/// Binds the policy so that agents look for its symptom and nothing is done about it, and waits until each has
/// looked and found it gone, or standing where it `stays`. Returns what is otherwise all the time, and where.
pub(super) fn not_as_it_should(
    stage: &mut Stage<'_>,
    policy: &str,
    stays: bool,
) -> Result<Vec<String>, LabError> {
    let wanted = if stays { "stands" } else { "absent" };
    let bind = ["policy", "bind", policy, "observe"];
    stage.fleet()?.ask(&bind)?;
    let mut last = Vec::new();
    let mut failed = None;
    let _ = awaited::until(LIMIT, || match found(stage, policy) {
        Ok(found) => {
            last = found;
            last.iter().all(|one| one["state"] == wanted)
        }
        Err(error) => {
            failed = Some(error);
            true
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let otherwise = last.iter().filter(|one| one["state"] != wanted);
    Ok(otherwise.map(told).collect())
}

fn found(stage: &mut Stage<'_>, policy: &str) -> Result<Vec<Value>, LabError> {
    stage.check_interrupted()?;
    let listed = stage.fleet()?.ask(&["fleet", "symptoms", "--all"])?;
    let of_policy = |one: &&Value| one["policy"] == policy;
    Ok(rows(&listed["symptoms"])
        .iter()
        .filter(of_policy)
        .cloned()
        .collect())
}

fn told(symptom: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let evidence: Vec<String> = rows(&symptom["evidence"]).iter().map(text).collect();
    format!(
        "the symptom on {} after mending: {} ({})",
        text(&symptom["agent"]),
        text(&symptom["state"]),
        evidence.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_is_told_with_its_server_and_evidence() {
        let symptom = serde_json::json!({
            "agent": "oslo-a", "state": "stands", "evidence": ["1 of event 4037", "it waits"],
        });
        assert_eq!(
            told(&symptom),
            "the symptom on oslo-a after mending: stands (1 of event 4037; it waits)"
        );
    }
}
