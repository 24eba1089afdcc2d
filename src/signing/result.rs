//! The `result` that the site gets when a browser comes back: a short signed statement of the facts, which
//! the site can check offline (rule F2).
//!
//! It is a JWS in compact form (RFC 7515) with EdDSA over Ed25519 (RFC 8037). The key follows from the seal key
//! in use, so every daemon on one store signs with the same key; the public half is in a JWK set (RFC 7517) for
//! the API listener, with those of the other seal keys: while they are changed, each is known before the first
//! result under it comes, and until the last one is checked. What the browser claimed is in it as `claim`; it never decides
//! `status`.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    digest::thumbprint,
    domain::{Claim, Signer, Signing},
    secret_text::derive,
};

/// How long a result may be believed.
pub const RESULT_LIFE_S: i64 = 300;
/// Who says so.
pub const RESULT_ISSUER: &str = "countersign";

/// The key that signs results. `Debug` does not show it.
pub struct ResultKey {
    pair: Ed25519KeyPair,
    /// The JWK thumbprint (RFC 7638), under which the public half is found.
    kid: String,
    /// The public half, and those of the keys beside it.
    public: Vec<String>,
}

impl ResultKey {
    /// The key that is derived from the secret in use, and the public halves of those of the secrets beside it.
    pub fn derive(secret: &[u8], older: &[Vec<u8>]) -> Self {
        let pair = pair(secret);
        let mut public = vec![public_half(&pair)];
        public.extend(older.iter().map(|secret| public_half(&self::pair(secret))));
        Self { kid: thumbprint(&public_half(&pair)), pair, public }
    }

    /// A signed statement of where signing and signer stand.
    pub fn sign(&self, signing: &Signing, signer: &Signer, claim: Claim, now: Timestamp) -> String {
        self.sign_as(signing, signer, claim, now, Uuid::new_v4())
    }

    /// Signs any bytes: a JWS in compact form that carries them.
    pub fn sign_bytes(&self, payload: &[u8]) -> String {
        self.jws("JOSE", payload)
    }

    /// The public halves, as a JWK set, its own first.
    pub fn jwks(&self) -> String {
        #[derive(Serialize)]
        struct Set<'a> {
            keys: Vec<Jwk<'a>>,
        }
        #[derive(Serialize)]
        struct Jwk<'a> {
            kty: &'static str,
            crv: &'static str,
            r#use: &'static str,
            alg: &'static str,
            kid: String,
            x: &'a str,
        }
        let (kty, crv, r#use, alg) = ("OKP", "Ed25519", "sig", "EdDSA");
        let keys = self.public.iter().map(|x| Jwk { kty, crv, r#use, alg, kid: thumbprint(x), x });
        json(&Set { keys: keys.collect() })
    }

    fn sign_as(&self, signing: &Signing, signer: &Signer, claim: Claim, now: Timestamp, id: Uuid) -> String {
        let now = now.as_second();
        let claims = Claims {
            iss: RESULT_ISSUER,
            sub: signing.id.to_string(),
            aud: signing.caller.as_str(),
            iat: now,
            exp: now.saturating_add(RESULT_LIFE_S),
            jti: id.simple().to_string(),
            status: status(signing, signer),
            signing_status: signing.status.as_str(),
            signer_id: signer.id.to_string(),
            signer_key: &signer.key,
            signer_status: signer.status.as_str(),
            reference: signing.reference.as_deref(),
            claim: claim.as_str(),
        };
        self.jws("JWT", json(&claims).as_bytes())
    }

    /// The compact form: header, payload and signature.
    fn jws(&self, typ: &'static str, payload: &[u8]) -> String {
        let header = Header { alg: "EdDSA", typ, kid: &self.kid };
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(json(&header)), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl std::fmt::Debug for ResultKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

fn pair(secret: &[u8]) -> Ed25519KeyPair {
    let seed = derive(secret, "countersign result key v1");
    Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes are a seed")
}

/// The `x` of a JWK.
fn public_half(pair: &Ed25519KeyPair) -> String {
    URL_SAFE_NO_PAD.encode(pair.public_key())
}

/// The one word that a site acts on: the signing's once it has ended, else the signer's. Facts only
/// (rule F1), so `signed` or `completed` is never said before the upstream has said it.
pub fn status(signing: &Signing, signer: &Signer) -> &'static str {
    if signing.status.is_terminal() { signing.status.as_str() } else { signer.status.as_str() }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    sub: String,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    status: &'static str,
    signing_status: &'static str,
    signer_id: String,
    signer_key: &'a str,
    signer_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    claim: &'static str,
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own objects serialise")
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::Value;

    use super::*;
    use crate::domain::{SignerStatus, SigningStatus, sample};

    fn verify(key: &ResultKey, token: &str, audience: &str) -> Result<Value, jsonwebtoken::errors::Error> {
        let set: Value = serde_json::from_str(&key.jwks()).unwrap();
        let x = set["keys"][0]["x"].as_str().unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[RESULT_ISSUER]);
        validation.set_required_spec_claims(&["exp", "iat", "iss", "aud", "sub", "jti"]);
        validation.validate_exp = false;
        let header = jsonwebtoken::decode_header(token).unwrap();
        assert_eq!(header.kid.as_deref(), set["keys"][0]["kid"].as_str());
        jsonwebtoken::decode(token, &DecodingKey::from_ed_components(x).unwrap(), &validation)
            .map(|data| data.claims)
    }

    #[test]
    fn f2_another_implementation_verifies_a_result() {
        let key = ResultKey::derive(b"seal key", &[]);
        let signing = sample::signing(SigningStatus::Completed, SignerStatus::Signed);
        let signer = &signing.signers[0];
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let token = key.sign(&signing, signer, Claim::SigningComplete, now);
        let claims = verify(&key, &token, signing.caller.as_str()).unwrap();
        assert_eq!(claims["sub"], signing.id.to_string());
        assert_eq!(claims["status"], "completed");
        assert_eq!(claims["signer_status"], "signed");
        assert_eq!(claims["claim"], "signing_complete");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), RESULT_LIFE_S);
        assert!(verify(&key, &token, "another caller").is_err());
        assert!(verify(&ResultKey::derive(b"seal key", &[]), &token, signing.caller.as_str()).is_ok());
    }

    #[test]
    fn f2_a_changed_result_is_refused() {
        let key = ResultKey::derive(b"seal key", &[]);
        let signing = sample::signing(SigningStatus::Open, SignerStatus::InSession);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let token = key.sign(&signing, &signing.signers[0], Claim::SigningComplete, now);
        let parts: Vec<&str> = token.split('.').collect();
        let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let forged = URL_SAFE_NO_PAD.encode(payload.replace("in_session", "signed"));
        let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
        assert!(verify(&key, &forged, signing.caller.as_str()).is_err());
        assert!(verify(&key, &token, signing.caller.as_str()).is_ok(), "the positive control");
    }

    #[test]
    fn f1_no_claim_ever_makes_the_word_signed() {
        for claim in Claim::ALL {
            for signer in SignerStatus::ALL {
                for status in SigningStatus::ALL {
                    let signing = sample::signing(status, signer);
                    let word = super::status(&signing, &signing.signers[0]);
                    let says_so = matches!(word, "signed" | "completed");
                    let is_so = status == SigningStatus::Completed
                        || (!status.is_terminal() && signer == SignerStatus::Signed);
                    assert_eq!(says_so, is_so, "{claim:?} {signer:?} {status:?}");
                }
            }
        }
    }

    #[test]
    fn the_key_and_the_token_are_stable() {
        let key = ResultKey::derive(&[7; 32], &[]);
        let signing = sample::signing(SigningStatus::Open, SignerStatus::Signed);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let token = key.sign_as(&signing, &signing.signers[0], Claim::SigningComplete, now, Uuid::nil());
        insta::assert_snapshot!(key.jwks());
        insta::assert_snapshot!(token);
    }

    #[test]
    fn f2_the_set_holds_the_keys_of_older_secrets_after_the_one_that_signs() {
        let read = |key: &ResultKey| serde_json::from_str::<Value>(&key.jwks()).unwrap()["keys"].clone();
        let (old, new) = (ResultKey::derive(b"old", &[]), ResultKey::derive(b"new", &[]));
        let both = ResultKey::derive(b"new", &[b"old".to_vec()]);
        assert_eq!(read(&both), Value::Array(vec![read(&new)[0].clone(), read(&old)[0].clone()]));
        assert_eq!(both.kid, new.kid);
    }

    #[test]
    fn debug_shows_no_key() {
        let key = ResultKey::derive(b"seal key", &[]);
        assert!(format!("{key:?}").starts_with("ResultKey { kid: "));
    }
}
