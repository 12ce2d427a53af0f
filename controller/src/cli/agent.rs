//! `mailmend agent`: token, list, show.

use std::collections::BTreeMap;

use mailmend_proto::wire;
use serde_json::json;

use super::arguments::Agent;
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::view::AgentView;
use super::when::{absolute, both, column, now_ms};
use crate::config::Settings;

pub(super) async fn run(
    command: Agent,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    match command {
        Agent::Token {
            name,
            site,
            labels,
            valid,
            ca,
        } => {
            let labels = distinct(labels)?;
            let request = wire::CreateTokenRequest {
                name,
                site,
                labels,
                valid_seconds: valid.as_secs(),
            };
            token(request, ca.as_deref(), output, settings).await
        }
        Agent::List { selector } => list(selector, output, settings).await,
        Agent::InHand { name, why, by } => {
            let request = wire::SetInHandRequest {
                agent: name,
                in_hand: true,
                by,
                why,
            };
            in_hand(request, output, settings).await
        }
        Agent::GiveBack { name } => {
            let request = wire::SetInHandRequest {
                agent: name,
                ..wire::SetInHandRequest::default()
            };
            in_hand(request, output, settings).await
        }
        Agent::Revoke { name, why } => {
            super::operator::revoke(
                wire::revoke_identity_request::Who::Agent(name),
                why,
                output,
                settings,
            )
            .await
        }
        Agent::Show { name } => show(name, output, settings).await,
    }
}

fn distinct(labels: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for (key, value) in labels {
        if map.insert(key.clone(), value).is_some() {
            let text = format!("the label `{key}` is given twice");
            return Err(Failure::new("C035-usage", text).with_exit(Exit::Usage));
        }
    }
    Ok(map)
}

async fn token(
    request: wire::CreateTokenRequest,
    ca: Option<&std::path::Path>,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let (name, site) = (request.name.clone(), request.site.clone());
    let made = controller(settings)?
        .ask(
            &format!("make a token for `{name}`"),
            request,
            |mut client, request| async move { client.create_token(request).await },
        )
        .await?;
    if let Some(path) = ca {
        std::fs::write(path, &made.ca_pem).map_err(|why| {
            Failure::new(
                "C031-file",
                format!("could not write `{}`: {why}", path.display()),
            )
        })?;
    }
    let view = json!({
        "name": name,
        "site": site,
        "token": made.token,
        "expires": absolute(made.expires_ms),
        "ca_pem": made.ca_pem,
    });
    output.answer(&view, |output| {
        output.pairs(vec![
            ("token", (&made.token).into()),
            ("for", format!("{name}, site {site}").into()),
            ("expires", both(made.expires_ms, now_ms()).into()),
        ])
    })?;
    if !output.is_json() {
        let identity = std::path::Path::new(&settings.get("identity").value).join("ca.pem");
        let file = ca.unwrap_or(&identity).display().to_string();
        output.note(&format!(
            "it is shown this once and works once; on {name}: \
             mailmend-agent enrol --config FILE --token {} --ca {file}",
            made.token
        ));
    }
    Ok(Exit::Success)
}

async fn in_hand(
    request: wire::SetInHandRequest,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let (name, held) = (request.agent.clone(), request.in_hand);
    let what = if held {
        format!("take `{name}` in hand")
    } else {
        format!("give `{name}` back")
    };
    let agent = controller(settings)?
        .ask(&what, request, |mut client, request| async move {
            client.set_in_hand(request).await
        })
        .await?;
    output.answer(&AgentView::from(&agent), |_| match &agent.in_hand {
        Some(hand) => format!(
            "{name} is in the hand of {}: nothing begins at site {}\n",
            super::output::clean(&hand.by),
            agent.site
        ),
        None => format!("{name} is given back\n"),
    })?;
    if held && !output.is_json() {
        output.note(&format!(
            "a run that is open there goes to the end of what was released to it; give it back: mailmend agent \
             give-back {name}"
        ));
    }
    Ok(Exit::Success)
}

/// Connected or not, and in whose hand.
fn state(agent: &wire::Agent) -> Shown {
    match &agent.in_hand {
        Some(hand) => Shown::bad(format!("{}, in hand of {}", presence(agent), hand.by)),
        None => Shown::state(presence(agent)),
    }
}

fn presence(agent: &wire::Agent) -> &'static str {
    match (agent.connected, agent.last_seen_ms) {
        (true, _) => "connected",
        (false, 0) => "never seen",
        (false, _) => "away",
    }
}

fn fact(agent: &wire::Agent, key: &str) -> String {
    agent
        .labels
        .get(key)
        .or_else(|| agent.facts.get(key))
        .cloned()
        .unwrap_or_default()
}

async fn list(selector: String, output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let answer = controller(settings)?
        .ask(
            "list agents",
            wire::ListAgentsRequest { selector },
            |mut client, request| async move { client.list_agents(request).await },
        )
        .await?;
    let views: Vec<AgentView> = answer.agents.iter().map(AgentView::from).collect();
    output.answer(&json!({ "agents": views }), |output| {
        let now = now_ms();
        let rows = answer.agents.iter().map(|agent| {
            vec![
                (&agent.name).into(),
                (&agent.site).into(),
                state(agent),
                column(agent.last_seen_ms, now).into(),
                fact(agent, "ims.direction").into(),
                fact(agent, "exchange.version").into(),
                alarms(agent),
            ]
        });
        let head = [
            "NAME",
            "SITE",
            "STATE",
            "LAST SEEN",
            "DIRECTION",
            "EXCHANGE",
            "ALARMS",
        ];
        output.table(
            &head,
            rows.collect(),
            "no agents; `mailmend agent token` lets one enrol",
        )
    })?;
    Ok(Exit::Success)
}

fn alarms(agent: &wire::Agent) -> Shown {
    match agent.alarms.len() {
        0 => Shown::from(""),
        count => Shown::bad(count),
    }
}

async fn show(name: String, output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let what = format!("show agent `{name}`");
    let agent = controller(settings)?
        .ask(
            &what,
            wire::GetAgentRequest { name },
            |mut client, request| async move { client.get_agent(request).await },
        )
        .await?;
    output.answer(&AgentView::from(&agent), |output| told(&agent, output))?;
    Ok(Exit::Success)
}

/// A line for each queue, and when they were counted.
fn queues(queues: &[wire::QueueDepth], now_ms: i64) -> String {
    let Some(newest_ms) = queues.iter().map(|queue| queue.at_ms).max() else {
        return "not told yet".to_owned();
    };
    let mut lines: Vec<String> = queues
        .iter()
        .map(|queue| {
            let mut line = format!("{}: {} messages", queue.queue, queue.messages);
            if queue.bytes > 0 {
                line.push_str(&format!(", {} bytes", queue.bytes));
            }
            if queue.oldest_ms != 0 {
                line.push_str(&format!(
                    ", the oldest from {}",
                    both(queue.oldest_ms, now_ms)
                ));
            }
            line
        })
        .collect();
    lines.push(format!("counted {}", both(newest_ms, now_ms)));
    lines.join("\n")
}

fn told(agent: &wire::Agent, output: &Output) -> String {
    let now = now_ms();
    let map = |map: &BTreeMap<String, String>| {
        let mut lines: Vec<String> = map
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        lines.sort();
        lines.join("\n")
    };
    let behind = agent.head.saturating_sub(agent.acknowledged);
    let journal = match behind {
        0 => format!("{} records, all stored here", agent.head),
        _ => format!("{} records, {behind} not stored here yet", agent.head),
    };
    let mut pairs: Vec<(&str, Shown)> = vec![
        ("name", (&agent.name).into()),
        ("site", (&agent.site).into()),
        ("state", Shown::state(presence(agent))),
        ("last seen", both(agent.last_seen_ms, now).into()),
        ("version", (&agent.version).into()),
        (
            "certificate until",
            both(agent.certificate_until_ms, now).into(),
        ),
        ("journal", journal.into()),
        ("labels", map(&agent.labels).into()),
        ("facts", map(&agent.facts).into()),
        ("actions", agent.actions.join(", ").into()),
    ];
    if let Some(hand) = &agent.in_hand {
        let text = format!("{}: {}, {}", hand.by, hand.why, both(hand.since_ms, now));
        pairs.insert(3, ("in hand of", Shown::bad(text)));
    }
    pairs.push(("queues", queues(&agent.queues, now).into()));
    for alarm in &agent.alarms {
        pairs.push(("alarm", Shown::bad(alarm)));
    }
    output.pairs(pairs)
}
