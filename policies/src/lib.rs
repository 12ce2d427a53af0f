//! mailmend's policy language, pure: no I/O, no clock, no randomness.
//!
//! A TOML file becomes a [`document::PolicyDocument`], the document becomes a [`policy::Policy`]
//! or a list of faults with their places, and a policy bound to the servers of a site becomes an
//! immutable [`plan::Plan`] with a digest. The controller and every agent run the same code over the
//! same bytes, so validator and interpreter cannot disagree.

pub mod bounds;
pub mod condition;
pub mod digest;
pub mod document;
pub mod fault;
pub mod library;
pub mod lint;
pub mod name;
pub mod parse;
pub mod plan;
pub mod policy;
pub mod preview;
pub mod role;
pub mod schema;
pub mod section;
pub mod selector;
pub mod source;
pub mod step;
pub mod strategy;
pub mod units;
pub mod version;
