//! Generated fleets.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::plan::Server;

/// The most servers that are simulated.
const MOST: u32 = 10_000;

/// A fleet that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetFault {
    /// Too few or too many servers.
    #[error("C142-simulation-size: {0} servers; 1 to {MOST} can be simulated")]
    Servers(u32),
    /// More sites than servers, or none.
    #[error("C142-simulation-size: {sites} sites for {servers} servers; give 1 to {servers}")]
    Sites {
        /// How many sites.
        sites: u32,
        /// How many servers.
        servers: u32,
    },
}

/// So many servers at so many sites, as even as can be: at each site the first both sends and receives and
/// the others only send, which is what the shipped policies tell servers apart by.
///
/// # Errors
/// Where the numbers make no fleet.
pub fn generated(
    servers: u32,
    sites: u32,
    version: &str,
    actions: &BTreeSet<String>,
) -> Result<Vec<Server>, FleetFault> {
    if !(1..=MOST).contains(&servers) {
        return Err(FleetFault::Servers(servers));
    }
    if !(1..=servers).contains(&sites) {
        return Err(FleetFault::Sites { sites, servers });
    }
    let server = |number: u32| {
        let (site, place) = (number % sites, number / sites);
        let direction = if place == 0 { "both" } else { "outbound" };
        let site = format!("site-{:05}", site + 1);
        let name = format!("{site}-{}", place + 1);
        let labels = BTreeMap::from([
            ("name".to_owned(), name.clone()),
            ("ims.direction".to_owned(), direction.to_owned()),
            ("exchange.version".to_owned(), version.to_owned()),
            ("site".to_owned(), site.clone()),
        ]);
        match (name.parse(), site.parse()) {
            (Ok(name), Ok(site)) => Some(Server {
                name,
                site,
                labels,
                actions: actions.clone().into_iter().collect(),
            }),
            _ => None,
        }
    };
    Ok((0..servers).filter_map(server).collect())
}
