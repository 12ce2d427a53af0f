//! `mailmend rollout plan`: what would happen, in which order, at what cost.

use mailmend_proto::wire;

use super::waves;
use crate::cli::arguments::{StrategyFlags, Target};
use crate::cli::connection::Controller;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Mood, Output, Shown};
use crate::cli::view::{PlanView, hex};
use crate::cli::when::duration;

pub(super) fn request(target: &Target) -> Result<wire::RolloutRequest, Failure> {
    Ok(wire::RolloutRequest {
        policy: target.policy.name.clone(),
        version: target.policy.version,
        selector: target.selector.clone(),
        sites_at_once: target.strategy.sites_at_once,
        strategy: overrides(&target.strategy)?,
        ..wire::RolloutRequest::default()
    })
}

/// What a strategy is overridden with: the file, or the flags as a file.
pub(super) fn overrides(flags: &StrategyFlags) -> Result<Vec<u8>, Failure> {
    match &flags.strategy {
        None => Ok(flags.fragment().into_bytes()),
        Some(path) => std::fs::read(path).map_err(|why| {
            let text = format!("could not read `{}`: {why}", path.display());
            Failure::new("C031-file", text).with_exit(Exit::Usage)
        }),
    }
}

/// Asks for the plan, without touching anything.
pub(super) async fn fetch(
    controller: &Controller,
    target: &Target,
) -> Result<wire::PlanRolloutResponse, Failure> {
    let what = format!("plan `{}` for `{}`", target.policy.name, target.selector);
    controller
        .ask(&what, request(target)?, |mut client, request| async move {
            client.plan_rollout(request).await
        })
        .await
        .map_err(|failure| hinted(failure, &target.policy.name))
}

/// The commonest first mistake: a policy that mailmend ships was never published.
fn hinted(failure: Failure, policy: &str) -> Failure {
    if failure.code() == "C036-not-found" && mailmend_policy::library::find(policy).is_some() {
        return failure.with_help(format!(
            "mailmend ships this policy; publish it first: mailmend policy publish --shipped {policy}"
        ));
    }
    failure
}

pub(super) async fn plan(
    controller: &Controller,
    target: Target,
    output: &Output,
) -> Result<Exit, Failure> {
    let plan = fetch(controller, &target).await?;
    output.answer(&PlanView::from(&plan), |output| told(&plan, output))?;
    if !output.is_json() && !plan.plans.is_empty() {
        let version = match target.policy.version {
            0 => String::new(),
            version => format!("@{version}"),
        };
        output.note(&format!(
            "nothing was touched; to start exactly this: mailmend rollout start {}{version} -l '{}' --approve {}",
            target.policy.name,
            target.selector,
            &hex(&plan.digest)[..12.min(plan.digest.len() * 2)],
        ));
    }
    Ok(Exit::Success)
}

/// The plan for people: each site, each server's steps in their order, sections marked, the cost.
pub(super) fn told(plan: &wire::PlanRolloutResponse, output: &Output) -> String {
    if plan.plans.is_empty() {
        return "no site has servers that this policy is for; nothing would be done\n".to_owned();
    }
    let mut text = String::new();
    for (at, site) in plan.plans.iter().enumerate() {
        text.push_str(&told_site(at + 1, plan.plans.len(), site, output));
        text.push('\n');
    }
    let outage = plan
        .plans
        .iter()
        .map(|plan| plan.worst_outage_ms)
        .max()
        .unwrap_or(0);
    let restarts: u32 = plan.plans.iter().map(|plan| plan.worst_restarts).sum();
    let sites = plan.plans.len();
    let away: usize = plan.plans.iter().map(|plan| plan.unavailable.len()).sum();
    let mut pairs: Vec<(&str, Shown)> = vec![
        ("runs", sites.into()),
        (
            "worst case",
            format!(
                "{} without service in one run, {restarts} service starts in all",
                duration(outage)
            )
            .into(),
        ),
        ("halts when", (&plan.inequality).into()),
    ];
    // When it halts is told already, and what counts as failed with it.
    let terms = plan.strategy.iter().filter(|term| term.name != "failures");
    pairs.extend(terms.map(|term| (term.name.as_str(), (&term.what).into())));
    pairs.push(("digest", hex(&plan.digest).into()));
    pairs.push((
        "inventory",
        format!("generation {}", plan.generation).into(),
    ));
    for note in plan.mail_flow.iter().rev() {
        pairs.insert(2, ("mail flow", note.into()));
    }
    if away > 0 {
        pairs.insert(
            1,
            (
                "not connected",
                Shown::bad(format!("{away} agents; their runs wait until they are")),
            ),
        );
    }
    text.push_str(&waves::planned(plan, output));
    text.push_str(&output.pairs(pairs));
    text
}

fn told_site(at: usize, all: usize, plan: &wire::PlanView, output: &Output) -> String {
    let subject = match plan.subject.as_str() {
        "" => String::new(),
        subject => format!(", for {subject}"),
    };
    let title = format!("[{at}/{all}] site {}{subject}", plan.site);
    let mut text = format!("{}\n", output.paint(&title, Mood::Busy));
    text.push_str(&format!(
        "worst case: {} without service, {} service {}\n",
        duration(plan.worst_outage_ms),
        plan.worst_restarts,
        if plan.worst_restarts == 1 {
            "start"
        } else {
            "starts"
        },
    ));
    if !plan.unavailable.is_empty() {
        let names = plan.unavailable.join(", ");
        text.push_str(&output.paint(&format!("not connected now: {names}"), Mood::Bad));
        text.push('\n');
    }
    let mut servers: Vec<&str> = Vec::new();
    for step in &plan.steps {
        if servers.last() != Some(&step.server.as_str()) {
            servers.push(&step.server);
        }
    }
    let sections: std::collections::BTreeSet<u32> =
        plan.steps.iter().filter_map(|step| step.section).collect();
    let sections = match sections.len() {
        0 => String::new(),
        1 => "1 section, from ┌ to └, in which service is disturbed\n".to_owned(),
        many => format!("{many} sections, each from ┌ to └, in which service is disturbed\n"),
    };
    text.push_str(&format!(
        "order: {}\n{sections}\n",
        super::super::output::clean(&servers.join(" -> "))
    ));
    let rows = plan.steps.iter().enumerate().map(|(at, step)| {
        vec![
            (step.index + 1).into(),
            section(&plan.steps, at).into(),
            (&step.server).into(),
            (&step.id).into(),
            (&step.what).into(),
            duration(step.timeout_ms).into(),
        ]
    });
    text.push_str(&output.table(
        &["#", "", "SERVER", "STEP", "WHAT IT DOES", "AT MOST"],
        rows.collect(),
        "no steps",
    ));
    for step in plan.steps.iter().filter(|step| !step.queue.is_empty()) {
        text.push_str(&told_bounds(step, output));
    }
    text
}

/// What a step takes at most for the queue as it is now: a line for each bound.
fn told_bounds(step: &wire::StepView, output: &Output) -> String {
    let (number, queue) = (step.index + 1, &step.queue);
    let Some(waiting) = &step.waiting else {
        return format!("#{number}: bounds unknown, {queue} not told yet\n");
    };
    let files = match waiting.messages {
        1 => "the file".to_owned(),
        many => format!("the {many} files"),
    };
    let mut text = format!("#{number}: for {files} waiting in {queue}\n");
    for bound in &step.bounds {
        let line = format!(
            "    at most {} {}, declared {}",
            bound.at_most, bound.what, bound.declared
        );
        if bound.declared < bound.at_most {
            let line = format!("{line}: it may stop there, unfinished");
            text.push_str(&output.paint(&line, Mood::Bad));
        } else {
            text.push_str(&line);
        }
        text.push('\n');
    }
    text
}

/// A bracket along the steps of a section: service is disturbed from its first to its last.
fn section(steps: &[wire::StepView], at: usize) -> &'static str {
    let Some(section) = steps[at].section else {
        return " ";
    };
    let before = at > 0 && steps[at - 1].section == Some(section);
    let after = steps
        .get(at + 1)
        .is_some_and(|next| next.section == Some(section));
    match (before, after) {
        (false, true) => "┌",
        (true, true) => "│",
        (true, false) => "└",
        (false, false) => "─",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(index: u32, id: &str, section: Option<u32>) -> wire::StepView {
        wire::StepView {
            index,
            id: id.to_owned(),
            server: "SRV-B".to_owned(),
            action: "service.stop".to_owned(),
            what: "stop MSExchangeIMC and prove that its process is gone; end the process after 90s; not while event 3038 of MSExchangeIMC was logged since its last start".to_owned(),
            timeout_ms: 90_000,
            section,
            ..wire::StepView::default()
        }
    }

    fn plan() -> wire::PlanRolloutResponse {
        let steps = vec![
            step(0, "detect", None),
            step(1, "stop-ims", Some(0)),
            step(2, "quarantine", Some(0)),
            step(3, "start-ims", Some(0)),
        ];
        let site = wire::PlanView {
            site: "oslo".to_owned(),
            subject: "SRV-B".to_owned(),
            digest: vec![1; 32],
            steps,
            worst_outage_ms: 600_000,
            worst_restarts: 1,
            unavailable: vec!["SRV-A".to_owned()],
        };
        wire::PlanRolloutResponse {
            digest: vec![0xab; 32],
            plans: vec![site],
            inequality: "nothing new starts once 1 or more of 1 runs failed".to_owned(),
            ..wire::PlanRolloutResponse::default()
        }
    }

    #[test]
    fn a_plan_shows_order_sections_cost_and_digest_within_eighty_columns() {
        let text = told(&plan(), &Output::fixed(80));
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for part in [
            "SRV-B",
            "┌",
            "│",
            "└",
            "10m without service",
            "1 service start\n",
            "not connected now: SRV-A",
            "nothing new starts once",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let joined: String = text.split_whitespace().collect();
        assert!(joined.contains(&"ab".repeat(32)), "{text}");
    }

    #[test]
    fn a_search_shows_its_bounds_for_the_actual_queue_and_says_where_less_is_declared() {
        let mut plan = plan();
        let search = &mut plan.plans[0].steps[3];
        search.queue = "outbound-awaiting-delivery".to_owned();
        let text = told(&plan, &Output::fixed(80));
        assert!(
            text.contains("#4: bounds unknown, outbound-awaiting-delivery not told yet\n"),
            "{text}"
        );

        let search = &mut plan.plans[0].steps[3];
        search.waiting = Some(wire::QueueDepth {
            queue: search.queue.clone(),
            messages: 300,
            ..wire::QueueDepth::default()
        });
        let bound = |what: &str, at_most, declared| wire::Bound {
            what: what.to_owned(),
            at_most,
            declared,
            how: String::new(),
        };
        search.bounds = vec![bound("restarts", 24, 20), bound("crashes", 11, 12)];
        let text = told(&plan, &Output::fixed(80));
        for part in [
            "#4: for the 300 files waiting in outbound-awaiting-delivery\n",
            "    at most 24 restarts, declared 20: it may stop there, unfinished\n",
            "    at most 11 crashes, declared 12\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn an_empty_plan_says_that_nothing_would_be_done() {
        let text = told(&wire::PlanRolloutResponse::default(), &Output::fixed(80));
        assert!(text.contains("nothing would be done"));
    }
}
