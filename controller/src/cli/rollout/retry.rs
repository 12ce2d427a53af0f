//! `mailmend rollout retry`: a new rollout over the runs that failed.

use mailmend_proto::wire;
use uuid::Uuid;

use super::{plan, short};
use crate::cli::arguments::StrategyFlags;
use crate::cli::connection::Controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::view::RolloutView;

/// How they are tried again.
pub(super) struct Retry {
    pub(super) strategy: StrategyFlags,
    pub(super) why: String,
    /// The id of an earlier attempt whose outcome is not known.
    pub(super) request_id: Option<Uuid>,
}

pub(super) async fn retry(
    controller: &Controller,
    id: String,
    retry: Retry,
    output: &Output,
) -> Result<Exit, Failure> {
    let request_id = retry.request_id.unwrap_or_else(Uuid::now_v7).to_string();
    let request = wire::RetryRolloutRequest {
        id: id.clone(),
        request_id: request_id.clone(),
        why: retry.why,
        strategy: plan::overrides(&retry.strategy)?,
    };
    let what = format!("retry the failed runs of rollout `{id}`");
    let rollout = controller
        .ask(&what, request, |mut client, request| async move {
            client.retry_rollout(request).await
        })
        .await
        .map_err(|failure| match failure.exit() {
            Exit::Unreachable => failure.with_help(format!(
                "it may have been started: give the same command again with `--request-id {request_id}`, and no \
                 second rollout is started"
            )),
            _ => failure,
        })?;
    output.answer(&RolloutView::from(&rollout), |_| {
        format!(
            "started rollout {} with the {} failed runs of {}\n",
            rollout.id,
            rollout.runs.len(),
            rollout.retry_of
        )
    })?;
    if !output.is_json() {
        output.note(&format!(
            "follow it: mailmend rollout watch {}",
            short(&rollout.id)
        ));
    }
    Ok(Exit::Success)
}
