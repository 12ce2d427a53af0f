//! Steps: what a policy does, one action at a time, each on the servers of one role.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::condition::{Condition, Queue};
use crate::name::{RoleName, ServiceName, StepId, ToolName};

/// One step of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unique in its policy.
    pub id: StepId,
    /// The role whose servers carry it out.
    pub on: RoleName,
    /// What is done.
    pub action: Action,
    /// The longest that the step may take; the action's own default unless told.
    pub timeout: Duration,
    /// All must hold, or the step is skipped.
    pub when: Vec<Condition>,
    /// Each must be known not to hold when the step begins, or the run fails before the step changes
    /// anything.
    pub forbid: Vec<Forbid>,
    /// After this step is done, unwinding is no longer offered for it and what came before it.
    pub point_of_no_return: bool,
    /// Why the step is there, for the operator who reads the plan.
    pub why: Option<String>,
}

/// A condition that forbids a step, with the reason that the operator will read. What cannot be told
/// (an unreadable event log, a queue that cannot be counted) forbids too: the reason is a danger to mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forbid {
    /// What must not hold.
    pub condition: Condition,
    /// Why.
    pub why: String,
}

/// What a step does. Each kind has one file in the agent's `step/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Judge the policy's symptom. Made by the planner from `[detect]`, never written in a policy.
    /// Where the symptom does not stand the run ends there, with nothing changed.
    Detect {
        /// All must hold.
        all: Vec<Condition>,
    },
    /// Stop a service and prove it: state, process gone. Opens a section.
    ServiceStop {
        /// Which service.
        service: ServiceName,
        /// What to do where it has not stopped when the step's timeout ends.
        then: IfStillRunning,
    },
    /// Start a service and watch it. Closes the section that its stop opened.
    ServiceStart {
        /// Which service.
        service: ServiceName,
        /// How long it must stay up before the start counts.
        observe: Duration,
        /// How often to try where it dies while watched, 1 to 5.
        attempts: u32,
    },
    /// End the process of a service that cannot be stopped, by pid, start time and image.
    ServiceKill {
        /// Which service.
        service: ServiceName,
    },
    /// Have the site's routing recalculated by a tool, and wait until its effect is to be seen.
    RoutingRecalculate {
        /// The tool in the guard file.
        tool: ToolName,
        /// All must hold before the step's timeout ends; the tool's own word is not enough (Q182798).
        until: Vec<Condition>,
    },
    /// Take the files of a queue folder into custody.
    QueueQuarantine {
        /// Which queue; one with a folder.
        queue: Queue,
        /// What unwinding does with what is held.
        undo: QuarantineUndo,
    },
    /// Set `queue.dat` aside, so that the service rebuilds it. Never deletes it.
    QueueResetIndex {},
    /// Give files in custody back to the queue that they came from.
    QueueReplay {
        /// The quarantine step whose files these are.
        of: StepId,
        /// At most so many, oldest first; all unless told.
        first: Option<u64>,
        /// Messages that events 4115, 4117 or 4182 of this period name are not given back: they are set
        /// down as poison. None: events are not looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        except_named_since: Option<Duration>,
    },
    /// Find the messages that crash the service, by evidence first and then by groups (Q168883).
    QueueSearch {
        /// The quarantine step whose files are searched.
        of: StepId,
        /// The service that crashes.
        service: ServiceName,
        /// How long it must stay up with a group before the group counts as good.
        observe: Duration,
        /// The most restarts that the search may take.
        max_restarts: u32,
        /// The most crashes that the search may cause.
        max_crashes: u32,
        /// The most messages that one crash may send twice; caps the size of a group.
        max_duplicates: u64,
        /// For how many messages that crash the service the other limits are declared.
        max_bad: u32,
        /// The most messages that the service handles at one time, where its logs show after a crash which
        /// those were; none where they do not.
        in_flight: Option<u32>,
    },
    /// Send a test message through the server and wait for evidence that it left.
    MailProbe {
        /// The tool in the guard file that submits it and prints its MTS-ID.
        tool: ToolName,
        /// The recipient, outside the organisation.
        to: String,
    },
    /// Wait for evidence that what a step replayed has been delivered, and settle each message.
    QueueSettle {
        /// The quarantine step whose files these are.
        of: StepId,
    },
    /// Wait until all of these hold.
    WaitUntil {
        /// All must hold.
        until: Vec<Condition>,
        /// The time between two looks.
        poll: Duration,
    },
    /// Judge conditions once; the run fails, with nothing changed, where they do not hold.
    Check {
        /// All must hold.
        all: Vec<Condition>,
    },
    /// Run a tool that the guard file defines, and judge its output by the verdicts defined there.
    ToolRun {
        /// The tool in the guard file.
        tool: ToolName,
        /// Values of the flags that the guard file declares for it.
        with: BTreeMap<String, String>,
        /// The verdicts that count as done (never empty).
        accept: Vec<String>,
    },
    /// Ask a person to do something that no program can, and take a typed answer.
    HumanTask {
        /// What to do, for the person.
        ask: String,
        /// The answers that may be given (never empty).
        answers: Vec<String>,
        /// The answers that count as done (never empty, each one of `answers`).
        accept: Vec<String>,
    },
    /// Compare SMTP log, tracking log and spool, and list the messages that vanished (Q157684).
    MailReconcile {
        /// How far back to look.
        over: Duration,
        /// How long a message may be under way before it counts as missing.
        grace: Duration,
        /// The tool in the guard file that prints the MTS-IDs of what is in MTS-OUT, one a line; none: only
        /// the service's counter tells how many there are.
        store: Option<ToolName>,
    },
    /// Keep a second name of every file that appears in the queue folders, so that what the server
    /// deletes can be had back.
    MailEscrow {
        /// Which queue; one with a folder.
        queue: Queue,
        /// How long a copy is kept after evidence of delivery.
        keep: Duration,
    },
}

impl Action {
    /// The name in policies, such as `service.stop`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Detect { .. } => "detect",
            Self::ServiceStop { .. } => "service.stop",
            Self::ServiceStart { .. } => "service.start",
            Self::ServiceKill { .. } => "service.kill",
            Self::RoutingRecalculate { .. } => "routing.recalculate",
            Self::QueueQuarantine { .. } => "queue.quarantine",
            Self::QueueResetIndex {} => "queue.reset-index",
            Self::QueueReplay { .. } => "queue.replay",
            Self::QueueSearch { .. } => "queue.search",
            Self::MailProbe { .. } => "mail.probe",
            Self::QueueSettle { .. } => "queue.settle",
            Self::WaitUntil { .. } => "wait.until",
            Self::Check { .. } => "check",
            Self::ToolRun { .. } => "tool.run",
            Self::HumanTask { .. } => "human.task",
            Self::MailReconcile { .. } => "mail.reconcile",
            Self::MailEscrow { .. } => "mail.escrow",
        }
    }

    /// Whether undoing the action does anything. Agents undo only such steps, and the controller waits
    /// only for them.
    #[must_use]
    pub fn has_undo(&self) -> bool {
        match self {
            Self::ServiceStop { .. } | Self::ServiceKill { .. } => true,
            Self::QueueQuarantine { undo, .. } => *undo == QuarantineUndo::Replay,
            _ => false,
        }
    }
}

/// What to do with a service that does not stop in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfStillRunning {
    /// The step fails; nothing is ended.
    Fail,
    /// End the process of that service only. What it was sending is set aside as in doubt.
    Kill,
}

/// What unwinding a quarantine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineUndo {
    /// The mail stays held; putting it back may crash the server again.
    Keep,
    /// The mail is put back as a replay does it: service proven stopped, placed, started.
    Replay,
}
