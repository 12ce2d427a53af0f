//! Taking in what an agent reports: from the wire to the store, each record once.
//!
//! A record is folded into its run's state before it is stored, with the same function that the agent
//! used; what is not legal is stored nowhere. Only what is durable is acknowledged.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::chain::Link;
use mailmend_proto::convert::{WireFault, record_from_wire};
use mailmend_proto::run::{Event, Illegal, Record, RunId, RunState};
use mailmend_proto::wire;
use uuid::Uuid;

use crate::rollout::Told;
use crate::store::{AgentRow, PartKey, Store, StoreError, StoredRun, Tail, Written, kept};
use crate::trail::chain::hex;

/// A report that is not taken in. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum IngestFault {
    /// A record cannot be understood.
    #[error("C060-report-malformed: record {seq} of `{agent}` makes no sense: {why}")]
    Malformed {
        /// The agent.
        agent: ServerName,
        /// The record.
        seq: u64,
        /// What is wrong.
        why: WireFault,
    },
    /// A record is missing between what is stored and what came.
    #[error(
        "C061-report-gap: `{agent}` reported record {came}, but {expected} is the next to come"
    )]
    Gap {
        /// The agent.
        agent: ServerName,
        /// What came.
        came: u64,
        /// What should have come.
        expected: u64,
    },
    /// A record that is stored came again and says something else.
    #[error(
        "C062-agent-second-history: record {seq} of `{agent}` came again and says something else: two machines \
         use one identity, or its journal was changed"
    )]
    SecondHistory {
        /// The agent.
        agent: ServerName,
        /// The record.
        seq: u64,
    },
    /// A record belongs to a run that the agent has no part in.
    #[error("C063-report-foreign: record {seq} of `{agent}` belongs to run {run}, {why}")]
    Foreign {
        /// The agent.
        agent: ServerName,
        /// The record.
        seq: u64,
        /// The run.
        run: RunId,
        /// Why that cannot be.
        why: &'static str,
    },
    /// A record is not legal after those before it.
    #[error("C064-report-illegal: record {seq} of `{agent}` in run {run}: {why}")]
    Illegal {
        /// The agent.
        agent: ServerName,
        /// The record.
        seq: u64,
        /// The run.
        run: RunId,
        /// Which rule it breaks.
        why: Illegal,
    },
    /// The agent's journal is not what is stored of it.
    #[error(
        "C160-journal-contradicts: the journal of `{agent}` has the hash {told} at record {seq}, and what is stored of \
         it has {stored}: records that were reported were changed, or another version wrote them"
    )]
    Contradicts {
        /// The agent.
        agent: ServerName,
        /// The record.
        seq: u64,
        /// The hash that follows from what is stored.
        stored: String,
        /// The hash that the agent tells.
        told: String,
    },
    /// The store failed; the same report may come again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IngestFault {
    /// Whether a person must know of it: everything but a failing store and a mere gap.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        !matches!(self, Self::Store(_) | Self::Gap { .. })
    }
}

/// How far an agent's journal is stored, and the states of the runs that it reports on. Owned by the
/// agent's one session; it is dropped when a report is refused.
#[derive(Debug)]
pub struct Ledger {
    agent: ServerName,
    site: SiteName,
    journal: String,
    acknowledged: u64,
    /// The journal's chain there; none before it was asked for.
    chain: Option<Link>,
    /// When the audit trail noted it last, milliseconds since 1970 UTC.
    noted_ms: Option<i64>,
    runs: HashMap<RunId, Folded>,
}

/// While an agent reports, the audit trail notes the head of its journal at most this often, and once when a run has
/// closed; milliseconds.
pub const NOTED_EVERY: u64 = 5 * 60 * 1000;

/// What records are worth to the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// They only tell what the agent saw of the trail: noting that again would go on for ever.
    Nothing,
    /// Something was done.
    Something,
    /// A run has closed.
    Closed,
}

impl Weight {
    /// Of these records.
    #[must_use]
    pub fn of<'r>(records: impl IntoIterator<Item = &'r Record>) -> Self {
        let each = records.into_iter().map(|record| match record.event {
            Event::TrailWitnessed { .. } => Self::Nothing,
            Event::Closed { .. } => Self::Closed,
            _ => Self::Something,
        });
        each.max().unwrap_or(Self::Nothing)
    }

    /// Whether it is time to tell of them, where it was done last `before_ms`.
    #[must_use]
    pub fn is_due(self, before_ms: Option<i64>, now_ms: i64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Something => before_ms.is_none_or(|at| now_ms.abs_diff(at) >= NOTED_EVERY),
            Self::Closed => true,
        }
    }
}

/// What an agent's records of one run add up to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folded {
    pub(crate) state: RunState,
    pub(crate) told: Told,
    pub(crate) changed: bool,
}

/// The records of a report, told apart.
pub(crate) struct Sorted {
    /// Those that follow on what is stored, in order and without a gap.
    pub(crate) fresh: Vec<Record>,
    /// Those that are stored already.
    pub(crate) known: Vec<Record>,
}

/// Understands a report.
pub(crate) fn sorted(
    agent: &ServerName,
    acknowledged: u64,
    records: Vec<wire::Record>,
) -> Result<Sorted, IngestFault> {
    let (mut fresh, mut known) = (Vec::with_capacity(records.len()), Vec::new());
    for record in records {
        let seq = record.seq;
        let record = record_from_wire(record).map_err(|why| IngestFault::Malformed {
            agent: agent.clone(),
            seq,
            why,
        })?;
        let expected = acknowledged + 1 + fresh.len() as u64;
        if seq <= acknowledged {
            known.push(record);
        } else if seq == expected {
            fresh.push(record);
        } else if fresh.contains(&record) {
            // The same record twice in one report.
        } else {
            return Err(IngestFault::Gap {
                agent: agent.clone(),
                came: seq,
                expected,
            });
        }
    }
    Ok(Sorted { fresh, known })
}

impl Ledger {
    /// The ledger of an agent that was just let in.
    #[must_use]
    pub fn of(agent: &AgentRow) -> Self {
        Self {
            agent: agent.name.clone(),
            site: agent.site.clone(),
            journal: agent.journal.clone(),
            acknowledged: agent.acknowledged,
            chain: agent.chain.map(|hash| Link {
                seq: agent.acknowledged,
                hash,
            }),
            noted_ms: None,
            runs: HashMap::new(),
        }
    }

    /// The highest seq that is stored without a gap.
    #[must_use]
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Takes a report in, all of it or nothing, and answers up to where the journal is stored now.
    /// Records that are stored already change nothing.
    ///
    /// # Errors
    /// Where a record is malformed, missing, foreign or illegal, or the store fails. The ledger must
    /// not be used any more then.
    pub async fn report(
        &mut self,
        store: &Store,
        records: Vec<wire::Record>,
        now_ms: i64,
    ) -> Result<u64, IngestFault> {
        let Sorted { fresh, known } = sorted(&self.agent, self.acknowledged, records)?;
        for record in &known {
            self.compare(store, record).await?;
        }
        if fresh.is_empty() {
            return Ok(self.acknowledged);
        }
        for record in &fresh {
            self.fold(store, record).await?;
        }
        let noted = Weight::of(&fresh).is_due(self.noted_ms, now_ms);
        let fresh: Vec<Written> = fresh.into_iter().map(Written::from).collect();
        let chain = self.chain(store).await?.map(|chain| {
            fresh
                .iter()
                .fold(chain, |chain, written| chain.after(&written.bytes))
        });
        let count = fresh.len() as u64;
        let changed: Vec<StoredRun> = self
            .runs
            .iter_mut()
            .filter(|(_, folded)| folded.changed)
            .map(|(run, folded)| {
                folded.changed = false;
                folded.told = std::mem::take(&mut folded.told).counted(&folded.state);
                folded.told.heard_ms = now_ms;
                StoredRun {
                    run: *run,
                    told: folded.told.clone(),
                }
            })
            .collect();
        store
            .append(
                Tail {
                    agent: &self.agent,
                    site: &self.site,
                    journal: &self.journal,
                    after: self.acknowledged,
                    chain: chain.map(|chain| chain.hash),
                    noted,
                },
                fresh,
                changed,
                now_ms,
            )
            .await?;
        self.acknowledged += count;
        self.chain = chain;
        if noted {
            self.noted_ms = Some(now_ms);
        }
        // What is over is folded again from the store in the rare case that something follows.
        self.runs.retain(|_, folded| folded.state.closed.is_none());
        Ok(self.acknowledged)
    }

    /// The journal's chain at what is stored; none for a journal without an id.
    async fn chain(&mut self, store: &Store) -> Result<Option<Link>, StoreError> {
        let Ok(journal) = Uuid::try_parse(&self.journal) else {
            return Ok(None);
        };
        if self.chain.is_none() {
            let chain = store
                .chain_at(&self.agent, journal, self.acknowledged)
                .await?;
            self.chain = Some(chain);
        }
        Ok(self.chain)
    }

    /// Compares the agent's journal with what is stored of it, where the agent tells its hash at that.
    ///
    /// # Errors
    /// [`IngestFault::Contradicts`] where it is another; the agent is served all the same.
    pub async fn is_same(
        &mut self,
        store: &Store,
        told: &wire::JournalHead,
    ) -> Result<(), IngestFault> {
        let Some(chain) = self.chain(store).await? else {
            return Ok(());
        };
        if told.seq != chain.seq || told.hash == chain.hash {
            return Ok(());
        }
        Err(IngestFault::Contradicts {
            agent: self.agent.clone(),
            seq: chain.seq,
            stored: hex(&chain.hash),
            told: hex(&told.hash),
        })
    }

    async fn compare(&self, store: &Store, record: &Record) -> Result<(), IngestFault> {
        let stored = store
            .record_bytes(&self.agent, &self.journal, record.seq)
            .await?;
        if stored.as_deref() == Some(kept(record).as_slice()) {
            return Ok(());
        }
        Err(IngestFault::SecondHistory {
            agent: self.agent.clone(),
            seq: record.seq,
        })
    }

    async fn fold(&mut self, store: &Store, record: &Record) -> Result<(), IngestFault> {
        let witnesses = matches!(record.event, Event::TrailWitnessed { .. });
        if witnesses != (record.run == RunId::NONE) {
            return Err(IngestFault::Foreign {
                agent: self.agent.clone(),
                seq: record.seq,
                run: record.run,
                why: "and what belongs to no run stands under no run, and nothing else does",
            });
        }
        if witnesses {
            return Ok(());
        }
        self.check_begin(store, record).await?;
        let folded = match self.runs.entry(record.run) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let events = store.events(&self.agent, &self.journal, record.run).await?;
                let mut folded = Folded::default();
                for event in &events {
                    folded = folded.after(event).map_err(|why| StoreError::Row {
                        table: "records",
                        why: why.to_string(),
                    })?;
                }
                unknown.insert(folded)
            }
        };
        *folded =
            std::mem::take(folded)
                .after(&record.event)
                .map_err(|why| IngestFault::Illegal {
                    agent: self.agent.clone(),
                    seq: record.seq,
                    run: record.run,
                    why,
                })?;
        Ok(())
    }

    /// A run begins for an agent only as it was assigned to it, and goes no further than was released; a
    /// duty begins only under an id of its own.
    async fn check_begin(&self, store: &Store, record: &Record) -> Result<(), IngestFault> {
        let foreign = |why| IngestFault::Foreign {
            agent: self.agent.clone(),
            seq: record.seq,
            run: record.run,
            why,
        };
        match &record.event {
            Event::Admitted { .. } | Event::Advanced { .. } => {
                let part = store.part(record.run, &self.agent).await?;
                agrees(part, &record.event).map_err(foreign)
            }
            Event::DutyBegan { .. } => {
                match store.runs_named(&record.run.to_string()).await?.first() {
                    Some(_) => Err(foreign("which exists already")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Whether a record of an agent agrees with its part in the run, and why not.
pub(crate) fn agrees(part: Option<PartKey>, event: &Event) -> Result<(), &'static str> {
    let Some(part) = part else {
        return Err("which it has no part in");
    };
    match event {
        Event::Admitted { plan, .. } if part.plan != Some(*plan) => {
            Err("but with another plan than the one approved")
        }
        Event::Admitted { fence, .. } | Event::Advanced { fence, .. }
            if part.fence.is_none_or(|minted| *fence > minted) =>
        {
            Err("with a fence that was never minted for it")
        }
        Event::Advanced { through, .. } if *through > part.through => {
            Err("further than was released to it")
        }
        _ => Ok(()),
    }
}

impl Folded {
    pub(crate) fn after(self, event: &Event) -> Result<Self, Illegal> {
        let state = self.state.after(event)?;
        let told = self.told.after(&state, event);
        Ok(Self {
            state,
            told,
            changed: true,
        })
    }
}

#[cfg(test)]
mod tests;
