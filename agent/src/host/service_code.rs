//! The numbers with which a service manager of Windows refuses, and with which services end: what each means
//! and what to do.

/// A number that is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) code: u32,
    pub(super) means: &'static str,
    pub(super) remedy: &'static str,
    /// Whether the manager refuses before it does anything.
    #[cfg_attr(
        not(windows),
        expect(dead_code, reason = "elsewhere no manager refuses with them")
    )]
    pub(super) unchanged: bool,
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

/// What a number means, where that is known.
pub(super) fn known(code: u32) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.code == code)
}

/// The number with which a service ended, for people: `exit code 1067`, with what it means and what to do.
pub(crate) fn exit_told(code: u32) -> String {
    match known(code) {
        Some(Known { means, remedy, .. }) => format!("exit code {code}, {means}: {remedy}"),
        None => format!("exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_which_a_service_ended_says_what_to_do() {
        for code in [1067, 2140, 2186] {
            let told = exit_told(code);
            let begin = format!("exit code {code}, ");
            assert!(told.starts_with(&begin) && told.contains(": "), "{told}");
        }
        assert_eq!(exit_told(3), "exit code 3");
    }

    #[test]
    fn each_number_stands_once_and_in_order() {
        assert!(KNOWN.is_sorted_by(|one, next| one.code < next.code));
    }
}
