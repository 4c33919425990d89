//! The one append-only log: its records, their encoding and versions.
//!
//! Records are engine types with what identifies them; the encoding is protobuf (`log.proto`), so that old versions
//! stay readable and other languages can read an export. A record is decoded whole or not at all.

pub mod archive;
pub mod bounds_codec;
pub mod codec;
mod columns;
pub mod decision_id;
pub mod identity;
pub mod ledger_codec;
pub mod outline;
pub mod record;
pub mod statistics_codec;
pub mod tables;
pub mod unit_codec;

/// Version of the encoding that is written; every version up to it is read.
pub const RECORD_VERSION: u32 = 1;

/// Stored bytes that cannot be what was written.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the protobuf message it should be.
    #[error("a {what} does not decode")]
    Encoding {
        /// What it should be.
        what: &'static str,
        /// Where decoding stopped.
        #[source]
        source: prost::DecodeError,
    },
    /// Written by a newer version of this program.
    #[error("a log record has version {version}, this program reads versions 1 to {RECORD_VERSION}; use a newer one")]
    Version {
        /// As read.
        version: u32,
    },
    /// A field lacks a value or has one that was never written.
    #[error("a {what} has no valid {field}")]
    Field {
        /// What was decoded.
        what: &'static str,
        /// Which field.
        field: &'static str,
    },
}
