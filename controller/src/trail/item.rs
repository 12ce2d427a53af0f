//! What entries say beyond their words: made here, and told to people in one line each.

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use mailmend_proto::wire::trail_item::What;
use prost::Message as _;

use super::chain::hex;
use crate::decide::Action;
use crate::rollout::Rollout;

/// The detail that is stored of these.
#[must_use]
pub fn encoded(items: Vec<What>) -> Vec<u8> {
    let items = items
        .into_iter()
        .map(|what| wire::TrailItem { what: Some(what) })
        .collect();
    wire::TrailDetail { items }.encode_to_vec()
}

/// What a detail says.
///
/// # Errors
/// Where it is none, or says what this version does not know.
pub fn decoded(detail: &[u8]) -> Result<Vec<What>, String> {
    let detail = wire::TrailDetail::decode(detail).map_err(|why| why.to_string())?;
    let unknown = || "it says something that this version does not know".to_owned();
    let items = detail.items.into_iter();
    items.map(|item| item.what.ok_or_else(unknown)).collect()
}

/// What an action of a rollout allows or changes. `fence` is that of the run's assignment; an assignment has its own.
#[must_use]
pub fn of_action(rollout: &Rollout, action: &Action, fence: u64) -> What {
    match action {
        Action::Assign { run } => What::Assigned(wire::TrailAssigned {
            run: run.to_string(),
            fence,
            agents: agents(rollout, *run),
        }),
        Action::Advance {
            run,
            server,
            through,
        } => What::Advanced(wire::TrailAdvanced {
            run: run.to_string(),
            agent: server.to_string(),
            fence,
            through: *through,
        }),
        Action::Unwind { run, server, order } => What::Unwound(wire::TrailUnwound {
            run: run.to_string(),
            agent: server.to_string(),
            fence,
            down_to: order.down_to,
            last: order.last,
        }),
        Action::Enter { run, phase, why } => What::Entered(wire::TrailEntered {
            run: run.to_string(),
            phase: phase.name().to_owned(),
            why: why.clone(),
        }),
        Action::Turn { state, why, cause } => What::Turned(wire::TrailTurned {
            rollout: rollout.id.to_string(),
            state: state.name().to_owned(),
            why: why.clone(),
            cause: cause.name().to_owned(),
            accepted_failures: 0,
            accepted_gate: None,
        }),
        Action::EndWave { wave } => What::WaveEnded(wire::TrailWaveEnded { wave: *wave }),
        Action::BeginWave { wave } => What::WaveBegan(wire::TrailWaveBegan { wave: *wave }),
    }
}

fn agents(rollout: &Rollout, run: RunId) -> Vec<String> {
    let run = rollout.runs.iter().find(|one| one.id == run);
    run.map(|run| run.parts.keys().map(ServerName::to_string).collect())
        .unwrap_or_default()
}

/// That an agent may carry out an order, whose stored bytes these are.
#[must_use]
pub fn ordered(
    order: uuid::Uuid,
    run: RunId,
    agent: &ServerName,
    what: &str,
    fence: Option<u64>,
    bytes: &[u8],
) -> What {
    What::Ordered(wire::TrailOrdered {
        order: order.to_string(),
        run: run.to_string(),
        agent: agent.to_string(),
        what: what.to_owned(),
        fence: fence.unwrap_or(0),
        digest: Digest::of(bytes).as_bytes().to_vec(),
    })
}

/// One line for people.
#[must_use]
pub fn told(what: &What) -> String {
    match what {
        What::Begun(one) => {
            let copied = match one.copied {
                0 => String::new(),
                some => format!("; the next {some} were noted before there was a chain"),
            };
            format!("trail {} of version {}{copied}", one.trail, one.version)
        }
        What::Started(one) => format!(
            "rollout {} of {}@{} with {} runs",
            one.rollout,
            one.policy,
            one.version,
            one.runs.len()
        ),
        What::Assigned(one) => format!(
            "run {} may be taken on by {} with fence {}",
            one.run,
            one.agents.join(", "),
            one.fence
        ),
        What::Advanced(one) => format!(
            "{} may go on in run {} below step {} with fence {}",
            one.agent, one.run, one.through, one.fence
        ),
        What::Unwound(one) => format!(
            "{} is to undo run {} down to step {} with fence {}{}",
            one.agent,
            one.run,
            one.down_to,
            one.fence,
            if one.last { ", and no further" } else { "" }
        ),
        What::Ordered(one) => format!(
            "{} may carry out order {} ({}) in run {}{}",
            one.agent,
            one.order,
            one.what,
            one.run,
            match one.fence {
                0 => String::new(),
                fence => format!(" with fence {fence}"),
            }
        ),
        What::Entered(one) => format!("run {} is {}{}", one.run, one.phase, because(&one.why)),
        What::Turned(one) => {
            let accepted = match one.accepted_failures {
                0 => String::new(),
                some => format!(", {some} failed runs accepted"),
            };
            let gate = one
                .accepted_gate
                .map(|wave| format!(", the gate after wave {} accepted", u64::from(wave) + 1))
                .unwrap_or_default();
            format!(
                "rollout {} is {}{accepted}{gate}{}",
                one.rollout,
                one.state,
                because(&one.why)
            )
        }
        What::WaveEnded(one) => format!("wave {} has ended", u64::from(one.wave) + 1),
        What::WaveBegan(one) => format!("wave {} may begin", u64::from(one.wave) + 1),
        What::Approved(one) => format!(
            "wave {} is approved, plans {}",
            u64::from(one.wave) + 1,
            hex(&one.digest)
        ),
        What::HeadSeen(one) if one.before => format!(
            "the journal {} of {} was stored up to {} before",
            one.journal, one.agent, one.seq
        ),
        What::HeadSeen(one) => format!(
            "the journal {} of {} is stored up to {}, hash {}",
            one.journal,
            one.agent,
            one.seq,
            hex(&one.hash)
        ),
    }
}

fn because(why: &str) -> String {
    match why {
        "" => String::new(),
        why => format!(": {why}"),
    }
}
