//! The way between controller and agents: late, lossy, at times cut.
//!
//! A stream is an ordered, reliable thing: where a message is lost, the stream is lost with it, and both ends
//! learn that later, at different times. What the contract promises to bear beyond that, repetition and
//! overtaking, is done to orders and reports too.

use std::time::Duration;

/// What goes wrong between controller and agents, and with the controller.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    /// The shortest way of a message.
    pub latency: Duration,
    /// What is added to it at most.
    pub jitter: Duration,
    /// How many messages are lost, and their stream with them; 0 to 1.
    pub loses: f64,
    /// How many messages come twice; 0 to 1.
    pub repeats: f64,
    /// How many messages may overtake others; 0 to 1.
    pub reorders: f64,
    /// How often the network is parted.
    pub partitions: u32,
    /// How long at most each time.
    pub parted: Duration,
    /// How many servers are cut off each time; 0 to 1.
    pub cut_off: f64,
    /// How often the controller dies.
    pub deaths: u32,
    /// How long at most it is away each time.
    pub away: Duration,
    /// How often the controller's clock is set by up to an hour.
    pub jumps: u32,
    /// Within what time after the start all that happens.
    pub within: Duration,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(80),
            loses: 0.0,
            repeats: 0.0,
            reorders: 0.0,
            partitions: 0,
            parted: Duration::from_secs(900),
            cut_off: 0.3,
            deaths: 0,
            away: Duration::from_secs(120),
            jumps: 0,
            within: Duration::from_secs(3600),
        }
    }
}

/// What becomes of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It comes then, and perhaps once more.
    Comes {
        after_ms: i64,
        again_ms: Option<i64>,
    },
    /// It is lost; the ends learn of it after so long each.
    Lost { here_ms: i64, there_ms: i64 },
}

impl Weather {
    /// What becomes of a message. What begins a stream is never repeated.
    pub(super) fn fate(&self, random: &mut fastrand::Rng, slow: bool, begins: bool) -> Fate {
        let mut way = || {
            let jitter = i64::try_from(self.jitter.as_millis()).unwrap_or(0);
            let base = i64::try_from(self.latency.as_millis()).unwrap_or(0);
            let once = base + random.i64(0..=jitter);
            if slow { once * 20 } else { once }
        };
        let (after_ms, again) = (way(), way());
        if random.f64() < self.loses {
            return Fate::Lost {
                here_ms: random.i64(1_000..=20_000),
                there_ms: random.i64(1_000..=20_000),
            };
        }
        let repeated = !begins && random.f64() < self.repeats;
        Fate::Comes {
            after_ms,
            again_ms: repeated.then_some(after_ms + again),
        }
    }
}
