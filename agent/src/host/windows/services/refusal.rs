//! The numbers by which a service manager refuses, what each means and what to do.

use crate::host::service_code::known;
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

/// The error for a refusal by number.
pub(super) fn refused(code: Code, verb: Verb, attempted: String) -> HostError {
    let Some(known) = known(code.0) else {
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
