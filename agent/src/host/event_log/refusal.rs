//! What it means when the event log of Windows Vista and later refuses a call.

use crate::host::HostErrorKind;

/// Numbers of Windows, by their names there; its crate is not there on other machines.
mod code {
    pub(super) const NO_NUMBER: u32 = 0;
    pub(super) const INVALID_FUNCTION: u32 = 1;
    pub(super) const ACCESS_DENIED: u32 = 5;
    pub(super) const NOT_SUPPORTED: u32 = 50;
    pub(super) const CALL_NOT_IMPLEMENTED: u32 = 120;
    pub(super) const MOD_NOT_FOUND: u32 = 126;
    pub(super) const PROC_NOT_FOUND: u32 = 127;
    pub(super) const TIMEOUT: u32 = 1_460;
    pub(super) const RPC_UNKNOWN_IF: u32 = 1_717;
    pub(super) const RPC_SERVER_UNAVAILABLE: u32 = 1_722;
    pub(super) const RPC_SERVER_TOO_BUSY: u32 = 1_723;
    pub(super) const RPC_CALL_FAILED: u32 = 1_726;
    pub(super) const RPC_CALL_FAILED_NEVER_BEGUN: u32 = 1_727;
    pub(super) const RPC_INVALID_BOUND: u32 = 1_734;
    pub(super) const RPC_PROCNUM_OUT_OF_RANGE: u32 = 1_745;
    pub(super) const EPT_NOT_REGISTERED: u32 = 1_753;
    pub(super) const RPC_CALL_CANCELLED: u32 = 1_818;
    pub(super) const EVT_CHANNEL_NOT_FOUND: u32 = 15_007;
    pub(super) const EVT_QUERY_RESULT_STALE: u32 = 15_011;
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Refused {
    /// This Windows has no such log: it is read as NT hands it out.
    Absent,
    /// Fewer records have to be asked for at once.
    TooMany,
    /// An error of that kind, and what to do about it. Nothing is wrong with the way of reading, so that
    /// another way is not tried: it would be refused as well, or tell less.
    Error(HostErrorKind, &'static str),
}

/// What a number means that `EvtQuery`, `EvtNext` or `EvtRender` left.
pub(in crate::host) fn refused(number: u32) -> Refused {
    match number {
        // Wine has the call for its name only and says no number at all; others may say one.
        code::NO_NUMBER
        | code::NOT_SUPPORTED
        | code::INVALID_FUNCTION
        | code::CALL_NOT_IMPLEMENTED
        | code::MOD_NOT_FOUND
        | code::PROC_NOT_FOUND
        // Somebody answers and does not know what is asked: a service of an older Windows.
        | code::RPC_UNKNOWN_IF
        | code::RPC_PROCNUM_OUT_OF_RANGE
        | code::EPT_NOT_REGISTERED => Refused::Absent,
        // Known of logs with long records (RPC_S_INVALID_BOUND): an answer has a greatest length.
        code::RPC_INVALID_BOUND => Refused::TooMany,
        code::ACCESS_DENIED => Refused::Error(
            HostErrorKind::Denied,
            "add the agent's account to the group Event Log Readers",
        ),
        code::RPC_SERVER_UNAVAILABLE | code::RPC_SERVER_TOO_BUSY => Refused::Error(
            HostErrorKind::Io,
            "the service EventLog does not answer; `sc query EventLog` says whether it runs",
        ),
        code::RPC_CALL_FAILED | code::RPC_CALL_FAILED_NEVER_BEGUN | code::RPC_CALL_CANCELLED => {
            Refused::Error(
                HostErrorKind::Io,
                "the service EventLog ended on the way; the log is read again at the next look",
            )
        }
        code::TIMEOUT => Refused::Error(
            HostErrorKind::TimedOut,
            "the service EventLog took too long; the log is read again at the next look",
        ),
        code::EVT_CHANNEL_NOT_FOUND => Refused::Error(
            HostErrorKind::NotFound,
            "`wevtutil el` lists the logs of this machine",
        ),
        code::EVT_QUERY_RESULT_STALE => Refused::Error(
            HostErrorKind::Io,
            "the log was cleared or written over while it was read; it is read again at the next look",
        ),
        _ => Refused::Error(HostErrorKind::Io, "`wevtutil gli` shows the state of a log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_that_is_not_there_is_read_in_the_old_way() {
        for number in [0, 1, 50, 120, 126, 127, 1717, 1745, 1753] {
            assert_eq!(refused(number), Refused::Absent, "{number}");
        }
        assert_eq!(refused(1734), Refused::TooMany);
        for (number, kind) in [
            (5, HostErrorKind::Denied),
            (1460, HostErrorKind::TimedOut),
            (1722, HostErrorKind::Io),
            (1723, HostErrorKind::Io),
            (1726, HostErrorKind::Io),
            (1727, HostErrorKind::Io),
            (1818, HostErrorKind::Io),
            (15007, HostErrorKind::NotFound),
            (15011, HostErrorKind::Io),
            (15001, HostErrorKind::Io),
            (u32::MAX, HostErrorKind::Io),
        ] {
            let Refused::Error(told, remedy) = refused(number) else {
                panic!("{number} is {:?}", refused(number));
            };
            assert_eq!(told, kind, "{number}");
            assert!(!remedy.is_empty());
        }
    }

    #[test]
    fn a_service_that_does_not_run_one_that_ended_and_a_stale_answer_are_told_apart() {
        let mut told = Vec::new();
        for number in [5, 1722, 1726, 1460, 15007, 15011] {
            let Refused::Error(_, remedy) = refused(number) else {
                panic!("{number}");
            };
            assert!(!told.contains(&remedy), "{number}: {remedy}");
            told.push(remedy);
        }
    }
}
