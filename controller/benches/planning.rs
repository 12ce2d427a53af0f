//! What it costs to plan a rollout over ten thousand servers, beside what it cannot be cheaper than: laying the plans of
//! their sites and taking the digest of each.
//!
//! `cargo bench -p mailmend --bench planning`. An operator waits for it at each preview and at each start.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mailmend::planning::{Overrides, digest, planned};
use mailmend::store::PolicyRow;
use mailmend_policy::library;
use mailmend_policy::parse::parse;
use mailmend_policy::plan::{Server, plan};
use mailmend_policy::policy::Policy;

const POLICY: &str = "stuck-outbound-routing";
/// Each has two servers.
const SITES: u32 = 5_000;

fn server(policy: &Policy, site: &str, name: &str, direction: &str) -> Server {
    let labels = [
        ("exchange.version", "5.5.2653"),
        ("ims.direction", direction),
        ("site", site),
        ("name", name),
    ];
    let actions = policy.steps.iter().map(|step| step.action.name());
    Server {
        name: name.parse().expect("a name"),
        site: site.parse().expect("a name"),
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        actions: actions.chain(["detect"]).map(str::to_owned).collect(),
    }
}

fn planning(criterion: &mut Criterion) {
    let source = library::find(POLICY).expect("a policy of the library");
    let policy = parse(&source).expect("a policy of the library");
    let revision = PolicyRow {
        name: POLICY.parse().expect("a name"),
        version: 1,
        digest: source.digest(),
        title: String::new(),
        article: String::new(),
        text: source.bytes().to_vec(),
        published_ms: 0,
        by: String::new(),
    };
    let fleet: Vec<Server> = (0..SITES)
        .flat_map(|number| {
            let site = format!("site-{number}");
            let a = server(&policy, &site, &format!("{site}-a"), "both");
            let b = server(&policy, &site, &format!("{site}-b"), "outbound");
            [a, b]
        })
        .collect();
    let mut group = criterion.benchmark_group("planning");
    group.sample_size(10);
    group.bench_function("planned, 5 000 sites of two servers", |bencher| {
        bencher.iter(|| {
            let whole = planned(&revision, "ims.direction", &Overrides::default(), &fleet);
            let whole = whole.expect("every site can be planned");
            assert_eq!(whole.plans.len(), fleet.len() / 2);
            black_box(whole)
        });
    });
    group.bench_function("reference: plans and their digests", |bencher| {
        bencher.iter(|| {
            let plans = plan(&policy, source.digest(), &fleet).expect("every site can be planned");
            black_box((digest(&plans), plans))
        });
    });
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
