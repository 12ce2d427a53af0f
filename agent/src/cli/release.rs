//! `release`: give held mail back on this server, without a controller, while no agent runs.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use mailmend_agent::engine::Engine;
use mailmend_agent::facts::gather;
use mailmend_agent::guard::Guard;
use mailmend_agent::journal::{Journal, JournalError};
use mailmend_proto::run::{Ended, Event, RunId};
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use tracing::info;
use uuid::Uuid;

use super::Common;
use super::failure::Failure;
use super::journal::existing;
use super::run::{Signals, blocking, host, runtime};
use super::table::say;

/// How long an ordered end may take: service comes up first.
const SHUTDOWN: Duration = Duration::from_secs(80);

#[derive(Args)]
pub(super) struct Release {
    /// The run whose held mail is given back; its leading characters are enough
    run: String,
    /// Only this batch; its leading characters are enough
    #[arg(long)]
    batch: Option<String>,
    /// What you know and from where, for those who look later
    #[arg(long)]
    why: String,
    /// Who orders it
    #[arg(long, env = "USER", default_value = "a person at the server")]
    by: String,
}

pub(super) fn release(common: &Common, what: Release) -> Result<(), Failure> {
    let config = common.load()?;
    common.begin_log()?;
    let guard = Arc::new(Guard::read(&config.guard.value)?);
    let journal = match Journal::open(&existing(&config)?) {
        Err(JournalError::InUse { .. }) => {
            return Err(Failure::failed(format!(
                "A010-journal-in-use: the agent of this server runs, and only it may write its journal; order the release with `mailmend custody release {}` on the controller, or stop the agent first",
                what.run
            ))
            .with_exit(5));
        }
        opened => opened?,
    };
    if what.why.trim().is_empty() {
        return Err(Failure::usage("`--why` says nothing"));
    }
    let run = the_run(&journal, &what.run)?;
    let batch = match &what.batch {
        Some(prefix) => the_batch(&journal, run, prefix)?,
        None => String::new(),
    };
    let host = host(&config)?;
    let facts = gather(host.as_ref(), &config.facts);
    let engine = Engine::by_hand(host, journal.clone(), guard, config.name.value.clone())?;
    engine.set_facts(facts);
    let order = wire::Order {
        id: Uuid::now_v7().to_string(),
        run: run.to_string(),
        by: what.by,
        why: what.why,
        what: Some(What::Release(wire::Release {
            batch,
            ..wire::Release::default()
        })),
        fence: 0,
    };
    runtime()?.block_on(carry_out(engine.clone(), run, order))?;
    told(&journal, run)
}

/// Takes the order and carries it out; a signal ends it in order, service up first.
async fn carry_out(engine: Engine, run: RunId, order: wire::Order) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let working = engine.clone();
    let mut work = tokio::spawn(blocking(move || -> Result<(), Failure> {
        working.recover()?;
        working
            .order(&order)
            .map_err(|refusal| Failure::failed(refusal.to_string()).with_exit(5))?;
        info!(%run, "the release is in the journal; service is stopped for it now");
        working
            .carry_on(run)
            .map_err(|error| Failure::failed(format!("the release cannot go on: {error}")))?;
        Ok(())
    }));
    let done = tokio::select! {
        done = &mut work => done,
        signal = signals.next() => {
            info!(signal, "ends: service is brought up first");
            let ending = engine.clone();
            blocking(move || engine_ends(&ending)).await?;
            work.await
        }
    };
    done.map_err(|why| Failure::failed(format!("a defect of the agent, please report it: {why}")))??
}

fn engine_ends(engine: &Engine) {
    // The work itself sees that it is to end; there are no threads to wait for.
    let _ = engine.shutdown(SHUTDOWN);
}

/// How it ended, from the journal.
fn told(journal: &Journal, run: RunId) -> Result<(), Failure> {
    let closing = journal
        .records(run)?
        .into_iter()
        .rev()
        .find_map(|record| match record.event {
            Event::Closed { how, detail } => Some((how, detail)),
            Event::ReleaseOrdered { .. } => Some((
                Ended::AtRest,
                "it was left before it was done; the next start of the agent goes on with it"
                    .into(),
            )),
            _ => None,
        });
    match closing {
        Some((Ended::Released, detail)) => say(&format!("released: {detail}")),
        Some((_, detail)) => {
            Err(Failure::failed(format!("A075-release-failed: {detail}")).with_exit(3))
        }
        None => Ok(()),
    }
}

fn the_one<T: std::fmt::Display + Copy>(
    what: &str,
    prefix: &str,
    all: impl Iterator<Item = T>,
) -> Result<T, Failure> {
    let prefix = prefix.to_ascii_lowercase();
    let found: Vec<T> = all
        .filter(|one| one.to_string().starts_with(&prefix))
        .collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::usage(format!(
            "no {what} in this server's journal begins with `{prefix}`; `mailmend-agent ledger` lists them"
        ))),
        _ => Err(Failure::usage(format!(
            "more than one {what} begins with `{prefix}`; give more characters"
        ))),
    }
}

fn the_run(journal: &Journal, prefix: &str) -> Result<RunId, Failure> {
    the_one("run", prefix, journal.runs().into_iter())
}

fn the_batch(journal: &Journal, run: RunId, prefix: &str) -> Result<String, Failure> {
    let state = journal.state(run)?.unwrap_or_default();
    let batch = the_one("batch", prefix, state.batches.keys().copied())?;
    Ok(batch.to_string())
}
