//! Records: what one line of an agent's journal says.

use std::fmt;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServiceName;
use uuid::Uuid;

use super::custody::{Entry, Left, Settlement};
use super::immunity::ProvenPoison;
use super::reconciled::ReconciledMessage;
use super::search::{SearchObservation, SearchSuspect};

/// A run: one plan being carried out; or a duty, which one agent began by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub Uuid);

impl RunId {
    /// Of records that belong to no run.
    pub const NONE: Self = Self(Uuid::nil());
}

/// A batch of files in custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One line of an agent's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Contiguous from 1 over the whole journal.
    pub seq: u64,
    /// The agent's wall clock, milliseconds since 1970 UTC; for people only.
    pub at_ms: i64,
    /// The run or duty it belongs to.
    pub run: RunId,
    /// What happened, or is about to.
    pub event: Event,
}

/// What a record says. Intentions are durable before their effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The run was taken on.
    Admitted {
        /// The fence of its assignment.
        fence: u64,
        /// The digest of its plan.
        plan: Digest,
        /// The digest of its policy's text.
        policy: Digest,
        /// The assignment as received, wire bytes.
        assignment: Vec<u8>,
    },
    /// The agent began something by itself.
    DutyBegan {
        /// What: `watchdog` or `immunity`.
        duty: String,
        /// The service it cares for.
        service: ServiceName,
        /// Why.
        why: String,
    },
    /// The watermark rose.
    Advanced {
        /// The fence it came with.
        fence: u64,
        /// Steps below this may run.
        through: u32,
    },
    /// The fence rose.
    Fenced {
        /// The new fence.
        fence: u64,
    },
    /// Unwinding was ordered, or goes further down.
    UnwindOrdered {
        /// The fence it came with.
        fence: u64,
        /// Done steps at or above this are undone.
        down_to: u32,
        /// Nothing further down will be asked: the agent closes when that is done.
        last: bool,
    },
    /// A step is about to act.
    StepIntended {
        /// Its index.
        step: u32,
        /// Counts from 1; rises only after `no-effect`.
        attempt: u32,
    },
    /// A step's `when` did not hold.
    StepSkipped {
        /// Its index.
        step: u32,
        /// Which condition.
        why: String,
    },
    /// A step ended.
    StepFinished {
        /// Its index.
        step: u32,
        /// The attempt that ended.
        attempt: u32,
        /// How.
        outcome: Outcome,
        /// One line for people.
        detail: String,
        /// Facts with their places.
        evidence: Vec<String>,
    },
    /// Service is about to be disturbed.
    SectionBegan {
        /// Its index.
        section: u32,
        /// The service whose start is the exit.
        service: ServiceName,
        /// Which start of the machine.
        boot: String,
        /// When, on the machine's monotonic clock.
        since_boot_ms: u64,
        /// How long service may be disturbed.
        budget_ms: u64,
    },
    /// Service is no longer disturbed, or a person was called.
    SectionEnded {
        /// Its index.
        section: u32,
        /// How.
        how: SectionEnd,
        /// One line for people.
        detail: String,
    },
    /// A done step is about to be undone.
    UndoIntended {
        /// Its index.
        step: u32,
    },
    /// An undo ended.
    UndoFinished {
        /// The step's index.
        step: u32,
        /// How.
        outcome: Outcome,
        /// One line for people.
        detail: String,
    },
    /// A service is about to change, or has changed.
    ServiceChanged {
        /// Which.
        service: ServiceName,
        /// How.
        change: ServiceChange,
        /// The process, 0 where there is none.
        pid: u32,
    },
    /// Files are about to be taken into custody.
    BatchIntended {
        /// The batch.
        batch: BatchId,
        /// The step that takes them; none in a duty.
        step: Option<u32>,
        /// The queue's name in policies.
        queue: String,
        /// The folder they are in.
        source: String,
        /// The folder they go to.
        held: String,
        /// How many.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// The folder of escrow whose copies they are: they get a second name and stay there. None: they move
        /// out of `source`.
        copied_from: Option<String>,
    },
    /// The manifest of a batch, in pieces, in the same transaction as its intention.
    BatchEntries {
        /// The batch.
        batch: BatchId,
        /// The next entries, in order of index.
        entries: Vec<Entry>,
    },
    /// The files are in the held folder, durably.
    BatchHeld {
        /// The batch.
        batch: BatchId,
        /// What stayed in the queue, with the reason.
        left: Vec<Left>,
    },
    /// Held files are about to be given back.
    ReplayIntended {
        /// The batch.
        batch: BatchId,
        /// Counts from 1 in its batch.
        replay: u32,
        /// The step that asked; none where an undo or an operator did.
        step: Option<u32>,
        /// The folder they go to.
        target: String,
        /// Which entries, as inclusive ranges.
        entries: Vec<(u32, u32)>,
    },
    /// The files are in the queue again, durably; the service has not been started yet.
    ReplayPlaced {
        /// The batch.
        batch: BatchId,
        /// Which replay.
        replay: u32,
        /// Entries that took another name because theirs was taken.
        renamed: Vec<(u32, String)>,
        /// What stayed held, with the reason.
        left: Vec<Left>,
    },
    /// Entries reached a state by evidence or by a person's word.
    Settled {
        /// The batch.
        batch: BatchId,
        /// The entries.
        entries: Vec<Settlement>,
    },
    /// `queue.dat` was renamed.
    IndexSetAside {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// A person must know.
    Alarm {
        /// A code of `docs/faults.md`.
        code: String,
        /// What, with values.
        text: String,
    },
    /// The agent's part of the run is over.
    Closed {
        /// How.
        how: Ended,
        /// One line for people.
        detail: String,
    },
    /// A person answered a `human.task` step.
    Answered {
        /// The order that brought it.
        order: Uuid,
        /// The step's index.
        step: u32,
        /// One of its answers.
        answer: String,
        /// Who.
        by: String,
        /// In the person's words; empty: nothing was added.
        note: String,
    },
    /// A person ordered that held mail of a closed run be given back: the run is open again until the next
    /// `Closed`.
    ReleaseOrdered {
        /// The order that brought it.
        order: Uuid,
        /// Who.
        by: String,
        /// In the person's words.
        why: String,
        /// Only what is held in this batch; none: in every batch of the run.
        batch: Option<BatchId>,
    },
    /// A person ordered that messages which vanished be given back from their copies in escrow: the run is open
    /// again until the next `Closed`. The batches of copies follow in the same transaction.
    RecoverOrdered {
        /// The order that brought it.
        order: Uuid,
        /// Who.
        by: String,
        /// In the person's words.
        why: String,
        /// What the order would have meant too and is not given back, with the reason.
        left: Vec<String>,
    },
    /// A person said what became of messages; the settlements follow in the same transaction.
    SettleOrdered {
        /// The order that brought it.
        order: Uuid,
        /// Who.
        by: String,
        /// What the person knows, and from where.
        why: String,
    },
    /// A queue's folder is about to be held whole; its batch follows when its files were listed.
    FolderIntended {
        /// The batch.
        batch: BatchId,
        /// The step that takes it; none in a duty.
        step: Option<u32>,
        /// The queue's name in policies.
        queue: String,
        /// The queue's folder.
        source: String,
        /// The empty folder that exchanges names with it.
        held: String,
        /// The identity of the queue's folder.
        folder_id: u64,
        /// The service did not stop cleanly.
        unclean: bool,
    },
    /// A search for poison begins, or its list of suspects goes on.
    SearchBegan {
        /// The searching step's index.
        step: u32,
        /// Whose files are searched.
        batch: BatchId,
        /// The next suspects, in order of index; at most 500.
        suspects: Vec<SearchSuspect>,
    },
    /// A start for a search is about to be prepared.
    SearchStarted {
        /// The searching step's index.
        step: u32,
        /// Counts from 1 in its step.
        start: u32,
        /// What the queue must hold, as inclusive ranges of entries.
        fed: Vec<(u32, u32)>,
        /// How many of them a crash before may have sent already.
        may_send_twice: u64,
        /// Which start of the machine.
        boot: String,
        /// When, on the machine's monotonic clock: the budget of the section runs anew from here.
        since_boot_ms: u64,
    },
    /// What one start of a search showed.
    SearchObserved {
        /// The searching step's index.
        step: u32,
        /// Which start.
        start: u32,
        /// What.
        observation: SearchObservation,
    },
    /// What was found of messages that were accepted, in pieces: a step that is carried out again after a
    /// crash begins with piece 1 again, and what it had told before does not count.
    Reconciled {
        /// The reconciling step's index.
        step: u32,
        /// Counts from 1.
        piece: u32,
        /// How many more were delivered.
        delivered: u64,
        /// The others, and of the delivered ones those that would be sent again; at most 500.
        messages: Vec<ReconciledMessage>,
    },
    /// From here on a second name of every file that appears in a queue folder is kept.
    EscrowOrdered {
        /// The step's index.
        step: u32,
        /// The queue's name in policies.
        queue: String,
        /// The folder that is watched.
        folder: String,
        /// The folder with the second names.
        kept_in: String,
        /// How long a copy is kept after evidence of delivery, milliseconds.
        keep_ms: u64,
    },
    /// Messages were proven to be poison: what they are known by on other servers.
    PoisonProven {
        /// The batch.
        batch: BatchId,
        /// The messages.
        entries: Vec<ProvenPoison>,
    },
    /// Messages are taken, or held from now on, because they have the fingerprint of a poison; in the transaction that
    /// intends or settles that.
    Immunized {
        /// The batch.
        batch: BatchId,
        /// The entries, each with the fingerprint.
        entries: Vec<(u32, Uuid)>,
    },
    /// How far the controller's audit trail reached. It belongs to no run: [`RunId::NONE`].
    TrailWitnessed {
        /// The trail's newest entry.
        seq: u64,
        /// The trail's hash there.
        hash: Digest,
        /// It contradicts what was witnessed before.
        contradicts: bool,
    },
}

/// How a step or an undo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect, verified.
    Done,
    /// It failed, and it is known that nothing changed.
    NoEffect,
    /// It failed, and it is not known what changed.
    Unknown,
}

/// How a section ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionEnd {
    /// Its last step is done.
    Committed,
    /// The exit was taken: service was started.
    Exited,
    /// The exit failed: an alarm stands.
    HandedOver,
}

/// A change of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceChange {
    /// It is about to be asked to stop.
    StopIntended,
    /// It is stopped: state and process proven.
    Stopped,
    /// Its process is about to be ended.
    KillIntended,
    /// Its process was ended.
    Killed,
    /// It is about to be asked to start; what was placed may be read from here on.
    StartIntended,
    /// It was up for the whole window.
    Started,
    /// It was found dead though nobody stopped it.
    Died,
}

/// How an agent's part of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every step is done or skipped, and the run is committed.
    Committed,
    /// The symptom does not stand; nothing was changed.
    NotNeeded,
    /// Every done step was undone as declared.
    Unwound,
    /// A person is needed.
    AtRest,
    /// Held mail was given back on a person's word, after the run had come to rest.
    Released,
}

impl Event {
    /// The event's name, for messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted",
            Self::DutyBegan { .. } => "duty-began",
            Self::Advanced { .. } => "advanced",
            Self::Fenced { .. } => "fenced",
            Self::UnwindOrdered { .. } => "unwind-ordered",
            Self::StepIntended { .. } => "step-intended",
            Self::StepSkipped { .. } => "step-skipped",
            Self::StepFinished { .. } => "step-finished",
            Self::SectionBegan { .. } => "section-began",
            Self::SectionEnded { .. } => "section-ended",
            Self::UndoIntended { .. } => "undo-intended",
            Self::UndoFinished { .. } => "undo-finished",
            Self::ServiceChanged { .. } => "service-changed",
            Self::BatchIntended { .. } => "batch-intended",
            Self::BatchEntries { .. } => "batch-entries",
            Self::BatchHeld { .. } => "batch-held",
            Self::ReplayIntended { .. } => "replay-intended",
            Self::ReplayPlaced { .. } => "replay-placed",
            Self::Settled { .. } => "settled",
            Self::IndexSetAside { .. } => "index-set-aside",
            Self::Alarm { .. } => "alarm",
            Self::Closed { .. } => "closed",
            Self::Answered { .. } => "answered",
            Self::ReleaseOrdered { .. } => "release-ordered",
            Self::RecoverOrdered { .. } => "recover-ordered",
            Self::SettleOrdered { .. } => "settle-ordered",
            Self::FolderIntended { .. } => "folder-intended",
            Self::SearchBegan { .. } => "search-began",
            Self::SearchStarted { .. } => "search-started",
            Self::SearchObserved { .. } => "search-observed",
            Self::Reconciled { .. } => "reconciled",
            Self::EscrowOrdered { .. } => "escrow-ordered",
            Self::PoisonProven { .. } => "poison-proven",
            Self::Immunized { .. } => "immunized",
            Self::TrailWitnessed { .. } => "trail-witnessed",
        }
    }
}
