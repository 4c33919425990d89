//! The subcommands. Those that talk to a running server go through the wire like any other client.

pub mod client;
pub mod rank;
pub mod simulate;
