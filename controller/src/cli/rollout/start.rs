//! `mailmend rollout start`: shows the plan, asks, and starts exactly what was shown.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use mailmend_proto::wire;
use uuid::Uuid;

use super::{plan, short, watch};
use crate::cli::arguments::Target;
use crate::cli::connection::Controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::view::{RolloutView, hex};

/// How often a start is asked again when the way to the controller breaks. The request id makes
/// that safe: the same rollout answers.
const ATTEMPTS: u32 = 3;

/// How the operator wants it started.
pub(super) struct How {
    pub(super) approve: Option<String>,
    pub(super) generation: Option<i64>,
    pub(super) yes: bool,
    /// The id of an earlier attempt whose outcome is not known.
    pub(super) request_id: Option<Uuid>,
    pub(super) watch: bool,
    pub(super) timeout: Option<Duration>,
}

pub(super) async fn start(
    controller: &Controller,
    target: Target,
    how: How,
    output: &Output,
) -> Result<Exit, Failure> {
    let planned = plan::fetch(controller, &target).await?;
    if planned.plans.is_empty() {
        let text = format!(
            "no site selected by `{}` has servers that `{}` is for",
            target.selector, target.policy.name
        );
        return Err(Failure::new("C036-not-found", text)
            .with_help("`mailmend agent list` shows sites, labels and facts"));
    }
    let confirmed = confirm(&planned, &how, output);
    // An earlier attempt may have started what was confirmed then, whatever the plan is now.
    if how.request_id.is_none() {
        confirmed.as_ref().map_err(Failure::clone)?;
    }
    // Whatever was shown or approved is what starts: the controller refuses another plan.
    let request = wire::RolloutRequest {
        request_id: how.request_id.unwrap_or_else(Uuid::now_v7).to_string(),
        approved_digest: match &confirmed {
            Ok(()) => planned.digest.clone(),
            // No plan has this digest: only what was started before answers.
            Err(_) => vec![0],
        },
        approved_generation: how.generation.unwrap_or(0),
        ..plan::request(&target)?
    };
    let rollout = match (send(controller, &request).await, confirmed) {
        (Ok(rollout), _) => rollout,
        (Err(failure), Err(refused)) if failure.exit() == Exit::Refused => return Err(refused),
        (Err(failure), _) => return Err(failure),
    };
    if !how.watch {
        output.answer(&RolloutView::from(&rollout), |_| {
            format!(
                "started rollout {} with {} runs\n",
                rollout.id,
                rollout.runs.len()
            )
        })?;
        if !output.is_json() {
            output.note(&format!(
                "follow it: mailmend rollout watch {}",
                short(&rollout.id)
            ));
        }
        return Ok(Exit::Success);
    }
    if !output.is_json() {
        output.note(&format!("started rollout {}", rollout.id));
    }
    watch::watch(controller, rollout.id, how.timeout, output).await
}

async fn send(
    controller: &Controller,
    request: &wire::RolloutRequest,
) -> Result<wire::Rollout, Failure> {
    let mut attempt = 1;
    loop {
        let answer = controller
            .ask(
                "start the rollout",
                request.clone(),
                |mut client, request| async move { client.start_rollout(request).await },
            )
            .await;
        match answer {
            Err(failure) if failure.exit() == Exit::Unreachable && attempt < ATTEMPTS => {
                tracing::info!("asking again for the same start, attempt {attempt}");
                tokio::time::sleep(Duration::from_millis(500)).await;
                attempt += 1;
            }
            // Nobody knows whether the controller has started it.
            Err(failure) if failure.exit() == Exit::Unreachable => {
                return Err(failure.with_help(format!(
                    "it may have been started: give the same command again with `--request-id {}`, and no \
                     second rollout is started",
                    request.request_id
                )));
            }
            answer => return answer,
        }
    }
}

fn confirm(planned: &wire::PlanRolloutResponse, how: &How, output: &Output) -> Result<(), Failure> {
    let digest = hex(&planned.digest);
    if let Some(approved) = &how.approve {
        if digest.starts_with(approved.as_str()) {
            return Ok(());
        }
        let text = format!(
            "the plan has changed: approved was `{approved}`, now it is `{}`",
            &digest[..12.min(digest.len())]
        );
        return Err(Failure::new("C037-refused", text)
            .with_help("look at `mailmend rollout plan` again, then approve its digest")
            .with_exit(Exit::Refused));
    }
    if how.yes {
        return Ok(());
    }
    let missing = |text: &str| Failure::new("C034-not-confirmed", text).with_exit(Exit::Usage);
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(missing("nobody is there to ask; nothing was started"));
    }
    anstream::eprint!("{}", plan::told(planned, output));
    // More than one site is counted by whoever starts it: nobody types a number unseen.
    let sites: usize = planned.waves.iter().map(|wave| wave.sites.len()).sum();
    let (question, wanted) = match sites {
        0 | 1 => ("Type yes".to_owned(), "yes".to_owned()),
        many => (
            format!("It is over {many} sites: type how many"),
            many.to_string(),
        ),
    };
    anstream::eprint!("\nStart this? {question}: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case(&wanted) {
        Ok(())
    } else {
        let text = format!("the answer was not {wanted}; nothing was started");
        Err(missing(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(approve: Option<&str>) -> How {
        How {
            approve: approve.map(str::to_owned),
            generation: None,
            yes: false,
            request_id: None,
            watch: false,
            timeout: None,
        }
    }

    #[test]
    fn another_plan_than_the_approved_one_is_refused_by_the_gate() {
        let planned = wire::PlanRolloutResponse {
            digest: vec![0xab; 32],
            ..Default::default()
        };
        let output = Output::fixed(80);
        assert!(confirm(&planned, &how(Some("abababababab")), &output).is_ok());
        let failure = confirm(&planned, &how(Some("000000000000")), &output).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
    }
}
