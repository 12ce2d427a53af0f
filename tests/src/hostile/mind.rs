//! What a hostile controller learns of an agent while it drives it, so that it asks for the worst that could be taken.

use std::collections::{BTreeMap, VecDeque};

use mailmend_proto::wire;
use mailmend_proto::wire::{from_agent, record};
use prost::Message as _;

/// The most words of records that are kept for the verdict on names, bytes.
const KEPT: usize = 16 << 20;

/// A run that was asked for.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// How many steps its plan has.
    pub steps: u32,
}

/// What was learned.
#[derive(Debug, Default)]
pub struct Mind {
    /// The highest fence that was said in earnest.
    pub fence: u64,
    /// The runs that were asked for and taken on, the newest last.
    pub runs: VecDeque<Run>,
    /// The runs that were asked for and not answered yet.
    pub asked: BTreeMap<String, u32>,
    /// Batches of held mail, each with its run.
    pub batches: Vec<(String, String)>,
    /// The last record that came.
    pub seq: u64,
    /// How often each answer was given: a code, or `taken`.
    pub answers: BTreeMap<String, usize>,
    /// All words of all records, by which the verdict finds whether a message was named.
    pub words: String,
    /// Codes of alarms.
    pub alarms: Vec<String>,
}

impl Mind {
    /// A fence above all that were said.
    pub fn bump(&mut self) -> u64 {
        self.fence += 1;
        self.fence
    }

    /// Takes in what the agent said.
    pub fn hear(&mut self, said: from_agent::Message) {
        use from_agent::Message;
        let code = match said {
            Message::Hello(hello) => {
                self.fence = self.fence.max(hello.highest_fence);
                return;
            }
            Message::Report(report) => {
                report.records.into_iter().for_each(|one| self.record(one));
                return;
            }
            Message::Answer(answer) => {
                let steps = self.asked.remove(&answer.run);
                if answer.admitted
                    && let Some(steps) = steps
                {
                    self.runs.push_back(Run {
                        id: answer.run,
                        steps,
                    });
                }
                answer.code
            }
            Message::OrderAnswer(answer) => answer.code,
            Message::FenceTaken(taken) => {
                self.fence = self.fence.max(taken.fence);
                return;
            }
            Message::Audit(audit) => audit.failed.chars().take(18).collect(),
            Message::Facts(_)
            | Message::Symptoms(_)
            | Message::Queues(_)
            | Message::JournalHead(_)
            | Message::Trust(_) => return,
        };
        let code = if code.is_empty() {
            "taken".to_owned()
        } else {
            code
        };
        *self.answers.entry(code).or_default() += 1;
    }

    fn record(&mut self, one: wire::Record) {
        self.seq = self.seq.max(one.seq);
        match &one.event {
            Some(record::Event::BatchIntended(batch)) => {
                self.batches.push((one.run.clone(), batch.batch.clone()));
            }
            Some(record::Event::Alarm(alarm)) => self.alarms.push(alarm.code.clone()),
            Some(
                record::Event::Advanced(wire::Advanced { fence, .. })
                | record::Event::Fenced(wire::Fenced { fence })
                | record::Event::UnwindOrdered(wire::UnwindOrdered { fence, .. }),
            ) => self.fence = self.fence.max(*fence),
            _ => {}
        }
        if self.words.len() < KEPT {
            self.words += &String::from_utf8_lossy(&one.encode_to_vec());
        }
    }
}
