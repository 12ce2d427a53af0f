//! The generated messages and services, and nothing else.
#![allow(
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; documented field by field in the .proto files"
)]

tonic::include_proto!("mailmend.v1");

/// The contract's files, as a `FileDescriptorSet`: for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
