//! What servers and controller say to each other, and what becomes of it on the way.

use mailmend_policy::name::SiteName;
use mailmend_proto::wire;
use mailmend_proto::wire::simulation_request::Request;
use mailmend_proto::wire::simulation_step::What;
use mailmend_proto::wire::{from_agent, to_agent};

use super::words::said_of;
use super::{Engine, Happens, MOST_FOUND, ms};
use crate::sessions::AGAIN;
use crate::simulation::agents::AgentsFault;
use crate::simulation::controller::Said;
use crate::simulation::invariants::{self, Section};
use crate::simulation::network::Fate;

impl Engine<'_> {
    /// Something happens to a server, and whatever it says to that goes its way.
    pub(super) fn step(&mut self, server: usize, what: What) -> Result<(), AgentsFault> {
        let name = self.name(server);
        let answer = self.ask(Request::Step(wire::SimulationStep {
            server: name.to_string(),
            now_ms: self.now_ms,
            what: Some(what),
        }))?;
        for said in answer.said {
            if let Some(message) = said.message {
                self.note(|| format!("{server} says {}", said_of(&message)));
                self.send_up(server, message);
            }
        }
        if answer.hung_up
            && let Some(stream) = self.lines[server].stream.take()
        {
            let at = self.now_ms + self.random.i64(1..1_000);
            self.at(at, Happens::ControllerLearns { server, stream });
        }
        if answer.dials {
            let at = self.now_ms + self.random.i64(5..200);
            self.at(at, Happens::Dialled { server });
        }
        self.lines[server].wake += 1;
        if answer.next_ms > 0 {
            let number = self.lines[server].wake;
            self.at(answer.next_ms, Happens::Wake { server, number });
        }
        self.look_at(server, answer.state.unwrap_or_default());
        Ok(())
    }

    /// What the server's own world says of it.
    pub(super) fn look_at(&mut self, server: usize, state: wire::SimulatedState) {
        let name = self.name(server);
        self.found.extend(
            state
                .broken
                .iter()
                .map(|broken| format!("`{name}`: {broken}")),
        );
        let before = self.states.get(&server);
        if before.is_none_or(|before| before.sections != state.sections)
            && let Ok(site) = self.lines[server].site.parse::<SiteName>()
        {
            let known = before.map_or(0, |before| before.sections.len());
            let all: Vec<Section> = state
                .sections
                .iter()
                .map(|one| Section {
                    from_ms: one.from_ms,
                    to_ms: (one.to_ms != 0).then_some(one.to_ms),
                })
                .collect();
            let theirs = self.sections.entry(site.clone()).or_default();
            theirs.insert(name.clone(), all.clone());
            let most = self.controller.rollout.strategy.sites_at_once;
            for new in &all[known.min(all.len())..] {
                invariants::sections(&self.sections, &site, &name, *new, most, &mut self.found);
                invariants::paths(&self.paths, &self.sections, &name, *new, &mut self.found);
            }
        }
        self.states.insert(server, state);
        self.found.truncate(MOST_FOUND);
    }

    pub(super) fn reachable(&self, server: usize) -> bool {
        let line = &self.lines[server];
        self.alive && !line.unreachable && line.parted == 0
    }

    pub(super) fn dialled(&mut self, server: usize) -> Result<(), AgentsFault> {
        if !self.reachable(server) {
            return self.step(server, What::Cut(true));
        }
        self.streams += 1;
        let line = &mut self.lines[server];
        line.stream = Some(self.streams);
        line.broken = false;
        line.last = [0, 0];
        self.count("streams");
        self.step(server, What::Connected(true))
    }

    /// When something that is sent now on a stream arrives, and once more; nothing: it is lost.
    pub(super) fn way(
        &mut self,
        server: usize,
        direction: usize,
        begins: bool,
    ) -> Option<(i64, Option<i64>)> {
        if self.lines[server].broken || !self.reachable(server) {
            self.break_off(server, 15_000, 15_000);
            return None;
        }
        let weather = &self.setup.weather;
        match weather.fate(&mut self.random, self.lines[server].slow, begins) {
            Fate::Lost { here_ms, there_ms } => {
                self.count("messages lost");
                self.break_off(server, here_ms, there_ms);
                None
            }
            Fate::Comes { after_ms, again_ms } => {
                let overtakes = !begins && self.random.f64() < weather.reorders;
                let mut at = self.now_ms + after_ms;
                if overtakes {
                    self.count("messages that may overtake");
                } else {
                    at = at.max(self.lines[server].last[direction] + 1);
                    self.lines[server].last[direction] = at;
                }
                if again_ms.is_some() {
                    self.count("messages repeated");
                }
                Some((at, again_ms.map(|again| self.now_ms + again)))
            }
        }
    }

    /// The stream carries nothing any more; both ends learn of it later.
    pub(super) fn break_off(&mut self, server: usize, here_ms: i64, there_ms: i64) {
        let Some(stream) = self.lines[server]
            .stream
            .filter(|_| !self.lines[server].broken)
        else {
            return;
        };
        self.lines[server].broken = true;
        self.at(
            self.now_ms + here_ms,
            Happens::AgentLearns { server, stream },
        );
        self.at(
            self.now_ms + there_ms,
            Happens::ControllerLearns { server, stream },
        );
    }

    pub(super) fn send_up(&mut self, server: usize, message: wire::FromAgent) {
        let Some(stream) = self.lines[server].stream else {
            return;
        };
        let begins = matches!(message.message, Some(from_agent::Message::Hello(_)));
        if let Some((at, again)) = self.way(server, 0, begins) {
            if let Some(again) = again {
                let message = message.clone();
                self.at(
                    again,
                    Happens::Comes {
                        server,
                        stream,
                        message,
                    },
                );
            }
            self.at(
                at,
                Happens::Comes {
                    server,
                    stream,
                    message,
                },
            );
        }
    }

    pub(super) fn say(&mut self, said: Vec<Said>) {
        for (name, message) in said {
            let Some(&server) = self.numbers.get(&name) else {
                continue;
            };
            let Some(stream) = self.controller.stream(&name) else {
                continue;
            };
            if self.lines[server].stream != Some(stream) {
                continue;
            }
            self.again_later(server);
            let begins = matches!(message.message, Some(to_agent::Message::Welcome(_)));
            if let Some((at, again)) = self.way(server, 1, begins) {
                if let Some(again) = again {
                    let message = message.clone();
                    self.at(
                        again,
                        Happens::Arrives {
                            server,
                            stream,
                            message,
                        },
                    );
                }
                self.at(
                    at,
                    Happens::Arrives {
                        server,
                        stream,
                        message,
                    },
                );
            }
        }
    }

    /// Where an agent was told something that it has yet to write down, somebody looks for that later.
    pub(super) fn again_later(&mut self, server: usize) {
        let name = self.name(server);
        if let Some(stream) = self.controller.stream(&name)
            && self.controller.is_to_hear_again(&name)
        {
            self.at(self.now_ms + ms(AGAIN), Happens::Again { server, stream });
        }
    }

    /// A message of an agent reaches the controller.
    pub(super) fn comes(&mut self, server: usize, stream: u64, message: wire::FromAgent) {
        if !self.alive {
            return;
        }
        let name = self.name(server);
        let Some(message) = message.message else {
            return;
        };
        if let from_agent::Message::Hello(hello) = &message {
            if self.lines[server].stream == Some(stream) {
                let said = self.controller.hello(&name, stream, hello);
                self.say(said);
                self.changed();
            }
            return;
        }
        if self.controller.stream(&name) != Some(stream) {
            return;
        }
        match message {
            from_agent::Message::Report(report) => {
                if self.dies_at(3) {
                    return;
                }
                let answer = self.controller.report(&name, report);
                self.moved_ms = self.now_ms;
                if self.dies_at(4) {
                    return;
                }
                match answer {
                    Ok(acknowledge) => self.say(vec![(name, acknowledge)]),
                    Err(_) => {
                        self.count("streams ended by the controller");
                        self.controller.gone(&name, stream);
                        let at = self.now_ms + 10;
                        self.at(at, Happens::AgentLearns { server, stream });
                    }
                }
                self.changed();
            }
            from_agent::Message::Answer(answer) => {
                self.controller.refused(&name, &answer);
                self.changed();
            }
            from_agent::Message::OrderAnswer(answer) => {
                self.controller.answered(&name, &answer);
                self.changed();
            }
            _ => {}
        }
    }
}
