//! The policies that a hostile controller asks for: what is allowed and too much of it, what looks allowed, and what
//! no parser takes. They follow from a seed.

use std::fmt::Write as _;

use fastrand::Rng;
use mailmend_policy::library;
use mailmend_policy::parse::parse;
use mailmend_policy::plan::{PlanOf, Server, plan_one};
use mailmend_policy::source::PolicySource;
use mailmend_proto::convert::server_to_wire;
use mailmend_proto::wire;

/// What keeps a stop from being refused by the rules of the language.
const FORBID: &str = "forbid = [{ event = { source = \"MSExchangeIMC\", id = 3038, since = \"last-start\" }, why = \"sent mail is sent again\" }]\n";

/// Paths that lead out, as texts of conditions.
const PATHS: [&str; 14] = [
    "${imcdata}/../../../etc/passwd",
    "${imcdata}/..",
    "${exchsrvr}/./x",
    "/etc/passwd",
    "C:\\\\Windows\\\\System32",
    "C:/",
    "\\\\\\\\host\\\\share\\\\x",
    "${imcdata}/Out:stream",
    "${imcdata}/NUL",
    "${imcdata}/*",
    "${home}/x",
    "${imcdata}/Aside/etc/passwd",
    "${imcdata}/Out/LINKOUT1",
    "${exchsrvr}/Elsewhere/CANARY04",
];

/// Addresses, some of which would be flags, or several words.
const ADDRESSES: [&str; 8] = [
    "postmaster@probe.example",
    "root@10.0.0.1",
    "-oProxyCommand=x@y",
    "a@b --server-dir /",
    "a@b\\n--to c@d",
    "$(touch x)@y",
    "a@-b",
    "victim@foreign.example.net",
];

/// Services, of which the guard file allows one.
const SERVICES: [&str; 9] = [
    "MSExchangeIMC",
    "msexchangeimc",
    "MSEXCHANGEIMC",
    "MSExchangeMTA",
    "MSExchangeIS",
    "sshd",
    "mailmend-agent",
    "MSExchangeIMC.service",
    "..",
];

/// Tools, of which the guard file defines two.
const TOOLS: [&str; 7] = [
    "submit-test-mail",
    "recalculate-routing",
    "forbidden",
    "sh",
    "../tools/forbidden",
    "eseutil-d",
    "submit-test-mail2",
];

/// A policy, and which way it is bad.
#[derive(Debug, Clone)]
pub struct Evil {
    /// Which kind it is of.
    pub kind: &'static str,
    /// Its text, which may be no text.
    pub text: Vec<u8>,
}

type Make = fn(&mut Rng) -> String;

/// The kinds, each with what makes one.
const KINDS: [(&str, Make); 13] = [
    ("churn", churn),
    ("churn without end", endless),
    ("another service", other_service),
    ("tool", tool),
    ("probe", probe),
    ("probes without end", probes),
    ("escrow", escrow),
    ("file conditions", files),
    ("heavy conditions", heavy),
    ("reconcile", reconcile),
    ("a search over everything", search),
    ("a shipped one", shipped),
    ("a shipped one, edited", edited),
];

/// The next policy.
#[must_use]
pub fn next(rng: &mut Rng) -> Evil {
    let (kind, make) = KINDS[rng.usize(..KINDS.len())];
    Evil {
        kind,
        text: make(rng).into_bytes(),
    }
}

/// A policy of a kind.
#[must_use]
pub fn of_kind(kind: &str, rng: &mut Rng) -> Option<Evil> {
    let (kind, make) = *KINDS.iter().find(|(name, _)| *name == kind)?;
    Some(Evil {
        kind,
        text: make(rng).into_bytes(),
    })
}

/// The head of each: it selects everything, and its symptom always stands.
fn head(rng: &mut Rng, restarts: u32) -> String {
    format!(
        "schema = \"mailmend/v1\"\nname = \"evil-{}\"\nversion = 1\ntitle = \"what an operator may have asked for\"\n\
         [source]\narticle = \"Q268494\"\ndeviations = [{{ step = \"1\", why = \"none\" }}]\n\
         [applies_to]\nproduct = \"exchange\"\nversions = \">=4.0, <9.0\"\n\
         [roles]\nmail = {{ select = \"ims.direction\", bind = \"each\" }}\n\
         [limits]\nmax_outage = \"10m\"\nmax_restarts = {restarts}\n\
         [detect]\non = \"mail\"\nall = [{{ disk = \"${{imcdata}}\", free_over = \"1B\" }}]\n",
        rng.u64(..)
    )
}

fn step(id: &str, action: &str, rest: &str) -> String {
    format!("[[step]]\nid = \"{id}\"\non = \"mail\"\naction = \"{action}\"\n{rest}")
}

fn stop(id: &str, service: &str, then: &str) -> String {
    let rest = format!("service = \"{service}\"\ntimeout = \"60s\"\nthen = \"{then}\"\n{FORBID}");
    step(id, "service.stop", &rest)
}

fn start(id: &str, service: &str) -> String {
    let rest =
        format!("service = \"{service}\"\nobserve = \"10s\"\nattempts = 5\ntimeout = \"3m\"\n");
    step(id, "service.start", &rest)
}

/// Stops the mail service, takes its queue, gives it back: all of it allowed, again and again.
fn churned(rng: &mut Rng, number: usize) -> String {
    let then = if rng.bool() { "kill" } else { "fail" };
    let queue = if rng.bool() {
        "outbound-awaiting-delivery"
    } else {
        "inbound-awaiting-conversion"
    };
    let ims = "MSExchangeIMC";
    let n = number;
    [
        stop(&format!("stop-{n}"), ims, then),
        step(
            &format!("hold-{n}"),
            "queue.quarantine",
            &format!("queue = \"{queue}\"\nundo = \"replay\"\ntimeout = \"2m\"\n"),
        ),
        step(&format!("index-{n}"), "queue.reset-index", ""),
        start(&format!("start-{n}"), ims),
        stop(&format!("again-{n}"), ims, then),
        step(
            &format!("back-{n}"),
            "queue.replay",
            &format!("of = \"hold-{n}\"\ntimeout = \"2m\"\n"),
        ),
        step(&format!("index-again-{n}"), "queue.reset-index", ""),
        start(&format!("start-again-{n}"), ims),
        step(
            &format!("settled-{n}"),
            "queue.settle",
            &format!("of = \"hold-{n}\"\ntimeout = \"5m\"\n"),
        ),
    ]
    .concat()
}

fn churn(rng: &mut Rng) -> String {
    head(rng, 20) + &churned(rng, 0)
}

fn endless(rng: &mut Rng) -> String {
    let mut text = head(rng, 1000);
    for number in 0..10 {
        text += &churned(rng, number);
    }
    text
}

fn other_service(rng: &mut Rng) -> String {
    let service = SERVICES[rng.usize(..SERVICES.len())];
    let mut text = head(rng, 20);
    // As the rules want it: the mail service first, and started last.
    if rng.bool() {
        text += &stop("stop-ims", "MSExchangeIMC", "kill");
        text += &stop("stop-other", service, "fail");
        text += &start("start-other", service);
        text += &start("start-ims", "MSExchangeIMC");
    } else {
        text += &stop("stop-other", service, "fail");
        text += &start("start-other", service);
    }
    text
}

fn tool(rng: &mut Rng) -> String {
    let tool = TOOLS[rng.usize(..TOOLS.len())];
    let with = match rng.u32(..5) {
        0 => String::new(),
        1 => "with = { to = \"a@b.example\" }\n".to_owned(),
        2 => "with = { to = \"--help\" }\n".to_owned(),
        3 => "with = { server-dir = \"/\" }\n".to_owned(),
        _ => "with = { to = \"a@b.example; touch /tmp/x\", place = \"../..\" }\n".to_owned(),
    };
    let rest = format!("tool = \"{tool}\"\n{with}accept = [\"submitted\"]\ntimeout = \"1m\"\n");
    head(rng, 1) + &step("run", "tool.run", &rest)
}

fn probed(id: &str, to: &str) -> String {
    // The lab's time runs twenty times as fast: a tool that writes its calls down must not be ended before it has.
    let rest = format!("tool = \"submit-test-mail\"\nto = \"{to}\"\ntimeout = \"5m\"\n");
    step(id, "mail.probe", &rest)
}

fn probe(rng: &mut Rng) -> String {
    let to = ADDRESSES[rng.usize(..ADDRESSES.len())];
    head(rng, 1) + &probed("probe", to)
}

/// A hundred test messages to somebody who never asked for one.
fn probes(rng: &mut Rng) -> String {
    let mut text = head(rng, 1);
    for number in 0..100 {
        text += &probed(&format!("probe-{number}"), "victim@foreign.example.net");
    }
    text
}

fn escrow(rng: &mut Rng) -> String {
    let rest = "queue = \"outbound-awaiting-delivery\"\nkeep = \"90d\"\n";
    head(rng, 1) + &step("keep", "mail.escrow", rest)
}

fn files(rng: &mut Rng) -> String {
    let path = PATHS[rng.usize(..PATHS.len())];
    let rest = format!("all = [{{ file = \"{path}\", exists = true }}]\n");
    head(rng, 1) + &step("look", "check", &rest)
}

/// As many conditions as the language takes.
fn heavy(rng: &mut Rng) -> String {
    let one = "{ event = { source = \"MSExchangeIMC\", id = 1000, since = \"7d\" } }, { queue = \"outbound-awaiting-delivery\", oldest_over = \"1s\" }, { file = \"${imcdata}/Log/Route.txt\", older_than_file = \"${mtadata}/GWART0.MTA\" }";
    let many = vec![one; 30].join(", ");
    let rest = format!("until = [{{ any = [{many}] }}]\npoll = \"1s\"\ntimeout = \"1m\"\n");
    head(rng, 1) + &step("wait", "wait.until", &rest)
}

fn reconcile(rng: &mut Rng) -> String {
    let store = if rng.bool() {
        "store = \"forbidden\"\n"
    } else {
        ""
    };
    let rest = format!("over = \"30d\"\ngrace = \"1s\"\n{store}timeout = \"5m\"\n");
    head(rng, 1) + &step("missing", "mail.reconcile", &rest)
}

fn search(rng: &mut Rng) -> String {
    let text = library::find("corrupt-message")
        .map(|source| String::from_utf8_lossy(source.bytes()).into_owned())
        .unwrap_or_default();
    let name = format!("evil-{}", rng.u64(..));
    text.replacen(
        "name = \"corrupt-message\"",
        &format!("name = \"{name}\""),
        1,
    )
    .replace(
        "{ event = { source = \"MSExchangeIMC\", id = 4037, since = \"last-start\" } },\n  { any",
        "{ any",
    )
    .replace(
        "{ service = \"MSExchangeIMC\", is = \"stopped\" },",
        "{ disk = \"${imcdata}\", free_over = \"1B\" },",
    )
}

fn shipped(rng: &mut Rng) -> String {
    let all: Vec<PolicySource> = library::all().collect();
    let one = &all[rng.usize(..all.len())];
    String::from_utf8_lossy(one.bytes()).into_owned()
}

/// A shipped policy with some words swapped: most are refused, and none may do harm.
fn edited(rng: &mut Rng) -> String {
    let mut text = shipped(rng);
    for _ in 0..rng.usize(1..4) {
        let (from, to) = [
            ("then = \"kill\"", "then = \"fail\""),
            ("undo = \"replay\"", "undo = \"keep\""),
            ("MSExchangeIMC", "msexchangeimc"),
            ("MSExchangeIMC", "MSExchangeMTA"),
            ("id = 3038", "id = 3039"),
            ("observe = \"30s\"", "observe = \"1s\""),
            ("first = 10", "first = 1000000"),
            ("max_restarts = 6", "max_restarts = 1000"),
            ("max_outage = \"10m\"", "max_outage = \"30d\""),
            ("ims.direction=outbound", "*"),
            ("[[step]]", "[[stepp]]"),
            ("Q268494", "\u{202e}Q268494"),
            ("submit-test-mail", "forbidden"),
            ("postmaster@probe.example", "a@b --to c@d"),
        ][rng.usize(..14)];
        text = text.replacen(from, to, rng.usize(1..5));
    }
    text
}

/// An assignment of a policy to a server, as an honest controller would make it: with the digest of the plan where there
/// is one, else with some digest. Also how many steps the plan has.
#[must_use]
pub fn assignment(
    run: &str,
    fence: u64,
    text: &[u8],
    servers: &[Server],
    me: &str,
) -> (wire::Assignment, usize) {
    let source = PolicySource::new("policy", text.to_vec());
    let site = servers
        .first()
        .map(|one| one.site.to_string())
        .unwrap_or_default();
    let of = PlanOf {
        site: &site,
        subject: me,
    };
    let policy = parse(&source).ok();
    let plan = policy.as_ref().and_then(|policy| {
        plan_one(policy, source.digest(), servers, of)
            .ok()
            .flatten()
    });
    let assignment = wire::Assignment {
        run: run.to_owned(),
        fence,
        policy_name: policy
            .map(|policy| policy.name.to_string())
            .unwrap_or_default(),
        policy_text: text.to_vec(),
        plan_digest: plan
            .as_ref()
            .map_or_else(|| vec![0; 32], |plan| plan.digest().as_bytes().to_vec()),
        site,
        subject: me.to_owned(),
        servers: servers.iter().map(server_to_wire).collect(),
        traceparent: String::new(),
    };
    (assignment, plan.map_or(0, |plan| plan.steps.len()))
}

/// A text of so many bytes that is no policy.
#[must_use]
pub fn noise(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < bytes {
        let _ = write!(text, "{} = [[[{{", rng.u64(..));
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_that_are_to_reach_the_guard_pass_the_language_and_the_others_do_not() {
        let taken = |kind: &str, seed| {
            let text = of_kind(kind, &mut Rng::with_seed(seed)).unwrap().text;
            parse(&PolicySource::new(kind, text))
                .map(drop)
                .map_err(|faults| faults.to_string())
        };
        for kind in [
            "churn",
            "churn without end",
            "probes without end",
            "escrow",
            "heavy conditions",
            "reconcile",
            "a search over everything",
            "a shipped one",
        ] {
            for seed in 0..5 {
                let found = taken(kind, seed);
                assert!(found.is_ok(), "{kind} {seed}: {found:?}");
            }
        }
        for kind in [
            "another service",
            "tool",
            "probe",
            "file conditions",
            "a shipped one, edited",
        ] {
            let all: Vec<bool> = (0..60).map(|seed| taken(kind, seed).is_ok()).collect();
            assert!(all.contains(&true) && all.contains(&false), "{kind}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_policies() {
        let all = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..50).map(|_| next(&mut rng).text).collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }
}
