//! Who may call what: one table, and whatever is not in it is refused.
//!
//! Services may look at the caller again; they cannot forget to, because this comes first.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::codegen::http::{Request, Response};

use crate::identity::{Caller, Peer, denied};

/// Who may call an RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whoever can dial: the call proves itself by a token.
    Anybody,
    /// An agent, by certificate.
    Agent,
    /// An operator, by certificate.
    Operator,
}

/// Every RPC of the contract and who may call it. A test compares it with the contract's files.
const TABLE: &[(&str, Who)] = &[
    ("/mailmend.v1.Enrolment/Enrol", Who::Anybody),
    ("/mailmend.v1.Agents/Renew", Who::Agent),
    ("/mailmend.v1.Agents/Session", Who::Agent),
    ("/mailmend.v1.Operator/PublishPolicy", Who::Operator),
    ("/mailmend.v1.Operator/ListPolicies", Who::Operator),
    ("/mailmend.v1.Operator/GetPolicy", Who::Operator),
    ("/mailmend.v1.Operator/RecallPolicy", Who::Operator),
    ("/mailmend.v1.Operator/CreateToken", Who::Operator),
    ("/mailmend.v1.Operator/ListAgents", Who::Operator),
    ("/mailmend.v1.Operator/GetAgent", Who::Operator),
    ("/mailmend.v1.Operator/PlanRollout", Who::Operator),
    ("/mailmend.v1.Operator/StartRollout", Who::Operator),
    ("/mailmend.v1.Operator/ListRollouts", Who::Operator),
    ("/mailmend.v1.Operator/GetRollout", Who::Operator),
    ("/mailmend.v1.Operator/WatchRollout", Who::Operator),
    ("/mailmend.v1.Operator/ChangeRollout", Who::Operator),
    ("/mailmend.v1.Operator/ApproveWave", Who::Operator),
    ("/mailmend.v1.Operator/RetryRollout", Who::Operator),
    ("/mailmend.v1.Operator/ExplainRollout", Who::Operator),
    ("/mailmend.v1.Operator/Doctor", Who::Operator),
    ("/mailmend.v1.Operator/GetRun", Who::Operator),
    ("/mailmend.v1.Operator/ListCustody", Who::Operator),
    ("/mailmend.v1.Operator/ListReconciled", Who::Operator),
    ("/mailmend.v1.Operator/AuditLedger", Who::Operator),
    ("/mailmend.v1.Operator/AnswerTask", Who::Operator),
    ("/mailmend.v1.Operator/ReleaseCustody", Who::Operator),
    ("/mailmend.v1.Operator/RecoverCustody", Who::Operator),
    ("/mailmend.v1.Operator/SettleCustody", Who::Operator),
    ("/mailmend.v1.Operator/GetOrder", Who::Operator),
    ("/mailmend.v1.Operator/BindPolicy", Who::Operator),
    ("/mailmend.v1.Operator/ListBindings", Who::Operator),
    ("/mailmend.v1.Operator/ListSymptoms", Who::Operator),
    ("/mailmend.v1.Operator/ListProposals", Who::Operator),
    ("/mailmend.v1.Operator/DecideProposal", Who::Operator),
    ("/mailmend.v1.Operator/SetInHand", Who::Operator),
];

/// Who may call the RPC at `path`; `None`: nobody.
#[must_use]
pub fn who(path: &str) -> Option<Who> {
    TABLE
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, who)| *who)
}

/// Whether `peer` may call the RPC at `path`.
///
/// # Errors
/// The status to refuse it with.
fn check(path: &str, peer: &Peer) -> Result<(), Status> {
    match (who(path), peer) {
        (Some(Who::Anybody), _)
        | (Some(Who::Agent), Peer::Agent(_))
        | (Some(Who::Operator), Peer::Operator(_)) => Ok(()),
        (Some(Who::Agent), other) => Err(denied(other, "an agent")),
        (Some(Who::Operator), other) => Err(denied(other, "an operator")),
        // A stranger learns nothing about what exists.
        (None, Peer::Anonymous) => Err(denied(peer, "whoever calls this")),
        (None, _) => Err(Status::unimplemented(
            "this controller does not know the call; is the caller of a newer version?",
        )),
    }
}

/// Puts [`check`] before every service and [`Peer`] into every request.
#[derive(Debug, Clone, Copy)]
pub(super) struct AccessLayer;

impl<S> tower::Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner }
    }
}

/// A service behind the table.
#[derive(Debug, Clone)]
pub(super) struct Access<S> {
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
        if let Err(refusal) = check(request.uri().path(), &peer) {
            tracing::warn!(path = request.uri().path(), %peer, "refused a call");
            return Box::pin(async move { Ok(refusal.into_http()) });
        }
        request.extensions_mut().insert(peer);
        Box::pin(self.inner.call(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: [&str; 2] = [
        include_str!("../../../proto/mailmend/v1/agent.proto"),
        include_str!("../../../proto/mailmend/v1/operator.proto"),
    ];

    #[test]
    fn every_call_of_the_contract_says_who_may_call_it() {
        let mut calls = Vec::new();
        for line in CONTRACT.iter().flat_map(|text| text.lines()).map(str::trim) {
            let service = line
                .strip_prefix("service ")
                .map(|rest| rest.trim_end_matches(" {"));
            if let Some(service) = service {
                calls.push((service.to_owned(), None));
            } else if let Some(rest) = line.strip_prefix("rpc ") {
                let service = calls.last().unwrap().0.clone();
                calls.push((service, rest.split('(').next()));
            }
        }
        let calls: Vec<String> = calls
            .into_iter()
            .filter_map(|(service, rpc)| Some(format!("/mailmend.v1.{service}/{}", rpc?)))
            .collect();
        assert!(calls.len() >= 18, "{calls:?}");
        let table: Vec<&str> = TABLE.iter().map(|(path, _)| *path).collect();
        assert_eq!(calls, table);
    }

    #[test]
    fn each_kind_of_caller_may_call_its_own_and_nothing_else() {
        let agent = Peer::Agent("SRV-B".parse().unwrap());
        let operator = Peer::Operator("admin".to_owned());
        for (path, who) in TABLE {
            for peer in [&agent, &operator, &Peer::Anonymous] {
                let may = match who {
                    Who::Anybody => true,
                    Who::Agent => *peer == agent,
                    Who::Operator => *peer == operator,
                };
                assert_eq!(check(path, peer).is_ok(), may, "{peer} {path}");
            }
        }
        let code = |path, peer| check(path, peer).unwrap_err().code();
        let (agents, operators) = (
            "/mailmend.v1.Agents/Session",
            "/mailmend.v1.Operator/GetRun",
        );
        assert_eq!(code(agents, &Peer::Anonymous), tonic::Code::Unauthenticated);
        assert_eq!(code(agents, &operator), tonic::Code::PermissionDenied);
        assert_eq!(code(operators, &agent), tonic::Code::PermissionDenied);
        assert_eq!(
            code("/mailmend.v1.Operator/Unheard", &operator),
            tonic::Code::Unimplemented
        );
        assert_eq!(code("/", &Peer::Anonymous), tonic::Code::Unauthenticated);
    }
}
