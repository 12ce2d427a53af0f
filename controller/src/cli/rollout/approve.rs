//! `mailmend rollout approve`: lets a wave begin, exactly as it was looked at.

use std::io::{IsTerminal as _, Write as _};

use mailmend_proto::wire;

use super::{fetch, short, waves};
use crate::cli::connection::Controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::view::{RolloutView, hex};

/// What is approved.
pub(super) struct What {
    pub(super) wave: u32,
    pub(super) digest: Option<String>,
    pub(super) generation: Option<i64>,
    pub(super) why: String,
}

pub(super) async fn approve(
    controller: &Controller,
    id: String,
    what: What,
    output: &Output,
) -> Result<Exit, Failure> {
    let rollout = fetch(controller, id).await?;
    let Some(wave) = rollout.waves.iter().find(|wave| wave.number == what.wave) else {
        let text = format!(
            "rollout {} has no wave {}; it has waves 1 to {}",
            short(&rollout.id),
            what.wave,
            rollout.waves.len()
        );
        return Err(Failure::new("C036-not-found", text).with_exit(Exit::Usage));
    };
    confirm(&rollout, wave, &what)?;
    let request = wire::ApproveWaveRequest {
        id: rollout.id.clone(),
        wave: wave.number,
        digest: wave.digest.clone(),
        generation: what.generation.unwrap_or(rollout.inventory),
        why: what.why,
    };
    let about = format!("approve wave {} of rollout `{}`", wave.number, rollout.id);
    let answer = controller
        .ask(&about, request, |mut client, request| async move {
            client.approve_wave(request).await
        })
        .await?;
    output.answer(&RolloutView::from(&answer), |_| {
        format!("approved {}\n", counted(&rollout, wave))
    })?;
    Ok(Exit::Success)
}

/// What is approved, counted and named.
fn counted(rollout: &wire::Rollout, wave: &wire::Wave) -> String {
    let plural = |count: u32, what: &str| match count {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    };
    let sites = u32::try_from(wave.sites.len()).unwrap_or(u32::MAX);
    format!(
        "wave {} of {}: {} ({}), {} still to be carried out, {}",
        wave.number,
        rollout.waves.len(),
        plural(sites, "site"),
        waves::sites(wave),
        plural(wave.waiting, "run"),
        plural(wave.servers, "server"),
    )
}

fn confirm(rollout: &wire::Rollout, wave: &wire::Wave, what: &What) -> Result<(), Failure> {
    let digest = hex(&wave.digest);
    if let Some(looked) = &what.digest {
        if digest.starts_with(looked.as_str()) {
            return Ok(());
        }
        let text = format!(
            "the wave has changed: `{looked}` was looked at, now it is `{}`",
            &digest[..12.min(digest.len())]
        );
        return Err(Failure::new("C037-refused", text)
            .with_help("look at `mailmend rollout show` again, then approve its digest")
            .with_exit(Exit::Refused));
    }
    let missing = |text: &str| Failure::new("C034-not-confirmed", text).with_exit(Exit::Usage);
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(missing(
            "nobody is there to ask; nothing was approved: give --digest",
        ));
    }
    anstream::eprintln!(
        "{} version {}, {}\ndigest {}, inventory at generation {}",
        rollout.policy,
        rollout.version,
        counted(rollout, wave),
        &digest[..12.min(digest.len())],
        rollout.inventory
    );
    anstream::eprint!("Let it begin? Type yes: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("yes") {
        Ok(())
    } else {
        Err(missing("the answer was not yes; nothing was approved"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_digest_than_the_one_looked_at_is_refused_and_what_is_approved_is_counted() {
        let wave = wire::Wave {
            number: 2,
            sites: vec!["oslo".into(), "rome".into()],
            runs: 3,
            waiting: 3,
            servers: 5,
            digest: vec![0xab; 32],
            asks: true,
            ..wire::Wave::default()
        };
        let rollout = wire::Rollout {
            waves: vec![wire::Wave::default(), wave.clone()],
            ..wire::Rollout::default()
        };
        let what = |digest: &str| What {
            wave: 2,
            digest: Some(digest.into()),
            generation: None,
            why: String::new(),
        };
        assert!(confirm(&rollout, &wave, &what("abababababab")).is_ok());
        let failure = confirm(&rollout, &wave, &what("000000000000")).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(
            counted(&rollout, &wave),
            "wave 2 of 2: 2 sites (oslo, rome), 3 runs still to be carried out, 5 servers"
        );
    }
}
