//! A miniature Exchange site to run mailmend against: real processes, real SMTP on loopback, real files.
//!
//! The IMS ([`ims`]), the MTA ([`mta`]), the next-hop peers ([`peer`]) and the service manager
//! ([`service_manager`]) are processes of their own, all started from the program `mailmend-lab`. A
//! [`world`] lays them out in a folder; [`load`] sends mail; [`truth`] tells what became of it, without
//! asking any agent or controller.

#[cfg(unix)]
pub mod archives;
pub mod awaited;
#[cfg(unix)]
pub mod cargo;
#[cfg(unix)]
pub mod chaos;
pub mod clock_factor;
#[cfg(unix)]
pub mod daemon;
#[cfg(unix)]
pub mod demo;
pub mod event_log;
pub mod fault;
#[cfg(unix)]
pub mod hostile;
pub mod ims;
pub mod lab_error;
#[cfg(unix)]
pub mod load;
pub mod mta;
#[cfg(unix)]
pub mod outage;
#[cfg(unix)]
pub mod outside;
#[cfg(unix)]
pub mod peer;
#[cfg(unix)]
pub mod platform;
#[cfg(unix)]
pub mod power_cut;
#[cfg(unix)]
pub mod programs;
pub mod queue_index;
pub mod registry;
pub mod routing;
#[cfg(unix)]
pub mod scenario;
pub mod server_dir;
pub mod service_manager;
pub mod smtp_log;
pub mod smtp_server;
pub mod spool;
#[cfg(unix)]
pub mod stop_signal;
pub mod store;
#[cfg(unix)]
pub mod storm;
#[cfg(unix)]
pub mod tether;
pub mod tool;
pub mod tracking_log;
#[cfg(unix)]
pub mod truth;
#[cfg(unix)]
pub mod verify;
pub mod whole_file;
#[cfg(unix)]
pub mod windows;
#[cfg(windows)]
pub mod windows_site;
#[cfg(unix)]
pub mod world;
