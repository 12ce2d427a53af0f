//! The agent's side of its connection: dialling, saying hello, reporting, hanging up.

use mailmend_proto::wire;
use mailmend_proto::wire::{from_agent, to_agent};

use super::{Life, STORE_MS, Server, Stream, say};
use crate::report::Reporter;
use crate::session::Retry;
use crate::simulation::ground::journal;

impl Server {
    pub(super) fn connected(&mut self, now_ms: i64, answer: &mut wire::SimulationAnswer) {
        if !matches!(self.stream, Stream::Dialled) || matches!(self.life, Life::Dead(_)) {
            answer.hung_up = true;
            return;
        }
        let head = self
            .ground
            .as_ref()
            .map_or(0, |ground| ground.head_at(now_ms));
        let highest_fence = match &self.life {
            Life::Lives(engine) => engine.highest_fence(),
            _ => 0,
        };
        let hello = wire::Hello {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            journal: journal(self.seed).to_string(),
            head,
            highest_fence,
            facts: self.of.facts.clone(),
            actions: crate::step::SUPPORTED
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            // Simulated guard files ask for no signatures.
            trust: None,
        };
        self.stream = Stream::Greeted;
        say(answer, from_agent::Message::Hello(hello));
    }

    pub(super) fn cut(&mut self, now_ms: i64) {
        let retry = Retry::default();
        let failed = match &self.stream {
            Stream::Up { since_ms, .. } if now_ms - since_ms >= 10_000 => 0,
            _ => 6,
        };
        let wait = retry.wait(failed, self.random.f64());
        let dial_ms = now_ms + i64::try_from(wait.as_millis()).unwrap_or(0).max(1);
        if !matches!(self.stream, Stream::Down { .. }) {
            self.stream = Stream::Down { dial_ms };
        }
    }

    pub(super) fn hang_up(&mut self, now_ms: i64, answer: &mut wire::SimulationAnswer) {
        answer.hung_up = true;
        self.cut(now_ms);
    }

    /// A message arrives on the stream. What needs no engine is taken at once.
    pub(super) fn arrived(
        &mut self,
        now_ms: i64,
        message: wire::ToAgent,
        answer: &mut wire::SimulationAnswer,
    ) {
        match (message.message, &mut self.stream) {
            (Some(to_agent::Message::Welcome(welcome)), Stream::Greeted) => {
                let head = self
                    .ground
                    .as_ref()
                    .map_or(0, |ground| ground.head_at(now_ms));
                let foreign = !welcome.journal.is_empty()
                    && welcome.journal != journal(self.seed).to_string();
                if foreign || welcome.acknowledged > head {
                    self.hang_up(now_ms, answer);
                    return;
                }
                self.stream = Stream::Up {
                    reporter: None,
                    oldest: None,
                    since_ms: now_ms,
                };
                self.reporter(welcome.acknowledged);
            }
            (
                Some(to_agent::Message::Acknowledge(wire::Acknowledge { seq })),
                Stream::Up { reporter, .. },
            ) => {
                let noted = reporter.as_mut().map(|reporter| reporter.acknowledged(seq));
                if let Some(Err(_)) = noted {
                    self.hang_up(now_ms, answer);
                }
            }
            (message @ Some(_), Stream::Up { .. }) => {
                self.machine(now_ms);
                self.inbox.push_back(wire::ToAgent { message });
            }
            // Of a connection that is gone.
            _ => {}
        }
    }

    pub(super) fn reporter(&mut self, acknowledged: u64) {
        if let (Stream::Up { reporter, .. }, Life::Lives(engine)) = (&mut self.stream, &self.life) {
            *reporter = Some(Reporter::new(engine.journal().clone(), acknowledged));
        }
    }

    /// Sends what was written down by now.
    pub(super) fn report(&mut self, now_ms: i64, answer: &mut wire::SimulationAnswer) {
        let (
            Some(ground),
            Stream::Up {
                reporter: Some(reporter),
                oldest,
                ..
            },
        ) = (&self.ground, &mut self.stream)
        else {
            return;
        };
        let head = ground.head_at(now_ms);
        while let Ok(Some(report)) = reporter.next_up_to(head) {
            say(answer, from_agent::Message::Report(report));
        }
        match (reporter.oldest(), *oldest) {
            (None, _) => *oldest = None,
            (Some(seq), Some((known, _))) if seq == known => {}
            (Some(seq), _) => *oldest = Some((seq, now_ms)),
        }
        if oldest.is_some_and(|(_, since)| now_ms - since >= STORE_MS) {
            self.hang_up(now_ms, answer);
        }
    }
}
