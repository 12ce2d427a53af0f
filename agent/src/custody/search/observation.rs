//! What one start of the service showed.

/// What one start showed, from the start until it crashed or until nothing had moved for the declared time.
/// Indices are those of the manifest; what is not of the search is left out. It is also the
/// journal's record of the start: the search is the fold of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observation {
    /// The service died by itself, or hung and had to be ended: what it was sending may have been sent.
    pub crashed: bool,
    /// Delivered or archived, by evidence: fed now, or before and known only now.
    pub settled: Vec<u32>,
    /// Fed now, and still in the queue. What was fed and is neither here nor settled is in doubt.
    pub still_there: Vec<u32>,
    /// Fed now, still in the queue, and begun by the logs: after a crash, what was in flight. `None`:
    /// the logs cannot tell.
    pub in_flight: Option<Vec<u32>>,
    /// The file that an event of this start (4115, 4117, 4182) names. Believed after a crash only.
    pub named: Option<u32>,
    /// The file that could not be opened exclusively after a crash.
    pub locked: Option<u32>,
    /// Something else may have crashed it, or nobody watched to the end: mail that arrived
    /// meanwhile and was in flight, an exit taken early, an agent that died. Only what is settled or gone counts.
    pub disturbed: bool,
}
