//! `mailmend rollout explain`: what it waits for, who holds it, which command releases it.

use mailmend_proto::wire;

use super::short;
use crate::cli::connection::Controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Mood, Output};
use crate::cli::view::{ExplanationView, rollout_state};
use crate::cli::when::{both, now_ms};

pub(super) async fn explain(
    controller: &Controller,
    id: String,
    output: &Output,
) -> Result<Exit, Failure> {
    let what = format!("explain rollout `{id}`");
    let found = controller
        .ask(
            &what,
            wire::GetRolloutRequest { id },
            |mut client, request| async move { client.explain_rollout(request).await },
        )
        .await?;
    output.answer(&ExplanationView::from(&found), |output| {
        told(&found, output, now_ms())
    })?;
    Ok(Exit::Success)
}

fn told(found: &wire::Explanation, output: &Output, now_ms: i64) -> String {
    let state = rollout_state(found.state());
    let painted = output.paint(&state, Mood::of(&state));
    let mut text = format!("rollout {} is {painted}\n", short(&found.rollout));
    if found.waiting.is_empty() {
        text.push_str("it waits for nothing\n");
    }
    for waiting in &found.waiting {
        let whom = match (waiting.run.as_str(), waiting.site.as_str()) {
            ("", _) => "the rollout".to_owned(),
            (run, "") => format!("run {}", short(run)),
            (run, site) => format!("run {} at site {site}", short(run)),
        };
        let release = match waiting.release.as_str() {
            "" => "nothing needs to be done; it goes on by itself",
            command => command,
        };
        text.push_str(&format!("\n{}\n", output.paint(&whom, Mood::Busy)));
        text.push_str(&output.pairs(vec![
            ("waits until", (&waiting.predicate).into()),
            ("held by", (&waiting.holder).into()),
            ("since", both(waiting.since_ms, now_ms).into()),
            ("expected", expected(waiting, output, now_ms).into()),
            ("release", release.into()),
        ]));
    }
    text
}

/// Until when it is expected to be over, and whether it should be by now.
fn expected(waiting: &wire::Waiting, output: &Output, now_ms: i64) -> String {
    match waiting.expected_ms {
        0 => "with what holds it".to_owned(),
        at_ms if waiting.overdue => {
            let late = output.paint("overdue", Mood::Bad);
            format!("{}, {late}", both(at_ms, now_ms))
        }
        at_ms => both(at_ms, now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_names_predicate_holder_since_and_command() {
        let waiting = wire::Waiting {
            run: "0198c5aa-1234-7000-8000-000000000001".to_owned(),
            site: "oslo".to_owned(),
            predicate: "no other run is under way at site oslo".to_owned(),
            holder: "run 0198c5a9-1111 of rollout 0198c5a9-0000".to_owned(),
            since_ms: 1_780_000_000_000,
            release: "mailmend rollout abort 0198c5a9-0000".to_owned(),
            kind: "step".to_owned(),
            expected_ms: 1_780_000_030_000,
            overdue: true,
        };
        let found = wire::Explanation {
            rollout: "0198c5aa-0000-7000-8000-000000000001".to_owned(),
            state: wire::RolloutState::Running.into(),
            waiting: vec![waiting],
        };
        let text = told(&found, &Output::fixed(80), 1_780_000_060_000);
        for part in [
            "run 0198c5aa-1234 at site oslo",
            "waits until",
            "no other run is under way",
            "held by",
            "1m ago (2026-05-28T20:26:40Z)",
            "30s ago (2026-05-28T20:27:10Z), overdue",
            "mailmend rollout abort 0198c5a9-0000",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let nothing = wire::Explanation::default();
        assert!(told(&nothing, &Output::fixed(80), 0).contains("waits for nothing"));
    }
}
