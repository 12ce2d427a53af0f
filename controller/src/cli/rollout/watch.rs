//! `mailmend rollout watch`: live progress on a terminal, plain lines when piped.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mailmend_proto::wire;
use tonic::Streaming;

use super::{doing, fetch, messages, short, told};
use crate::cli::connection::Controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, clean};
use crate::cli::view::{RolloutView, rollout_state, run_phase};
use crate::cli::when::{absolute, duration, now_ms};

/// Bars on a terminal at one time; the runs that are under way come first.
const MOST_BARS: usize = 20;
/// How long to wait before a broken stream is asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often in a row a stream may break before the controller counts as unreachable: long enough
/// for a controller to be restarted or moved.
const MOST_BREAKS: u32 = 120;

pub(super) async fn watch(
    controller: &Controller,
    id: String,
    timeout: Option<Duration>,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut face = Face::of(output);
    let following = follow(controller, &id, &mut face);
    let ended = match timeout {
        None => following.await,
        Some(limit) => tokio::time::timeout(limit, following)
            .await
            .unwrap_or_else(|_| {
                let took = duration(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
                let text = format!(
                    "rollout `{}` was not at rest after {took}; it goes on",
                    short(&id)
                );
                Err(Failure::new("C030-timed-out", text).with_exit(Exit::TimedOut))
            }),
    };
    face.leave();
    let (rollout, exit) = ended?;
    if !output.is_json() {
        output.text(&format!("\n{}", told(&rollout, now_ms(), output)))?;
        if exit == Exit::Waiting {
            let id = short(&rollout.id);
            output.note(&format!(
                "it waits for somebody: mailmend rollout explain {id}"
            ));
        }
    }
    Ok(exit)
}

/// Follows until the rollout is at rest, over breaks of the stream and restarts of the controller.
async fn follow(
    controller: &Controller,
    id: &str,
    face: &mut Face<'_>,
) -> Result<(wire::Rollout, Exit), Failure> {
    // The first answer tells a wrong id at once.
    let mut last = fetch(controller, id.to_owned()).await?;
    let id = last.id.clone();
    let mut breaks = 0;
    loop {
        face.show(&last)?;
        if let Some(exit) = Exit::of_rollout(&last) {
            return Ok((last, exit));
        }
        let what = format!("watch rollout `{}`", short(&id));
        let request = wire::GetRolloutRequest { id: id.clone() };
        let stream = controller
            .follow(&what, request, |mut client, request| async move {
                client.watch_rollout(request).await
            })
            .await;
        let broke = match stream {
            Ok(stream) => {
                let seen = drain(stream, &mut last, face).await?;
                if Exit::of_rollout(&last).is_some() {
                    continue;
                }
                if seen {
                    breaks = 0;
                }
                None
            }
            Err(failure) if failure.exit() == Exit::Unreachable => Some(failure),
            Err(failure) => return Err(failure),
        };
        breaks += 1;
        if breaks > MOST_BREAKS {
            let text = "the controller ended the stream again and again";
            return Err(broke.unwrap_or_else(|| {
                Failure::new("C020-unreachable", text).with_exit(Exit::Unreachable)
            }));
        }
        face.broken(breaks);
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Takes changes until the rollout is at rest or the stream breaks; whether there were any.
async fn drain(
    mut stream: Streaming<wire::Rollout>,
    last: &mut wire::Rollout,
    face: &mut Face<'_>,
) -> Result<bool, Failure> {
    let mut seen = false;
    loop {
        match stream.message().await {
            Ok(Some(rollout)) => {
                seen = true;
                *last = rollout;
                if Exit::of_rollout(last).is_some() {
                    return Ok(true);
                }
                face.show(last)?;
            }
            Ok(None) => return Ok(seen),
            Err(status) => {
                tracing::info!(%status, "the stream broke");
                return Ok(seen);
            }
        }
    }
}

/// How changes are shown.
enum Face<'a> {
    /// One JSON object for each change.
    Json {
        output: &'a Output,
        last: Option<Box<wire::Rollout>>,
    },
    /// One line for each run that changed.
    Lines {
        output: &'a Output,
        last: BTreeMap<String, String>,
    },
    /// Bars that move.
    Bars(Bars),
}

impl<'a> Face<'a> {
    fn of(output: &'a Output) -> Self {
        if output.is_json() {
            Self::Json { output, last: None }
        } else if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() {
            Self::Bars(Bars::new(output.paints()))
        } else {
            Self::Lines {
                output,
                last: BTreeMap::new(),
            }
        }
    }

    fn show(&mut self, rollout: &wire::Rollout) -> Result<(), Failure> {
        match self {
            Self::Json { output, last } => {
                if last.as_deref() != Some(rollout) {
                    output.json(&RolloutView::from(rollout))?;
                    *last = Some(Box::new(rollout.clone()));
                }
            }
            Self::Lines { output, last } => {
                let at = absolute(now_ms()).unwrap_or_default();
                for line in changed(rollout, last) {
                    output.text(&format!("{at}  {line}\n"))?;
                }
            }
            Self::Bars(bars) => bars.show(rollout),
        }
        Ok(())
    }

    fn broken(&self, breaks: u32) {
        match self {
            Self::Bars(bars) => bars
                .head
                .set_message("the controller does not answer, trying again"),
            Self::Lines { output, .. } if breaks == 1 => {
                output.note("the controller does not answer, trying again");
            }
            _ => {}
        }
    }

    fn leave(&self) {
        if let Self::Bars(bars) = self {
            // The bars stay gone; the table that follows says it all.
            drop(bars.all.clear());
        }
    }
}

/// The lines for what changed since the last time; remembers what was said.
fn changed(rollout: &wire::Rollout, last: &mut BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |key: &str, line: String| {
        if last.get(key) != Some(&line) {
            last.insert(key.to_owned(), line.clone());
            lines.push(line);
        }
    };
    let why = if rollout.why.is_empty() {
        String::new()
    } else {
        format!(": {}", rollout.why)
    };
    let state = rollout_state(rollout.state());
    say(
        "",
        clean(&format!("rollout {}  {state}{why}", short(&rollout.id))),
    );
    for run in &rollout.runs {
        say(&run.id, clean(&line(run)));
    }
    lines
}

fn line(run: &wire::Run) -> String {
    let server = if run.subject.is_empty() {
        "all"
    } else {
        &run.subject
    };
    let mut text = format!(
        "{}/{server}  {}  {}/{}",
        run.site,
        run_phase(run.phase()),
        run.finished,
        run.steps
    );
    for more in [doing(run), messages(run)] {
        if !more.is_empty() {
            text.push_str("  ");
            text.push_str(&more);
        }
    }
    text
}

struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    runs: BTreeMap<String, ProgressBar>,
    colour: bool,
}

impl Bars {
    fn new(colour: bool) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let head = all.add(ProgressBar::new_spinner());
        head.set_style(style("{spinner} {msg} ({elapsed})"));
        head.enable_steady_tick(Duration::from_millis(120));
        Self {
            all,
            head,
            runs: BTreeMap::new(),
            colour,
        }
    }

    fn show(&mut self, rollout: &wire::Rollout) {
        let ended = rollout.runs.iter().filter(|run| run.ended_ms != 0).count();
        let state = rollout_state(rollout.state());
        self.head.set_message(clean(&format!(
            "rollout {} {state}, {ended} of {} runs ended {}",
            short(&rollout.id),
            rollout.runs.len(),
            rollout.why
        )));
        let mut runs: Vec<&wire::Run> = rollout.runs.iter().collect();
        runs.sort_by_key(|run| (run.ended_ms != 0, run.started_ms == 0));
        runs.truncate(MOST_BARS);
        self.runs.retain(|id, bar| {
            let stays = runs.iter().any(|run| run.id == *id);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        for run in runs {
            let bar = self.runs.entry(run.id.clone()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(0));
                let colour = if self.colour { ".cyan" } else { "" };
                bar.set_style(style(&format!(
                    "  {{prefix:26!}} {{bar:20{colour}}} {{pos:>3}}/{{len:<3}} {{wide_msg}}"
                )));
                bar
            });
            let server = if run.subject.is_empty() {
                "all"
            } else {
                &run.subject
            };
            bar.set_prefix(clean(&format!("{}/{server}", run.site)));
            bar.set_length(run.steps.into());
            bar.set_position(run.finished.into());
            let more = [run_phase(run.phase()), doing(run), messages(run)];
            let more: Vec<String> = more.into_iter().filter(|part| !part.is_empty()).collect();
            bar.set_message(clean(&more.join("  ")));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are well formed, a test draws them")
        .progress_chars("━━╌")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(finished: u32) -> wire::Rollout {
        let run = wire::Run {
            id: "0198c5aa-1234".to_owned(),
            site: "oslo".to_owned(),
            subject: "SRV-B".to_owned(),
            phase: wire::RunPhase::Running.into(),
            finished,
            steps: 9,
            current: "quarantine".to_owned(),
            ..wire::Run::default()
        };
        let state = wire::RolloutState::Running.into();
        wire::Rollout {
            id: "0198c5aa-0000-7000".to_owned(),
            state,
            runs: vec![run],
            ..wire::Rollout::default()
        }
    }

    #[test]
    fn piped_lines_tell_each_change_once() {
        let mut last = BTreeMap::new();
        assert_eq!(
            changed(&rollout(3), &mut last),
            [
                "rollout 0198c5aa-0000  running",
                "oslo/SRV-B  running  3/9  quarantine"
            ]
        );
        assert!(changed(&rollout(3), &mut last).is_empty());
        assert_eq!(
            changed(&rollout(4), &mut last),
            ["oslo/SRV-B  running  4/9  quarantine"]
        );
    }

    #[test]
    fn the_bars_draw() {
        for colour in [false, true] {
            let mut bars = Bars::new(colour);
            bars.show(&rollout(3));
            bars.show(&rollout(4));
            assert_eq!(bars.runs["0198c5aa-1234"].position(), 4);
            bars.all.clear().unwrap();
        }
    }
}
