//! How a caller says who it is. The words are those of `api::caller`, which decides.

use serde_json::{Value, json};

/// The schemes, the usual one first.
pub(super) const SCHEMES: [&str; 3] = ["caller_key", "oidc_token", "client_certificate"];

/// What each is.
pub(super) fn schemes() -> Value {
    json!({
        "caller_key": {
            "type": "http", "scheme": "bearer", "bearerFormat": "cs_…",
            "description": "A key made by `countersign caller add`; the settings hold its hash (`key_hash`).",
        },
        "oidc_token": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A token of an issuer under `[oidc]` in the settings, such as that of a Kubernetes service \
                account, whose subject is one of the caller's (`callers.NAME.oidc`). Issuer, audience, life and \
                signature are checked.",
        },
        "client_certificate": {
            "type": "mutualTLS",
            "description": "A client certificate of the CA in `api.client_ca`, with a name that is one of the caller's \
                (`certificates`). Where that CA is set, nobody without such a certificate gets further than the \
                handshake; a key or a token may still say which caller it is.",
        },
    })
}
