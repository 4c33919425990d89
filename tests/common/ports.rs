//! Ports for servers that tests start.

use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the ports that outgoing connections get, and who asks for port 0: a server that ends can start there again, and a
/// client that dials a dead port is not given that very port, to connect to itself.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;
/// A port found free is not held: processes that run at the same time look apart.
const APART: u32 = 251;

/// A port that nobody listens on, and that this process has not been given before.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let apart = process::id().wrapping_mul(APART);
    let next = || FIRST + apart.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
    let mut ports = (0..COUNT).map(|_| u16::try_from(next()).expect("it is below 32,000"));
    ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a port is free")
}
