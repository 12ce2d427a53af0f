//! `mailmend policy recall`: stops published versions for ever.

use mailmend_proto::wire;
use serde_json::json;

use crate::cli::arguments::PolicyRef;
use crate::cli::controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::view::PolicyView;
use crate::config::Settings;

pub(super) async fn recall(
    policy: Option<PolicyRef>,
    article: Option<String>,
    why: String,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let (name, version) =
        policy.map_or_else(Default::default, |policy| (policy.name, policy.version));
    let article = article.unwrap_or_default();
    let what = match article.as_str() {
        "" => format!("recall `{name}`"),
        article => format!("recall what is published of {article}"),
    };
    let request = wire::RecallPolicyRequest {
        policy: name,
        version,
        article,
        why,
    };
    let answer = controller(settings)?
        .ask(&what, request, |mut client, request| async move {
            client.recall_policy(request).await
        })
        .await?;
    let views: Vec<PolicyView> = answer.revisions.iter().map(PolicyView::from).collect();
    let json = json!({
        "policies": views,
        "rollouts": answer.rollouts,
        "unbound": answer.unbound,
    });
    output.answer(&json, |_| {
        let mut text = String::new();
        for revision in &answer.revisions {
            text.push_str(&format!(
                "recalled {} version {}: it does not run any more\n",
                revision.name, revision.version
            ));
        }
        for rollout in &answer.rollouts {
            text.push_str(&format!("rollout {rollout} is being aborted\n"));
        }
        for policy in &answer.unbound {
            text.push_str(&format!("{policy} is bound no more\n"));
        }
        text
    })?;
    Ok(Exit::Success)
}
