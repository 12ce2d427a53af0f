//! The simulated service manager, and how services misbehave.

use super::world::World;
use crate::host::{ProcessIdentity, ServiceState, ServiceStatus};

/// How a simulated service misbehaves. The default is a service that does what it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceFaults {
    /// A stop request is accepted and then nothing happens: it stays `Stopping` until it is killed.
    pub refuses_stop: bool,
    /// A stop request makes the manager say `Stopped` while the process works on.
    pub lies_stopped: bool,
    /// Each of the next starts dies after that many milliseconds (first one first) with 1067.
    pub dies_after: Vec<u64>,
    /// A start is refused with 1058.
    pub disabled: bool,
    /// A process that is ended is gone only after that many milliseconds.
    pub gone_after: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) name: &'static str,
    image: &'static str,
    needs: &'static [&'static str],
    pub(super) state: ServiceState,
    /// The process, also while the manager denies it.
    pub(super) process: Option<(u32, u64)>,
    exit_code: Option<u32>,
    due: Option<(u64, Change)>,
    pub(super) faults: ServiceFaults,
    pub(super) starts: u32,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Started,
    Stopped,
    Died,
    Ended,
}

pub(super) const IMC: &str = "MSExchangeIMC";

pub(super) fn services() -> Vec<Service> {
    let service = |name, image, needs| Service {
        name,
        image,
        needs,
        state: ServiceState::Stopped,
        process: None,
        exit_code: None,
        due: None,
        faults: ServiceFaults::default(),
        starts: 0,
    };
    vec![
        service("MSExchangeSA", "mad.exe", &[]),
        service("MSExchangeDS", "dsamain.exe", &["MSExchangeSA"]),
        service("MSExchangeIS", "store.exe", &["MSExchangeDS"]),
        service("MSExchangeMTA", "emsmta.exe", &["MSExchangeDS"]),
        service(IMC, "msexcimc.exe", &["MSExchangeIS", "MSExchangeMTA"]),
    ]
}

impl World {
    pub(super) fn service(&self, name: &str) -> Option<usize> {
        self.services
            .iter()
            .position(|service| service.name.eq_ignore_ascii_case(name))
    }

    pub(super) fn status(&self, index: usize) -> ServiceStatus {
        let service = &self.services[index];
        let process = service
            .process
            .filter(|_| service.state != ServiceState::Stopped);
        ServiceStatus {
            state: service.state,
            process: process.map(|(pid, started)| ProcessIdentity {
                pid,
                started,
                image: service.image.to_owned(),
            }),
            exit_code: service.exit_code,
            accepts_stop: service.state == ServiceState::Running,
        }
    }

    /// Which service's process this is, while it lives.
    pub(super) fn process(&self, process: &ProcessIdentity) -> Option<usize> {
        self.services.iter().position(|service| {
            service.process == Some((process.pid, process.started))
                && service.image == process.image
        })
    }

    /// Those that need a service and run, the ones furthest up first.
    pub(super) fn dependents(&self, index: usize) -> Vec<&'static str> {
        let mut found = vec![self.services[index].name];
        // Services stand after what they need, so that one pass finds all.
        for service in &self.services[index + 1..] {
            if service.needs.iter().any(|need| found.contains(need)) {
                found.push(service.name);
            }
        }
        found.remove(0);
        found.reverse();
        found.retain(|name| {
            self.service(name)
                .is_some_and(|i| self.services[i].state != ServiceState::Stopped)
        });
        found
    }

    /// # Errors
    /// The manager's code.
    pub(super) fn request_stop(&mut self, index: usize) -> Result<(), u32> {
        if !self.dependents(index).is_empty() {
            return Err(1051);
        }
        let now = self.up_ms;
        let (stop_ms, service) = (self.settings.stop_ms, &mut self.services[index]);
        match service.state {
            ServiceState::Stopped => return Err(1062),
            ServiceState::Starting | ServiceState::Stopping => return Err(1061),
            ServiceState::Running => {}
        }
        if service.faults.lies_stopped {
            service.state = ServiceState::Stopped;
            service.exit_code = Some(0);
            return Ok(());
        }
        service.state = ServiceState::Stopping;
        if !service.faults.refuses_stop {
            service.due = Some((now + stop_ms, Change::Stopped));
            if service.name == IMC {
                self.ims.taking = false;
            }
        }
        Ok(())
    }

    /// # Errors
    /// The manager's code.
    pub(super) fn request_start(&mut self, index: usize) -> Result<(), u32> {
        let service = &self.services[index];
        if service.state != ServiceState::Stopped {
            return Err(1056);
        }
        if service.faults.disabled {
            return Err(1058);
        }
        let missing = service.needs.iter().any(|need| {
            self.service(need)
                .is_some_and(|i| self.services[i].state != ServiceState::Running)
        });
        if missing {
            return Err(1068);
        }
        if service.process.is_some() {
            // The old process that the manager believes gone still has the port.
            return Err(1067);
        }
        self.next_pid += 1;
        let (pid, now) = (self.next_pid, self.up_ms);
        let start_ms = self.settings.start_ms;
        let service = &mut self.services[index];
        service.process = Some((pid, now));
        service.state = ServiceState::Starting;
        service.starts += 1;
        service.due = Some((now + start_ms, Change::Started));
        if service.name == IMC {
            self.ims.pid = Some(pid);
        }
        Ok(())
    }

    /// Somebody ends the process of a service.
    pub(super) fn end_process(&mut self, index: usize) {
        let now = self.up_ms;
        let service = &mut self.services[index];
        if service.faults.gone_after == 0 {
            self.process_ends(index, 1);
        } else {
            service.due = Some((now + service.faults.gone_after, Change::Ended));
        }
    }

    /// The process of a service is gone, with this exit code.
    pub(super) fn process_ends(&mut self, index: usize, exit_code: u32) {
        let service = &mut self.services[index];
        service.process = None;
        service.due = None;
        if service.state != ServiceState::Stopped {
            service.state = ServiceState::Stopped;
            service.exit_code = Some(exit_code);
        }
        if service.name == IMC {
            self.ims_gone();
        }
    }

    pub(super) fn ims_died(&mut self, exit_code: u32) {
        if let Some(index) = self.service(IMC) {
            self.process_ends(index, exit_code);
        }
    }

    pub(super) fn services_due(&self) -> Option<u64> {
        self.services
            .iter()
            .filter_map(|service| service.due.map(|(at, _)| at))
            .min()
    }

    pub(super) fn services_step(&mut self) {
        let now = self.up_ms;
        let Some(index) = self
            .services
            .iter()
            .position(|s| s.due.is_some_and(|(at, _)| at <= now))
        else {
            return;
        };
        let service = &mut self.services[index];
        let ims = service.name == IMC;
        match service.due.take().map(|(_, change)| change) {
            Some(Change::Started) => {
                service.state = ServiceState::Running;
                if !service.faults.dies_after.is_empty() {
                    let after = service.faults.dies_after.remove(0);
                    service.due = Some((now + after, Change::Died));
                }
                if ims {
                    self.ims_ready();
                }
            }
            // It finishes what it has begun to send, as the real one does.
            Some(Change::Stopped) if ims && !self.ims.in_flight.is_empty() => {
                service.due = Some((now + 10, Change::Stopped));
            }
            Some(Change::Stopped) => {
                if ims {
                    self.event(
                        "MSExchangeIMC",
                        1001,
                        "The Internet Mail Service was stopped",
                    );
                }
                self.process_ends(index, 0);
            }
            Some(Change::Died) => self.process_ends(index, 1067),
            Some(Change::Ended) => self.process_ends(index, 1),
            None => {}
        }
    }

    /// All processes end at once; nothing is written.
    pub(super) fn all_processes_end(&mut self) {
        for index in 0..self.services.len() {
            self.process_ends(index, 1067);
        }
    }

    /// Starts everything that is stopped and not disabled, in order, and waits until it runs.
    pub(super) fn start_everything(&mut self) {
        for index in 0..self.services.len() {
            if self.request_start(index).is_ok() {
                self.advance(self.settings.start_ms);
            }
        }
    }
}
