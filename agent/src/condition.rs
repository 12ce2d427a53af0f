//! Conditions, judged on this server: true, false, or cannot be told, each with its evidence.
//!
//! What cannot be told never counts as true, and its negation does not either. Durations of a policy
//! are in uptime; ages come from wall clock times and are multiplied by the clock's pace.

mod file;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use mailmend_policy::condition::{
    Condition, EventMatch, PathTemplate, Queue, QueueTest, ServiceIs, Since, StepWas,
};
use mailmend_policy::name::{ServiceName, StepId};
use mailmend_policy::version::Version;

use crate::host::{Facts, FileInfo, FileKind, Host, HostError, RegistryValue, ServiceState};

/// The event that every Exchange service writes when it starts.
pub const EVENT_STARTED: u32 = 1000;

/// How far the wall clock may stand before a file's time before ages are not believed.
const BELIEVED_SKEW_MS: i64 = 60_000;

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is known to hold.
    True,
    /// It is known not to hold.
    False,
    /// It cannot be told.
    CannotTell,
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the condition holds.
    pub verdict: Verdict,
    /// One line for people: the fact and its place, or why it cannot be told.
    pub evidence: String,
}

impl Judgement {
    fn of(holds: bool, evidence: String) -> Self {
        let verdict = if holds { Verdict::True } else { Verdict::False };
        Self { verdict, evidence }
    }

    fn cannot_tell(why: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::CannotTell,
            evidence: why.into(),
        }
    }

    /// Whether it is known to hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdict == Verdict::True
    }
}

/// What conditions are judged against.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// Facts about the server.
    pub facts: &'a Facts,
    /// When the run began on this agent, wall clock; none while detecting, which looks back an hour.
    pub run_began_ms: Option<i64>,
    /// How an earlier step of the run ended here; none where that is not known on this server.
    pub ended: &'a dyn Fn(&StepId) -> Option<StepEnded>,
    /// What a person answered to an earlier step of the run; none where nobody did.
    pub answered: &'a dyn Fn(&StepId) -> Option<String>,
}

/// How an earlier step of the run ended on this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepEnded {
    /// Done.
    Done,
    /// Skipped.
    Skipped,
    /// It failed, has not begun, or has not ended.
    Otherwise,
}

/// Judges all of `conditions` together: true where each is, false where any is known to be false.
#[must_use]
pub fn judge_all(conditions: &[Condition], scene: Scene<'_>) -> Judgement {
    combine(conditions, scene, Verdict::True, Verdict::False)
}

/// Judges one condition.
#[must_use]
pub fn judge(condition: &Condition, scene: Scene<'_>) -> Judgement {
    match condition {
        Condition::Service { service, is } => judge_service(service, *is, scene),
        Condition::Queue { queue, test } => judge_queue(*queue, *test, scene),
        Condition::File { file, test } => file::judge(file, test, scene),
        Condition::Event(wanted) => judge_event(wanted, scene),
        Condition::Disk { path, free_over } => judge_disk(path, *free_over, scene),
        Condition::Version(range) => match scene.facts.get("exchange.version") {
            None => Judgement::cannot_tell("the server reports no `exchange.version`"),
            Some(text) => match text.parse::<Version>() {
                Err(why) => Judgement::cannot_tell(why.to_string()),
                Ok(version) => Judgement::of(
                    range.holds(version),
                    format!("Exchange is {version}, asked for `{range}`"),
                ),
            },
        },
        Condition::Registry { key, value, equals } => judge_registry(key, value, equals, scene),
        Condition::Step { step, was } => match (scene.ended)(step) {
            None => Judgement::cannot_tell(format!("step `{step}` is not one of this server")),
            Some(ended) => {
                let wanted = match was {
                    StepWas::Done => StepEnded::Done,
                    StepWas::Skipped => StepEnded::Skipped,
                };
                let word = match ended {
                    StepEnded::Done => "done",
                    StepEnded::Skipped => "skipped",
                    StepEnded::Otherwise => "neither done nor skipped",
                };
                Judgement::of(ended == wanted, format!("step `{step}` is {word}"))
            }
        },
        Condition::Answered { step, answer } => match (scene.answered)(step) {
            None => Judgement::of(false, format!("nobody answered step `{step}`")),
            Some(given) => Judgement::of(
                given == *answer,
                format!("step `{step}` was answered `{given}`"),
            ),
        },
        Condition::Fact { fact, equals } => match scene.facts.get(fact) {
            None => Judgement::cannot_tell(format!("the server reports no `{fact}`")),
            Some(value) => Judgement::of(
                value == equals,
                format!("`{fact}` is `{value}`, asked for `{equals}`"),
            ),
        },
        Condition::All(all) => judge_all(all, scene),
        Condition::Any(any) => combine(any, scene, Verdict::False, Verdict::True),
        Condition::Not(inner) => {
            let inner = judge(inner, scene);
            let verdict = match inner.verdict {
                Verdict::True => Verdict::False,
                Verdict::False => Verdict::True,
                Verdict::CannotTell => Verdict::CannotTell,
            };
            Judgement {
                verdict,
                evidence: format!("not: {}", inner.evidence),
            }
        }
    }
}

/// `neutral` where every part is, `decisive` as soon as one part is, else it cannot be told.
fn combine(
    parts: &[Condition],
    scene: Scene<'_>,
    neutral: Verdict,
    decisive: Verdict,
) -> Judgement {
    let mut untold = None;
    let mut evidence = Vec::new();
    for part in parts {
        let judged = judge(part, scene);
        if judged.verdict == decisive {
            return judged;
        }
        if judged.verdict == Verdict::CannotTell && untold.is_none() {
            untold = Some(judged.evidence.clone());
        }
        evidence.push(judged.evidence);
    }
    match untold {
        Some(why) => Judgement::cannot_tell(why),
        None => Judgement {
            verdict: neutral,
            evidence: evidence.join("; "),
        },
    }
}

fn cannot(error: &HostError) -> Judgement {
    Judgement::cannot_tell(format!("could not {error}"))
}

fn judge_service(service: &ServiceName, is: ServiceIs, scene: Scene<'_>) -> Judgement {
    let services = scene.host.services();
    let status = match services.query(service) {
        Ok(status) => status,
        Err(error) => return cannot(&error),
    };
    let word = match status.state {
        ServiceState::Stopped => "stopped",
        ServiceState::Starting => "starting",
        ServiceState::Running => "running",
        ServiceState::Stopping => "stopping",
    };
    match is {
        ServiceIs::Running => Judgement::of(
            status.state == ServiceState::Running,
            format!("`{service}` is {word}"),
        ),
        ServiceIs::Stopped => {
            let alive = match &status.process {
                None => false,
                Some(process) => match services.process_alive(process) {
                    Ok(alive) => alive,
                    Err(error) => return cannot(&error),
                },
            };
            let remains = if alive {
                ", its process is still there"
            } else {
                ""
            };
            Judgement::of(
                status.state == ServiceState::Stopped && !alive,
                format!("`{service}` is {word}{remains}"),
            )
        }
    }
}

/// Whether a name is that of a spool file: eight letters and digits, no extension.
#[must_use]
pub fn is_spool_name(name: &str) -> bool {
    name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The folder of a queue that is one.
///
/// # Errors
/// Why there is none, for people.
pub fn queue_folder(queue: Queue, host: &dyn Host) -> Result<PathBuf, String> {
    let folder = queue.folder().ok_or_else(|| {
        format!(
            "`{}` is kept in the store, where the agent cannot look",
            queue.name()
        )
    })?;
    let imcdata = host
        .root(mailmend_policy::condition::PathRoot::Imcdata)
        .map_err(|error| format!("could not {error}"))?;
    Ok(imcdata.join(folder))
}

/// A queue that the store keeps: the service counts it, and nobody knows since when its messages wait.
fn judge_store_queue(queue: Queue, test: QueueTest, scene: Scene<'_>) -> Judgement {
    let count = match scene.host.counters().queued(queue) {
        Ok(count) => count,
        Err(error) => return cannot(&error),
    };
    let name = queue.name();
    match test {
        QueueTest::CountOver(bound) => Judgement::of(
            count > bound,
            format!(
                "`{name}` has {count} messages by the service's counter, asked for over {bound}"
            ),
        ),
        QueueTest::CountUnder(bound) => Judgement::of(
            count < bound,
            format!(
                "`{name}` has {count} messages by the service's counter, asked for under {bound}"
            ),
        ),
        QueueTest::OldestOver(_) | QueueTest::OldestUnder(_) => Judgement::cannot_tell(format!(
            "`{name}` is kept in the store, where the agent cannot see how long a message waits"
        )),
    }
}

fn judge_queue(queue: Queue, test: QueueTest, scene: Scene<'_>) -> Judgement {
    if queue.folder().is_none() {
        return judge_store_queue(queue, test, scene);
    }
    let folder = match queue_folder(queue, scene.host) {
        Ok(folder) => folder,
        Err(why) => return Judgement::cannot_tell(why),
    };
    let mut files = match scene.host.spool().list(&folder) {
        Ok(files) => files,
        Err(error) => return cannot(&error),
    };
    files.retain(|file| file.kind == FileKind::File && is_spool_name(&file.name));
    let place = folder.display();
    match test {
        QueueTest::CountOver(bound) => Judgement::of(
            files.len() as u64 > bound,
            format!(
                "`{place}` has {} messages, asked for over {bound}",
                files.len()
            ),
        ),
        QueueTest::CountUnder(bound) => Judgement::of(
            (files.len() as u64) < bound,
            format!(
                "`{place}` has {} messages, asked for under {bound}",
                files.len()
            ),
        ),
        QueueTest::OldestOver(_) | QueueTest::OldestUnder(_) => {
            let (over, bound) = match test {
                QueueTest::OldestOver(bound) => (true, bound),
                QueueTest::OldestUnder(bound) => (false, bound),
                _ => return Judgement::cannot_tell("not an age"),
            };
            let Some(oldest) = files.iter().min_by_key(|file| file.modified_ms) else {
                return Judgement::of(!over, format!("`{place}` is empty"));
            };
            match age(oldest, scene.host) {
                Err(why) => Judgement::cannot_tell(why),
                Ok(age) => Judgement::of(
                    if over { age > bound } else { age < bound },
                    format!(
                        "the oldest of {} messages in `{place}`, `{}`, has waited {age:.0?}, asked for {} {bound:?}",
                        files.len(),
                        oldest.name,
                        if over { "over" } else { "under" },
                    ),
                ),
            }
        }
    }
}

/// How long ago a file was modified, in uptime.
fn age(file: &FileInfo, host: &dyn Host) -> Result<Duration, String> {
    let elapsed = host.clock().wall_ms() - file.modified_ms;
    if elapsed < -BELIEVED_SKEW_MS {
        return Err(format!(
            "`{}` was modified {} s after the time that the clock shows",
            file.name,
            -elapsed / 1000
        ));
    }
    Ok(in_uptime(elapsed, host))
}

/// A difference of wall clock times as a duration of uptime; negative counts as none.
#[must_use]
pub fn in_uptime(elapsed_ms: i64, host: &dyn Host) -> Duration {
    Duration::from_millis(elapsed_ms.max(0).unsigned_abs()).mul_f64(host.clock().pace())
}

/// The wall clock time that was `period` of uptime ago, milliseconds since 1970.
#[must_use]
pub fn wall_before(period: Duration, host: &dyn Host) -> i64 {
    let wall = period.div_f64(host.clock().pace());
    let wall = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
    host.clock().wall_ms().saturating_sub(wall)
}

/// The path that a template stands for on this server.
///
/// # Errors
/// Where the registry does not tell its root.
pub fn resolve(template: &PathTemplate, host: &dyn Host) -> Result<PathBuf, HostError> {
    let mut path = host.root(template.root)?;
    path.extend(&template.parts);
    Ok(path)
}

fn judge_event(wanted: &EventMatch, scene: Scene<'_>) -> Judgement {
    const HOUR: Duration = Duration::from_secs(3600);
    let (since_ms, from) = match wanted.since {
        Since::LastStart => (i64::MIN, "since its last start"),
        Since::RunBegan => match scene.run_began_ms {
            Some(began) => (began, "since the run began"),
            None => (wall_before(HOUR, scene.host), "in the last hour"),
        },
        Since::Within(period) => (wall_before(period, scene.host), "within the time asked for"),
    };
    let events = match scene.host.events().read(&wanted.source, since_ms) {
        Ok(events) => events,
        Err(error) => return cannot(&error),
    };
    let first = match wanted.since {
        Since::LastStart => events
            .iter()
            .rposition(|event| event.id == EVENT_STARTED)
            .unwrap_or(0),
        Since::RunBegan | Since::Within(_) => 0,
    };
    let matching = events[first..]
        .iter()
        .filter(|event| {
            wanted.ids.contains(&event.id)
                && wanted
                    .contains
                    .as_ref()
                    .is_none_or(|text| event.description.contains(text))
        })
        .count();
    let ids: Vec<String> = wanted.ids.iter().map(ToString::to_string).collect();
    Judgement::of(
        matching as u64 >= u64::from(wanted.at_least),
        format!(
            "{matching} of event {} from `{}` {from}, asked for {}",
            ids.join(" or "),
            wanted.source,
            wanted.at_least
        ),
    )
}

fn judge_disk(path: &PathTemplate, free_over: u64, scene: Scene<'_>) -> Judgement {
    let free = resolve(path, scene.host).and_then(|path| scene.host.spool().free_bytes(&path));
    match free {
        Err(error) => cannot(&error),
        Ok(free) => Judgement::of(
            free > free_over,
            format!("{free} bytes are free at `{path}`, asked for over {free_over}"),
        ),
    }
}

fn judge_registry(key: &str, value: &str, equals: &str, scene: Scene<'_>) -> Judgement {
    let found = match scene.host.registry().read(key, value) {
        Err(error) => return cannot(&error),
        Ok(None) => {
            return Judgement::of(false, format!("`{key}\\{value}` is not in the registry"));
        }
        Ok(Some(RegistryValue::Text(text))) => text,
        Ok(Some(RegistryValue::Number(number))) => number.to_string(),
        Ok(Some(RegistryValue::Texts(texts))) => {
            return Judgement::of(
                false,
                format!("`{key}\\{value}` is a list of {} texts", texts.len()),
            );
        }
    };
    Judgement::of(
        found == equals,
        format!("`{key}\\{value}` is `{found}`, asked for `{equals}`"),
    )
}
