//! Who may call what: one table, and whatever is not in it is refused.
//!
//! A call of the contract without a row does not build: [`Rpc`] is made from the contract's files, and
//! [`who`] has no wildcard. Services may look at the caller again; they cannot forget to, because this
//! comes first.

mod beside;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mailmend_proto::rpc::Rpc;
use tonic::Status;
use tonic::codegen::http::{Request, Response};

use crate::identity::{Caller, Peer, at_least, denied};
use crate::trust::Named;
use crate::trust::rates::Rates;
use crate::trust::role::Role;
use crate::trust::roster::Roster;

pub use beside::Beside;

/// Who may call an RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whoever can dial: the call proves itself by a token.
    Anybody,
    /// An agent, by certificate.
    Agent,
    /// An operator, by certificate, of this role or a stronger one.
    Operator(Role),
    /// An agent or an operator, by certificate.
    Named,
}

/// Who may call `rpc`.
#[must_use]
pub const fn who(rpc: Rpc) -> Who {
    match rpc {
        Rpc::EnrolmentEnrol | Rpc::EnrolmentEnrolOperator => Who::Anybody,
        Rpc::AgentsRenew | Rpc::AgentsSession => Who::Agent,
        // Looking. `ChangeRollout` is here because pausing is always allowed; its service asks for more
        // where more than that is wanted.
        Rpc::OperatorListPolicies
        | Rpc::OperatorGetPolicy
        | Rpc::OperatorListAgents
        | Rpc::OperatorGetAgent
        | Rpc::OperatorPlanRollout
        | Rpc::OperatorListRollouts
        | Rpc::OperatorGetRollout
        | Rpc::OperatorGetRolloutAt
        | Rpc::OperatorWatchRollout
        | Rpc::OperatorChangeRollout
        | Rpc::OperatorExplainRollout
        | Rpc::OperatorDoctor
        | Rpc::OperatorGetRun
        | Rpc::OperatorListCustody
        | Rpc::OperatorListReconciled
        | Rpc::OperatorAuditLedger
        | Rpc::OperatorGetOrder
        | Rpc::OperatorListBindings
        | Rpc::OperatorListSymptoms
        | Rpc::OperatorListProposals
        | Rpc::OperatorListFingerprints
        | Rpc::OperatorGetFingerprint
        | Rpc::OperatorGetTrust
        | Rpc::OperatorWhoAmI
        | Rpc::OperatorListOperators
        | Rpc::OperatorListTrail
        | Rpc::OperatorExportTrail
        | Rpc::OperatorRenewOperator => Who::Operator(Role::Viewer),
        // Acting within what may run. Recalling only stops.
        Rpc::OperatorRecallPolicy
        | Rpc::OperatorStartRollout
        | Rpc::OperatorRetryRollout
        | Rpc::OperatorAnswerTask
        | Rpc::OperatorReleaseCustody
        | Rpc::OperatorRecoverCustody
        | Rpc::OperatorSettleCustody
        | Rpc::OperatorDecideProposal
        | Rpc::OperatorSetInHand
        | Rpc::OperatorAddFingerprint
        | Rpc::OperatorWithdrawFingerprint => Who::Operator(Role::Operator),
        // Another person's change; the service refuses one's own.
        Rpc::OperatorApproveWave => Who::Operator(Role::Approver),
        // What may run, and who may call.
        Rpc::OperatorPublishPolicy
        | Rpc::OperatorPublishTrust
        | Rpc::OperatorBindPolicy
        | Rpc::OperatorCreateToken
        | Rpc::OperatorAddOperator
        | Rpc::OperatorSetRole
        | Rpc::OperatorRevokeIdentity => Who::Operator(Role::Admin),
    }
}

/// Whether `peer`, whose role is `role` where it is an operator, may call the RPC at `path`.
///
/// # Errors
/// The status to refuse it with.
fn check(path: &str, peer: &Peer, role: Option<Role>) -> Result<(), Status> {
    let ours = Rpc::of_path(path).map(who);
    let Some(who) = ours.or_else(|| Beside::of_path(path).map(Beside::who)) else {
        return Err(match peer {
            // A stranger learns nothing about what exists.
            Peer::Anonymous => denied(peer, "whoever calls this"),
            _ => Status::unimplemented(
                "this controller does not know the call; is the caller of a newer version?",
            ),
        });
    };
    match (who, peer) {
        (Who::Anybody, _)
        | (Who::Agent, Peer::Agent(_))
        | (Who::Named, Peer::Agent(_) | Peer::Operator(_)) => Ok(()),
        (Who::Operator(needed), Peer::Operator(_)) => {
            // An operator without a role was refused before.
            at_least(role.unwrap_or(Role::Viewer), needed, "this call")
        }
        (Who::Agent, other) => Err(denied(other, "an agent")),
        (Who::Operator(_), other) => Err(denied(other, "an operator")),
        (Who::Named, other) => Err(denied(other, "an agent or an operator")),
    }
}

/// Puts [`check`] before every service, and [`Peer`] and [`Role`] into every request.
#[derive(Debug, Clone)]
pub(super) struct AccessLayer {
    pub(super) roster: Roster,
    pub(super) rates: Arc<Rates>,
}

impl AccessLayer {
    /// The role of a caller that may call what `path` names.
    fn admit(&self, path: &str, caller: Option<&Caller>) -> Result<Option<Role>, Status> {
        let Some(caller) = caller else {
            return check(path, &Peer::Anonymous, None).map(|()| None);
        };
        let whom = Named::of(&caller.peer);
        if !self.rates.allow(whom.as_ref(), caller.from.ip()) {
            return Err(Status::resource_exhausted(
                "C154-rate: too many calls in a short time; wait a second and call again",
            ));
        }
        let admitted = match &whom {
            Some(whom) => self
                .roster
                .verdict(whom, &caller.serial)
                .map_err(|why| Status::unauthenticated(why.to_string())),
            None => Ok(None),
        }
        .and_then(|role| check(path, &caller.peer, role).map(|()| role));
        if let (Err(refusal), Some(whom), Some(rpc)) = (&admitted, whom, Rpc::of_path(path)) {
            self.roster
                .refusals()
                .note(whom, rpc.path(), refusal.message());
        }
        admitted
    }
}

impl<S> tower::Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access {
            door: self.clone(),
            inner,
        }
    }
}

/// A service behind the table.
#[derive(Debug, Clone)]
pub(super) struct Access<S> {
    door: AccessLayer,
    inner: S,
}

impl<S, B, R> tower::Service<Request<B>> for Access<S>
where
    S: tower::Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let caller = request.extensions().get::<Caller>();
        let peer = caller.map_or(Peer::Anonymous, |caller| caller.peer.clone());
        match self.door.admit(request.uri().path(), caller) {
            Ok(role) => {
                if let Some(role) = role {
                    request.extensions_mut().insert(role);
                }
            }
            Err(refusal) => {
                tracing::warn!(path = request.uri().path(), %peer, code = ?refusal.code(), "refused a call");
                return Box::pin(async move { Ok(refusal.into_http()) });
            }
        }
        request.extensions_mut().insert(peer);
        Box::pin(self.inner.call(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_caller_may_call_its_own_and_nothing_else() {
        let agent = Peer::Agent("SRV-B".parse().unwrap());
        let operator = Peer::Operator("anna".to_owned());
        let ours = Rpc::ALL.iter().map(|rpc| (rpc.path(), who(*rpc)));
        let beside = Beside::ALL.iter().map(|call| (call.path(), call.who()));
        for (path, who) in ours.chain(beside) {
            for role in Role::ALL {
                for peer in [&agent, &operator, &Peer::Anonymous] {
                    let may = match who {
                        Who::Anybody => true,
                        Who::Agent => *peer == agent,
                        Who::Operator(needed) => *peer == operator && role >= needed,
                        Who::Named => *peer != Peer::Anonymous,
                    };
                    let role = (*peer == operator).then_some(role);
                    let got = check(path, peer, role).is_ok();
                    assert_eq!(got, may, "{peer} {role:?} {path}");
                }
            }
        }
        let code = |path, peer, role| check(path, peer, role).unwrap_err().code();
        let (agents, operators) = (
            "/mailmend.v1.Agents/Session",
            "/mailmend.v1.Operator/GetRun",
        );
        let viewer = Some(Role::Viewer);
        assert_eq!(
            code(agents, &Peer::Anonymous, None),
            tonic::Code::Unauthenticated
        );
        assert_eq!(
            code(agents, &operator, viewer),
            tonic::Code::PermissionDenied
        );
        assert_eq!(code(operators, &agent, None), tonic::Code::PermissionDenied);
        assert_eq!(
            code("/mailmend.v1.Operator/Unheard", &operator, viewer),
            tonic::Code::Unimplemented
        );
        assert_eq!(
            code("/", &Peer::Anonymous, None),
            tonic::Code::Unauthenticated
        );
    }

    #[test]
    fn only_tokens_speak_for_callers_without_a_certificate() {
        let open: Vec<&str> = Rpc::ALL
            .iter()
            .filter(|rpc| who(**rpc) == Who::Anybody)
            .map(|rpc| rpc.path())
            .collect();
        assert!(Beside::ALL.iter().all(|call| call.who() != Who::Anybody));
        assert_eq!(
            open,
            [
                "/mailmend.v1.Enrolment/Enrol",
                "/mailmend.v1.Enrolment/EnrolOperator"
            ]
        );
    }
}
