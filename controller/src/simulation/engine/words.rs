//! Messages as lines of the trace.

use mailmend_proto::wire;
use mailmend_proto::wire::{from_agent, to_agent};

pub(super) fn heard(message: &wire::ToAgent) -> String {
    match &message.message {
        Some(to_agent::Message::Welcome(welcome)) => format!("welcome {}", welcome.acknowledged),
        Some(to_agent::Message::Assignment(assignment)) => {
            format!(
                "assignment of {} with fence {}",
                assignment.run, assignment.fence
            )
        }
        Some(to_agent::Message::Advance(advance)) => format!("advance to {}", advance.through),
        Some(to_agent::Message::Unwind(unwind)) => {
            format!("unwind to {}, last {}", unwind.down_to, unwind.last)
        }
        Some(to_agent::Message::Acknowledge(acknowledge)) => {
            format!("acknowledge {}", acknowledge.seq)
        }
        Some(to_agent::Message::Order(order)) => format!("order {}", order.id),
        _ => "something else".to_owned(),
    }
}

pub(super) fn said_of(message: &wire::FromAgent) -> String {
    match &message.message {
        Some(from_agent::Message::Hello(hello)) => {
            format!("hello, head {}, fence {}", hello.head, hello.highest_fence)
        }
        Some(from_agent::Message::Report(report)) => {
            let ends = (report.records.first(), report.records.last());
            let seq = |record: Option<&wire::Record>| record.map_or(0, |record| record.seq);
            format!("records {} to {}", seq(ends.0), seq(ends.1))
        }
        Some(from_agent::Message::Answer(answer)) => {
            format!("admitted {} {}", answer.admitted, answer.code)
        }
        Some(from_agent::Message::OrderAnswer(answer)) => {
            format!("taken {} {}", answer.taken, answer.code)
        }
        _ => "something else".to_owned(),
    }
}
