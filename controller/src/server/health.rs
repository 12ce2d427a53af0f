//! `grpc.health.v1.Health`: whether store and decider work. And reflection: what there is to call.

use std::time::Duration;

use mailmend_proto::wire;
use mailmend_proto::wire::agents_server::AgentsServer;
use mailmend_proto::wire::enrolment_server::EnrolmentServer;
use mailmend_proto::wire::operator_server::OperatorServer;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::limits::Limits;
use crate::orchestrator::Controller;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The longest that the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What decides looks at everything each ten seconds though nothing was heard of. Three times that without an end is
/// no work.
const STILL: Duration = Duration::from_secs(30);

/// The services whose status is told: the whole controller, and each of the contract's.
const SERVICES: [&str; 4] = [
    "",
    <EnrolmentServer<()> as NamedService>::NAME,
    <AgentsServer<()> as NamedService>::NAME,
    <OperatorServer<()> as NamedService>::NAME,
];

/// Adds health and reflection to the services behind the door.
///
/// # Panics
/// Never: the contract that was compiled in can be read.
pub fn beside(routes: &mut RoutesBuilder, reporter: &HealthReporter, limits: &Limits) {
    let size = limits.anonymous_message_bytes;
    let health = HealthService::from_health_reporter(reporter.clone());
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (v1, v1alpha) = (described().build_v1(), described().build_v1alpha());
    routes
        .add_service(HealthServer::new(health).max_decoding_message_size(size))
        .add_service(
            v1.expect("the contract was compiled in")
                .max_decoding_message_size(size),
        )
        .add_service(
            v1alpha
                .expect("the contract was compiled in")
                .max_decoding_message_size(size),
        );
}

/// How the controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Works,
    /// The store does not answer, or not in time.
    Store,
    /// What decides has not come to its end for so long.
    Decider(Duration),
}

/// Pure.
fn judge(store: bool, decided: Duration) -> State {
    match store {
        false => State::Store,
        true if decided > STILL => State::Decider(decided),
        true => State::Works,
    }
}

/// Tells the status until the controller stops; then those who watch are let go.
pub async fn follow(controller: Controller, mut reporter: HealthReporter) {
    let mut last = None;
    loop {
        let answered = tokio::time::timeout(PATIENCE, controller.store().answers()).await;
        if controller.stopping().is_cancelled() {
            break;
        }
        let why = match &answered {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault.to_string()),
            Err(_) => Some(format!("it did not answer within {PATIENCE:?}")),
        };
        let state = judge(why.is_none(), controller.decided().elapsed());
        if last.map(|last| std::mem::discriminant(&last)) != Some(std::mem::discriminant(&state)) {
            match (state, &why) {
                (State::Works, _) => tracing::info!("health: serving"),
                (State::Store, why) => {
                    let why = why.as_deref().unwrap_or_default();
                    tracing::error!("health: not serving, the store does not work: {why}");
                }
                (State::Decider(since), _) => tracing::error!(
                    "health: not serving, nothing was decided to its end for {since:?}"
                ),
            }
            last = Some(state);
        }
        let status = match state {
            State::Works => ServingStatus::Serving,
            State::Store | State::Decider(_) => ServingStatus::NotServing,
        };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        tokio::select! {
            () = controller.stopping().cancelled() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    // A stream that is watched would keep the controller from its end.
    for service in SERVICES {
        reporter
            .set_service_status(service, ServingStatus::NotServing)
            .await;
        reporter.clear_service_status(service).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_and_the_decider_both_have_to_work() {
        let now = Duration::from_secs(1);
        assert_eq!(judge(true, now), State::Works);
        assert_eq!(judge(true, STILL), State::Works);
        let late = STILL + Duration::from_millis(1);
        assert_eq!(judge(true, late), State::Decider(late));
        assert_eq!(judge(false, now), State::Store);
    }

    #[tokio::test]
    async fn a_store_that_is_gone_is_told_and_watchers_are_let_go_at_the_end() {
        use crate::clock::Clock;
        use crate::store::Store;
        use tonic_health::pb::HealthCheckRequest;
        use tonic_health::pb::health_check_response::ServingStatus as Told;
        use tonic_health::pb::health_server::Health as _;

        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("controller.db"))
            .await
            .unwrap();
        let controller = Controller::start(store, Clock::system());
        let reporter = HealthReporter::new();
        let health = HealthService::from_health_reporter(reporter.clone());
        let following = tokio::spawn(follow(controller.clone(), reporter));
        let status = async |wanted: Told| {
            for _ in 0..600 {
                let asked = tonic::Request::new(HealthCheckRequest::default());
                let answer = health.check(asked).await.unwrap().into_inner();
                if answer.status() == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("never {wanted:?}");
        };
        status(Told::Serving).await;
        controller.store().close().await;
        status(Told::NotServing).await;
        controller.stopping().cancel();
        following.await.unwrap();
        let asked = tonic::Request::new(HealthCheckRequest::default());
        assert!(
            health.check(asked).await.is_err(),
            "nothing is told any more"
        );
    }
}
