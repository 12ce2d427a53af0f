//! This machine's files, a mail service that is stopped, and records that say nothing.

use std::path::PathBuf;

use mailmend_agent::custody::Evidence;
use mailmend_agent::evidence::{MessageKey, Sent};
use mailmend_agent::host::unix::{UnixHost, UnixSettings};
use mailmend_agent::host::{
    Clock, Events, Host, HostError, ProcessIdentity, Registry, ServiceState, ServiceStatus,
    Services, Spool, Tools,
};
use mailmend_policy::condition::PathRoot;
use mailmend_policy::name::ServiceName;

/// Reading logs is the evidence reader's work, not custody's.
pub(crate) struct Silent;

impl Evidence for Silent {
    fn of(&self, messages: &[MessageKey]) -> Vec<Sent> {
        vec![Sent::NotSeen; messages.len()]
    }
}

/// This machine's files, and a service that is stopped.
pub(crate) struct Machine(UnixHost);

impl Machine {
    pub(crate) fn new() -> Self {
        let nowhere = PathBuf::from("/nonexistent");
        Self(UnixHost::new(UnixSettings {
            service_socket: nowhere.clone(),
            registry_file: nowhere.clone(),
            events_file: nowhere,
            counters_file: None,
            clock_factor: 1.0,
        }))
    }
}

impl Host for Machine {
    fn services(&self) -> &dyn Services {
        self
    }
    fn spool(&self) -> &dyn Spool {
        self.0.spool()
    }
    fn registry(&self) -> &dyn Registry {
        self.0.registry()
    }
    fn events(&self) -> &dyn Events {
        self.0.events()
    }
    fn tools(&self) -> &dyn Tools {
        self.0.tools()
    }
    fn clock(&self) -> &dyn Clock {
        self.0.clock()
    }
    fn root(&self, root: PathRoot) -> Result<PathBuf, HostError> {
        self.0.root(root)
    }
}

impl Services for Machine {
    fn query(&self, _: &ServiceName) -> Result<ServiceStatus, HostError> {
        Ok(ServiceStatus {
            state: ServiceState::Stopped,
            process: None,
            exit_code: Some(0),
            accepts_stop: false,
        })
    }
    fn request_stop(&self, _: &ServiceName) -> Result<(), HostError> {
        Ok(())
    }
    fn request_start(&self, _: &ServiceName) -> Result<(), HostError> {
        Ok(())
    }
    fn end_process(&self, _: &ProcessIdentity) -> Result<(), HostError> {
        Ok(())
    }
    fn process_alive(&self, _: &ProcessIdentity) -> Result<bool, HostError> {
        Ok(false)
    }
    fn running_dependents(&self, _: &ServiceName) -> Result<Vec<ServiceName>, HostError> {
        Ok(Vec::new())
    }
}
