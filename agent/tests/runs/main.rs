//! Whole runs on the simulated host: the shipped policy of Q268494, an agent that dies anywhere, a
//! service that misbehaves, a controller that goes away.

mod crash;
mod orders;
mod service;
mod site;
