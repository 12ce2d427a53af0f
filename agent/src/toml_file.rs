//! A TOML file that an administrator writes, read with places: every fault at once, each with its
//! line, its column and what to do. The configuration and the guard file are read with it.

mod faults;
mod table;

pub(crate) use faults::{Sink, Span};
pub use faults::{TomlFault, TomlFaults};
pub(crate) use table::{Located, Table, absolute, listed, parse, parsed};
