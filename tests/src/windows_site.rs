//! A server under Windows: its services are real ones, managed by the service control manager, and its
//! settings are in HKEY_LOCAL_MACHINE.

pub mod control;
pub mod hive;
pub mod install;
mod life;
pub mod service;

use crate::ims;

/// A service of Exchange.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Its short name.
    pub name: &'static str,
    /// Its name for people.
    pub display: &'static str,
    /// What it does.
    pub role: Role,
    /// The services that it needs.
    pub needs: &'static [&'static str],
}

/// What a service of the lab does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// [`crate::ims`].
    Ims,
    /// [`crate::mta`].
    Mta,
    /// Nothing but run until it is stopped: others need it.
    Bystander,
}

/// The services of a server, each after those that it needs (Q143380, Q160572).
pub const SERVICES: [Service; 5] = [
    Service {
        name: "MSExchangeSA",
        display: "Microsoft Exchange System Attendant",
        role: Role::Bystander,
        needs: &[],
    },
    Service {
        name: "MSExchangeDS",
        display: "Microsoft Exchange Directory",
        role: Role::Bystander,
        needs: &["MSExchangeSA"],
    },
    Service {
        name: "MSExchangeIS",
        display: "Microsoft Exchange Information Store",
        role: Role::Bystander,
        needs: &["MSExchangeDS"],
    },
    Service {
        name: ims::MTA,
        display: "Microsoft Exchange Message Transfer Agent",
        role: Role::Mta,
        needs: &["MSExchangeDS"],
    },
    Service {
        name: ims::SERVICE,
        display: "Microsoft Exchange Internet Mail Service",
        role: Role::Ims,
        needs: &["MSExchangeIS", ims::MTA],
    },
];

impl Service {
    /// The service of that name, without regard to case.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SERVICES
            .iter()
            .find(|one| one.name.eq_ignore_ascii_case(name))
    }
}

/// What a call to the service control manager that failed says.
fn told(error: &windows_service::Error) -> std::io::Error {
    match error {
        windows_service::Error::Winapi(error) => {
            std::io::Error::from_raw_os_error(error.raw_os_error().unwrap_or_default())
        }
        other => std::io::Error::other(other.to_string()),
    }
}
