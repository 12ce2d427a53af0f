//! Ids that follow from a run's id. Pure.

use opentelemetry::trace::{SpanId, TraceId};

/// Never changed: two programs of different versions work on one run.
const DOMAIN: &str = "mailmend 2026 trace of a run v1";

/// The trace of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTrace([u8; 16]);

impl RunTrace {
    /// The trace of the run with this UUID.
    #[must_use]
    pub const fn of(run: [u8; 16]) -> Self {
        Self(run)
    }

    /// The trace's id: the same wherever and whenever it is asked for.
    #[must_use]
    pub fn trace(self) -> TraceId {
        let mut bytes = [0; 16];
        self.derived(&[], &mut bytes);
        TraceId::from_bytes(bytes)
    }

    /// The id of the span that these words name within the trace.
    #[must_use]
    pub fn span(self, words: &[&str]) -> SpanId {
        let mut bytes = [0; 8];
        self.derived(words, &mut bytes);
        SpanId::from_bytes(bytes)
    }

    /// The span of the whole run, which the controller tells when the run has ended.
    #[must_use]
    pub fn run(self) -> SpanId {
        self.span(&["run"])
    }

    /// The span of an agent's part: the agent tells it, and the controller hangs below it what it stored of it.
    #[must_use]
    pub fn part(self, agent: &str) -> SpanId {
        self.span(&["part", agent])
    }

    fn derived(self, words: &[&str], bytes: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        hasher.update(&self.0);
        for word in words {
            // With its length: no two lists of words are one text.
            hasher.update(&(word.len() as u64).to_be_bytes());
            hasher.update(word.as_bytes());
        }
        hasher.finalize_xof().fill(bytes);
        // Zeros mean that there is none.
        if let Some(last) = bytes.last_mut()
            && *last == 0
        {
            *last = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_the_run_and_from_nothing_else() {
        let run = RunTrace::of([7; 16]);
        assert_eq!(run.trace(), RunTrace::of([7; 16]).trace());
        assert_ne!(run.trace(), RunTrace::of([8; 16]).trace());
        assert_eq!(run.part("SRVB"), RunTrace::of([7; 16]).part("SRVB"));
        let all = [
            run.run(),
            run.part("SRVB"),
            run.part("SRVC"),
            run.span(&["a", "bc"]),
            run.span(&["ab", "c"]),
            RunTrace::of([8; 16]).run(),
        ];
        for (at, id) in all.iter().enumerate() {
            assert!(!all[..at].contains(id), "{at}");
        }
    }

    #[test]
    fn no_release_ever_changes_them() {
        // As the first release had them: a controller of one version and an agent of another share a trace.
        let run = RunTrace::of(*b"0123456789abcdef");
        assert_eq!(
            (run.trace().to_string(), run.run().to_string()),
            (
                "84b0c64b9b10f0f51ea229aeaa18f13f".to_owned(),
                "66ba5afbf6128555".to_owned()
            )
        );
    }
}
