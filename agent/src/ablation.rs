//! Switches that take one safety mechanism away, to prove that a test notices.
//!
//! In every ordinary build `off` is the constant `false` and nothing of this is left. Only with the cargo
//! feature `ablation`, which no other crate enables, can a test switch a mechanism off, for its own
//! thread; a program that is built with it refuses to run ([`BUILT_IN`]).

/// Whether this build has the switches.
pub const BUILT_IN: bool = cfg!(feature = "ablation");

macro_rules! mechanisms {
    ($($(#[doc = $what:literal])+ $name:ident,)+) => {
        /// A safety mechanism.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mechanism {
            $($(#[doc = $what])+ $name,)+
        }

        impl Mechanism {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it does, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($what,)+),)+
                }
            }
        }
    };
}

mechanisms! {
    /// The held folder is synced before the queue folder.
    HeldSyncedFirst,
    /// A sync that fails ends all moving; it is not taken for done.
    FailedSyncEndsMoving,
    /// The manifest is in the journal before the first file moves.
    ManifestBeforeMove,
    /// The intention of a replay is in the journal before the first file is placed.
    IntentionBeforePlace,
    /// A move never replaces anything.
    NoReplaceRename,
    /// Only files with a spool name are taken from a queue.
    OnlySpoolNames,
    /// No file moves while the service manager says that the service runs.
    StoppedByManager,
    /// No file moves while the process of the service lives, whatever the manager says.
    StoppedByProcess,
    /// No file moves while somebody has the index of the queues open.
    StoppedByOpenIndex,
    /// The service is proven stopped once more between the intention and the first move.
    StoppedAtFirstMove,
    /// A start of a search that may send mail twice is given no more files than the policy's cap.
    DuplicateCap,
    /// A held file is read and compared with its digest before it is given back.
    HashBeforeReplay,
    /// A name is taken out of a queue only where the same file has another.
    SecondNameBeforeWithdrawal,
    /// Mail counts as delivered only by evidence.
    EvidenceBeforeGone,
    /// What may have been sent is set aside before a start that follows an unclean stop.
    InDoubtSetAside,
    /// Custody that was interrupted is made whole before the service is started.
    CustodyWholeBeforeStart,
    /// A section that fails is left by its exit: service is started.
    ExitStartsService,
    /// A section that is open for longer than its budget is left, whatever was planned.
    DeadMansSwitch,
    /// A section is opened only where all of it is released.
    SectionReleasedWhole,
    /// A step that the policy forbids now (event 3038) does not run.
    ForbiddenStop,
    /// Room on the volume is looked for before the service is stopped.
    RoomBeforeStop,
    /// A policy that no trusted catalogue lists by its exact bytes is not taken on.
    PolicySigned,
    /// What the guard file does not allow is not taken on.
    GuardAtAdmission,
    /// The guard file is asked again when a step runs.
    GuardAtStep,
    /// No more files are moved at once than the guard file allows.
    GuardFileLimit,
    /// Services are not started more often within an hour than the guard file allows.
    RestartAllowance,
    /// Sections are not begun more often within an hour than the guard file allows.
    SectionAllowance,
    /// A restart of the agent does not renew its allowances.
    AllowanceOutlivesAgent,
    /// An assignment is carried out only where the agent plans the same by itself.
    PlanDigestCompared,
    /// An order of a controller that has been replaced is refused.
    FenceOnOrders,
    /// An assignment of a controller that has been replaced is refused.
    FenceOnAssignments,
    /// The highest fence is known after a restart.
    FenceOutlivesAgent,
    /// A release whose grant was overtaken, or that was refused before, is refused.
    FenceOnReleases,
    /// The watchdog leaves a service alone that a section is working on.
    WatchdogKeepsOff,
    /// While the service runs, a message that has a fingerprint moves only where nobody else has its file open.
    ExclusiveBeforeMoved,
    /// No more messages are set aside because of fingerprints than the guard file allows.
    ImmunityLimit,
    /// A copy in escrow is given back only where its digest is the one that reconciliation recorded.
    CopyAsRecorded,
    /// A message that vanished is given back only where nothing shows since that it was delivered.
    MissingStillMissing,
    /// A copy in escrow becomes custody once, whoever orders it and how often.
    CopyTakenUpOnce,
    /// Each record of the journal is bound to all before it.
    JournalChain,
    /// The journal knows how far it once was.
    JournalMarks,
    /// One agent at a time has the journal.
    JournalLock,
}

/// Whether a mechanism is switched off: never, in an ordinary build.
#[cfg(not(feature = "ablation"))]
#[inline(always)]
pub(crate) const fn off(_: Mechanism) -> bool {
    false
}

#[cfg(feature = "ablation")]
mod switches {
    use std::cell::Cell;

    use super::Mechanism;

    thread_local! {
        static OFF: Cell<Option<Mechanism>> = const { Cell::new(None) };
    }

    pub(crate) fn off(mechanism: Mechanism) -> bool {
        OFF.get() == Some(mechanism)
    }

    /// Does something on this thread without a mechanism.
    pub fn without<T>(mechanism: Mechanism, act: impl FnOnce() -> T) -> T {
        struct On;
        impl Drop for On {
            fn drop(&mut self) {
                OFF.set(None);
            }
        }
        OFF.set(Some(mechanism));
        let _on = On;
        act()
    }
}

#[cfg(feature = "ablation")]
pub(crate) use switches::off;
#[cfg(feature = "ablation")]
pub use switches::without;
