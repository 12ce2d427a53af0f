//! Waves, for people.

use mailmend_proto::wire;

use crate::cli::output::{Output, Shown};
use crate::cli::view::hex;
use crate::cli::when::{both, now_ms};

/// More sites than this are not named.
const NAMED: usize = 6;

/// The waves of a rollout, where there is more than one or a person is asked.
pub(super) fn told(rollout: &wire::Rollout, output: &Output) -> String {
    let open = rollout.ended_ms == 0;
    let now = now_ms();
    let how = |wave: &wire::Wave| {
        let mut words = Vec::new();
        if wave.number < rollout.wave {
            words.push("passed".to_owned());
        } else if wave.number == rollout.wave && rollout.wave_ended_ms != 0 {
            words.push(format!(
                "its runs ended {}",
                both(rollout.wave_ended_ms, now)
            ));
        } else if wave.number == rollout.wave {
            words.push("at work".to_owned());
        }
        if wave.gate_accepted {
            words.push("its gate was accepted by a person".to_owned());
        }
        match &wave.approval {
            Some(approval) => words.push(format!("approved by {}", approval.by)),
            None if wave.asks && open => words.push("waits to be approved".to_owned()),
            None => {}
        }
        words.join(", ")
    };
    let text = table(&rollout.waves, how, output);
    if text.is_empty() || rollout.inventory == 0 {
        return text;
    }
    format!("{text}inventory: generation {}\n\n", rollout.inventory)
}

/// The waves of what would be started.
pub(super) fn planned(plan: &wire::PlanRolloutResponse, output: &Output) -> String {
    let how = |wave: &wire::Wave| match wave.asks {
        true => "a person is asked before it".to_owned(),
        false => String::new(),
    };
    table(&plan.waves, how, output)
}

fn table(waves: &[wire::Wave], how: impl Fn(&wire::Wave) -> String, output: &Output) -> String {
    if waves.len() < 2 && !waves.iter().any(|wave| wave.asks) {
        return String::new();
    }
    let rows = waves.iter().map(|wave| {
        let digest = hex(&wave.digest);
        vec![
            wave.number.into(),
            wave.sites.len().into(),
            wave.runs.into(),
            wave.servers.into(),
            Shown::from(sites(wave)),
            digest[..12.min(digest.len())].to_owned().into(),
            how(wave).into(),
        ]
    });
    let head = ["WAVE", "SITES", "RUNS", "SERVERS", "WHICH", "DIGEST", "HOW"];
    format!("{}\n", output.table(&head, rows.collect(), "no waves"))
}

/// The sites of a wave, named as far as there are few.
pub(super) fn sites(wave: &wire::Wave) -> String {
    let named = wave.sites[..wave.sites.len().min(NAMED)].join(", ");
    match wave.sites.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
