//! Why nothing is done about a symptom, in words, with what releases it.

use std::fmt;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::run::RunId;
use uuid::Uuid;

use super::known::{Busy, InHand};

/// Why nothing is done about a symptom now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// It cannot be told whether it stands; the evidence says why.
    CannotTell,
    /// The agent has not heard of the bound version yet.
    OtherVersion {
        /// The version that it looks for.
        looked: u32,
        /// The one that is bound.
        bound: u32,
    },
    /// An agent that is needed is not connected.
    NotConnected(ServerName),
    /// It has not stood long enough.
    StandsFor {
        /// How long it has, milliseconds.
        stood_ms: i64,
        /// How long it must.
        asked_ms: i64,
        /// When it will have, milliseconds since 1970 UTC.
        until_ms: i64,
    },
    /// A server of the site is in a person's hand.
    InHand {
        /// The server.
        server: ServerName,
        /// In whose.
        hand: InHand,
    },
    /// Something is at work at the site.
    Busy {
        /// The site.
        site: SiteName,
        /// What.
        busy: Busy,
    },
    /// No plan can be made.
    NoPlan(String),
    /// The last run is still to show what came of it.
    Settles {
        /// The run.
        run: RunId,
        /// How many runs in a row did not hold.
        streak: u32,
        /// Until when, milliseconds since 1970 UTC.
        until_ms: i64,
    },
    /// A throttle is full.
    Throttled {
        /// Of what: a server, a site, the fleet.
        what: String,
        /// How many runs began in the last 24 hours.
        begun: u32,
        /// How many may.
        most: u32,
        /// When one has left the window, milliseconds since 1970 UTC.
        until_ms: i64,
    },
    /// As many rollouts of the policy are open as may be.
    AtOnce {
        /// How many are.
        open: u32,
        /// How many may be.
        most: u32,
    },
    /// Another server of the same plan is held back.
    Companion(ServerName),
    /// It is proposed, and a person decides.
    Proposed {
        /// The proposal.
        proposal: Uuid,
    },
    /// A person refused it.
    Refused {
        /// The proposal.
        proposal: Uuid,
        /// Who.
        by: String,
    },
}

impl Wait {
    /// When it may be over though nothing changes, milliseconds since 1970 UTC.
    #[must_use]
    pub const fn until_ms(&self) -> Option<i64> {
        match self {
            Self::StandsFor { until_ms, .. }
            | Self::Settles { until_ms, .. }
            | Self::Throttled { until_ms, .. } => Some(*until_ms),
            _ => None,
        }
    }
}

/// A span for people: its two largest units.
pub(super) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, 0, _) => format!("{hours}h"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    }
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| format!("{ms} ms"),
        |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

fn short(id: impl ToString) -> String {
    id.to_string().chars().take(13).collect()
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotTell => f.write_str("cannot tell whether it stands"),
            Self::OtherVersion { looked, bound } => write!(
                f,
                "the agent has looked for version {looked} only, and version {bound} is bound"
            ),
            Self::NotConnected(server) => {
                write!(
                    f,
                    "the agent of {server} is not connected; start mailmend-agent there"
                )
            }
            Self::StandsFor {
                stood_ms, asked_ms, ..
            } => write!(
                f,
                "it has stood for {}, {} are asked for",
                span(*stood_ms),
                span(*asked_ms)
            ),
            Self::InHand { server, hand } => write!(
                f,
                "{server} is in the hand of {}: {}; mailmend agent give-back {server}",
                hand.by, hand.why
            ),
            Self::Busy { site, busy } => match busy.rollout {
                Some(rollout) => write!(
                    f,
                    "site {site} is busy; mailmend rollout explain {}",
                    short(rollout)
                ),
                None => write!(f, "site {site} is busy"),
            },
            Self::NoPlan(why) => write!(f, "no plan can be made: {why}"),
            Self::Settles {
                run,
                streak,
                until_ms,
            } => {
                write!(f, "run {} settles until {}", short(run), time(*until_ms))?;
                if *streak > 0 {
                    write!(f, ", longer because {streak} in a row did not hold")?;
                }
                Ok(())
            }
            Self::Throttled {
                what,
                begun,
                most,
                until_ms,
            } => write!(
                f,
                "{begun} runs began on {what} within 24 hours, {most} may; again from {}",
                time(*until_ms)
            ),
            Self::AtOnce { open, most } => write!(
                f,
                "{open} rollouts of the policy are open, {most} may be at one time"
            ),
            Self::Companion(server) => write!(f, "its plan is for {server} too, which waits"),
            Self::Proposed { proposal } => write!(
                f,
                "proposed, a person decides: mailmend proposal start {}",
                short(proposal)
            ),
            Self::Refused { proposal, by } => write!(
                f,
                "{by} refused proposal {}; proposed anew when the symptom has gone and come again",
                short(proposal)
            ),
        }
    }
}
