//! What everybody has, because `config/local.toml` shows it: good with the emulator, and no secret for a real upstream
//! (rule S4).
//!
//! The private key of `keys.example/` is another such thing: `auth` reads keys, and refuses that one.

use std::fmt::Write as _;

use aws_lc_rs::digest;

/// SHA-256 of the API key: with it anybody can call.
const API_KEY: &str = "06ba7d71481917b2cb060a942dd9594a58c9bb545b018799b258c9681ecfa16e";
/// SHA-256 of the key of `countersign emulate`: with it anybody can write events.
const CONNECT_KEY: &str = "95aea4e38351a637404b7836111567063b454112924be780967793ceb59f59b5";
/// SHA-256 of the seal key: with it anybody can open what is sealed, and sign results, whose key is derived from it.
const SEAL_KEY: &str = "b4c1c9f4d7dc4695bfa6492b92612329cbf7ed3b41c4d6d2dc0a0b6682a7cfca";

/// By the hash of the key, which is all that the settings have.
pub(super) fn is_api_key(hash: &[u8; 32]) -> bool {
    hex(hash) == API_KEY
}

pub(super) fn is_seal_key(key: &[u8; 32]) -> bool {
    sha256(key) == SEAL_KEY
}

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
