//! How a command ends: one enum, and one match from the wire's codes to it.

use std::process::ExitCode;

use mailmend_proto::wire::{Rollout, RolloutState, RunPhase};
use tonic::Code;

/// The exit codes of `mailmend`. Scripts rely on them; none is ever given another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// The command failed.
    Failure = 1,
    /// The command line makes no sense, or a policy has faults.
    Usage = 2,
    /// A rollout, an order, a disagreement or something overdue waits for somebody.
    Waiting = 3,
    /// A rollout ended and some targets failed.
    SomeFailed = 4,
    /// A gate refuses: a lock, an approval, the order of versions.
    Refused = 5,
    /// The controller cannot be reached, or does not accept the caller.
    Unreachable = 6,
    /// The time that was given is over.
    TimedOut = 7,
}

/// What `--help` says about them.
pub(super) const HELP: &str = "\
Exit codes:
  0  success
  1  failure
  2  usage error, or an invalid policy
  3  a rollout, an order, a disagreement or something overdue waits for somebody
  4  some targets failed
  5  refused by a gate
  6  controller unreachable, or caller not authenticated
  7  timed out";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The exit code for an answer's status.
    #[must_use]
    pub const fn of_code(code: Code) -> Self {
        match code {
            Code::Ok => Self::Success,
            Code::InvalidArgument => Self::Usage,
            Code::FailedPrecondition => Self::Refused,
            Code::Unauthenticated | Code::PermissionDenied | Code::Unavailable => Self::Unreachable,
            Code::DeadlineExceeded => Self::TimedOut,
            Code::NotFound
            | Code::AlreadyExists
            | Code::Cancelled
            | Code::Unknown
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => Self::Failure,
        }
    }

    /// The exit code for a rollout at rest; `None` while something still happens by itself.
    #[must_use]
    pub fn of_rollout(rollout: &Rollout) -> Option<Self> {
        let count = |phases: &[RunPhase]| {
            rollout
                .runs
                .iter()
                .filter(|run| phases.contains(&run.phase()))
                .count()
        };
        let active = count(&[RunPhase::Assigned, RunPhase::Running, RunPhase::Unwinding]) > 0;
        let under_way = rollout.runs.iter().any(|run| !run.current.is_empty());
        let startable = count(&[RunPhase::Waiting]) > 0;
        let person = count(&[RunPhase::NeedsPerson]) > 0;
        let failed = count(&[RunPhase::Failed]) > 0;
        match rollout.state() {
            RolloutState::Succeeded if person => Some(Self::Waiting),
            RolloutState::Succeeded => Some(Self::Success),
            RolloutState::Failed | RolloutState::Aborted if person => Some(Self::Waiting),
            RolloutState::Failed => Some(Self::SomeFailed),
            RolloutState::Aborted if failed => Some(Self::SomeFailed),
            RolloutState::Aborted => Some(Self::Failure),
            // A step that was under way when it was paused comes to its end, with service up.
            RolloutState::Paused => (!under_way).then_some(Self::Waiting),
            RolloutState::Halted => (!active).then_some(Self::Waiting),
            RolloutState::Aborting => (person && !active).then_some(Self::Waiting),
            RolloutState::Running => (person && !active && !startable).then_some(Self::Waiting),
            RolloutState::Unspecified => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailmend_proto::wire::Run;

    fn rollout(state: RolloutState, phases: &[RunPhase]) -> Option<Exit> {
        let runs = phases.iter().map(|phase| Run {
            phase: *phase as i32,
            ..Run::default()
        });
        let runs = runs.collect();
        Exit::of_rollout(&Rollout {
            state: state as i32,
            runs,
            ..Rollout::default()
        })
    }

    #[test]
    fn every_status_has_its_exit_code() {
        let codes: Vec<u8> = (0..=16)
            .map(|code| Exit::of_code(Code::from_i32(code)) as u8)
            .collect();
        //                     ok ca un in de nf ae pd re fp ab or ui in un dl ua
        assert_eq!(codes, [0, 1, 1, 2, 7, 1, 1, 6, 1, 5, 1, 1, 1, 1, 6, 1, 6]);
    }

    #[test]
    fn a_rollout_that_goes_on_has_no_exit_code_and_one_at_rest_has() {
        use RolloutState as S;
        use RunPhase as P;
        assert_eq!(rollout(S::Running, &[P::Running]), None);
        assert_eq!(rollout(S::Running, &[P::NeedsPerson, P::Running]), None);
        assert_eq!(rollout(S::Running, &[P::NeedsPerson, P::Waiting]), None);
        assert_eq!(
            rollout(S::Running, &[P::NeedsPerson, P::Succeeded]),
            Some(Exit::Waiting)
        );
        assert_eq!(rollout(S::Paused, &[P::Running]), Some(Exit::Waiting));
        let stopping = Run {
            phase: P::Running as i32,
            current: "stop-ims on EXB1".into(),
            ..Run::default()
        };
        let paused = Rollout {
            state: S::Paused as i32,
            runs: vec![stopping],
            ..Rollout::default()
        };
        assert_eq!(Exit::of_rollout(&paused), None, "a step is under way");
        assert_eq!(rollout(S::Halted, &[P::Running, P::Failed]), None);
        assert_eq!(
            rollout(S::Halted, &[P::Waiting, P::Failed]),
            Some(Exit::Waiting)
        );
        assert_eq!(rollout(S::Aborting, &[P::Unwinding]), None);
        assert_eq!(rollout(S::Aborting, &[P::NeedsPerson]), Some(Exit::Waiting));
        assert_eq!(
            rollout(S::Succeeded, &[P::Succeeded, P::NotNeeded]),
            Some(Exit::Success)
        );
        assert_eq!(
            rollout(S::Failed, &[P::Succeeded, P::Failed]),
            Some(Exit::SomeFailed)
        );
        assert_eq!(rollout(S::Failed, &[P::NeedsPerson]), Some(Exit::Waiting));
        assert_eq!(rollout(S::Aborted, &[P::Cancelled]), Some(Exit::Failure));
        assert_eq!(rollout(S::Aborted, &[P::Failed]), Some(Exit::SomeFailed));
    }

    #[test]
    fn the_help_names_every_exit_code() {
        for code in 0..=7 {
            assert!(HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
