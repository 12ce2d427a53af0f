//! What the doctor tells, on a clock of its own.

use super::*;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

impl World {
    fn at(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    async fn examined(&self) -> wire::DoctorReport {
        let report = self.service.doctor(admin(wire::DoctorRequest {})).await;
        report.unwrap().into_inner()
    }

    async fn explained_now(&self, id: &str) -> Vec<wire::Waiting> {
        let request = wire::GetRolloutRequest { id: id.into() };
        let told = self.service.explain_rollout(admin(request)).await;
        told.unwrap().into_inner().waiting
    }
}

fn of_kind<'a>(report: &'a wire::DoctorReport, kind: &str) -> Vec<&'a wire::Finding> {
    let findings = report.findings.iter();
    findings.filter(|finding| finding.kind == kind).collect()
}

#[tokio::test]
async fn only_operators_may_ask_the_doctor() {
    let world = World::new().await;
    let request = from(Peer::Agent("EXA1".parse().unwrap()), wire::DoctorRequest {});
    assert!(world.service.doctor(request).await.is_err());
    let report = world.examined().await;
    assert!(report.findings.is_empty(), "{report:?}");
    assert!(report.schema >= 35 && report.store.ends_with("controller.db"));
}

#[tokio::test]
async fn what_is_overdue_is_found_when_its_time_has_passed_with_the_command_that_releases_it() {
    let world = World::with_site().await;
    world.in_hand(true, "new disk").await.unwrap();
    let report = world.examined().await;
    assert_eq!((report.agents, report.connected, report.overdue), (2, 0, 0));
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    // Two agents are away, and one server is in hand.
    assert_eq!(report.waiting, 3);

    world.at(1000 + 10 * MINUTE + 1);
    let report = world.examined().await;
    let away = of_kind(&report, "agent-away");
    assert_eq!((away.len(), report.overdue), (2, 2));
    assert_eq!(away[0].since_ms, 1000);
    assert_eq!(away[0].expected_ms, 1000 + 10 * MINUTE);
    assert!(away[0].release.contains("mailmend agent show EXA1"));
    assert!(of_kind(&report, "in-hand").is_empty());

    world.at(1000 + DAY + 1);
    let report = world.examined().await;
    let hand = of_kind(&report, "in-hand");
    assert_eq!(hand.len(), 1);
    assert_eq!(hand[0].release, "mailmend agent give-back EXA1");
    assert!(hand[0].holder.starts_with("anna"), "{:?}", hand[0]);
}

#[tokio::test]
async fn a_pause_is_overdue_a_day_after_the_pause_not_after_the_start() {
    let world = World::with_site().await;
    let request = wire::RolloutRequest {
        policy: "stuck-outbound-routing".into(),
        selector: "site".into(),
        request_id: Uuid::new_v4().to_string(),
        ..wire::RolloutRequest::default()
    };
    let id = world.start(&request).await.unwrap().id;
    world.at(1000 + 5 * DAY);
    world.change(&id, wire::RolloutChange::Pause).await.unwrap();
    let waiting = world.explained_now(&id).await;
    let paused = waiting.iter().find(|one| one.kind == "paused").unwrap();
    assert_eq!(paused.since_ms, 1000 + 5 * DAY);
    assert_eq!(paused.expected_ms, 1000 + 6 * DAY);
    assert!(!paused.overdue);
    assert!(of_kind(&world.examined().await, "paused").is_empty());

    world.at(1000 + 6 * DAY + 1);
    let waiting = world.explained_now(&id).await;
    assert!(
        waiting
            .iter()
            .any(|one| one.kind == "paused" && one.overdue)
    );
    let report = world.examined().await;
    let paused = of_kind(&report, "paused");
    assert_eq!(paused.len(), 1, "{:?}", report.findings);
    let resume = format!("mailmend rollout resume {}", &id[..8]);
    assert_eq!(paused[0].release, resume);
    assert_eq!(paused[0].place, format!("rollout {}", &id[..8]));
}
