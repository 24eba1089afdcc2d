//! What everybody has, because `config/local.toml` shows it: good with the emulator, and no secret for a real upstream
//! (rule S4).
//!
//! The private key of `keys.example/` is another such thing: `auth` reads keys, and refuses that one.

use std::fmt::Write as _;

use aws_lc_rs::digest;

/// SHA-256 of the key of `countersign emulate`: with it anybody can write events.
const CONNECT_KEY: &str = "95aea4e38351a637404b7836111567063b454112924be780967793ceb59f59b5";

pub(super) fn is_connect_key(key: &str) -> bool {
    sha256(key.as_bytes()) == CONNECT_KEY
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing into a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
