//! The service control manager, of this machine or of another one.

#![expect(
    unsafe_code,
    reason = "the crate for services tells no process of one that stops, and not what depends on it"
)]

mod refusal;

use std::collections::BTreeSet;
use std::mem::size_of;

use mailmend_policy::name::ServiceName;
use windows_service::service::{Service, ServiceAccess};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{
    ERROR_MORE_DATA, ERROR_PROCESS_ABORTED, ERROR_SERVICE_NEVER_STARTED, ERROR_SERVICE_NOT_ACTIVE,
    ERROR_SERVICE_SPECIFIC_ERROR,
};
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ENUM_SERVICE_STATUS_PROCESSW, ENUM_SERVICE_STATUSW, EnumDependentServicesW,
    EnumServicesStatusExW, OpenSCManagerW, QueryServiceStatusEx, SC_ENUM_PROCESS_INFO, SC_HANDLE,
    SC_MANAGER_CONNECT, SC_MANAGER_ENUMERATE_SERVICE, SC_STATUS_PROCESS_INFO, SERVICE_ACCEPT_STOP,
    SERVICE_ACTIVE, SERVICE_START_PENDING, SERVICE_STATUS_PROCESS, SERVICE_STOP_PENDING,
    SERVICE_STOPPED, SERVICE_WIN32, SERVICE_WIN32_OWN_PROCESS,
};

use self::refusal::{Verb, refused, unanswered};
use super::failure::Code;
use super::machine::Machine;
use super::process;
use super::registry::MachineRegistry;
use crate::host::{
    Effect, HostError, HostErrorKind, ProcessIdentity, Registry, RegistryValue, ServiceState,
    ServiceStatus, Services,
};

/// Windows' services, or those of another machine.
#[derive(Debug)]
pub(super) struct ControlManager {
    pub(super) machine: Machine,
}

/// The crate has no constant for it: `SERVICE_ENUMERATE_DEPENDENTS`.
const ENUMERATE_DEPENDENTS: ServiceAccess = ServiceAccess::from_bits_retain(0x0008);

impl ControlManager {
    fn open(&self, service: &ServiceName, verb: Verb) -> Result<Service, HostError> {
        let failed = |error| self.failed(verb, service, error);
        let access = match verb {
            Verb::Query => ServiceAccess::QUERY_STATUS,
            Verb::Stop => ServiceAccess::STOP,
            Verb::Start => ServiceAccess::START,
            Verb::Dependents => ENUMERATE_DEPENDENTS,
        };
        self.connect()
            .map_err(failed)?
            .open_service(service.as_str(), access)
            .map_err(failed)
    }

    fn connect(&self) -> windows_service::Result<ServiceManager> {
        let access = ServiceManagerAccess::CONNECT;
        match self.machine.address() {
            None => ServiceManager::local_computer(None::<&str>, access),
            Some(address) => ServiceManager::remote_computer(address, None::<&str>, access),
        }
    }

    fn failed(
        &self,
        verb: Verb,
        service: &ServiceName,
        error: windows_service::Error,
    ) -> HostError {
        let attempted = self.attempted(verb, service);
        match error {
            windows_service::Error::Winapi(error) => refused(Code::of(&error), verb, attempted),
            other => unanswered(verb, attempted, &other),
        }
    }

    fn attempted(&self, verb: Verb, service: &ServiceName) -> String {
        let verb = verb.text();
        format!(
            "{verb} `{service}` through the service manager of {}",
            self.machine
        )
    }

    /// The running services whose configuration names this one, or one of those, in the order to stop them.
    fn dependents_by_configuration(
        &self,
        service: &ServiceName,
    ) -> Result<Vec<ServiceName>, HostError> {
        let running = self.running().map_err(|code| {
            let attempted = self.attempted(Verb::Dependents, service);
            refused(code, Verb::Dependents, attempted)
        })?;
        let registry = MachineRegistry::of(self.machine.clone());
        let mut needs: Vec<(ServiceName, Vec<String>)> = Vec::new();
        for name in running {
            let key = format!(r"SYSTEM\CurrentControlSet\Services\{name}");
            if let Some(RegistryValue::Texts(on)) = registry.read(&key, "DependOnService")? {
                needs.push((name, on));
            }
        }
        Ok(in_order_to_stop(service, &needs))
    }

    fn running(&self) -> Result<Vec<ServiceName>, Code> {
        let address = self.machine.wide_address();
        let address = address.as_ref().map_or(std::ptr::null(), Vec::as_ptr);
        let access = SC_MANAGER_CONNECT | SC_MANAGER_ENUMERATE_SERVICE;
        // SAFETY: the name ends with a zero, or there is none.
        let manager = unsafe { OpenSCManagerW(address, std::ptr::null(), access) };
        if manager.is_null() {
            return Err(Code::last());
        }
        let names = active(manager);
        // SAFETY: it was opened above and is used no more.
        unsafe { CloseServiceHandle(manager) };
        names
    }
}

impl Services for ControlManager {
    fn query(&self, service: &ServiceName) -> Result<ServiceStatus, HostError> {
        let told = self.told(service)?;
        if !self.has_lost_its_process(&told) {
            return Ok(told.status);
        }
        // It may have stopped in good order since: then the manager says so now, and how.
        let told = self.told(service)?;
        if !self.has_lost_its_process(&told) {
            return Ok(told.status);
        }
        // Windows' manager comes to notice it at its own time; Wine's never does.
        Ok(ServiceStatus {
            state: ServiceState::Stopped,
            process: None,
            exit_code: Some(ERROR_PROCESS_ABORTED),
            accepts_stop: false,
        })
    }

    fn request_stop(&self, service: &ServiceName) -> Result<(), HostError> {
        let Err(error) = self.open(service, Verb::Stop)?.stop() else {
            return Ok(());
        };
        let refusal = self.failed(Verb::Stop, service, error);
        // Its process may have ended meanwhile: then nobody has heard of the request.
        if refusal.effect == Effect::Unknown && self.query(service)?.state == ServiceState::Stopped
        {
            let attempted = self.attempted(Verb::Stop, service);
            return Err(refused(
                Code(ERROR_SERVICE_NOT_ACTIVE),
                Verb::Stop,
                attempted,
            ));
        }
        Err(refusal)
    }

    fn request_start(&self, service: &ServiceName) -> Result<(), HostError> {
        self.open(service, Verb::Start)?
            .start::<&str>(&[])
            .map_err(|error| self.failed(Verb::Start, service, error))
    }

    fn end_process(&self, process: &ProcessIdentity) -> Result<(), HostError> {
        self.here("end", process)?;
        process::end(process)
    }

    fn process_alive(&self, process: &ProcessIdentity) -> Result<bool, HostError> {
        self.here("look at", process)?;
        process::alive(process)
    }

    fn running_dependents(&self, service: &ServiceName) -> Result<Vec<ServiceName>, HostError> {
        let opened = self.open(service, Verb::Dependents)?;
        let found = dependents(opened.raw_handle()).map_err(|code| {
            refused(
                code,
                Verb::Dependents,
                self.attempted(Verb::Dependents, service),
            )
        })?;
        if found.is_empty() {
            // Wine's manager says so always. What would be stopped unseen would never be started again, so
            // no manager is believed without a look into the configuration.
            return self.dependents_by_configuration(service);
        }
        Ok(found)
    }
}

/// What the manager says of a service.
struct Told {
    status: ServiceStatus,
    /// Whether it names a process that is the service's alone.
    own_process: bool,
}

impl ControlManager {
    /// What the manager says.
    fn told(&self, service: &ServiceName) -> Result<Told, HostError> {
        let opened = self.open(service, Verb::Query)?;
        let found = status(opened.raw_handle())
            .map_err(|code| refused(code, Verb::Query, self.attempted(Verb::Query, service)))?;
        let state = match found.dwCurrentState {
            SERVICE_STOPPED => ServiceState::Stopped,
            SERVICE_START_PENDING => ServiceState::Starting,
            SERVICE_STOP_PENDING => ServiceState::Stopping,
            // Paused, and on its way there and back: it runs and holds what it has open.
            _ => ServiceState::Running,
        };
        let exit_code = match found.dwWin32ExitCode {
            ERROR_SERVICE_NEVER_STARTED => None,
            ERROR_SERVICE_SPECIFIC_ERROR => Some(found.dwServiceSpecificExitCode),
            code => Some(code),
        };
        // A service that shares its process has none of its own: others would die with it, and it goes on when
        // the service has stopped. And Windows lets nobody look into the processes of another machine.
        let own_process =
            found.dwServiceType & SERVICE_WIN32_OWN_PROCESS != 0 && found.dwProcessId != 0;
        let process = if own_process && !self.machine.is_remote() {
            process::identity(found.dwProcessId)?
        } else {
            None
        };
        Ok(Told {
            own_process,
            status: ServiceStatus {
                state,
                process,
                exit_code,
                accepts_stop: found.dwControlsAccepted & SERVICE_ACCEPT_STOP != 0,
            },
        })
    }

    /// Whether the manager names a process that is not there any more.
    fn has_lost_its_process(&self, told: &Told) -> bool {
        !self.machine.is_remote()
            && told.own_process
            && told.status.state != ServiceState::Stopped
            && told.status.process.is_none()
    }

    fn here(&self, verb: &str, process: &ProcessIdentity) -> Result<(), HostError> {
        if !self.machine.is_remote() {
            return Ok(());
        }
        Err(HostError::unchanged(
            HostErrorKind::Denied,
            format!("{verb} the process {} of {}", process.pid, self.machine),
            "Windows lets nobody reach a process of another machine: run the agent there, or end it by hand",
        ))
    }
}

/// The running services that need this one, each before what it needs itself.
fn in_order_to_stop(
    service: &ServiceName,
    needs: &[(ServiceName, Vec<String>)],
) -> Vec<ServiceName> {
    fn visit(
        service: &str,
        needs: &[(ServiceName, Vec<String>)],
        seen: &mut BTreeSet<String>,
        order: &mut Vec<ServiceName>,
    ) {
        for (name, on) in needs {
            let needed = on.iter().any(|one| one.eq_ignore_ascii_case(service));
            if needed && seen.insert(name.as_str().to_ascii_lowercase()) {
                visit(name.as_str(), needs, seen, order);
                order.push(name.clone());
            }
        }
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    seen.insert(service.as_str().to_ascii_lowercase());
    visit(service.as_str(), needs, &mut seen, &mut order);
    order
}

/// Asks again with more room until everything fits. `fill` is given the room and its length in bytes, and
/// says how many bytes it needs and how many entries it wrote.
fn entries<T>(
    mut fill: impl FnMut(*mut T, u32, &mut u32, &mut u32) -> i32,
) -> Result<(Vec<T>, usize), Code> {
    let mut room: Vec<T> = Vec::new();
    loop {
        let length = room.capacity() * size_of::<T>();
        let (mut needed, mut count) = (0, 0);
        let filled = fill(
            room.as_mut_ptr(),
            u32::try_from(length).unwrap_or(0),
            &mut needed,
            &mut count,
        );
        let code = Code::last();
        if filled != 0 {
            return Ok((room, usize::try_from(count).unwrap_or(0)));
        }
        if code != Code(ERROR_MORE_DATA) {
            return Err(code);
        }
        // The names stand behind the entries. Somebody may add a service meanwhile.
        let bytes = length + usize::try_from(needed).unwrap_or(0);
        room = Vec::with_capacity(bytes.div_ceil(size_of::<T>()) + 1);
    }
}

fn status(service: SC_HANDLE) -> Result<SERVICE_STATUS_PROCESS, Code> {
    let mut found = SERVICE_STATUS_PROCESS::default();
    let mut needed = 0;
    // SAFETY: the service is open for this, and the structure is the one of that class and as long as is
    // said.
    let told = unsafe {
        QueryServiceStatusEx(
            service,
            SC_STATUS_PROCESS_INFO,
            (&raw mut found).cast(),
            u32::try_from(size_of::<SERVICE_STATUS_PROCESS>()).unwrap_or(0),
            &raw mut needed,
        )
    };
    if told == 0 {
        Err(Code::last())
    } else {
        Ok(found)
    }
}

/// The running services that need this one, in the order in which Windows would stop them.
fn dependents(service: SC_HANDLE) -> Result<Vec<ServiceName>, Code> {
    let (room, count) = entries::<ENUM_SERVICE_STATUSW>(|room, length, needed, count| {
        // SAFETY: the service is open for this, and the room is as long as is said.
        unsafe { EnumDependentServicesW(service, SERVICE_ACTIVE, room, length, needed, count) }
    })?;
    let named = (0..count).filter_map(|at| {
        // SAFETY: Windows wrote so many entries, and their names into the same room, which still stands.
        unsafe { named((*room.as_ptr().add(at)).lpServiceName) }
    });
    Ok(named.collect())
}

/// The services of a manager that are not stopped.
fn active(manager: SC_HANDLE) -> Result<Vec<ServiceName>, Code> {
    let (room, count) = entries::<ENUM_SERVICE_STATUS_PROCESSW>(|room, length, needed, count| {
        // SAFETY: the manager is open for this, and the room is as long as is said; no place to go on from
        // means that the answer is whole or fails.
        unsafe {
            EnumServicesStatusExW(
                manager,
                SC_ENUM_PROCESS_INFO,
                SERVICE_WIN32,
                SERVICE_ACTIVE,
                room.cast(),
                length,
                needed,
                count,
                std::ptr::null_mut(),
                std::ptr::null(),
            )
        }
    })?;
    let named = (0..count).filter_map(|at| {
        // SAFETY: as above.
        unsafe { named((*room.as_ptr().add(at)).lpServiceName) }
    });
    Ok(named.collect())
}

/// A name that Windows wrote; one that no policy can say is no service of Exchange.
///
/// # Safety
/// It points to letters that end with a zero, or is null.
unsafe fn named(name: *const u16) -> Option<ServiceName> {
    if name.is_null() {
        return None;
    }
    let mut length = 0;
    // SAFETY: as the caller says.
    let letters = unsafe {
        while *name.add(length) != 0 {
            length += 1;
        }
        std::slice::from_raw_parts(name, length)
    };
    String::from_utf16(letters).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
