//! `mailmend custody`: release, recover, settle.

use std::collections::BTreeMap;

use mailmend_proto::wire;

use super::arguments::{Custody, SettleAs};
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::order::{Following, follow, new_id};
use super::output::Output;
use crate::config::Settings;

pub(super) async fn run(
    command: Custody,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let controller = controller(settings)?;
    match command {
        Custody::Release {
            run,
            batch,
            say,
            no_wait,
            timeout,
        } => {
            let request = wire::ReleaseCustodyRequest {
                run: run.clone(),
                batch: batch.unwrap_or_default(),
                by: say.by.unwrap_or_default(),
                why: say.why,
                request_id: new_id(),
            };
            let stored = controller
                .ask(
                    &format!("release held mail of run `{run}`"),
                    request,
                    |mut client, request| async move { client.release_custody(request).await },
                )
                .await?;
            follow(&controller, stored, &Following { no_wait, timeout }, output).await
        }
        Custody::Recover {
            run,
            messages,
            server,
            say,
            no_wait,
            timeout,
        } => {
            let request = wire::RecoverCustodyRequest {
                run: run.clone(),
                agent: server.unwrap_or_default(),
                messages,
                by: say.by.unwrap_or_default(),
                why: say.why,
                request_id: new_id(),
            };
            let stored = controller
                .ask(
                    &format!("give back vanished messages of run `{run}`"),
                    request,
                    |mut client, request| async move { client.recover_custody(request).await },
                )
                .await?;
            follow(&controller, stored, &Following { no_wait, timeout }, output).await
        }
        Custody::Settle {
            run,
            ids,
            outcome,
            say,
            no_wait,
        } => {
            let mut last = Exit::Success;
            // One order is about one batch.
            for (_, ids) in by_batch(ids) {
                let request = wire::SettleCustodyRequest {
                    ids,
                    run: run.clone(),
                    custody: custody(outcome).into(),
                    by: say.by.clone().unwrap_or_default(),
                    why: say.why.clone(),
                    request_id: new_id(),
                };
                let stored = controller
                    .ask(
                        &format!("settle messages of run `{run}`"),
                        request,
                        |mut client, request| async move { client.settle_custody(request).await },
                    )
                    .await?;
                let how = Following {
                    no_wait,
                    timeout: None,
                };
                last = match follow(&controller, stored, &how, output).await? {
                    Exit::Success => last,
                    other => other,
                };
            }
            Ok(last)
        }
    }
}

const fn custody(outcome: SettleAs) -> wire::Custody {
    match outcome {
        SettleAs::Delivered => wire::Custody::GoneWithEvidence,
        SettleAs::NotDelivered => wire::Custody::Held,
        SettleAs::Poison => wire::Custody::Poison,
    }
}

/// Ids by the batch that they name, each as it was given.
fn by_batch(ids: Vec<String>) -> BTreeMap<String, Vec<String>> {
    let mut batches: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in ids {
        let batch = id.split_once('/').map_or("", |(batch, _)| batch);
        batches
            .entry(batch.to_ascii_lowercase())
            .or_default()
            .push(id);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_several_batches_become_an_order_each() {
        let ids = ["ab12/3", "cd34/1-2", "AB12/7"].map(str::to_owned).to_vec();
        let batches = by_batch(ids);
        assert_eq!(batches.len(), 2);
        assert_eq!(batches["ab12"], ["ab12/3", "AB12/7"]);
    }
}
