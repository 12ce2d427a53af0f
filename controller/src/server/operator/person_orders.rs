//! A person's word: answers to tasks, releases and settlements, as orders that an agent takes once.
//!
//! An order is stored before anybody is told of it, and is told to its agent at each connect until the agent
//! has answered. The agent judges it by its own journal; what is refused here is only what cannot succeed.

use mailmend_policy::name::ServerName;
use mailmend_policy::step::Action;
use mailmend_proto::run::{BatchId, RunId};
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use prost::Message as _;
use tonic::Status;
use uuid::Uuid;

use super::{OperatorService, invalid};
use crate::rollout::{Run, RunPhase, Told};
use crate::store::{KeptCopy, OrderAnswer, OrderKind, Ordered, PersonOrder};

/// The longest words of a person, bytes.
const MOST_WORDS: usize = 4096;

/// Messages that one order may name in pieces.
const MOST_RANGES: usize = 10_000;

/// The fewest characters of a batch that may stand for it.
const SHORTEST: usize = 4;

fn not_asked(why: String) -> Status {
    Status::failed_precondition(format!("C094-not-asked: {why}"))
}

pub(super) fn ids(why: &str) -> Status {
    invalid(&format!("C096-custody-ids: {why}"))
}

/// What every order has.
pub(super) struct Ask {
    pub(super) request_id: String,
    pub(super) by: String,
    pub(super) why: String,
    pub(super) operator: String,
}

impl Ask {
    fn id(&self) -> Result<Uuid, Status> {
        Uuid::try_parse(&self.request_id).map_err(|_| {
            invalid("C092-request-id: `request_id` must be a UUID that the caller made for this request")
        })
    }

    fn by(&self) -> String {
        if self.by.is_empty() {
            self.operator.clone()
        } else {
            self.by.clone()
        }
    }

    fn checked(&self) -> Result<(), Status> {
        if self.by.len() > MOST_WORDS || self.why.len() > MOST_WORDS {
            return Err(invalid(&format!(
                "C038-request: at most {MOST_WORDS} bytes of words are kept"
            )));
        }
        Ok(())
    }

    pub(super) fn with_reason(&self) -> Result<(), Status> {
        self.checked()?;
        if self.why.trim().is_empty() {
            return Err(invalid(
                "C098-reason-missing: say why, for those who look later: what you know and from where",
            ));
        }
        Ok(())
    }
}

impl OperatorService {
    /// Answers a `human.task` step.
    pub(super) async fn answered(
        &self,
        operator: String,
        request: wire::AnswerTaskRequest,
    ) -> Result<wire::OrderStatus, Status> {
        let ask = Ask {
            request_id: request.request_id,
            by: request.by,
            why: request.note,
            operator,
        };
        ask.checked()?;
        if let Some(stored) = self.stored(&ask).await? {
            return Ok(stored);
        }
        let run = self.run_id(&request.run).await?;
        let store = self.controller.store();
        let found = match store.rollout_of(run).await? {
            Some(rollout) => store.rollout(rollout).await?,
            None => None,
        };
        let found = found.and_then(|rollout| rollout.runs.into_iter().find(|one| one.id == run));
        let Some(found) = found else {
            return Err(not_asked(format!(
                "run {run} is a duty of its agent and asks nobody"
            )));
        };
        let (index, agent) = asked_step(&found, &request.step, &request.answer)?;
        if let Some(before) = store.answer_of(run, index).await? {
            return Err(beside(&before));
        }
        let answer = request.answer;
        let what = What::Answer(wire::AnswerTask {
            step: index,
            answer: answer.clone(),
        });
        let target = format!("{run} step {index}: {answer}");
        self.ordered(ask, run, agent, OrderKind::Answer(index), what, target)
            .await
    }

    /// Gives held mail of a closed run back.
    pub(super) async fn released(
        &self,
        operator: String,
        request: wire::ReleaseCustodyRequest,
    ) -> Result<wire::OrderStatus, Status> {
        let ask = Ask {
            request_id: request.request_id,
            by: request.by,
            why: request.why,
            operator,
        };
        ask.with_reason()?;
        if let Some(stored) = self.stored(&ask).await? {
            return Ok(stored);
        }
        let run = self.run_id(&request.run).await?;
        let batches = self.controller.store().batches_of(run).await?;
        let only = match request.batch.as_str() {
            "" => None,
            text => Some(named(text, batches.iter().map(|(batch, ..)| *batch))?),
        };
        let held: Vec<_> = batches
            .iter()
            .filter(|(batch, _, held)| *held > 0 && only.is_none_or(|only| only == *batch))
            .collect();
        let Some((_, agent, _)) = held.first() else {
            return Err(Status::failed_precondition(format!(
                "C096-custody-ids: run {run} holds nothing there; `mailmend run ledger {run}` lists what it has, and \
                 what is in doubt or poison is settled first"
            )));
        };
        if held.iter().any(|(_, other, _)| other != agent) {
            let all: Vec<String> = held
                .iter()
                .map(|(batch, agent, held)| format!("--batch {batch} ({held} on {agent})"))
                .collect();
            return Err(Status::failed_precondition(format!(
                "C096-custody-ids: run {run} holds mail on more than one server; release one batch at a time: {}",
                all.join(", ")
            )));
        }
        self.closed(run, agent, "release").await?;
        let batch = only.map_or_else(String::new, |batch| batch.to_string());
        let what = What::Release(wire::Release {
            batch: batch.clone(),
            ..wire::Release::default()
        });
        let target = format!("{run} {batch}");
        self.ordered(ask, run, agent.clone(), OrderKind::Release, what, target)
            .await
    }

    /// Gives vanished messages of a closed run back from escrow. To everybody else it is a release: it takes the
    /// site, and there is one at a time.
    pub(super) async fn recovered(
        &self,
        operator: String,
        request: wire::RecoverCustodyRequest,
    ) -> Result<wire::OrderStatus, Status> {
        let ask = Ask {
            request_id: request.request_id,
            by: request.by,
            why: request.why,
            operator,
        };
        ask.with_reason()?;
        if let Some(stored) = self.stored(&ask).await? {
            return Ok(stored);
        }
        if request.messages.len() > MOST_RANGES {
            return Err(ids(&format!(
                "{} messages are named, at most {MOST_RANGES} are; name none to give back all",
                request.messages.len()
            )));
        }
        let run = self.run_id(&request.run).await?;
        let copies = self.controller.store().kept_copies(run).await?;
        let agent = of_one_agent(run, &copies, &request.agent, &request.messages)?;
        self.closed(run, &agent, "recover").await?;
        let target = format!("{run} on {agent}: {}", all_or(&request.messages));
        let what = What::Recover(wire::Recover {
            messages: request.messages,
        });
        self.ordered(ask, run, agent, OrderKind::Release, what, target)
            .await
    }

    /// Settles messages by a person's word.
    pub(super) async fn settled(
        &self,
        operator: String,
        request: wire::SettleCustodyRequest,
    ) -> Result<wire::OrderStatus, Status> {
        let custody = request.custody();
        let ask = Ask {
            request_id: request.request_id,
            by: request.by,
            why: request.why,
            operator,
        };
        ask.with_reason()?;
        if !matches!(
            custody,
            wire::Custody::GoneWithEvidence | wire::Custody::Held | wire::Custody::Poison
        ) {
            return Err(invalid(
                "C091-custody-state: a person settles messages as gone-with-evidence, held or poison",
            ));
        }
        if let Some(stored) = self.stored(&ask).await? {
            return Ok(stored);
        }
        let run = self.run_id(&request.run).await?;
        let batches = self.controller.store().batches_of(run).await?;
        let mut entries = Vec::with_capacity(request.ids.len());
        let mut batch = None;
        for id in &request.ids {
            let (text, range) = custody_id(id)?;
            let of = named(text, batches.iter().map(|(batch, ..)| *batch))?;
            if *batch.get_or_insert(of) != of {
                return Err(ids(
                    "these are messages of more than one batch; settle one batch at a time",
                ));
            }
            entries.push(range);
        }
        let found = batches.iter().find(|(id, ..)| Some(*id) == batch);
        let Some((batch, agent, _)) = found else {
            return Err(ids("no message is named"));
        };
        if entries.len() > MOST_RANGES {
            return Err(ids(
                "too many pieces at once; give ranges as BATCH/FIRST-LAST",
            ));
        }
        let what = What::Settle(wire::Settle {
            batch: batch.to_string(),
            entries,
            custody: custody.into(),
        });
        let target = format!("{run} {}: {}", request.ids.join(" "), custody.as_str_name());
        self.ordered(ask, run, agent.clone(), OrderKind::Settle, what, target)
            .await
    }

    /// How an order stands.
    pub(super) async fn order(
        &self,
        _operator: String,
        request: wire::GetOrderRequest,
    ) -> Result<wire::OrderStatus, Status> {
        let id = self.order_id(&request.id).await?;
        let order = self.controller.store().person_order(id).await?;
        let order = order.ok_or_else(|| Status::not_found("C036-not-found: the order has gone"))?;
        self.status(&order).await
    }

    /// The order of this request, where it came before.
    pub(super) async fn stored(&self, ask: &Ask) -> Result<Option<wire::OrderStatus>, Status> {
        match self.controller.store().person_order(ask.id()?).await? {
            Some(order) => Ok(Some(self.status(&order).await?)),
            None => Ok(None),
        }
    }

    pub(super) async fn ordered(
        &self,
        ask: Ask,
        run: RunId,
        agent: ServerName,
        kind: OrderKind,
        what: What,
        target: String,
    ) -> Result<wire::OrderStatus, Status> {
        let name = match (&what, kind) {
            (What::Recover(_), _) => "recover-custody",
            (What::Immunize(_), _) => "add-fingerprint",
            (_, OrderKind::Answer(_)) => "answer-task",
            (_, OrderKind::Release) => "release-custody",
            (_, OrderKind::Settle) => "settle-custody",
        };
        let id = ask.id()?;
        let order = wire::Order {
            id: id.to_string(),
            run: run.to_string(),
            by: ask.by(),
            why: ask.why.clone(),
            what: Some(what),
            // The store grants it.
            fence: 0,
        };
        let new = PersonOrder {
            id,
            agent,
            run,
            kind,
            bytes: order.encode_to_vec(),
            by: ask.by(),
            at_ms: self.controller.now_ms(),
            fence: None,
            answer: OrderAnswer::Waiting,
        };
        let change = self.change(ask.operator, name, target, ask.why);
        match self.controller.store().store_order(&new, &change).await? {
            Ordered::Stored(order) => {
                self.controller
                    .sessions()
                    .wake(std::slice::from_ref(&order.agent));
                self.controller.changed();
                self.status(&order).await
            }
            Ordered::SiteTaken(holder) => Err(Status::failed_precondition(format!(
                "C037-refused: run {holder} works at the site of run {run}; release when it has ended: `mailmend run \
                 show {holder}`"
            ))),
            Ordered::Beside => Err(match kind {
                OrderKind::Answer(step) => {
                    not_asked(format!("step {step} is being answered already"))
                }
                OrderKind::Release | OrderKind::Settle => Status::failed_precondition(format!(
                    "C037-refused: a release of run {run} waits for `{}` already",
                    new.agent
                )),
            }),
        }
    }

    async fn status(&self, order: &PersonOrder) -> Result<wire::OrderStatus, Status> {
        let (state, code, why) = match &order.answer {
            OrderAnswer::Waiting => (wire::OrderState::Waiting, "", ""),
            OrderAnswer::Taken => (wire::OrderState::Taken, "", ""),
            OrderAnswer::Refused { code, why } => {
                (wire::OrderState::Refused, code.as_str(), why.as_str())
            }
        };
        let store = self.controller.store();
        let told = store.told(order.run, &order.agent).await?;
        let outcome = told.and_then(|told| told.released.get(&order.id.to_string()).cloned());
        let over = match (&order.answer, order.kind) {
            (OrderAnswer::Waiting, _) => false,
            (OrderAnswer::Taken, OrderKind::Release) => outcome.is_some(),
            (OrderAnswer::Taken | OrderAnswer::Refused { .. }, _) => true,
        };
        Ok(wire::OrderStatus {
            id: order.id.to_string(),
            run: order.run.to_string(),
            agent: order.agent.to_string(),
            state: state.into(),
            code: code.to_owned(),
            why: why.to_owned(),
            over,
            outcome: outcome.unwrap_or_default(),
        })
    }

    /// Mail is given back only where nothing of the run goes on any more; `order` is what was asked for, to be
    /// asked again then.
    async fn closed(&self, run: RunId, agent: &ServerName, order: &str) -> Result<(), Status> {
        let store = self.controller.store();
        let not_closed = |why: String| {
            Err(Status::failed_precondition(format!(
                "C095-run-not-closed: {why}"
            )))
        };
        let told: Told = store.told(run, agent).await?.unwrap_or_default();
        if let Some(id) = store.rollout_of(run).await? {
            let rollout = store.rollout(id).await?;
            let found = rollout
                .iter()
                .flat_map(|rollout| &rollout.runs)
                .find(|one| one.id == run);
            let resting =
                found.is_some_and(|run| run.phase.is_final() || run.phase == RunPhase::NeedsPerson);
            if !resting {
                return not_closed(format!(
                    "run {run} goes on; `mailmend rollout explain {id}` tells what it waits for. When it has ended: \
                     `mailmend custody {order} {run} --why ...`"
                ));
            }
            if told.closed.is_none() {
                return not_closed(format!(
                    "`{agent}` has not closed its part of run {run}. Two commands: `mailmend rollout abort {id}` brings \
                     it to its end, and what is held stays held; then `mailmend custody {order} {run} --why ...`"
                ));
            }
        }
        match (&told.closed, &told.releasing) {
            (None, _) => not_closed(format!("`{agent}` still works on {run}")),
            (_, Some(order)) => not_closed(format!(
                "a release of run {run} is under way on `{agent}`: `mailmend run order {order}`"
            )),
            (Some(_), None) => Ok(()),
        }
    }
}

fn beside(order: &PersonOrder) -> Status {
    let answer = wire::Order::decode(order.bytes.as_slice())
        .ok()
        .and_then(|order| order.what)
        .and_then(|what| match what {
            What::Answer(answer) => Some(answer.answer),
            _ => None,
        });
    not_asked(format!(
        "it was answered already: {} said `{}`",
        order.by,
        answer.unwrap_or_default()
    ))
}

/// What an order names, for the audit: the first few.
fn all_or(messages: &[String]) -> String {
    match messages {
        [] => "all that vanished".to_owned(),
        [one] => one.clone(),
        [first, ..] => format!("{first} and {} more", messages.len() - 1),
    }
}

/// The one agent that keeps the copies that are meant.
fn of_one_agent(
    run: RunId,
    copies: &[KeptCopy],
    wanted: &str,
    messages: &[String],
) -> Result<ServerName, Status> {
    let nothing =
        |why: String| Status::failed_precondition(format!("C100-nothing-to-recover: {why}"));
    if copies.is_empty() {
        return Err(nothing(format!(
            "run {run} has no copy of a message that vanished; `mailmend run reconciled {run}` tells what it found"
        )));
    }
    let here =
        |copy: &&KeptCopy| wanted.is_empty() || copy.agent.as_str().eq_ignore_ascii_case(wanted);
    let named =
        |copy: &&KeptCopy| messages.is_empty() || messages.iter().any(|name| is_named(copy, name));
    let mut agents: Vec<&ServerName> = copies
        .iter()
        .filter(here)
        .filter(named)
        .map(|copy| &copy.agent)
        .collect();
    agents.sort_unstable();
    agents.dedup();
    match agents.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(nothing(format!(
            "no message that vanished and has a copy is called so{}; `mailmend run reconciled {run}` names them",
            if wanted.is_empty() {
                String::new()
            } else {
                format!(" on `{}`", wanted.escape_debug())
            }
        ))),
        several => {
            let all: Vec<String> = several
                .iter()
                .map(|one| format!("--server {one}"))
                .collect();
            Err(nothing(format!(
                "run {run} has copies on more than one server; order for one at a time: {}",
                all.join(", ")
            )))
        }
    }
}

/// As the agent reads names: ids as the records write them, or the file of the copy.
fn is_named(copy: &KeptCopy, name: &str) -> bool {
    let plain = |id: &str| {
        id.trim()
            .replace(';', "%")
            .replace(' ', "_")
            .to_ascii_lowercase()
    };
    let file = copy.escrow.rsplit(['/', '\\']).next();
    [&copy.message_id, &copy.mts_id]
        .into_iter()
        .any(|id| !id.is_empty() && plain(id) == plain(name))
        || copy.escrow == name
        || file == Some(name)
}

/// The step that waits for this answer, and its agent.
fn asked_step(run: &Run, wanted: &str, answer: &str) -> Result<(u32, ServerName), Status> {
    // Where a role has several servers a step has one id on all of them: ID@SERVER names one.
    let (id, server) = match wanted.split_once('@') {
        Some((id, server)) => (id, Some(server)),
        None => (wanted, None),
    };
    let named = |step: &&mailmend_policy::plan::PlannedStep| {
        (id.is_empty() || step.id.as_str() == id)
            && server.is_none_or(|server| step.server.as_str().eq_ignore_ascii_case(server))
    };
    let waiting: Vec<_> = run
        .plan
        .steps
        .iter()
        .filter(named)
        .filter_map(|step| match &step.action {
            Action::HumanTask { answers, .. } if run.asks(step) => Some((step, answers)),
            _ => None,
        })
        .collect();
    match waiting.as_slice() {
        [] => Err(not_asked(format!(
            "no step of run {} waits for an answer{}; `mailmend run show {}` tells what it does",
            run.id,
            if wanted.is_empty() {
                String::new()
            } else {
                format!(" under the name `{}`", wanted.escape_debug())
            },
            run.id
        ))),
        [(step, answers)] if answers.iter().any(|one| one == answer) => {
            Ok((step.index, step.server.clone()))
        }
        [(step, answers)] => Err(not_asked(format!(
            "step `{}` takes {}, not `{}`",
            step.id,
            answers.join(", "),
            answer.escape_debug()
        ))),
        several => {
            let all: Vec<String> = several
                .iter()
                .map(|(step, _)| format!("--step {}@{}", step.id, step.server))
                .collect();
            Err(not_asked(format!(
                "more than one step waits: {}",
                all.join(", ")
            )))
        }
    }
}

/// `BATCH/INDEX` or `BATCH/FIRST-LAST`.
pub(super) fn custody_id(id: &str) -> Result<(&str, wire::Range), Status> {
    let bad = || {
        let shown: String = id.chars().take(80).collect();
        ids(&format!(
            "`{}` is no id of a message: BATCH/INDEX or BATCH/FIRST-LAST, as `mailmend run ledger` prints them",
            shown.escape_debug()
        ))
    };
    let (batch, range) = id.split_once('/').ok_or_else(bad)?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u32, u32) = match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => (first, last),
        _ => return Err(bad()),
    };
    Ok((batch, wire::Range { first, last }))
}

/// The batch of the run that this text names: a whole id, or its beginning or end.
pub(super) fn named(text: &str, batches: impl Iterator<Item = BatchId>) -> Result<BatchId, Status> {
    let text = text.trim().to_ascii_lowercase();
    let fits = text.len() >= SHORTEST && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let found: Vec<BatchId> = batches
        .filter(|batch| {
            let id = batch.to_string();
            fits && (id.starts_with(&text) || id.ends_with(&text))
        })
        .collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(ids(&format!(
            "the run has no batch `{}`; `mailmend run ledger` lists its messages",
            text.chars().take(40).collect::<String>().escape_debug()
        ))),
        _ => Err(ids(&format!(
            "`{text}` names more than one batch; give more characters"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_named_as_the_ledger_prints_them() {
        let range = |first, last| wire::Range { first, last };
        assert_eq!(
            custody_id("8000000000ab/3").unwrap(),
            ("8000000000ab", range(3, 3))
        );
        assert_eq!(
            custody_id("0198c5aa-1234/3-17").unwrap(),
            ("0198c5aa-1234", range(3, 17))
        );
        for bad in [
            "",
            "3",
            "ab/",
            "ab/x",
            "ab/7-3",
            "ab/-3",
            "ab/1-2-3",
            "ab/4294967296",
        ] {
            assert!(custody_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_batch_is_named_by_its_beginning_or_its_end_and_never_guessed() {
        let id = |text: &str| BatchId(Uuid::try_parse(text).unwrap());
        let one = id("0198c5aa-1234-7000-8000-0000000000ab");
        let two = id("0198c5aa-1234-7000-8000-0000000000cd");
        let all = || [one, two].into_iter();
        assert_eq!(named("0000000000ab", all()).unwrap(), one);
        assert_eq!(named(&two.to_string(), all()).unwrap(), two);
        for bad in ["0198c5aa", "ab", "", "ffffffff", "zzzz"] {
            assert!(named(bad, all()).is_err(), "{bad}");
        }
    }
}
