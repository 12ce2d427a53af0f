//! The states that each message of a run was in, from the records: nothing of it is kept a second time.

use std::collections::HashMap;

use mailmend_proto::run::{BatchId, Custody, Event, Record, RunId};

use super::records::decoded;
use super::{Store, StoreError};

/// A state that a message was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustodyChange {
    /// The state.
    pub custody: Custody,
    /// Since when, by the agent's clock.
    pub at_ms: i64,
    /// What it rests on; empty: its own journal alone.
    pub evidence: String,
}

/// The states of each message, oldest first.
pub type Histories = HashMap<(BatchId, u32), Vec<CustodyChange>>;

/// What these records of a run, in order, say of its messages.
#[must_use]
fn histories<'r>(records: impl IntoIterator<Item = &'r Record>) -> Histories {
    let mut all = Histories::new();
    let mut sizes: HashMap<BatchId, u32> = HashMap::new();
    for record in records {
        let at_ms = record.at_ms;
        let mut add = |batch: BatchId, index: u32, custody, evidence: &str| {
            all.entry((batch, index)).or_default().push(CustodyChange {
                custody,
                at_ms,
                evidence: evidence.to_owned(),
            });
        };
        match &record.event {
            Event::BatchEntries { batch, entries } => {
                for entry in entries {
                    add(*batch, entry.index, entry.custody, "");
                    let size = sizes.entry(*batch).or_default();
                    *size = (*size).max(entry.index + 1);
                }
            }
            Event::BatchHeld { batch, left } => {
                for index in 0..sizes.get(batch).copied().unwrap_or(0) {
                    let live = all
                        .get(&(*batch, index))
                        .and_then(|states| states.last())
                        .is_some_and(|last| last.custody == Custody::Live);
                    let stayed = left.iter().find(|left| left.index == index);
                    let (custody, why) = match stayed {
                        Some(left) => (Custody::Live, left.why.as_str()),
                        None => (Custody::Held, ""),
                    };
                    if live || stayed.is_some() {
                        let states = all.entry((*batch, index)).or_default();
                        states.push(CustodyChange {
                            custody,
                            at_ms,
                            evidence: why.to_owned(),
                        });
                    }
                }
            }
            Event::ReplayIntended { batch, entries, .. } => {
                for index in entries.iter().flat_map(|&(first, last)| first..=last) {
                    add(*batch, index, Custody::Replaying, "");
                }
            }
            Event::ReplayPlaced { batch, left, .. } => {
                for left in left {
                    add(*batch, left.index, Custody::Held, &left.why);
                }
            }
            Event::Settled { batch, entries } => {
                for settled in entries {
                    add(*batch, settled.index, settled.custody, &settled.evidence);
                }
            }
            _ => {}
        }
    }
    all
}

impl Store {
    /// The states of each message of a run.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn histories(&self, run: RunId) -> Result<Histories, StoreError> {
        let records = sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT record FROM records WHERE run = $1 AND kind IN
               ('batch-entries', 'batch-held', 'replay-intended', 'replay-placed', 'settled')
             ORDER BY agent, journal, seq",
        )
        .bind(run.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|bytes| decoded(bytes))
        .collect::<Result<Vec<Record>, StoreError>>()?;
        Ok(histories(&records))
    }
}

#[cfg(test)]
mod tests {
    use mailmend_policy::digest::Digest;
    use mailmend_proto::run::{Entry, Left, Settlement};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_message_has_the_states_that_its_records_tell() {
        let batch = BatchId(Uuid::from_u128(1));
        let entry = |index, custody| Entry {
            index,
            name: format!("AAAAAAA{index}"),
            file_id: u64::from(index),
            size: 1,
            modified_ms: 0,
            hash: Digest::of(b"x"),
            mts_id: String::new(),
            message_id: String::new(),
            custody,
        };
        let events = [
            Event::BatchEntries {
                batch,
                entries: vec![
                    entry(0, Custody::Live),
                    entry(1, Custody::InDoubt),
                    entry(2, Custody::Live),
                ],
            },
            Event::BatchHeld {
                batch,
                left: vec![Left {
                    index: 2,
                    why: "locked".into(),
                }],
            },
            Event::ReplayIntended {
                batch,
                replay: 1,
                step: None,
                target: "/out".into(),
                entries: vec![(0, 0)],
            },
            Event::ReplayPlaced {
                batch,
                replay: 1,
                renamed: Vec::new(),
                left: Vec::new(),
            },
            Event::Settled {
                batch,
                entries: vec![Settlement {
                    index: 0,
                    custody: Custody::GoneWithEvidence,
                    evidence: "line 4".into(),
                }],
            },
        ];
        let records: Vec<Record> = (1..)
            .zip(events)
            .map(|(seq, event)| Record {
                seq,
                at_ms: i64::try_from(seq).unwrap() * 10,
                run: RunId(Uuid::from_u128(9)),
                event,
            })
            .collect();
        let all = histories(&records);
        let states = |index| -> Vec<(Custody, i64)> {
            let states = &all[&(batch, index)];
            states.iter().map(|one| (one.custody, one.at_ms)).collect()
        };
        assert_eq!(
            states(0),
            [
                (Custody::Live, 10),
                (Custody::Held, 20),
                (Custody::Replaying, 30),
                (Custody::GoneWithEvidence, 50)
            ]
        );
        assert_eq!(states(1), [(Custody::InDoubt, 10)]);
        assert_eq!(states(2), [(Custody::Live, 10), (Custody::Live, 20)]);
        assert_eq!(all[&(batch, 0)][3].evidence, "line 4");
    }
}
