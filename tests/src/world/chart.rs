//! `lab.json`: what an outsider needs to find and disturb every process of the world.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::World;
use crate::lab_error::LabError;
use crate::server_dir::Direction;
use crate::service_manager::Op;
use crate::whole_file;

/// A process of the lab.
#[derive(Debug, Clone, Serialize)]
pub struct ChartedProcess {
    /// What it is: `controller`, `agent`, `service-manager`, `ims`, `mta` or `peer`.
    pub role: String,
    /// The site, where it belongs to one.
    pub site: Option<String>,
    /// The server, where it belongs to one.
    pub server: Option<String>,
    /// Its process, while there is one. An IMS that was restarted has another: the service manager
    /// knows it.
    pub pid: Option<u32>,
    /// The ports that it listens at.
    pub ports: Vec<u16>,
    /// The address that it listens at, with the port.
    pub address: Option<String>,
    /// Its folders and files, by what they are.
    pub directories: BTreeMap<String, PathBuf>,
}

/// The content of `lab.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    /// The world's folder.
    pub folder: PathBuf,
    /// How much faster than life the clock runs.
    pub clock_factor: u32,
    /// The lab's own process, which started the others.
    pub lab_pid: u32,
    /// Every process.
    pub processes: Vec<ChartedProcess>,
}

impl Chart {
    /// Charts a world, and others.
    #[must_use]
    pub fn of(world: &World, others: &[ChartedProcess]) -> Self {
        let mut processes = others.to_vec();
        for peer in &world.peers {
            let port = peer
                .address
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse().ok());
            processes.push(ChartedProcess {
                role: "peer".to_owned(),
                site: Some(peer.name.clone()),
                server: None,
                pid: Some(peer.process.pid()),
                ports: port.into_iter().collect(),
                address: Some(peer.address.clone()),
                directories: BTreeMap::from([(
                    "truth".to_owned(),
                    world.truth_of_peer(&peer.name),
                )]),
            });
        }
        for server in &world.servers {
            let process = |role: &str, pid, port: Option<u16>, directories: &[(&str, PathBuf)]| {
                ChartedProcess {
                    role: role.to_owned(),
                    site: Some(server.site.clone()),
                    server: Some(server.name.clone()),
                    pid,
                    ports: port.into_iter().collect(),
                    address: port.map(|port| format!("127.0.0.1:{port}")),
                    directories: directories
                        .iter()
                        .map(|(what, path)| ((*what).to_owned(), path.clone()))
                        .collect(),
                }
            };
            let dir = &server.dir;
            let of = |service| server.services().ask(Op::Query, service).ok()?.pid;
            let smtp_port = std::fs::read_to_string(dir.smtp_port()).ok();
            let smtp_port = smtp_port
                .filter(|_| server.direction == Direction::Both)
                .and_then(|text| text.parse().ok());
            processes.push(process(
                "service-manager",
                Some(server.manager.pid()),
                None,
                &[
                    ("root", dir.root().to_owned()),
                    ("socket", dir.manager_socket()),
                ],
            ));
            processes.push(process(
                "ims",
                of("MSExchangeIMC"),
                smtp_port,
                &[("imcdata", dir.imcdata()), ("trackinglog", dir.tracking())],
            ));
            processes.push(process(
                "mta",
                of("MSExchangeMTA"),
                None,
                &[("mtadata", dir.mtadata()), ("socket", dir.mta_socket())],
            ));
        }
        Self {
            folder: world.folder.clone(),
            clock_factor: world.spec.clock_factor.0,
            lab_pid: std::process::id(),
            processes,
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LabError> {
        whole_file::write_json(path, self)
    }
}
