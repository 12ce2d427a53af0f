//! A run that waits because an address space would lose its last live outbound path.

use super::{Kind, Waiting, of, short};
use crate::mail_flow::{LastPath, Why};
use crate::rollout::{Rollout, Run};

/// What each of the address spaces waits for.
pub(super) fn waiting(rollout: &Rollout, run: &Run, last: &[LastPath]) -> Vec<Waiting> {
    last.iter().map(|last| one(rollout, run, last)).collect()
}

fn one(rollout: &Rollout, run: &Run, last: &LastPath) -> Waiting {
    let others: Vec<String> = last
        .others
        .iter()
        .map(|(server, why)| format!("{server} ({why})"))
        .collect();
    let mut release: Vec<String> = Vec::new();
    for (server, why) in &last.others {
        let way = match why {
            Why::Away => format!("start mailmend-agent on {server}; mailmend agent show {server}"),
            Why::Reserved(run) | Why::Disturbed(run) => {
                format!(
                    "it goes on when run {0} ends; mailmend run show {0}",
                    short(run)
                )
            }
            Why::LeftDown(run) => format!("mend {server}: mailmend run show {}", short(run)),
            // It counts until its rollout ends.
            Why::Failed(failed) if rollout.runs.iter().any(|one| one.id == *failed) => format!(
                "mend {server}; mailmend run show {}; then mailmend rollout abort {}; start it anew",
                short(failed),
                short(rollout.id)
            ),
            Why::Failed(failed) => format!(
                "mend {server} and end the rollout of run {0}: mailmend run show {0}",
                short(failed)
            ),
        };
        if !release.contains(&way) {
            release.push(way);
        }
    }
    of(
        run,
        Kind::LastPath,
        format!(
            "{} keeps a live outbound path while {} is mended",
            last.route, last.server
        ),
        format!("its other paths, none of them live: {}", others.join(", ")),
        release.join("; or else: "),
    )
}
