//! `mailmend policy bind`, `unbind` and `bindings`: how policies answer to their symptoms.

use std::time::Duration;

use mailmend_proto::wire;
use serde::Serialize;
use serde_json::json;

use crate::cli::arguments::{PolicyRef, Throttle};
use crate::cli::controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Shown};
use crate::cli::when::{absolute, column, duration, now_ms};
use crate::config::Settings;

/// A reaction's name, as it is typed.
pub(in crate::cli) const fn reaction(reaction: wire::Reaction) -> &'static str {
    match reaction {
        wire::Reaction::Observe => "observe",
        wire::Reaction::Propose => "propose",
        wire::Reaction::Auto => "auto",
        wire::Reaction::Unbound => "unbound",
        wire::Reaction::Unspecified => "unknown",
    }
}

#[derive(Debug, Serialize)]
struct BindingView {
    policy: String,
    version: u32,
    selector: Option<String>,
    reaction: &'static str,
    per_server_per_day: u32,
    per_site_per_day: u32,
    per_fleet_per_day: u32,
    at_once: u32,
    stands_for_seconds: u64,
    settle_seconds: u64,
    bound: Option<String>,
}

impl From<&wire::Binding> for BindingView {
    fn from(binding: &wire::Binding) -> Self {
        let throttle = binding.throttle.unwrap_or_default();
        Self {
            policy: binding.policy.clone(),
            version: binding.version,
            selector: (!binding.selector.is_empty()).then(|| binding.selector.clone()),
            reaction: reaction(binding.reaction()),
            per_server_per_day: throttle.per_server_per_day,
            per_site_per_day: throttle.per_site_per_day,
            per_fleet_per_day: throttle.per_fleet_per_day,
            at_once: throttle.at_once,
            stands_for_seconds: throttle.stands_for_seconds,
            settle_seconds: throttle.settle_seconds,
            bound: absolute(binding.bound_ms),
        }
    }
}

pub(super) async fn bind(
    policy: PolicyRef,
    how: &str,
    selector: String,
    throttle: &Throttle,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let reaction = match how {
        "observe" => wire::Reaction::Observe,
        "propose" => wire::Reaction::Propose,
        _ => wire::Reaction::Auto,
    };
    let seconds = |asked: Option<Duration>| asked.map_or(0, |asked| asked.as_secs());
    let what = format!("bind policy `{}`", policy.name);
    let request = wire::BindPolicyRequest {
        policy: policy.name,
        version: policy.version,
        selector,
        reaction: reaction.into(),
        throttle: Some(wire::Throttle {
            per_server_per_day: throttle.per_server_per_day.unwrap_or(0),
            per_site_per_day: throttle.per_site_per_day.unwrap_or(0),
            per_fleet_per_day: throttle.per_fleet_per_day.unwrap_or(0),
            at_once: throttle.at_once.unwrap_or(0),
            stands_for_seconds: seconds(throttle.stands_for),
            settle_seconds: seconds(throttle.settle),
        }),
    };
    let bound = send(&what, request, settings).await?;
    output.answer(&BindingView::from(&bound), |_| {
        let does = match reaction {
            wire::Reaction::Observe => "its symptom is looked for and listed",
            wire::Reaction::Propose => "where its symptom stands a rollout is proposed",
            _ => "where its symptom stands a rollout is started",
        };
        format!(
            "{} version {} is bound as {how}: {does}\n",
            bound.policy, bound.version
        )
    })?;
    if !output.is_json() {
        output.note("see where it stands: mailmend fleet symptoms");
    }
    Ok(Exit::Success)
}

pub(super) async fn unbind(
    policy: String,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let what = format!("unbind policy `{policy}`");
    let request = wire::BindPolicyRequest {
        policy,
        reaction: wire::Reaction::Unbound.into(),
        ..wire::BindPolicyRequest::default()
    };
    let unbound = send(&what, request, settings).await?;
    output.answer(&BindingView::from(&unbound), |_| {
        format!(
            "{} is unbound: its symptom is not looked for any more\n",
            unbound.policy
        )
    })?;
    Ok(Exit::Success)
}

async fn send(
    what: &str,
    request: wire::BindPolicyRequest,
    settings: &Settings,
) -> Result<wire::Binding, Failure> {
    controller(settings)?
        .ask(what, request, |mut client, request| async move {
            client.bind_policy(request).await
        })
        .await
}

pub(super) async fn list(output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let answer = controller(settings)?
        .ask(
            "list bindings",
            wire::ListBindingsRequest {},
            |mut client, request| async move { client.list_bindings(request).await },
        )
        .await?;
    let views: Vec<BindingView> = answer.bindings.iter().map(BindingView::from).collect();
    output.answer(&json!({ "bindings": views }), |output| {
        table(&answer.bindings, output, now_ms())
    })?;
    Ok(Exit::Success)
}

fn table(bindings: &[wire::Binding], output: &Output, now_ms: i64) -> String {
    let rows = bindings.iter().map(|binding| {
        let throttle = binding.throttle.unwrap_or_default();
        let span = |seconds: u64| duration(seconds.saturating_mul(1000));
        vec![
            format!("{}@{}", binding.policy, binding.version).into(),
            Shown::from(reaction(binding.reaction())),
            (&binding.selector).into(),
            format!(
                "{}/{}/{}",
                throttle.per_server_per_day, throttle.per_site_per_day, throttle.per_fleet_per_day
            )
            .into(),
            throttle.at_once.into(),
            span(throttle.stands_for_seconds).into(),
            span(throttle.settle_seconds).into(),
            column(binding.bound_ms, now_ms).into(),
        ]
    });
    let head = [
        "POLICY",
        "REACTION",
        "SERVERS",
        "A DAY",
        "AT ONCE",
        "STANDS FOR",
        "SETTLES",
        "BOUND",
    ];
    let empty = "no policy is bound; `mailmend policy bind` binds one";
    let text = output.table(&head, rows.collect(), empty);
    if bindings.is_empty() {
        return text;
    }
    format!("{text}\nA DAY: runs begun by itself on one server/in one site/in all\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_told_within_eighty_columns() {
        let binding = wire::Binding {
            policy: "stuck-outbound-routing".into(),
            version: 2,
            selector: "site in (oslo,bergen)".into(),
            reaction: wire::Reaction::Auto.into(),
            throttle: Some(wire::Throttle {
                per_server_per_day: 2,
                per_site_per_day: 4,
                per_fleet_per_day: 20,
                at_once: 1,
                stands_for_seconds: 300,
                settle_seconds: 1800,
            }),
            bound_ms: 1_780_000_000_000,
        };
        let text = table(&[binding], &Output::fixed(80), 1_780_000_060_000);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in ["auto", "2/4/20", "5m", "30m"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(table(&[], &Output::fixed(80), 0).starts_with("no policy is bound"));
    }
}
