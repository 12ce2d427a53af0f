//! Calls that the door refused to callers whose name it knows: counted, for the audit trail.
//!
//! The door writes nothing itself: a caller that is refused a thousand times a second must not cost a write each time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Named;

/// Callers and calls that are told apart between two looks; what is refused beyond it is only logged.
pub const MOST: usize = 64;

/// What was refused to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// To whom.
    pub whom: Named,
    /// Which call, by its path.
    pub call: &'static str,
    /// Why, the last time.
    pub why: String,
    /// How often.
    pub times: u64,
}

/// What was refused since it was taken last.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Counted>);

/// By caller and call: why, the last time, and how often.
type Counted = BTreeMap<(Named, &'static str), (String, u64)>;

impl Refusals {
    /// Counts a refusal.
    pub fn note(&self, whom: Named, call: &'static str, why: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&(whom.clone(), call)) {
            return;
        }
        let (last, times) = all.entry((whom, call)).or_default();
        *times += 1;
        why.clone_into(last);
    }

    /// Everything that was counted since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Refused> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all)
            .into_iter()
            .map(|((whom, call), (why, times))| Refused {
                whom,
                call,
                why,
                times,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_is_counted_and_what_is_too_much_is_left_out() {
        let refusals = Refusals::default();
        let anna = Named::Operator("anna".to_owned());
        refusals.note(anna.clone(), "/a", "C150-role: once");
        refusals.note(anna.clone(), "/a", "C150-role: twice");
        let taken = refusals.take();
        assert_eq!(taken.len(), 1);
        assert_eq!(
            (taken[0].times, taken[0].why.as_str()),
            (2, "C150-role: twice")
        );
        assert!(refusals.take().is_empty());
        for number in 0..=MOST {
            refusals.note(Named::Operator(number.to_string()), "/a", "no");
        }
        assert_eq!(refusals.take().len(), MOST);
    }
}
