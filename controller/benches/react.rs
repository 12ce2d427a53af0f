//! What it costs to answer the symptoms of ten thousand servers, beside what it cannot be cheaper than: going once through
//! what they said.
//!
//! `cargo bench -p mailmend --bench react`. A night on which nothing stands and half of the fleet's runs are to be judged,
//! and one on which the symptom stands everywhere and a person has bound the policy to act by itself.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use mailmend::react::{
    Answer, Binding, Known, Member, Past, Shape, Standing, Throttle, Word, react,
};
use mailmend::rollout::{RolloutId, RunPhase};
use mailmend_proto::run::RunId;
use uuid::Uuid;

const SERVERS: u32 = 10_000;
/// As many as the store tells of.
const RUNS: u32 = 5_000;
const NOW_MS: i64 = 1_780_000_000_000;
const MINUTE_MS: i64 = 60_000;

/// A fleet of sites of one server each.
fn fleet(standing: Standing) -> Known {
    let policy = "stuck-outbound-routing";
    let mut known = Known::default();
    let binding = Binding {
        policy: policy.parse().expect("a name"),
        version: 1,
        selector: String::new(),
        answer: Answer::Auto,
        throttle: Throttle::default(),
        bound_ms: 0,
        by: "anna".to_owned(),
    };
    known.bindings.insert(binding.policy.clone(), binding);
    let history = Arc::make_mut(&mut known.history);
    for number in 0..SERVERS {
        let (site, name) = (format!("site-{number}"), format!("site-{number}-b"));
        let looks = BTreeSet::from([name.parse().expect("a name")]);
        if number < RUNS {
            history.push(Past {
                run: RunId(Uuid::from_u128(u128::from(number))),
                rollout: RolloutId(Uuid::nil()),
                policy: policy.parse().expect("a name"),
                site: site.parse().expect("a name"),
                servers: looks.clone(),
                by_itself: false,
                began_ms: NOW_MS - 10 * MINUTE_MS,
                ended_ms: Some(NOW_MS - 5 * MINUTE_MS),
                phase: RunPhase::Succeeded,
                delivered: 1,
                kept: 0,
                effect: None,
                effect_why: String::new(),
            });
        }
        let shape = Shape {
            servers: looks.clone(),
            looks,
        };
        let key = (
            policy.parse().expect("a name"),
            site.parse().expect("a name"),
        );
        known.shapes.insert(key, Ok(vec![shape]));
        let member = Member {
            site: site.parse().expect("a name"),
            connected: true,
            in_hand: None,
            queues: Vec::new(),
        };
        known.fleet.insert(name.parse().expect("a name"), member);
    }
    let words = known.fleet.keys().map(|agent| Word {
        agent: agent.clone(),
        policy: policy.parse().expect("a name"),
        version: 1,
        standing,
        since_ms: NOW_MS - 8 * MINUTE_MS,
        looked_ms: NOW_MS,
        heard_ms: NOW_MS - 6 * MINUTE_MS,
        evidence: vec!["40 messages wait".to_owned()],
    });
    for word in words.map(Arc::new).collect::<Vec<_>>() {
        known.tell(word);
    }
    known
}

fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("react, 10 000 servers");
    let words = fleet(Standing::Absent);
    group.bench_function("reference: every word gone through once", |bencher| {
        bencher.iter(|| {
            let all = words.words.values().flat_map(|of| of.values());
            let of_fleet = all.filter(|word| words.fleet.contains_key(&word.agent));
            black_box(
                of_fleet
                    .filter(|word| word.standing != Standing::Absent)
                    .count(),
            )
        });
    });
    for (name, standing) in [
        ("nothing stands, 5 000 runs to be judged", Standing::Absent),
        (
            "it stands everywhere, and 5 000 runs to be judged",
            Standing::Stands,
        ),
    ] {
        let known = fleet(standing);
        let found = react(&known, NOW_MS);
        assert_eq!(
            found.waits.is_empty(),
            standing == Standing::Absent,
            "{found:?}"
        );
        assert_eq!(found.effects.len(), RUNS as usize);
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(react(black_box(&known), NOW_MS)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = answers
}
criterion_main!(benches);
