//! The wire format, generated from `proto/`.
#![expect(clippy::allow_attributes, reason = "generated; documented in the proto files")]

tonic::include_proto!("offer_ranker.v1");

/// The serialised descriptors of every message and service, for reflection and for reading catalog files.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

pub(crate) mod engine_types;
pub(crate) mod fields;
pub(crate) mod reader;
pub(crate) mod shown;
