//! `mailmend rollout simulate`: plays a rollout through many times before anything is touched.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mailmend_policy::library;
use mailmend_policy::parse::parse;
use mailmend_policy::plan::Server;
use mailmend_policy::policy::Policy;
use mailmend_policy::source::PolicySource;
use mailmend_proto::wire;
use serde_json::json;

use crate::cli::arguments::{Harm, PolicyRef, Simulation};
use crate::cli::connection::Controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Mood, Output, Shown};
use crate::cli::when::duration;
use crate::planning::{Overrides, Planned, planned};
use crate::simulation::{
    Odds, Outcome, People, Program, Setup, Spread, Summary, Weather, generated, simulate, summary,
};
use crate::store::PolicyRow;

/// How long a person waits before anything moves.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest that is simulated.
const LONGEST: Duration = Duration::from_secs(60 * 86_400);
/// Versions that generated servers may have; the first that a policy is for is taken.
const VERSIONS: [&str; 3] = ["5.0.1460.8", "5.5.1960.3", "4.0.994.63"];

pub(super) async fn run(
    asked: Simulation,
    controller: impl FnOnce() -> Result<Controller, Failure>,
    output: &Output,
) -> Result<Exit, Failure> {
    let program = agent_program(asked.agent_program.as_deref())?;
    let (source, inventory) = if asked.inventory {
        let (source, servers) = known(&controller()?, &asked.policy).await?;
        (source, Some(servers))
    } else {
        (local(&asked.policy)?, None)
    };
    let setup = tokio::task::block_in_place(|| prepared(&asked, &source, inventory))?;
    let outcomes = tokio::task::block_in_place(|| play(&asked, &setup, &program))?;
    if let Some(file) = &asked.trace
        && let Some(first) = outcomes.first()
    {
        let text = format!("{}\n", first.trace.join("\n"));
        std::fs::write(file, text).map_err(|why| {
            Failure::new(
                "C031-file",
                format!("could not write the trace `{}`: {why}", file.display()),
            )
        })?;
    }
    let found = summary(&outcomes);
    let answer = json!({
        "policy": format!("{}@{}", setup.revision.name, setup.revision.version),
        "selector": asked.selector,
        "servers": setup.servers.len(),
        "runs_each": setup.planned.plans.len(),
        "seed": asked.seed,
        "summary": found,
        "simulations": outcomes,
    });
    output.answer(&answer, |output| told(&found, &setup, &asked, output))?;
    Ok(if found.broken.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

/// The program that plays the servers: as told, or beside this one.
fn agent_program(told: Option<&Path>) -> Result<PathBuf, Failure> {
    let program = match told {
        Some(program) => program.to_owned(),
        None => {
            let here = std::env::current_exe().map_err(|why| {
                Failure::new(
                    "C140-agent-program",
                    format!("could not find this program's folder: {why}"),
                )
            })?;
            here.with_file_name(format!("mailmend-agent{}", std::env::consts::EXE_SUFFIX))
        }
    };
    if program.is_file() {
        return Ok(program);
    }
    let text = format!(
        "there is no agent's program `{}`, and it plays the servers",
        program.display()
    );
    Err(Failure::new("C140-agent-program", text).with_exit(Exit::Usage))
}

/// A shipped policy, or one in a file.
fn local(policy: &str) -> Result<PolicySource, Failure> {
    if let Some(source) = library::find(policy) {
        return Ok(source);
    }
    let path = Path::new(policy);
    if path.extension().is_some_and(|ends| ends == "toml") {
        let text = std::fs::read(path).map_err(|why| {
            Failure::new("C031-file", format!("could not read `{policy}`: {why}"))
                .with_exit(Exit::Usage)
        })?;
        return Ok(PolicySource::new(policy, text));
    }
    let text =
        format!("mailmend ships no policy `{policy}`, and it is no file that ends in `.toml`");
    Err(Failure::new("C036-not-found", text)
        .with_help("`mailmend policy list --shipped` shows those that it ships; a published one needs --inventory")
        .with_exit(Exit::Usage))
}

/// The published policy and the servers of the controller.
async fn known(
    controller: &Controller,
    policy: &str,
) -> Result<(PolicySource, Vec<Server>), Failure> {
    let of: PolicyRef = policy.parse().map_err(|why| {
        Failure::new("C035-usage", format!("`{policy}`: {why}")).with_exit(Exit::Usage)
    })?;
    let request = wire::GetPolicyRequest {
        name: of.name.clone(),
        version: of.version,
    };
    let found = controller
        .ask(
            "read the policy",
            request,
            |mut client, request| async move { client.get_policy(request).await },
        )
        .await?;
    let agents = controller
        .ask(
            "list the servers",
            wire::ListAgentsRequest::default(),
            |mut client, request| async move { client.list_agents(request).await },
        )
        .await?;
    let mut servers = Vec::with_capacity(agents.agents.len());
    for agent in agents.agents {
        let mut labels: std::collections::BTreeMap<String, String> =
            agent.facts.into_iter().collect();
        labels.extend(agent.labels);
        let name = agent.name.parse();
        let (Ok(name), Ok(site)) = (name, agent.site.parse()) else {
            let text = format!(
                "the controller knows a server `{}` of site `{}`",
                agent.name, agent.site
            );
            return Err(Failure::new("C039-controller", text));
        };
        labels.insert("site".to_owned(), agent.site);
        labels.insert("name".to_owned(), agent.name);
        servers.push(Server {
            name,
            site,
            labels,
            actions: agent.actions.into_iter().collect(),
        });
    }
    Ok((PolicySource::new(of.name, found.text), servers))
}

fn refused(text: impl std::fmt::Display) -> Failure {
    let text = text.to_string();
    let (code, text) = match text.split_once(": ") {
        Some((code, text)) if code.starts_with('C') => (code.to_owned(), text.to_owned()),
        _ => ("C035-usage".to_owned(), text),
    };
    Failure::new(&code, text).with_exit(Exit::Usage)
}

/// All that the simulations have in common.
fn prepared(
    asked: &Simulation,
    source: &PolicySource,
    inventory: Option<Vec<Server>>,
) -> Result<Setup, Failure> {
    let policy = parse(source).map_err(|faults| {
        Failure::new(
            "C083-policy-refused",
            format!("the policy has faults: {faults}"),
        )
        .with_exit(Exit::Usage)
    })?;
    let sites = asked.sites.unwrap_or(asked.servers.div_ceil(2));
    let servers = match inventory {
        Some(servers) => servers,
        None => {
            let versions = &policy.applies_to.versions;
            let version = VERSIONS
                .iter()
                .find(|version| version.parse().is_ok_and(|version| versions.holds(version)));
            generated(
                asked.servers,
                sites,
                version.unwrap_or(&VERSIONS[0]),
                &actions(&policy),
            )
            .map_err(refused)?
        }
    };
    let strategy = super::plan::overrides(&asked.strategy)?;
    let revision = PolicyRow {
        name: policy.name,
        version: policy.version,
        digest: source.digest(),
        title: policy.title,
        article: policy.source.article,
        text: source.bytes().to_vec(),
        published_ms: 0,
        by: String::new(),
    };
    let overrides = Overrides {
        sites_at_once: asked.strategy.sites_at_once,
        strategy: &strategy,
        ..Overrides::default()
    };
    let planned: Planned =
        planned(&revision, &asked.selector, &overrides, &servers).map_err(refused)?;
    let Harm {
        affected,
        failure_rate,
        refusing,
        unreachable,
        slow,
        crashing,
        loses,
        partitions,
        controller_deaths,
    } = asked.harm;
    Ok(Setup {
        seed: asked.seed,
        revision,
        planned,
        servers,
        odds: Odds {
            affected,
            failing: failure_rate,
            refusing,
            unreachable,
            slow,
            crashing,
            ..Odds::default()
        },
        weather: Weather {
            loses,
            partitions,
            deaths: controller_deaths,
            ..Weather::default()
        },
        people: People {
            after: asked.person_after,
            resume: asked.resume,
            ..People::default()
        },
        healed_after: None,
        longest: LONGEST,
        broken: Vec::new(),
        traced: false,
    })
}

/// The actions that a generated server's agent has to know: those of the policy. The agent's program refuses
/// a run with one that it does not know.
fn actions(policy: &Policy) -> BTreeSet<String> {
    let steps = policy
        .steps
        .iter()
        .map(|step| step.action.name().to_owned());
    steps.chain(["detect".to_owned()]).collect()
}

/// Plays all of them, several at a time, each worker with a program of its own.
fn play(asked: &Simulation, setup: &Setup, program: &Path) -> Result<Vec<Outcome>, Failure> {
    let jobs = asked.jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        |jobs| usize::try_from(jobs).unwrap_or(1),
    );
    let jobs = jobs.min(usize::try_from(asked.runs).unwrap_or(1));
    let (next, failed) = (AtomicU32::new(0), AtomicBool::new(false));
    let played: Mutex<Vec<Result<Outcome, Failure>>> = Mutex::default();
    let bar = progress(asked.runs);
    let begun = Instant::now();
    let work = || -> Result<(), Failure> {
        let mut servers = Program::start(program).map_err(refused)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= asked.runs || failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let one = Setup {
                seed: setup.seed.wrapping_add(u64::from(number)),
                traced: number == 0 && asked.trace.is_some(),
                ..setup.clone()
            };
            let outcome = simulate(&one, &mut servers).map_err(refused)?;
            let mut played = played.lock().unwrap_or_else(PoisonError::into_inner);
            played.push(Ok(outcome));
            if begun.elapsed() >= PATIENCE && std::io::stderr().is_terminal() {
                bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            }
            bar.set_position(played.len() as u64);
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..jobs {
            threads.spawn(|| {
                if let Err(why) = work() {
                    failed.store(true, Ordering::Relaxed);
                    played
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(Err(why));
                }
            });
        }
    });
    bar.finish_and_clear();
    let played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut outcomes = played.into_iter().collect::<Result<Vec<_>, _>>()?;
    outcomes.sort_by_key(|outcome| outcome.seed.wrapping_sub(setup.seed));
    Ok(outcomes)
}

fn progress(runs: u32) -> ProgressBar {
    let bar = ProgressBar::hidden();
    bar.set_length(u64::from(runs));
    bar.set_style(
        ProgressStyle::with_template("{pos}/{len} simulations ({elapsed}, {eta} left)")
            .expect("the template is well formed"),
    );
    bar
}

fn time(ms: i64) -> String {
    duration(u64::try_from(ms).unwrap_or(0))
}

fn told(found: &Summary, setup: &Setup, asked: &Simulation, output: &Output) -> String {
    let head = format!(
        "{} simulations of {}@{} over {} runs at {} servers; {}\n\n",
        found.simulations,
        setup.revision.name,
        setup.revision.version,
        setup.planned.plans.len(),
        setup.servers.len(),
        setup.planned.inequality(),
    );
    let row = |name: &str, spread: &Spread, shown: &dyn Fn(i64) -> String| -> Vec<Shown> {
        let Spread {
            min,
            median,
            p90,
            p99,
            max,
        } = *spread;
        let mut row: Vec<Shown> = vec![name.into()];
        row.extend([min, median, p90, p99, max].map(|number| shown(number).into()));
        row
    };
    let plain = |number: i64| number.to_string();
    let rows = vec![
        row("duration", &found.duration_ms, &time),
        row("outage of a server", &found.outage_ms, &time),
        row("its longest", &found.longest_outage_ms, &time),
        row("failed before a halt", &found.failed_before_halt, &plain),
        row(
            &format!("waves begun of {}", found.waves_of),
            &found.waves,
            &plain,
        ),
    ];
    let heads = ["", "MIN", "MEDIAN", "P90", "P99", "MAX"];
    let mut text = head + &output.table(&heads, rows, "nothing") + "\n";
    let list = |counts: &std::collections::BTreeMap<String, u32>| {
        let counts: Vec<String> = counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        if counts.is_empty() {
            "none".to_owned()
        } else {
            counts.join(", ")
        }
    };
    let (messages, delivered, twice) = found.messages;
    let mut pairs: Vec<(&str, Shown)> = vec![
        ("ended", list(&found.endings).into()),
        ("gates that fired", list(&found.gates).into()),
        ("runs", list(&found.runs).into()),
        (
            "mail",
            format!("{messages} messages, {delivered} delivered, {twice} more than once and named")
                .into(),
        ),
    ];
    if let Some((server, seed)) = &found.worst {
        pairs.push((
            "longest outage",
            format!("of {server}, with seed {seed}").into(),
        ));
    }
    for (seed, broken) in &found.broken {
        pairs.push(("BROKEN", Shown::bad(format!("seed {seed}: {broken}"))));
    }
    text.push_str(&output.pairs(pairs));
    if let Some(seed) = found.broken.keys().next() {
        let again = format!(
            "\nThis is a defect of mailmend; report it. Again: mailmend rollout simulate {} --seed {seed} --runs 1 \
             --trace trace.txt, with the other options as they were\n",
            asked.policy
        );
        text.push_str(&output.paint(&again, Mood::Bad));
    }
    text
}
