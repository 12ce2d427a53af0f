//! The numbers by which a service manager refuses, what each means and what to do.

use crate::host::{Effect, HostError, HostErrorKind};

use super::super::failure::Code;

/// What was asked of the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Query,
    Stop,
    Start,
    Dependents,
}

impl Verb {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Dependents => "find what depends on",
        }
    }
}

/// A refusal that is known.
#[derive(Debug)]
struct Known {
    code: u32,
    means: &'static str,
    remedy: &'static str,
    /// Whether the manager refuses before it does anything.
    unchanged: bool,
}

const KNOWN: [Known; 15] = [
    Known {
        code: 1051,
        means: "services that depend on it still run",
        remedy: "stop those first, in the order in which they depend on each other",
        unchanged: true,
    },
    Known {
        code: 1053,
        means: "its process did not report to the manager in time (30 s unless ServicesPipeTimeout says otherwise)",
        remedy: "it may still be coming up: look at its state and its process before it is started again, and at \
                 the event log for why it is slow",
        unchanged: false,
    },
    Known {
        code: 1055,
        means: "the manager's database is locked",
        remedy: "somebody else changes services right now: try again",
        unchanged: true,
    },
    Known {
        code: 1056,
        means: "it runs already",
        remedy: "nothing is to be done",
        unchanged: true,
    },
    Known {
        code: 1058,
        means: "it is disabled",
        remedy: "ask who disabled it and why; `sc config NAME start= demand` enables it",
        unchanged: true,
    },
    Known {
        code: 1060,
        means: "there is no such service",
        remedy: "compare the name with `sc query`; is Exchange installed on this machine?",
        unchanged: true,
    },
    Known {
        code: 1061,
        means: "it cannot accept control messages now: it is starting, stopping or hanging",
        remedy: "wait for it, then end its process if the policy says so",
        unchanged: true,
    },
    Known {
        code: 1062,
        means: "it is not running",
        remedy: "nothing is to be done",
        unchanged: true,
    },
    Known {
        code: 1067,
        means: "its process ended unexpectedly",
        remedy: "look at the last events of its source: a message that it cannot read, or its configuration",
        unchanged: false,
    },
    Known {
        code: 1068,
        means: "a service that it needs did not start",
        remedy: "start what it needs first; `sc qc NAME` lists that",
        unchanged: false,
    },
    Known {
        code: 1069,
        means: "its account could not log on",
        remedy: "mend the account or its password in the service's properties",
        unchanged: true,
    },
    Known {
        code: 1072,
        means: "it is marked for deletion",
        remedy: "close whatever shows services, then install it again",
        unchanged: true,
    },
    Known {
        code: 1115,
        means: "the machine is shutting down",
        remedy: "wait until it is up again",
        unchanged: true,
    },
    Known {
        code: 2140,
        means: "it failed to start with an internal error",
        remedy: "the event log says why: event 4143 asks for an account that is an administrator (Q173496), the \
                 MTA for its database files (Q274285, Q324026)",
        unchanged: false,
    },
    Known {
        code: 2186,
        means: "it does not answer the control function",
        remedy: "it may still be starting, which can take long (Q148727); with events 4086 and 7000 its account is \
                 the wrong one (Q155814)",
        unchanged: false,
    },
];

/// The error for a refusal by number.
pub(super) fn refused(code: Code, verb: Verb, attempted: String) -> HostError {
    let Some(known) = KNOWN.iter().find(|known| known.code == code.0) else {
        return match verb {
            Verb::Query | Verb::Dependents => code.reading(attempted),
            Verb::Stop | Verb::Start => code.changing(attempted),
        };
    };
    let asks = matches!(verb, Verb::Query | Verb::Dependents);
    HostError {
        attempted,
        reason: format!("{} ({}); {}", known.means, known.code, known.remedy),
        kind: HostErrorKind::Service(known.code),
        effect: if known.unchanged || asks {
            Effect::None
        } else {
            Effect::Unknown
        },
    }
}

/// The error for an answer that makes no sense.
pub(super) fn unanswered(
    verb: Verb,
    attempted: String,
    error: &windows_service::Error,
) -> HostError {
    let effect = match verb {
        Verb::Query | Verb::Dependents => Effect::None,
        Verb::Stop | Verb::Start => Effect::Unknown,
    };
    HostError {
        attempted,
        reason: error.to_string(),
        kind: HostErrorKind::Malformed,
        effect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told_apart_and_says_what_to_do() {
        let mut told: Vec<String> = Vec::new();
        for code in [1053, 1056, 1058, 1062, 1067, 2140, 2186] {
            let error = refused(Code(code), Verb::Start, "start `X`".into());
            assert_eq!(error.kind, HostErrorKind::Service(code));
            assert!(error.reason.contains(&code.to_string()), "{error}");
            assert!(error.reason.contains("; "), "{error} says what to do");
            assert!(!told.contains(&error.reason), "{error}");
            told.push(error.reason);
        }
    }

    #[test]
    fn what_the_manager_may_have_begun_is_not_called_unchanged() {
        for (code, effect) in [
            (1053, Effect::Unknown),
            (1067, Effect::Unknown),
            (1068, Effect::Unknown),
            (2140, Effect::Unknown),
            (2186, Effect::Unknown),
            // The connection to a manager of another machine broke while it was asked.
            (1726, Effect::Unknown),
            (1056, Effect::None),
            (1058, Effect::None),
            (1062, Effect::None),
            (5, Effect::None),
        ] {
            let error = refused(Code(code), Verb::Start, String::new());
            assert_eq!(error.effect, effect, "{code}");
            let asked = refused(Code(code), Verb::Query, String::new());
            assert_eq!(asked.effect, Effect::None, "{code}");
        }
    }
}
