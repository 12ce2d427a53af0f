//! What the setup of Exchange does to a machine: it makes the services and writes their settings.

use std::ffi::OsString;
use std::path::PathBuf;

use windows_service::service::{
    ServiceAccess, ServiceDependency, ServiceErrorControl, ServiceInfo, ServiceStartType,
    ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::{Role, SERVICES, Service, hive, told};
use crate::lab_error::{Attempting, LabError};
use crate::registry::Registry;
use crate::server_dir::ServerDir;

/// Makes the services of a server, each with a program file of its own in the server's folder, and writes what
/// `registry.toml` there says into HKEY_LOCAL_MACHINE. That file is then gone: nobody reads it by mistake.
///
/// # Errors
/// Where Windows refuses, or a service is there already.
pub fn install(server: &ServerDir) -> Result<(), LabError> {
    let settings = Registry::read(&server.registry())?;
    hive::write(&settings)?;
    let manager =
        ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CREATE_SERVICE)
            .map_err(|error| told(&error))
            .attempting(|| "reach the service control manager".to_owned())?;
    let this = std::env::current_exe().attempting(|| "find this program's file".to_owned())?;
    for service in SERVICES {
        let program = program(server, &service);
        let copied = || format!("install `{}`", program.display());
        if let Some(folder) = program.parent() {
            std::fs::create_dir_all(folder).attempting(copied)?;
        }
        std::fs::hard_link(&this, &program)
            .or_else(|_| std::fs::copy(&this, &program).map(drop))
            .attempting(copied)?;
        let needs = service.needs.iter().map(OsString::from);
        let info = ServiceInfo {
            name: service.name.into(),
            display_name: service.display.into(),
            service_type: ServiceType::OWN_PROCESS,
            // Nothing is started that the lab has not asked for.
            start_type: ServiceStartType::OnDemand,
            error_control: ServiceErrorControl::Normal,
            executable_path: program,
            launch_arguments: vec![
                "service".into(),
                service.name.into(),
                "--server-dir".into(),
                server.root().into(),
            ],
            dependencies: needs.map(ServiceDependency::Service).collect(),
            account_name: None,
            account_password: None,
        };
        manager
            .create_service(&info, ServiceAccess::QUERY_STATUS)
            .map_err(|error| told(&error))
            .attempting(|| format!("make the service `{}`", service.name))?;
    }
    let registry = server.registry();
    std::fs::remove_file(&registry).attempting(|| format!("remove `{}`", registry.display()))
}

/// The program file of a service.
fn program(server: &ServerDir, service: &Service) -> PathBuf {
    match service.role {
        Role::Ims => server.ims_program().with_extension("exe"),
        Role::Mta => server.mta_program().with_extension("exe"),
        Role::Bystander => {
            let name = match service.name {
                "MSExchangeSA" => "mad.exe",
                "MSExchangeDS" => "dsamain.exe",
                _ => "store.exe",
            };
            server.exchsrvr().join("bin").join(name)
        }
    }
}
