//! Ports for servers whose address must be known before they listen.
//!
//! A port that the system gave, and that was let go so that a server may take it, is taken by any connection in
//! between. These lie below those that Linux gives to connections (`ip_local_port_range`, from 32,768), and each is
//! handed out once.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port of 127.0.0.1 at which nobody listens, for as long as the caller needs.
pub(crate) fn free_port() -> u16 {
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    // Another process begins elsewhere.
    let start = std::process::id() % u32::from(COUNT);
    (0..COUNT)
        .map(|_| {
            let nth = u32::from(HANDED_OUT.fetch_add(1, Ordering::Relaxed));
            FIRST + u16::try_from((start + nth) % u32::from(COUNT)).expect("below the count")
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
