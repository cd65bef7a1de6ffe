//! Ports that nobody listens on.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below the ports that Linux (32768 on) and macOS (49152 on) give to outgoing connections: a client
/// that reconnects to a killed server must not be given the server's port, or even connect to itself.
const FIRST: u16 = 15_000;
const COUNT: u16 = 16_000;

static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// Returns a TCP port of 127.0.0.1 that is free now and that this process was not given before.
///
/// Another process may still take it first: whoever starts a server on it tries again with another.
/// Returns 0, "any port" to the operating system, if all of them are taken.
pub fn free_port() -> u16 {
    let mut guard = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let handed_out = guard.get_or_insert_default();
    let start = random() as u16 % COUNT;
    (0..COUNT)
        .map(|step| FIRST + (start + step) % COUNT)
        .find(|port| is_free(*port) && handed_out.insert(*port))
        .unwrap_or(0)
}

/// Tells whether nobody listens on the port.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A number that differs between processes and between calls: each [`RandomState`] has other keys.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
