//! What a search says: the next move, where every file stands, and what it cost.

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Start the service with exactly these of the files in the queue, in this order where it matters.
    Feed(Vec<u32>),
    /// All poison is found, or there is none. `untested` and `suspected` are empty.
    Found(Tally),
    /// The search cannot go on. Everything that is not settled stays held; a person looks.
    Escalate {
        /// Why.
        why: Why,
        /// Where the files stand.
        tally: Tally,
    },
}

/// How it is known that a file is poison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// It crashed the service when nothing else of the search was left in the queue.
    Alone,
    /// By the logs it alone was in flight at a crash.
    InFlight,
    /// Of files of which one crashed the service, all others were cleared.
    Deduced,
}

/// A file that crashes the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Poison {
    /// Its index in the manifest.
    pub index: u32,
    /// How that is known.
    pub proof: Proof,
}

/// Where every file stands. Each is in exactly one of the lists but the last; all are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Crashes the service. To be held, and shown to a person.
    pub poison: Vec<Poison>,
    /// Delivered or archived, by evidence. Never to be given back.
    pub settled: Vec<u32>,
    /// Taken up by a service that stayed up, and not settled. To be given back.
    pub good: Vec<u32>,
    /// Fed to a service that stayed up and did not take it up: not shown to be good. To be given back under observation.
    pub left: Vec<u32>,
    /// Left the queue without evidence of where to. To be held, for a person to settle.
    pub in_doubt: Vec<u32>,
    /// At least one of them is poison.
    pub suspected: Vec<u32>,
    /// Nothing is known of them.
    pub untested: Vec<u32>,
    /// Of the above: in flight at a crash and fed again, so that they may have been sent twice.
    pub perhaps_twice: Vec<u32>,
}

/// Why a person must look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It dies of an empty queue.
    #[error(
        "the service crashes with an empty queue: the poison is in the store, the MTA or the configuration, not in the spool"
    )]
    NotInSpool,
    /// The starts are spent.
    #[error(
        "the restarts that the policy allows are spent; raise `max_restarts` or look at what is suspected"
    )]
    Restarts,
    /// The crashes are spent.
    #[error(
        "the crashes that the policy allows are spent; raise `max_crashes` or look at what is suspected"
    )]
    Crashes,
    /// A crash although evidence settled, or took away, everything that was fed.
    #[error(
        "the service crashed when nothing was left of what it was given: something else crashes it"
    )]
    CrashWithoutSuspect,
    /// Files crashed it together, and each of them was cleared since.
    #[error(
        "files crashed the service together and none of them crashes it alone: a message that crashes only sometimes, or something else"
    )]
    NoneOfThem,
    /// Suspects that the service does not take up, so that nothing can be learned.
    #[error(
        "the service stays up but does not take up the files that are suspected; see why they wait"
    )]
    NotTakenUp,
    /// Evidence shows delivered what was held to be poison.
    #[error("the file with index {0} was found to be poison, and evidence shows it delivered")]
    PoisonDelivered(u32),
}

impl Why {
    /// Whether what was seen contradicts itself, rather than a limit having been reached.
    #[must_use]
    pub const fn is_contradiction(&self) -> bool {
        matches!(
            self,
            Self::CrashWithoutSuspect | Self::NoneOfThem | Self::PoisonDelivered(_)
        )
    }
}

/// What a search cost, for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Starts of the service, the one with nothing included.
    pub starts: u32,
    /// Crashes.
    pub crashes: u32,
    /// Starts that told nothing because something disturbed them.
    pub disturbed: u32,
    /// The declared bound on the starts for as many poison as were found, plus those disturbed.
    pub restarts_bound: u64,
    /// The declared bound on the crashes.
    pub crashes_bound: u64,
    /// ⌈log₂ C(n, d)⌉: what starts that tell one bit each would take at the least.
    pub entropy: u32,
}
