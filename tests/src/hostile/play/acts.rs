//! What a hostile controller does, one thing at a time, by chance.

use std::fs;
use std::time::Duration;

use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use mailmend_proto::wire::to_agent::Message;
use uuid::Uuid;

use super::super::door::{Said, framed};
use super::super::policies;
use super::super::table::{self, Honest};
use super::{Drive, SESSION};
use crate::awaited;
use crate::lab_error::LabError;
use crate::server_dir::spooled;

impl Drive {
    /// What an honest controller would say now.
    #[must_use]
    pub fn honest(&mut self) -> Honest {
        let evil = policies::of_kind("churn", &mut self.rng);
        let text = evil.map(|evil| evil.text).unwrap_or_default();
        let fence = self.mind.fence;
        let name = self.place.server().name.clone();
        let (assignment, _) = policies::assignment(
            &Uuid::now_v7().to_string(),
            fence,
            &text,
            &self.servers(),
            &name,
        );
        let (run, batch) = self.some_batch();
        Honest {
            run,
            fence,
            batch,
            order: Uuid::now_v7().to_string(),
            seq: self.mind.seq,
            assignment,
        }
    }

    /// A run, and a batch that may be of another.
    fn some_batch(&mut self) -> (String, String) {
        let run = match self.mind.runs.len() {
            0 => Uuid::now_v7().to_string(),
            count => self.mind.runs[self.rng.usize(..count)].id.clone(),
        };
        let batch = match self.mind.batches.len() {
            0 => Uuid::now_v7().to_string(),
            count => self.mind.batches[self.rng.usize(..count)].clone().1,
        };
        (run, batch)
    }

    /// Does one thing.
    ///
    /// # Errors
    /// Where the lab fails, or no session comes any more.
    pub fn act(&mut self) -> Result<(), LabError> {
        self.connected()?;
        match self.rng.u32(..100) {
            0..25 => {
                let evil = policies::next(&mut self.rng);
                self.assign(&evil);
                self.listen(Duration::from_millis(20));
                self.release_all();
            }
            25..40 => self.steer(),
            40..60 => {
                let honest = self.honest();
                let mut messages = table::honest(&honest);
                let message = messages.swap_remove(self.rng.usize(..messages.len()));
                let mut rows = table::abused(message);
                rows.retain(|row| !row.ends);
                if !rows.is_empty() {
                    let row = rows.swap_remove(self.rng.usize(..rows.len()));
                    self.say_row(row);
                }
            }
            60..72 => self.order(),
            72..77 => {
                let immunity = self.everything();
                self.say(Message::Immunity(immunity));
            }
            77..80 => {
                let honest = self.honest();
                self.say(Message::Audit(wire::AuditRequest {
                    id: honest.order,
                    run: String::new(),
                }));
            }
            80..84 => self.place.more_mail(4)?,
            84..86 => self.spoil()?,
            _ => self.listen(Duration::from_millis(100)),
        }
        Ok(())
    }

    /// Advances, unwinds and fences runs that are known, closed or never were, in any order.
    fn steer(&mut self) {
        let (run, _) = self.some_batch();
        let run = if self.rng.u32(..8) == 0 {
            Uuid::now_v7().to_string()
        } else {
            run
        };
        let fence = match self.rng.u32(..6) {
            0 => self.mind.fence.saturating_sub(1),
            1 => self.mind.bump(),
            2 => u64::MAX,
            _ => self.mind.fence,
        };
        let number = match self.rng.u32(..4) {
            0 => u32::MAX,
            1 => 0,
            _ => self.rng.u32(..30),
        };
        let last = self.rng.bool();
        let message = match self.rng.u32(..5) {
            0 | 1 => Message::Advance(wire::Advance {
                run,
                fence,
                through: number,
            }),
            2 | 3 => Message::Unwind(wire::Unwind {
                run,
                fence,
                down_to: number,
                last,
            }),
            _ => Message::Fence(wire::Fence { run, fence }),
        };
        self.say(message);
    }

    /// A person's word that no person gave.
    fn order(&mut self) {
        let (run, batch) = self.some_batch();
        let what = match self.rng.u32(..6) {
            0 => What::Answer(wire::AnswerTask {
                step: self.rng.u32(..10),
                answer: "look".to_owned(),
            }),
            1 | 2 => What::Release(wire::Release {
                batch: if self.rng.bool() {
                    batch
                } else {
                    String::new()
                },
                fingerprint: String::new(),
            }),
            3 => What::Settle(wire::Settle {
                batch,
                entries: vec![wire::Range { first: 0, last: 5 }],
                custody: self.rng.i32(0..8),
            }),
            4 => What::Recover(wire::Recover {
                messages: Vec::new(),
            }),
            _ => What::Immunize(wire::Immunize { batch, entry: 0 }),
        };
        let order = wire::Order {
            id: Uuid::now_v7().to_string(),
            run,
            by: "admin".to_owned(),
            why: "nobody said so".to_owned(),
            what: Some(what),
            fence: self.mind.bump(),
        };
        // The same twice, as after a connection that broke.
        self.say(Message::Order(order.clone()));
        self.say(Message::Order(order));
    }

    /// The fingerprints of everything that lies in the queues, as true as those of real poison.
    #[must_use]
    pub fn everything(&mut self) -> wire::Immunity {
        let server = self.place.server();
        let mut fingerprints = Vec::new();
        for folder in [server.dir.inbound(), server.dir.outbound()] {
            for file in spooled(&folder).unwrap_or_default() {
                // What was sent meanwhile is not there any more.
                let Ok(bytes) = fs::read(folder.join(file.name.as_str())) else {
                    continue;
                };
                fingerprints.push(wire::Fingerprint {
                    id: Uuid::now_v7().to_string(),
                    hash: blake3::hash(&bytes).as_bytes().to_vec(),
                    size: bytes.len() as u64,
                    body: Vec::new(),
                    body_bytes: 0,
                    message_id: String::new(),
                    provenance: "a search on another server".to_owned(),
                });
            }
        }
        wire::Immunity {
            generation: self.rng.u64(..),
            fingerprints,
            in_hand: false,
        }
    }

    /// Says what ends a session.
    fn spoil(&mut self) -> Result<(), LabError> {
        match self.rng.u32(..5) {
            0 => {
                let mut welcomes = table::welcomes();
                let row = welcomes.swap_remove(self.rng.usize(..welcomes.len()));
                self.put(Said::Break);
                self.line = None;
                self.bad_ends += 1;
                self.again()?;
                let (line, _) = self.place.controller.session(SESSION)?;
                line.say(row.message);
                self.said += 1;
                self.sessions += 1;
            }
            1 => {
                let status = self.rng.u8(..20);
                self.put(Said::End(status));
            }
            2 => {
                // It closes in the middle of a message.
                self.put(Said::Bytes(vec![0, 0, 0, 1, 0, 0x0a]));
                self.put(Said::Break);
            }
            3 => {
                let seq = u64::MAX;
                self.say(Message::Acknowledge(wire::Acknowledge { seq }));
            }
            _ => {
                let mut broken = table::broken();
                let (_, bytes) = broken.swap_remove(self.rng.usize(..broken.len()));
                self.put(Said::Bytes(bytes));
                self.put(Said::Bytes(framed(&[])));
            }
        }
        self.bad_ends += 1;
        self.left();
        Ok(())
    }

    /// Waits until the agent has left the session.
    pub(super) fn left(&mut self) {
        if let Some(line) = self.line.take() {
            awaited::until(Duration::from_secs(10), || line.is_over());
        }
    }
}
