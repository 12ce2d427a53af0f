//! Whether a maintenance window is open: asked for every rollout at every decision.
//!
//! `cargo bench -p mailmend-policy --bench window`.
#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mailmend_policy::strategy::{Strategy, Window, opening, overridden};

fn windows(text: &str) -> Vec<Window> {
    let strategy = overridden(&Strategy::default(), text.as_bytes(), "bench.toml");
    strategy.unwrap().windows
}

fn bench(criterion: &mut Criterion) {
    let one = windows(
        r#"windows = [{ days = ["sun"], from = "22:00", to = "04:00", zone = "Europe/Oslo" }]"#,
    );
    let always = windows(
        r#"windows = [{ days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from = "00:00", to = "00:00", zone = "Europe/Oslo" }]"#,
    );
    let many: Vec<String> = (0..32)
        .map(|at| format!(r#"{{ days = ["sun"], from = "22:{at:02}", to = "04:00", zone = "America/New_York" }}"#))
        .collect();
    let many = windows(&format!("windows = [{}]", many.join(", ")));
    // Sunday 1 and Wednesday 4 November 2026, 23:30 UTC.
    let (sunday, wednesday) = (1_793_575_800_000, 1_793_835_000_000);
    for (name, windows, now) in [
        ("one window, open", &one, sunday),
        ("one window, shut", &one, wednesday),
        ("seven whole days", &always, wednesday),
        ("32 windows, shut", &many, wednesday),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| opening(black_box(windows), black_box(now)));
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
