//! A person's orders on the command line: sent once, and followed until they are carried out.

use std::time::{Duration, Instant};

use mailmend_proto::wire;
use serde::Serialize;
use uuid::Uuid;

use super::connection::Controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown};
use super::view::word;
use super::waiting::waiting;

/// The time between two looks at an order.
const LOOK: Duration = Duration::from_millis(300);

/// How long an agent may take to say that it takes an order; one that is not connected takes it later.
const ANSWERED: Duration = Duration::from_secs(30);

/// Who orders, why, and whether to wait: what every order has.
#[derive(Debug, Clone, Default)]
pub(super) struct Following {
    /// Return as soon as the order is stored.
    pub(super) no_wait: bool,
    /// How long at most until it is over.
    pub(super) timeout: Option<Duration>,
}

#[derive(Debug, Serialize)]
struct OrderView {
    order: String,
    run: String,
    agent: String,
    state: String,
    over: bool,
    code: Option<String>,
    why: Option<String>,
    outcome: Option<String>,
}

impl From<&wire::OrderStatus> for OrderView {
    fn from(order: &wire::OrderStatus) -> Self {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            order: order.id.clone(),
            run: order.run.clone(),
            agent: order.agent.clone(),
            state: state(order),
            over: order.over,
            code: some(&order.code),
            why: some(&order.why),
            outcome: some(&order.outcome),
        }
    }
}

fn state(order: &wire::OrderStatus) -> String {
    word(order.state().as_str_name(), "ORDER_STATE_")
}

/// A new id of an order: the same one on every try.
pub(super) fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// How an order stands, by the beginning of its id.
pub(super) async fn show(
    controller: &Controller,
    id: String,
    output: &Output,
) -> Result<Exit, Failure> {
    let order = fetch(controller, id).await?;
    output.answer(&OrderView::from(&order), |output| told(&order, output))?;
    Ok(exit(&order))
}

async fn fetch(controller: &Controller, id: String) -> Result<wire::OrderStatus, Failure> {
    let what = format!("show order `{id}`");
    controller
        .ask(
            &what,
            wire::GetOrderRequest { id },
            |mut client, request| async move { client.get_order(request).await },
        )
        .await
}

/// Follows an order that is stored until it is over, and tells how it ended.
pub(super) async fn follow(
    controller: &Controller,
    stored: wire::OrderStatus,
    how: &Following,
    output: &Output,
) -> Result<Exit, Failure> {
    let followed = if how.no_wait || stored.over {
        stored
    } else {
        let what = format!("{} carries out order {}", stored.agent, short(&stored.id));
        waiting(&what, until_over(controller, stored, how.timeout)).await?
    };
    if followed.state() == wire::OrderState::Refused {
        let text = format!("`{}` refused: {}", followed.agent, followed.why);
        return Err(Failure::new(&followed.code, text).with_exit(Exit::Refused));
    }
    output.answer(&OrderView::from(&followed), |output| {
        told(&followed, output)
    })?;
    if !output.is_json() && !followed.over {
        output.note(&format!(
            "it goes on by itself: mailmend run order {}",
            short(&followed.id)
        ));
    }
    if followed.over || how.no_wait {
        return Ok(Exit::Success);
    }
    Ok(exit(&followed))
}

async fn until_over(
    controller: &Controller,
    mut order: wire::OrderStatus,
    timeout: Option<Duration>,
) -> Result<wire::OrderStatus, Failure> {
    let begun = Instant::now();
    loop {
        let waits = order.state() == wire::OrderState::Waiting;
        let away = waits && begun.elapsed() > timeout.unwrap_or(ANSWERED);
        let late = timeout.is_some_and(|timeout| begun.elapsed() > timeout);
        if order.over || away || late {
            return Ok(order);
        }
        tokio::time::sleep(LOOK).await;
        order = match fetch(controller, order.id.clone()).await {
            Ok(order) => order,
            // The controller may be restarted meanwhile: the order is stored.
            Err(failure) if failure.exit() == Exit::Unreachable && !late => order,
            Err(failure) => return Err(failure),
        };
    }
}

const fn short_len(id: &str) -> usize {
    if id.len() < 8 { id.len() } else { 8 }
}

fn short(id: &str) -> &str {
    id.get(..short_len(id)).unwrap_or(id)
}

fn exit(order: &wire::OrderStatus) -> Exit {
    match order.state() {
        wire::OrderState::Refused => Exit::Refused,
        _ if order.over => Exit::Success,
        wire::OrderState::Waiting => Exit::Waiting,
        _ => Exit::TimedOut,
    }
}

fn told(order: &wire::OrderStatus, output: &Output) -> String {
    let state = state(order);
    let means = match order.state() {
        wire::OrderState::Waiting => "the agent has not answered yet; it is told when it connects",
        wire::OrderState::Taken if order.over => "carried out",
        wire::OrderState::Taken => "the agent has it in its journal and carries it out",
        wire::OrderState::Refused => "the agent refused it, and nothing changed",
        wire::OrderState::Unspecified => "",
    };
    let mut pairs: Vec<(&str, Shown)> = vec![
        ("order", (&order.id).into()),
        ("run", (&order.run).into()),
        ("server", (&order.agent).into()),
        ("state", Shown::state(state)),
        ("", means.into()),
    ];
    if !order.why.is_empty() {
        pairs.push(("why", Shown::bad(format!("{}: {}", order.code, order.why))));
    }
    if !order.outcome.is_empty() {
        pairs.push(("outcome", (&order.outcome).into()));
    }
    output.pairs(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_told_with_what_its_state_means() {
        let mut order = wire::OrderStatus {
            id: "0198c5aa-1234-7000-8000-0000000000ab".to_owned(),
            agent: "SRV-B".to_owned(),
            state: wire::OrderState::Waiting.into(),
            ..wire::OrderStatus::default()
        };
        assert!(told(&order, &Output::fixed(80)).contains("when it connects"));
        assert_eq!(exit(&order), Exit::Waiting);
        order.state = wire::OrderState::Taken.into();
        assert_eq!(exit(&order), Exit::TimedOut);
        order.over = true;
        order.outcome = "5 messages were given back".to_owned();
        let text = told(&order, &Output::fixed(80));
        assert!(
            text.contains("5 messages") && text.contains("carried out"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert_eq!(exit(&order), Exit::Success);
    }
}
