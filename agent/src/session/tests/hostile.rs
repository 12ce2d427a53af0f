//! A controller that means harm, or is of another version, against the real engine.

use mailmend_policy::parse::parse;
use mailmend_policy::plan::{Server, plan};
use mailmend_policy::source::PolicySource;
use mailmend_proto::convert::server_to_wire;
use mailmend_proto::wire::{from_agent, to_agent};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::controller::{Controller, Line, enrolled};
use crate::engine::Engine;
use crate::guard::Guard;
use crate::host::simulated::{SimSettings, SimWorld};
use crate::journal::MemoryJournal;
use crate::session::*;
use crate::step::SUPPORTED;
use crate::trust::Permit;

const POLICY: &str = include_str!("../../../../policies/library/stuck-outbound-routing.toml");
const GUARD: &str = r#"
policies = "unsigned"
roots = ["ROOT"]
services = ["MSExchangeIMC"]
[tools.recalculate-routing]
program = "/opt/tool"
[tools.submit-test-mail]
program = "/opt/tool"
[tools.submit-test-mail.flags]
to = { flag = "--to", pattern = "address" }
"#;

/// An agent with a real engine over a simulated machine, and the controller's end of its session.
struct Scene {
    journal: Journal,
    line: Line,
    world: SimWorld,
    _controller: Controller,
    _folder: tempfile::TempDir,
    _running: AbortOnDropHandle<()>,
}

impl Scene {
    async fn new(change_guard: impl Fn(String) -> String) -> Self {
        use crate::host::Host;
        let mut controller = Controller::new().await;
        let folder = tempfile::tempdir().unwrap();
        enrolled(&controller.authority, folder.path(), (-1, 30));
        let world = SimWorld::new(SimSettings::default());
        let host = Arc::new(world.host());
        let exchsrvr = host
            .root(mailmend_policy::condition::PathRoot::Exchsrvr)
            .unwrap();
        let guard = change_guard(GUARD.replace("ROOT", exchsrvr.to_str().unwrap()));
        let guard = Arc::new(Guard::parse("guard.toml", &guard).unwrap());
        let journal = Journal::memory(&MemoryJournal::new(Uuid::from_u128(1))).unwrap();
        let name = "SRVB".parse().unwrap();
        let engine = Engine::by_hand(host, journal.clone(), guard, name).unwrap();
        engine.recover().unwrap();
        let (_facts, facts) = watch::channel(Facts::new());
        let session = Session::new(Settings {
            address: controller.address.clone(),
            data: folder.path().to_path_buf(),
            name: "SRVB".parse().unwrap(),
            journal: journal.clone(),
            orders: Arc::new(engine),
            facts,
            watchlist: Arc::new(Watchlist::open(folder.path(), |_| Ok(Permit::Unasked))),
            symptoms: watch::Sender::default().subscribe(),
            depths: watch::Sender::default().subscribe(),
            trust: watch::Sender::default().subscribe(),
            now_ms: || jiff::Timestamp::now().as_millisecond(),
            retry: Retry::default(),
        });
        let running = tokio::spawn(session.run(CancellationToken::new()));
        let mut line = controller.session().await;
        line.welcome(0, "").await;
        Self {
            journal,
            line,
            world,
            _controller: controller,
            _folder: folder,
            _running: AbortOnDropHandle::new(running),
        }
    }

    async fn ordinary() -> Self {
        Self::new(|guard| guard).await
    }

    /// The answer to an assignment; reports that come meanwhile are acknowledged.
    async fn assign(&mut self, assignment: wire::Assignment) -> Result<(), String> {
        self.line
            .say(to_agent::Message::Assignment(assignment))
            .await;
        loop {
            match self.line.heard().await {
                from_agent::Message::Answer(answer) if answer.admitted => return Ok(()),
                from_agent::Message::Answer(answer) => return Err(answer.code),
                from_agent::Message::Report(report) => {
                    let last = report.records.last().unwrap().seq;
                    self.line.acknowledge(last).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Nothing was journaled and no service was touched.
    fn is_untouched(&self) {
        assert_eq!(self.journal.head(), 0);
        assert!(self.world.is_running("MSExchangeIMC"));
    }
}

fn servers() -> Vec<Server> {
    [("SRVA", "both"), ("SRVB", "outbound")]
        .into_iter()
        .map(|(name, direction)| Server {
            name: name.parse().unwrap(),
            site: "oslo".parse().unwrap(),
            labels: [
                ("ims.direction".to_owned(), direction.to_owned()),
                ("exchange.version".to_owned(), "5.5.2653.13".to_owned()),
                ("site".to_owned(), "oslo".to_owned()),
            ]
            .into(),
            actions: SUPPORTED.iter().map(|name| (*name).to_owned()).collect(),
        })
        .collect()
}

/// An assignment of a policy's text as an honest controller makes it.
fn assignment(text: &str, run: u128, fence: u64) -> wire::Assignment {
    let source = PolicySource::new("policy", text);
    let policy = parse(&source).unwrap();
    let plans = plan(&policy, source.digest(), &servers()).unwrap();
    let [plan] = plans.as_slice() else {
        panic!("one plan");
    };
    wire::Assignment {
        run: Uuid::from_u128(run).to_string(),
        fence,
        policy_name: policy.name.to_string(),
        policy_text: text.into(),
        plan_digest: plan.digest().as_bytes().to_vec(),
        site: plan.site.to_string(),
        subject: plan.subject.as_ref().unwrap().to_string(),
        servers: servers().iter().map(server_to_wire).collect(),
        traceparent: String::new(),
    }
}

#[tokio::test]
async fn an_honest_assignment_is_admitted_once_however_often_it_comes() {
    let mut scene = Scene::ordinary().await;
    for _ in 0..3 {
        scene.assign(assignment(POLICY, 1, 10)).await.unwrap();
    }
    assert_eq!(
        (scene.journal.head(), scene.journal.highest_fence()),
        (1, 10)
    );
}

#[tokio::test]
async fn an_assignment_that_was_changed_on_the_way_is_refused() {
    let mut scene = Scene::ordinary().await;
    let good = || assignment(POLICY, 1, 10);
    let mut flipped = good();
    flipped.plan_digest[0] ^= 1;
    let mut cut = good();
    cut.plan_digest.truncate(31);
    let mut commented = good();
    commented.policy_text.extend(b"# one more line\n");
    let mut longer = good();
    longer.policy_text = POLICY
        .replace("timeout = \"90s\"", "timeout = \"91s\"")
        .into();
    let mut noise = good();
    noise.policy_text = vec![0xff; 1000];
    let mut elsewhere = good();
    elsewhere.site = "rome".into();
    let mut other_subject = good();
    other_subject.subject = "SRVA".into();
    let mut nobody = good();
    nobody.servers.clear();
    let mut renamed = good();
    renamed.policy_name = "other".into();
    let mut no_run = good();
    no_run.run = "1".into();
    let mut evil_server = good();
    evil_server.servers[0].name = "../SRVA".into();
    for (what, bad, code) in [
        ("digest flipped", flipped, "A040-plan-differs"),
        ("digest cut", cut, "A046-assignment-malformed"),
        ("policy commented", commented, "A040-plan-differs"),
        ("policy changed", longer, "A040-plan-differs"),
        ("policy noise", noise, "A041-policy-faulty"),
        ("another site", elsewhere, "A040-plan-differs"),
        ("another subject", other_subject, "A040-plan-differs"),
        ("no servers", nobody, "A040-plan-differs"),
        ("another name", renamed, "A046-assignment-malformed"),
        ("no run", no_run, "A017-bad-message"),
        ("a server's name", evil_server, "A046-assignment-malformed"),
    ] {
        assert_eq!(scene.assign(bad).await, Err(code.to_owned()), "{what}");
    }
    scene.is_untouched();
    scene.assign(good()).await.unwrap();
}

#[tokio::test]
async fn what_the_guard_does_not_allow_is_refused_whoever_asks() {
    type Change = fn(String) -> String;
    let cases: [(&str, Change); 4] = [
        ("A030-guard-service", |guard| {
            guard.replace("MSExchangeIMC", "MSExchangeMTA")
        }),
        ("A032-guard-tool", |guard| {
            guard.replace("tools.recalculate-routing", "tools.other")
        }),
        ("A033-guard-flag", |guard| {
            guard.replace("\"address\"", "\"number\"")
        }),
        ("A031-guard-path", |guard| {
            let root = guard
                .lines()
                .find(|line| line.starts_with("roots"))
                .unwrap();
            guard.replace(root, "roots = [\"/somewhere/else\"]")
        }),
    ];
    for (code, change) in cases {
        let mut scene = Scene::new(change).await;
        let answer = scene.assign(assignment(POLICY, 1, 10)).await;
        assert_eq!(answer, Err(code.to_owned()));
        scene.is_untouched();
    }
}

#[tokio::test]
async fn an_old_fence_and_a_run_that_changed_are_refused_after_a_restart_too() {
    let mut scene = Scene::ordinary().await;
    scene.assign(assignment(POLICY, 1, 10)).await.unwrap();
    for fence in [0, 9, 10] {
        let answer = scene.assign(assignment(POLICY, 2, fence)).await;
        assert_eq!(answer, Err("A042-fence-stale".into()), "{fence}");
    }
    let other = POLICY.replace("timeout = \"90s\"", "timeout = \"91s\"");
    let answer = scene.assign(assignment(&other, 1, 11)).await;
    assert_eq!(answer, Err("A043-run-differs".into()));
    assert_eq!(scene.journal.highest_fence(), 10);
}

#[tokio::test]
async fn orders_with_an_old_fence_for_another_run_or_beyond_the_plan_change_nothing() {
    let mut scene = Scene::ordinary().await;
    scene.assign(assignment(POLICY, 1, 10)).await.unwrap();
    let run = Uuid::from_u128(1).to_string();
    let stranger = Uuid::from_u128(9).to_string();
    for bad in [
        to_agent::Message::Advance(wire::Advance {
            run: run.clone(),
            fence: 9,
            through: 3,
        }),
        to_agent::Message::Advance(wire::Advance {
            run: run.clone(),
            fence: 10,
            through: 9999,
        }),
        to_agent::Message::Advance(wire::Advance {
            run: stranger.clone(),
            fence: 11,
            through: 1,
        }),
        to_agent::Message::Advance(wire::Advance {
            run: "x".into(),
            fence: 11,
            through: 1,
        }),
        to_agent::Message::Unwind(wire::Unwind {
            run: run.clone(),
            fence: 9,
            down_to: 0,
            last: true,
        }),
        to_agent::Message::Fence(wire::Fence {
            run: run.clone(),
            fence: 9,
        }),
        to_agent::Message::Fence(wire::Fence {
            run: stranger,
            fence: 99,
        }),
    ] {
        scene.line.say(bad).await;
    }
    // Orders are taken in turn: this answer comes after all of them, and no fence was confirmed.
    scene.assign(assignment(POLICY, 1, 10)).await.unwrap();
    assert_eq!(scene.journal.head(), 1);
    let good = wire::Advance {
        run,
        fence: 10,
        through: 1,
    };
    for _ in 0..2 {
        scene
            .line
            .say(to_agent::Message::Advance(good.clone()))
            .await;
    }
    scene.assign(assignment(POLICY, 1, 10)).await.unwrap();
    assert_eq!(scene.journal.head(), 2, "the watermark rose once");
}
