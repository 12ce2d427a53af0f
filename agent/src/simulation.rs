//! Simulated servers: the real engine, inbox, runner, custody and journal on simulated machines, many of them
//! in one process and on one clock.
//!
//! Real: everything that decides, moves files and writes records; what is reported, and when a lost
//! connection is dialled again. Modelled: the machine with its services, files and mail
//! ([`crate::host::simulated`]), and the stream, whose messages come and go as calls. A run is carried on in
//! one go as far as it goes without waiting, while its machine's clock runs ahead: what it wrote down is
//! reported when its time has come, and an order that arrives meanwhile is taken when the step has ended.
//!
//! Whoever drives it speaks in the messages of `simulation.proto`: [`Servers`] answers them, [`pipe`] carries
//! them over standard input and output.

mod ground;
pub mod invariants;
mod person;
pub mod pipe;
mod server;
pub mod symptom;

use std::collections::BTreeMap;

use mailmend_proto::wire;
use mailmend_proto::wire::simulation_request::Request;

use server::Server;

/// A fleet of simulated servers. Each machine is made when something first happens on it.
#[derive(Default)]
pub struct Servers {
    servers: BTreeMap<String, Server>,
}

impl Servers {
    /// No servers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers a request.
    #[must_use]
    pub fn answer(&mut self, request: wire::SimulationRequest) -> wire::SimulationAnswer {
        let failed = |why: String| wire::SimulationAnswer {
            failed: why,
            ..Default::default()
        };
        match request.request {
            Some(Request::Begin(begin)) => match self.begin(begin) {
                Ok(()) => wire::SimulationAnswer::default(),
                Err(why) => failed(why),
            },
            Some(Request::Step(step)) => match self.servers.get_mut(&step.server) {
                Some(server) => server.step(step.now_ms, step.what),
                None => failed(format!("there is no server `{}`", step.server)),
            },
            Some(Request::Look(look)) => match self.servers.get_mut(&look.server) {
                Some(server) => server.look(look.settle),
                None => failed(format!("there is no server `{}`", look.server)),
            },
            None => failed("a request of a kind that this program does not know".to_owned()),
        }
    }

    fn begin(&mut self, begin: wire::SimulationBegin) -> Result<(), String> {
        let mut servers = BTreeMap::new();
        for (number, one) in (0_u64..).zip(begin.servers) {
            let seed = begin.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number << 8);
            let name = one.name.clone();
            let server = Server::new(one, seed, &begin.broken)?;
            servers.insert(name, server);
        }
        self.servers = servers;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
