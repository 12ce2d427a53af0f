//! `mailmend fleet symptoms`: which policies' symptoms stand where, since when, by what evidence, and what
//! is done about them.

use mailmend_proto::wire;
use serde::Serialize;
use serde_json::json;

use super::arguments::Fleet;
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::policy::reaction;
use super::view::some;
use super::when::{absolute, now_ms, relative};
use crate::config::Settings;

pub(super) async fn run(
    command: Fleet,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let Fleet::Symptoms { all, selector } = command;
    let answer = controller(settings)?
        .ask(
            "list symptoms",
            wire::ListSymptomsRequest { selector, all },
            |mut client, request| async move { client.list_symptoms(request).await },
        )
        .await?;
    let views: Vec<SymptomView> = answer.symptoms.iter().map(SymptomView::from).collect();
    output.answer(&json!({ "symptoms": views }), |output| {
        told(&answer.symptoms, all, output, now_ms())
    })?;
    Ok(Exit::Success)
}

const fn state(state: wire::SymptomState) -> &'static str {
    match state {
        wire::SymptomState::Absent => "absent",
        wire::SymptomState::Stands => "stands",
        wire::SymptomState::CannotTell => "cannot-tell",
        wire::SymptomState::Unspecified => "unknown",
    }
}

#[derive(Debug, Serialize)]
struct SymptomView {
    agent: String,
    site: String,
    policy: String,
    version: u32,
    digest: String,
    state: &'static str,
    since: Option<String>,
    looked: Option<String>,
    stale: bool,
    evidence: Vec<String>,
    reaction: &'static str,
    waits: Option<String>,
    proposal: Option<String>,
    rollout: Option<String>,
    effect: Option<String>,
}

impl From<&wire::SymptomView> for SymptomView {
    fn from(view: &wire::SymptomView) -> Self {
        let symptom = view.symptom.clone().unwrap_or_default();
        Self {
            agent: view.agent.clone(),
            site: view.site.clone(),
            policy: symptom.policy.clone(),
            version: symptom.version,
            digest: super::view::hex(&symptom.digest),
            state: state(symptom.state()),
            since: absolute(symptom.since_ms),
            looked: absolute(symptom.looked_ms),
            stale: view.stale,
            evidence: symptom.evidence,
            reaction: reaction(view.reaction()),
            waits: some(&view.waits),
            proposal: some(&view.proposal),
            rollout: some(&view.rollout),
            effect: some(&view.effect),
        }
    }
}

fn told(symptoms: &[wire::SymptomView], all: bool, output: &Output, now_ms: i64) -> String {
    let rows = symptoms.iter().map(|view| {
        let symptom = view.symptom.clone().unwrap_or_default();
        let stands = match symptom.state() {
            wire::SymptomState::Absent => Shown::state("absent"),
            other => Shown::bad(state(other)),
        };
        vec![
            (&view.agent).into(),
            (&view.site).into(),
            (&symptom.policy).into(),
            stands,
            since(view, &symptom, now_ms).into(),
            done(view, &symptom).into(),
        ]
    });
    let head = [
        "SERVER",
        "SITE",
        "POLICY",
        "STATE",
        "SINCE",
        "EVIDENCE, AND WHAT IS DONE",
    ];
    let empty = if all {
        "no agent looks for symptoms; `mailmend policy bind` binds a policy to its symptom"
    } else {
        "no symptom stands; `mailmend fleet symptoms --all` shows what is looked for"
    };
    output.table(&head, rows.collect(), empty)
}

fn since(view: &wire::SymptomView, symptom: &wire::Symptom, now_ms: i64) -> String {
    let since = relative(symptom.since_ms, now_ms);
    match (view.stale, symptom.looked_ms) {
        (false, _) => since,
        (true, 0) => "away".to_owned(),
        (true, looked_ms) => format!("{since}; away, looked {}", relative(looked_ms, now_ms)),
    }
}

/// What it rests on, how the policy is bound, and what is done or waits.
fn done(view: &wire::SymptomView, symptom: &wire::Symptom) -> String {
    let mut lines = symptom.evidence.clone();
    let bound = reaction(view.reaction());
    match (view.waits.as_str(), view.rollout.as_str()) {
        ("", "") => lines.push(bound.to_owned()),
        ("", rollout) => lines.push(format!(
            "{bound}: rollout {}",
            super::rollout::short(rollout)
        )),
        (waits, "") => lines.push(format!("{bound}: {waits}")),
        (waits, rollout) => lines.push(format!(
            "{bound}: {waits}; last rollout {}",
            super::rollout::short(rollout)
        )),
    }
    if !view.effect.is_empty() {
        lines.push(format!("effect: {}", view.effect));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> wire::SymptomView {
        wire::SymptomView {
            agent: "SRV-OUTBOUND-B".into(),
            site: "oslo".into(),
            symptom: Some(wire::Symptom {
                policy: "stuck-outbound-routing".into(),
                version: 1,
                state: wire::SymptomState::Stands.into(),
                since_ms: 1_780_000_000_000,
                evidence: vec![
                    "`MSExchangeIMC` is running; the oldest of 40 messages has waited 16m".into(),
                ],
                looked_ms: 1_780_000_050_000,
                ..wire::Symptom::default()
            }),
            reaction: wire::Reaction::Propose.into(),
            waits: "proposed, a person decides: mailmend proposal start 0198c5aa-1234".into(),
            ..wire::SymptomView::default()
        }
    }

    #[test]
    fn a_symptom_is_told_within_eighty_columns_with_evidence_and_the_command() {
        let text = told(&[view()], false, &Output::fixed(80), 1_780_000_060_000);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in [
            "SRV-OUTBOUND-B",
            "stands",
            "1m ago",
            "oldest",
            "0198c5aa-1234",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let nothing = told(&[], false, &Output::fixed(80), 0);
        assert!(nothing.starts_with("no symptom stands"), "{nothing}");
    }

    #[test]
    fn an_agent_that_is_away_and_a_run_that_was_begun_are_told() {
        let away = wire::SymptomView {
            stale: true,
            waits: String::new(),
            rollout: "0198c5aa-1234-7000-8000-000000000001".into(),
            effect: "mail flows: 40 messages delivered by evidence".into(),
            ..view()
        };
        let symptom = away.symptom.clone().unwrap();
        assert_eq!(
            since(&away, &symptom, 1_780_000_110_000),
            "1m ago; away, looked 1m ago"
        );
        let done = done(&away, &symptom);
        assert!(
            done.contains("propose: rollout 0198c5aa-1234\neffect: mail flows"),
            "{done}"
        );
    }
}
