//! What a rollout waits for between its waves, and what holds a run back that could begin.

use super::expected::{SLACK, after};
use super::{Kind, Surroundings, Waiting, of, reason, short};
use crate::decide::begin::{Beginning, Obstacle};
use crate::decide::gate::Judgement;
use crate::decide::waves::{Stage, stage};
use crate::rollout::{Cause, Rollout, RolloutState, Run, RunPhase};

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| "never".to_owned(), |at| at.to_string())
}

fn whole(rollout: &Rollout, kind: Kind, since_ms: i64, what: [String; 3]) -> Waiting {
    let [predicate, holder, release] = what;
    Waiting {
        kind,
        expected_ms: kind.expected_ms(since_ms),
        run: None,
        site: None,
        predicate,
        holder,
        since_ms,
        release: release.replace("ID", &short(rollout.id)),
    }
}

fn phases(rollout: &Rollout) -> Vec<RunPhase> {
    rollout.runs.iter().map(|run| run.phase).collect()
}

/// What a rollout that goes on waits for between its waves.
pub(super) fn between(rollout: &Rollout, around: &Surroundings) -> Option<Waiting> {
    let number = rollout.wave + 1;
    if !rollout.is_approved(rollout.wave) {
        return Some(unapproved(rollout, rollout.wave));
    }
    let ended_ms = rollout.wave_ended_ms.unwrap_or(rollout.started_ms);
    match stage(rollout, &phases(rollout), &around.fleet, around.now_ms) {
        Stage::Soaking { until_ms } => {
            let soak = whole(
                rollout,
                Kind::Soak,
                ended_ms,
                [
                    format!(
                        "the soak after wave {number} is over, at {}",
                        time(until_ms)
                    ),
                    "time alone".to_owned(),
                    "nothing: it goes on by itself; mailmend rollout watch ID".to_owned(),
                ],
            );
            Some(soak.expected(after(until_ms, SLACK)))
        }
        Stage::Gated {
            judgement,
            until_ms,
        } => {
            let why = match judgement {
                Judgement::Good => return None,
                Judgement::Bad(why) | Judgement::CannotTell(why) => why,
            };
            let gate = whole(
                rollout,
                Kind::Gate,
                ended_ms,
                [
                    format!("the gate after wave {number} is good"),
                    why,
                    format!(
                        "what cannot be told is waited for until {}, then the rollout pauses; mailmend rollout \
                         watch ID",
                        time(until_ms)
                    ),
                ],
            );
            Some(gate.expected(after(until_ms, SLACK)))
        }
        Stage::Unapproved { wave } => Some(unapproved(rollout, wave)),
        Stage::AtWork | Stage::Passed => None,
    }
}

fn unapproved(rollout: &Rollout, wave: u32) -> Waiting {
    let number = wave + 1;
    let sites = rollout.waves().sites(wave).count();
    whole(
        rollout,
        Kind::Approval,
        rollout.wave_ended_ms.unwrap_or(rollout.started_ms),
        [
            format!("wave {number} is approved ({sites} sites)"),
            "a person, whom the strategy asks".to_owned(),
            format!("mailmend rollout approve ID --wave {number}"),
        ],
    )
}

/// What a rollout waits for that a gate or a drift has stopped, or whose policy was recalled.
pub(super) fn stopped(rollout: &Rollout, since_ms: i64) -> Option<Waiting> {
    let number = rollout.wave + 1;
    let what = match (rollout.state, rollout.cause) {
        (RolloutState::Paused | RolloutState::Halted, Cause::Gate) => [
            format!("the gate after wave {number} is good, or a person accepts it"),
            reason(&rollout.why).to_owned(),
            "mailmend rollout resume ID (accepts this gate), or mailmend rollout abort ID".to_owned(),
        ],
        (RolloutState::Paused, Cause::Drift) => [
            "every server is what its plan was made from".to_owned(),
            reason(&rollout.why).to_owned(),
            "put that back and mailmend rollout resume ID; or mailmend rollout abort ID, and start anew"
                .to_owned(),
        ],
        (RolloutState::Aborting, Cause::Recall) => [
            "every run has unwound".to_owned(),
            reason(&rollout.why).to_owned(),
            "nothing: a recall is not taken back; mailmend rollout watch ID".to_owned(),
        ],
        _ => return None,
    };
    let kind = match rollout.cause {
        Cause::Drift => Kind::Drift,
        Cause::Recall => Kind::Recall,
        _ => Kind::Gate,
    };
    Some(whole(rollout, kind, since_ms, what))
}

/// What of the strategy holds a run back that has not begun.
pub(super) fn held(rollout: &Rollout, run: &Run, around: &Surroundings) -> Option<Waiting> {
    let id = short(rollout.id);
    let beginning = Beginning::of(rollout, &phases(rollout), &around.fleet, around.now_ms);
    match beginning.obstacle(run)? {
        Obstacle::Wave(wave) => Some(of(
            run,
            Kind::Wave,
            format!("wave {} has begun", wave + 1),
            format!("the rollout is in wave {}", rollout.wave + 1),
            format!("it goes on by itself; mailmend rollout show {id}"),
        )),
        Obstacle::Unapproved(wave) => Some(Waiting {
            run: Some(run.id),
            site: Some(run.site.clone()),
            ..unapproved(rollout, wave)
        }),
        Obstacle::Window(opens_ms) => Some(windows(rollout, run, Some(opens_ms))),
        Obstacle::Budget(shortage) => Some(of(
            run,
            Kind::Budget,
            shortage.predicate(),
            shortage.out.to_string(),
            format!(
                "a server that comes back, or a run that ends; failed ones hold until their rollout ends: \
                 mailmend rollout list, mailmend rollout watch {id}"
            ),
        )),
        Obstacle::Unsigned(why) => Some(of(
            run,
            Kind::Unfollowed,
            "its agents would take the policy: it is signed, and nothing of that has expired".to_owned(),
            why,
            "have it signed, and mailmend trust publish FILE; mailmend trust show tells what is missing"
                .to_owned(),
        )),
        // Whoever asks knows more of these.
        Obstacle::InHand
        | Obstacle::Busy(_)
        | Obstacle::Away(_)
        | Obstacle::LastPath(_)
        | Obstacle::SitesAtOnce(_) => None,
    }
}

/// Service may not be disturbed now.
pub(super) fn windows(rollout: &Rollout, run: &Run, opens_ms: Option<i64>) -> Waiting {
    let windows: Vec<String> = rollout
        .strategy
        .windows
        .iter()
        .map(ToString::to_string)
        .collect();
    let opens = opens_ms.map_or_else(String::new, |at| format!(", the next from {}", time(at)));
    let waiting = of(
        run,
        Kind::Window,
        format!("a maintenance window is open for as long as a section may last{opens}"),
        format!("the windows: {}", windows.join("; or ")),
        format!(
            "it goes on by itself; mailmend rollout watch {}",
            short(rollout.id)
        ),
    );
    match opens_ms {
        Some(opens_ms) => waiting.expected(after(opens_ms, SLACK)),
        None => waiting,
    }
}
