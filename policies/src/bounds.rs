//! What a search for poison takes at most, declared beforehand: for the rules of the language, for the
//! plan, and beside what it took in the report.
//!
//! All of it holds where the limits of the policy are at least the bounds; a search with less stops at
//! its limits, and says so. Starts that something disturbed are not counted here.

use crate::step::Action;

/// ⌈log₂ n⌉: how many halvings leave one of `n`. 0 for none and for one.
#[must_use]
pub const fn halvings(n: u64) -> u32 {
    if n < 2 {
        0
    } else {
        64 - (n - 1).leading_zeros()
    }
}

/// A search, as far as its bounds depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// n, the files.
    pub files: u64,
    /// d, the poison among them.
    pub bad: u64,
    /// w, the most files in flight at a crash (one that an event names counted in), where the logs show
    /// them; `None` where they do not.
    pub in_flight: Option<u64>,
    /// The most files that one crash may send twice.
    pub max_duplicates: u64,
    /// Whether each poison is confirmed alone.
    pub confirm: bool,
}

impl Case {
    /// The case that a `queue.search` declares, of `bad` poison among `files`; `None` for another action. Each
    /// poison is confirmed alone.
    #[must_use]
    pub fn of(action: &Action, files: u64, bad: u64) -> Option<Self> {
        let Action::QueueSearch {
            in_flight,
            max_duplicates,
            ..
        } = action
        else {
            return None;
        };
        Some(Self {
            files,
            bad,
            in_flight: in_flight.map(|flight| u64::from(flight.max(1))),
            max_duplicates: (*max_duplicates).max(1),
            confirm: true,
        })
    }

    /// The most starts that find it: one with nothing, one for a hint that was wrong, and [`Self::feeding`].
    #[must_use]
    pub fn restarts(&self) -> u64 {
        2 + self.feeding()
    }

    /// The most starts of the step in all: what finds it, and one that gives back what was found good.
    #[must_use]
    pub fn restarts_in_all(&self) -> u64 {
        self.restarts() + 1
    }

    /// The most starts that feed, hints aside. With evidence `d(1 + ⌈log₂ w⌉) + 1`, whatever the length
    /// of the queue; without, `d(1 + ⌈log₂ n⌉) + 1`. Where `max_duplicates` is less than w, or than n
    /// without evidence, groups are that large, and the 1 is their number. Confirming adds d.
    #[must_use]
    pub fn feeding(&self) -> u64 {
        self.per_poison() * self.bad.min(self.files) + self.files.div_ceil(self.group())
    }

    /// The most crashes: a search that ends with `Found` never causes more.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        self.per_poison() * self.bad.min(self.files)
    }

    /// The rule of [`Self::feeding`], with its values.
    #[must_use]
    pub fn rule(&self) -> String {
        let Self { bad, files, .. } = self;
        let (letter, suspects) = match self.in_flight {
            Some(flight) if flight <= self.suspects() => ('w', flight),
            _ => ('n', self.suspects()),
        };
        let each = self.per_poison();
        let groups = files.div_ceil(self.group());
        let alone = if self.confirm { " + 1" } else { "" };
        format!(
            "d(1 + log2 {letter}{alone}) + {groups} with d = {bad}, {letter} = {suspects}: {bad} x {each} + {groups}; one with nothing, one for a wrong hint"
        )
    }

    fn suspects(&self) -> u64 {
        let flight = self.in_flight.unwrap_or(u64::MAX);
        self.files.min(self.group()).min(flight)
    }

    fn per_poison(&self) -> u64 {
        1 + u64::from(halvings(self.suspects())) + u64::from(self.confirm)
    }

    fn group(&self) -> u64 {
        let cap = self.max_duplicates.max(1);
        match self.in_flight {
            Some(flight) if flight <= cap => self.files.max(1),
            _ => cap.min(self.files.max(1)),
        }
    }
}

/// Among how many files one poison can be found with so many starts and so many crashes at most:
/// `Σ C(starts, i)` for i from 0 to `crashes`. No more than 2⁴⁰.
#[must_use]
pub fn reach(starts: u64, crashes: u32) -> u64 {
    const ENOUGH: u128 = 1 << 40;
    let mut sum: u128 = 1;
    let mut ways: u128 = 1;
    for crash in 0..u64::from(crashes).min(starts) {
        ways = ways * u128::from(starts - crash) / u128::from(crash + 1);
        sum += ways;
        if sum >= ENOUGH {
            return 1 << 40;
        }
    }
    u64::try_from(sum).unwrap_or(1 << 40)
}

/// The fewest starts that find one poison, known to be there, among `files` with at most `crashes`
/// crashes (0 counts as 1). For up to 2⁴⁰ files.
#[must_use]
pub fn restarts_within_crashes(files: u64, crashes: u32) -> u64 {
    let crashes = crashes.max(1);
    let files = files.min(1 << 40);
    // One crash: one by one, at most.
    let (mut low, mut high) = (0, files.saturating_sub(1));
    while low < high {
        let middle = low.midpoint(high);
        if reach(middle, crashes) >= files {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// ⌈log₂ C(files, bad)⌉: the fewest starts that could tell which of the files are bad, if each told one bit.
#[must_use]
pub fn entropy(files: u64, bad: u64) -> u32 {
    let bad = bad.min(files);
    let bad = bad.min(files - bad);
    let mut ways: u128 = 1;
    for i in 0..bad {
        let Some(product) = ways.checked_mul(u128::from(files - i)) else {
            let bits: f64 = (0..bad)
                .map(|i| ((files - i) as f64 / (i + 1) as f64).log2())
                .sum();
            return (bits - 1e-9).ceil() as u32;
        };
        ways = product / u128::from(i + 1);
    }
    if ways < 2 {
        0
    } else {
        128 - (ways - 1).leading_zeros()
    }
}
