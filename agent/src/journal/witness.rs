//! What the agent saw of the controller's audit trail: noted in the journal, so that the controller cannot write its
//! past anew without this journal showing it.

use std::time::Duration;

use mailmend_policy::digest::Digest;
use mailmend_proto::run::Event;

/// While runs are carried out a head is noted at most this often, and once when a run has closed.
const OFTEN: Duration = Duration::from_secs(5 * 60);
/// While nothing is carried out a head is noted at most this often.
const SELDOM: Duration = Duration::from_secs(60 * 60);

/// Where the trail ended, as the controller said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailHead {
    /// Its newest entry.
    pub seq: u64,
    /// The hash there.
    pub hash: Digest,
}

/// What a journal's records say of the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Witnessed {
    /// The head that was noted last.
    pub last: Option<TrailHead>,
    /// Whether that one contradicted the one before it.
    pub contradicted: bool,
    /// What was written down since.
    pub since: Since,
}

/// What was written down since a head was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Since {
    /// Nothing.
    #[default]
    Nothing,
    /// Something.
    Something,
    /// A run has closed.
    Closed,
}

/// What to do with a head that the controller tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is known, or was noted a short while ago.
    Nothing,
    /// Note it.
    Note,
    /// Note it, and raise an alarm: it cannot be true together with what was noted before.
    Contradicts(String),
}

impl Witnessed {
    /// After one more record.
    #[must_use]
    pub fn after(mut self, event: &Event) -> Self {
        match event {
            Event::TrailWitnessed {
                seq,
                hash,
                contradicts,
            } => {
                self.contradicted = *contradicts;
                self.last = Some(TrailHead {
                    seq: *seq,
                    hash: *hash,
                });
                self.since = Since::Nothing;
            }
            Event::Closed { .. } => self.since = Since::Closed,
            _ => self.since = self.since.max(Since::Something),
        }
        self
    }

    /// What to do with a head that the controller tells, `elapsed` after this process noted one; none: it never did.
    #[must_use]
    pub fn judge(&self, told: TrailHead, elapsed: Option<Duration>) -> Verdict {
        // A controller that says one thing and another by turns must not fill the journal with it.
        if self.contradicted && elapsed.is_some_and(|elapsed| elapsed < OFTEN) {
            return Verdict::Nothing;
        }
        if let Some(last) = self.last {
            if told.seq < last.seq {
                return Verdict::Contradicts(format!(
                    "the controller's audit trail ends with entry {}, and entry {} of it was seen before",
                    told.seq, last.seq
                ));
            }
            if told.seq == last.seq && told.hash != last.hash {
                return Verdict::Contradicts(format!(
                    "entry {} of the controller's audit trail has the hash {}, and was seen with {}",
                    told.seq, told.hash, last.hash
                ));
            }
            if told == last {
                return Verdict::Nothing;
            }
        }
        let rest = match self.since {
            Since::Closed => Duration::ZERO,
            Since::Something => OFTEN,
            Since::Nothing => SELDOM,
        };
        if elapsed.is_none_or(|elapsed| elapsed >= rest) {
            Verdict::Note
        } else {
            Verdict::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use mailmend_proto::run::Ended;

    use super::*;

    fn head(seq: u64, byte: u8) -> TrailHead {
        TrailHead {
            seq,
            hash: Digest::from_bytes([byte; 32]),
        }
    }

    fn noted(seq: u64, byte: u8) -> Witnessed {
        let TrailHead { seq, hash } = head(seq, byte);
        Witnessed::default().after(&Event::TrailWitnessed {
            seq,
            hash,
            contradicts: false,
        })
    }

    fn closed() -> Event {
        Event::Closed {
            how: Ended::Committed,
            detail: String::new(),
        }
    }

    fn alarm() -> Event {
        Event::Alarm {
            code: "A000-x".into(),
            text: String::new(),
        }
    }

    #[test]
    fn a_head_is_noted_at_first_then_seldom_more_often_at_work_and_when_a_run_has_closed() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(Witnessed::default().judge(head(3, 1), None), Verdict::Note);
        let idle = noted(3, 1);
        assert_eq!(
            idle.judge(head(3, 1), None),
            Verdict::Nothing,
            "it is known"
        );
        assert_eq!(idle.judge(head(4, 2), Some(OFTEN)), Verdict::Nothing);
        assert_eq!(idle.judge(head(4, 2), Some(SELDOM)), Verdict::Note);
        let busy = idle.after(&alarm());
        assert_eq!(busy.judge(head(4, 2), second), Verdict::Nothing);
        assert_eq!(busy.judge(head(4, 2), Some(OFTEN)), Verdict::Note);
        // An alarm that comes after the end of a run changes nothing of that.
        let over = idle.after(&closed()).after(&alarm());
        assert_eq!(over.judge(head(4, 2), second), Verdict::Note);
    }

    #[test]
    fn a_shorter_trail_or_another_hash_contradicts_at_once() {
        let moment = Some(Duration::ZERO);
        let is_found = |told| matches!(noted(3, 1).judge(told, moment), Verdict::Contradicts(_));
        assert!(is_found(head(2, 1)));
        assert!(is_found(head(0, 0)));
        assert!(is_found(head(3, 2)));
        assert!(!is_found(head(4, 2)));
        // Once it is noted, what follows on it is no news.
        let warned = noted(3, 1).after(&Event::TrailWitnessed {
            seq: 2,
            hash: head(2, 9).hash,
            contradicts: true,
        });
        assert_eq!(warned.judge(head(2, 9), moment), Verdict::Nothing);
    }
    #[test]
    fn a_controller_that_contradicts_itself_all_the_time_is_noted_once_in_a_while() {
        let moment = Some(Duration::from_secs(1));
        let warned = noted(3, 1).after(&Event::TrailWitnessed {
            seq: 2,
            hash: head(2, 9).hash,
            contradicts: true,
        });
        for told in [head(1, 1), head(2, 8), head(9, 9), head(0, 0)] {
            assert_eq!(warned.judge(told, moment), Verdict::Nothing, "{told:?}");
        }
        let again = warned.judge(head(1, 1), Some(OFTEN));
        assert!(matches!(again, Verdict::Contradicts(_)), "{again:?}");
    }
}
