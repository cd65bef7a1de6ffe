//! Free ports.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// The first port, below the ephemeral ports of Linux (from 32768) and macOS (from 49152): a client that reconnects to
/// a killed server must not get the server's port for itself, or even connect to itself.
const FIRST: u16 = 15_000;
const COUNT: u16 = 16_000;

static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// Returns a TCP port of 127.0.0.1 that is free now, and never the same one twice in a process.
///
/// Another process may still take it first, so the caller retries with another port. Returns 0, "any port" to the
/// operating system, if all are taken.
pub fn free_port() -> u16 {
    let mut guard = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let handed_out = guard.get_or_insert_default();
    let start = random() as u16 % COUNT;
    (0..COUNT)
        .map(|step| FIRST + (start + step) % COUNT)
        .find(|port| is_free(*port) && handed_out.insert(*port))
        .unwrap_or(0)
}

/// Returns whether the port is free.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Returns a random number that differs between processes and calls: each [`RandomState`] has other keys.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
