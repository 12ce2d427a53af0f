//! Conditions: structured statements about one server that its agent can judge.
//!
//! A condition is true, false or cannot be told (an unreadable file, a log with gaps); what cannot
//! be told never counts as true, and as known to be false neither: see [`crate::step::Forbid`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{ServiceName, StepId};
use crate::units::{write_duration, write_size};
use crate::version::VersionRange;

/// A statement about a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// A service is in a state.
    Service {
        /// Its short name.
        service: ServiceName,
        /// The state it must be in.
        is: ServiceIs,
    },
    /// A measure of one of the four queues of the Internet Mail Service.
    Queue {
        /// Which queue.
        queue: Queue,
        /// What must hold of it.
        test: QueueTest,
    },
    /// A file's presence, age, size or text.
    File {
        /// Where it is.
        file: PathTemplate,
        /// What must hold of it.
        test: FileTest,
    },
    /// An event stands in the event log.
    Event(EventMatch),
    /// Free space on the volume of a path, in bytes, is more than `free_over`.
    Disk {
        /// A path on the volume.
        path: PathTemplate,
        /// Bytes.
        free_over: u64,
    },
    /// The Exchange build on the server is within a range.
    Version(VersionRange),
    /// A registry value equals a text (numbers in decimal).
    Registry {
        /// The key below HKEY_LOCAL_MACHINE.
        key: String,
        /// The name of the value.
        value: String,
        /// What it must be.
        equals: String,
    },
    /// An earlier step of the same run ended so.
    Step {
        /// The earlier step.
        step: StepId,
        /// How it must have ended.
        was: StepWas,
    },
    /// A person gave an earlier `human.task` step of the same run this answer.
    Answered {
        /// The earlier step.
        step: StepId,
        /// One of its answers.
        answer: String,
    },
    /// A fact that the agent reports, such as `ims.direction`, equals a text.
    Fact {
        /// The fact's name.
        fact: String,
        /// What it must be.
        equals: String,
    },
    /// All of these hold (never empty).
    All(Vec<Condition>),
    /// At least one of these holds (never empty).
    Any(Vec<Condition>),
    /// This is known to be false.
    Not(Box<Condition>),
}

/// A state of a service that a condition asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceIs {
    /// Running (not starting, not stopping).
    Running,
    /// Stopped, and its process is gone.
    Stopped,
}

/// The four queues of the Internet Mail Service (Q156063), by the names that its window shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// Files in `Imcdata\In`.
    InboundAwaitingConversion,
    /// The MTS-IN folder in the store.
    InboundAwaitingDelivery,
    /// The MTS-OUT folder in the store.
    OutboundAwaitingConversion,
    /// Files in `Imcdata\Out`.
    OutboundAwaitingDelivery,
}

impl Queue {
    /// All queues, with their names in policies.
    pub const ALL: [(&'static str, Self); 4] = [
        (
            "inbound-awaiting-conversion",
            Self::InboundAwaitingConversion,
        ),
        ("inbound-awaiting-delivery", Self::InboundAwaitingDelivery),
        (
            "outbound-awaiting-conversion",
            Self::OutboundAwaitingConversion,
        ),
        ("outbound-awaiting-delivery", Self::OutboundAwaitingDelivery),
    ];

    /// The name in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// The spool folder below Imcdata, for the two queues that are folders of files.
    #[must_use]
    pub const fn folder(self) -> Option<&'static str> {
        match self {
            Self::InboundAwaitingConversion => Some("In"),
            Self::OutboundAwaitingDelivery => Some("Out"),
            Self::InboundAwaitingDelivery | Self::OutboundAwaitingConversion => None,
        }
    }
}

/// What must hold of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueTest {
    /// The oldest message has waited longer than this.
    OldestOver(Duration),
    /// The oldest message has waited for less than this, or there is none.
    OldestUnder(Duration),
    /// More messages than this.
    CountOver(u64),
    /// Fewer messages than this (at least 1).
    CountUnder(u64),
}

/// What must hold of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileTest {
    /// It is there (`true`) or is not (`false`).
    Exists(bool),
    /// It was modified before that file was; both must be there.
    OlderThanFile(PathTemplate),
    /// It was modified after that file was; both must be there.
    NewerThanFile(PathTemplate),
    /// It was modified longer ago than this.
    OlderThan(Duration),
    /// It was modified since the current run began.
    ChangedSinceRunBegan,
    /// It has more bytes than this.
    SizeOver(u64),
    /// Its text contains this.
    Contains(String),
}

/// Events to look for in the event log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMatch {
    /// The event's source, such as `MSExchangeIMC`.
    pub source: String,
    /// The event's number; any of these (never empty).
    pub ids: Vec<u32>,
    /// From when on.
    pub since: Since,
    /// At least so many; 1 unless told.
    pub at_least: u32,
    /// A text that the description must contain.
    pub contains: Option<String>,
}

/// From when on events count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// Since the source's last event 1000 (service start).
    LastStart,
    /// Since the current run began on this agent; while detecting, the same as the last hour.
    RunBegan,
    /// Within this time.
    Within(Duration),
}

/// How an earlier step of the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepWas {
    /// Done.
    Done,
    /// Skipped, because its own `when` did not hold.
    Skipped,
}

/// A path with an optional leading variable: `${imcdata}`, `${mtadata}`, `${trackinglog}` or
/// `${exchsrvr}`, which the agent finds in the registry of its server. Parts are separated by `/`;
/// `..`, drive letters, alternate streams and device names are refused when parsing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathTemplate {
    /// Which folder the path begins in.
    pub root: PathRoot,
    /// The parts below it; empty only for the path of a `disk` condition.
    pub parts: Vec<String>,
}

/// The folders of Exchange that a path may begin in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathRoot {
    /// `MSExchangeIMC\Parameters`, value `RootDir`.
    Imcdata,
    /// `MSExchangeMTA\Parameters`, value `MTA database path`.
    Mtadata,
    /// `MSExchangeSA\Parameters`, value `Log Directory`.
    Trackinglog,
    /// The folder that holds Imcdata.
    Exchsrvr,
}

impl std::fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let root = match self.root {
            PathRoot::Imcdata => "imcdata",
            PathRoot::Mtadata => "mtadata",
            PathRoot::Trackinglog => "trackinglog",
            PathRoot::Exchsrvr => "exchsrvr",
        };
        write!(f, "${{{root}}}")?;
        self.parts.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

/// In words, for plans and faults: "`MSExchangeIMC` is running".
impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service {
                service,
                is: ServiceIs::Running,
            } => write!(f, "`{service}` is running"),
            Self::Service {
                service,
                is: ServiceIs::Stopped,
            } => write!(f, "`{service}` is stopped"),
            Self::Queue { queue, test } => queue_in_words(f, queue.name(), *test),
            Self::File { file, test } => file_in_words(f, file, test),
            Self::Event(event) => event_in_words(f, event),
            Self::Disk { path, free_over } => {
                write!(
                    f,
                    "the volume of {path} has over {} free",
                    write_size(*free_over)
                )
            }
            Self::Version(range) => write!(f, "the Exchange version is {range}"),
            Self::Registry { key, value, equals } => {
                write!(f, "`{value}` in `{key}` is `{equals}`")
            }
            Self::Step {
                step,
                was: StepWas::Done,
            } => write!(f, "`{step}` was done"),
            Self::Step {
                step,
                was: StepWas::Skipped,
            } => write!(f, "`{step}` was skipped"),
            Self::Answered { step, answer } => write!(f, "`{step}` was answered `{answer}`"),
            Self::Fact { fact, equals } => write!(f, "{fact} is `{equals}`"),
            Self::All(all) => joined(f, all, " and "),
            Self::Any(any) => joined(f, any, " or "),
            Self::Not(inner) => write!(f, "not ({inner})"),
        }
    }
}

fn joined(
    f: &mut std::fmt::Formatter<'_>,
    conditions: &[Condition],
    word: &str,
) -> std::fmt::Result {
    f.write_str("(")?;
    for (at, condition) in conditions.iter().enumerate() {
        write!(f, "{}{condition}", if at == 0 { "" } else { word })?;
    }
    f.write_str(")")
}

fn queue_in_words(
    f: &mut std::fmt::Formatter<'_>,
    queue: &str,
    test: QueueTest,
) -> std::fmt::Result {
    match test {
        QueueTest::OldestOver(age) => {
            write!(
                f,
                "the oldest message in {queue} has waited over {}",
                write_duration(age)
            )
        }
        QueueTest::OldestUnder(age) => {
            write!(
                f,
                "no message in {queue} has waited {} or longer",
                write_duration(age)
            )
        }
        QueueTest::CountOver(count) => write!(f, "{queue} has over {count} messages"),
        QueueTest::CountUnder(count) => write!(f, "{queue} has under {count} messages"),
    }
}

fn file_in_words(
    f: &mut std::fmt::Formatter<'_>,
    file: &PathTemplate,
    test: &FileTest,
) -> std::fmt::Result {
    match test {
        FileTest::Exists(true) => write!(f, "{file} is there"),
        FileTest::Exists(false) => write!(f, "{file} is not there"),
        FileTest::OlderThanFile(other) => write!(f, "{file} is older than {other}"),
        FileTest::NewerThanFile(other) => write!(f, "{file} is newer than {other}"),
        FileTest::OlderThan(age) => write!(f, "{file} is older than {}", write_duration(*age)),
        FileTest::ChangedSinceRunBegan => write!(f, "{file} has changed since the run began"),
        FileTest::SizeOver(bytes) => write!(f, "{file} has over {}", write_size(*bytes)),
        FileTest::Contains(text) => write!(f, "{file} contains `{text}`"),
    }
}

fn event_in_words(f: &mut std::fmt::Formatter<'_>, event: &EventMatch) -> std::fmt::Result {
    let ids: Vec<String> = event.ids.iter().map(u32::to_string).collect();
    write!(f, "event {} {}", event.source, ids.join(" or "))?;
    if let Some(text) = &event.contains {
        write!(f, " with `{text}`")?;
    }
    if event.at_least > 1 {
        write!(f, " stands at least {} times", event.at_least)?;
    } else {
        f.write_str(" stands")?;
    }
    match event.since {
        Since::LastStart => f.write_str(" since the last start"),
        Since::RunBegan => f.write_str(" since the run began"),
        Since::Within(time) => write!(f, " within {}", write_duration(time)),
    }
}
