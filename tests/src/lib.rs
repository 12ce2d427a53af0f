//! A miniature Exchange site to run mailmend against: real processes, real SMTP on loopback, real files.
//!
//! The IMS ([`ims`]), the MTA ([`mta`]), the next-hop peers ([`peer`]) and the service manager
//! ([`service_manager`]) are processes of their own, all started from the program `mailmend-lab`. A
//! [`world`] lays them out in a folder; [`load`] sends mail; [`truth`] tells what became of it, without
//! asking any agent or controller.

pub mod awaited;
pub mod cargo;
pub mod chaos;
pub mod clock_factor;
pub mod daemon;
pub mod demo;
pub mod event_log;
pub mod fault;
pub mod ims;
pub mod lab_error;
pub mod load;
pub mod mta;
pub mod outage;
pub mod outside;
pub mod peer;
pub mod power_cut;
pub mod programs;
pub mod queue_index;
pub mod registry;
pub mod routing;
pub mod scenario;
pub mod server_dir;
pub mod service_manager;
pub mod smtp_log;
pub mod smtp_server;
pub mod spool;
pub mod stop_signal;
pub mod store;
pub mod storm;
pub mod tether;
pub mod tool;
pub mod tracking_log;
pub mod truth;
pub mod verify;
pub mod whole_file;
pub mod windows;
pub mod world;
