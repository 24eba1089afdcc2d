//! The evidence of one signing, as one file that can be checked years later without us: a zip.
//!
//! | In it | Is |
//! |---|---|
//! | `manifest.json` | what else is in it, each file with its SHA-256, and which signing it is about |
//! | `manifest.jws` | the manifest again, signed (RFC 7515, EdDSA) with the key of `/.well-known/jwks.json` |
//! | `keys.json` | that key's public half, in the set that the daemon published |
//! | `documents/combined.pdf`, `documents/certificate.pdf` | what DocuSign says was signed, and by whom |
//! | `signing.json`, `timeline.json` | what we know of it |
//! | `events/NNNN.json`, `events/index.json` | what DocuSign pushed to us, byte for byte, with the times; of very many the newest, and the manifest says how many older ones are left out; of what was destroyed before it says that it was |
//! | `audit.jsonl` | the lines about it in the audit log of the daemon that answers, each with its hash |
//!
//! What it proves: nothing in it was changed since the daemon signed it, and each line of the audit log is one
//! that the log's hashes go with; beside the log itself, that the log holds it. What it does not prove by
//! itself is whose key that was: compare its thumbprint with one noted elsewhere. Whether DocuSign signed the
//! PDF is for a PDF reader to say, from the signature inside of it.
//!
//! Pure: it fetches nothing and reads no clock. Files of others are taken apart within bounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Cursor, Read as _, Write as _},
};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    audit::chain,
    digest::{hex, sha256, thumbprint},
};

/// Files of a bundle that are looked at.
const FILES_LIMIT: usize = 10_000;
/// Largest bundle, unpacked.
const SIZE_LIMIT_BYTES: u64 = 512 * 1024 * 1024;

const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.jws";
const KEYS: &str = "keys.json";
const AUDIT: &str = "audit.jsonl";

/// What a bundle is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// The signing.
    pub signing: String,
    /// Its envelope at the upstream.
    pub envelope: Option<String>,
    /// Its status.
    pub status: String,
    /// When the bundle was made.
    pub made_at: Timestamp,
    /// The head of the audit log then (`SEQ:HASH`); none if it was off.
    pub audit_head: Option<String>,
    /// How many events there were, older than those in it, that it has no room for. Earlier versions left none out, and
    /// said nothing of it. What was destroyed is not counted: nobody knows how many those were.
    #[serde(default)]
    pub events_left_out: u64,
    /// From when on events are kept, if there may have been some before: those are destroyed. Earlier versions did not
    /// say it.
    #[serde(default)]
    pub events_since: Option<Timestamp>,
    /// Whether what was personal about it was destroyed before, and all that had come about it with that. Earlier versions
    /// did not say it.
    #[serde(default)]
    pub personal_data_destroyed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    object: String,
    version: u32,
    #[serde(flatten)]
    about: About,
    files: Vec<Listed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Packs files under their names, and the manifest of them, signed by `sign`; `keys` is the JWK set that
/// checks it.
pub fn pack(
    about: About,
    mut files: Vec<(String, Vec<u8>)>,
    keys: &str,
    sign: impl FnOnce(&[u8]) -> String,
) -> Vec<u8> {
    files.push((KEYS.to_owned(), keys.as_bytes().to_vec()));
    let listed = files.iter().map(|(name, bytes)| Listed {
        name: name.clone(),
        bytes: bytes.len() as u64,
        sha256: hex(&sha256(bytes)),
    });
    let manifest = Manifest { object: "evidence".to_owned(), version: 1, about, files: listed.collect() };
    let manifest = serde_json::to_vec_pretty(&manifest).expect("text and numbers serialise");
    let signature = sign(&manifest).into_bytes();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in
        [(MANIFEST.to_owned(), manifest), (SIGNATURE.to_owned(), signature)].into_iter().chain(files)
    {
        zip.start_file(name, options).expect("a file in memory takes what is written");
        zip.write_all(&bytes).expect("a file in memory takes what is written");
    }
    zip.finish().expect("a file in memory takes what is written").into_inner()
}

/// Why a bundle is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It is no bundle.
    #[error("not a bundle of evidence: {0}")]
    Form(&'static str),
    /// A file in it is not as it was.
    #[error("{0} was changed")]
    Changed(String),
    /// A file is gone.
    #[error("{0} is missing")]
    Missing(String),
    /// A file is there that was not.
    #[error("{0} was added")]
    Added(String),
    /// The set of keys that it was to be checked with cannot be read.
    #[error("the keys that were given (--keys) are no JWK set")]
    Keys,
    /// That set lacks the key which it names.
    #[error(
        "the key {0} is not among those that were given (--keys): take the set of the daemon that made the bundle, as it was then"
    )]
    KeyUnknown(String),
    /// The manifest is not what was signed, or by another key.
    #[error("the manifest is not signed by the key {0}")]
    Signature(String),
    /// A line of the audit log in it is not whole.
    #[error("{AUDIT}, {0}")]
    Audit(String),
    /// A line of the audit log in it is about something else.
    #[error("{AUDIT} holds line {0} of the log, which is about another signing")]
    Foreign(u64),
}

/// A bundle that is as it was made.
#[derive(Debug)]
pub struct Verified {
    /// What it is about.
    pub about: About,
    /// Its files, without the manifest.
    pub files: usize,
    /// The thumbprint (`kid`) of the key that signed it.
    pub key: String,
    /// The lines of the audit log in it, by their number.
    pub audit: BTreeMap<u64, Vec<u8>>,
}

/// Checks a bundle. `trusted` is a JWK set from elsewhere; without one the set in the bundle is used, and
/// only the thumbprint tells whose key it is.
pub fn verify(bundle: &[u8], trusted: Option<&str>) -> Result<Verified, Unproven> {
    let files = unpack(bundle)?;
    let part = |name: &str| files.get(name).ok_or_else(|| Unproven::Missing(name.to_owned()));
    let manifest = part(MANIFEST)?;
    let keys = match trusted {
        Some(keys) => keys.as_bytes(),
        None => part(KEYS)?.as_slice(),
    };
    let key = check_signature(part(SIGNATURE)?, manifest, keys)?;
    let parsed: Manifest =
        serde_json::from_slice(manifest).map_err(|_| Unproven::Form("the manifest cannot be read"))?;
    if parsed.object != "evidence" || parsed.version != 1 {
        return Err(Unproven::Form("the manifest is of a version that this program does not know"));
    }
    let mut unlisted: BTreeSet<&String> = files.keys().collect();
    for name in [MANIFEST, SIGNATURE] {
        unlisted.remove(&name.to_owned());
    }
    for listed in &parsed.files {
        let bytes = part(&listed.name)?;
        if hex(&sha256(bytes)) != listed.sha256 {
            return Err(Unproven::Changed(listed.name.clone()));
        }
        unlisted.remove(&listed.name);
    }
    if let Some(name) = unlisted.first() {
        return Err(Unproven::Added((*name).clone()));
    }
    let audit = match files.get(AUDIT) {
        Some(lines) => check_audit(lines, &parsed.about.signing)?,
        None => BTreeMap::new(),
    };
    Ok(Verified { about: parsed.about, files: parsed.files.len(), key, audit })
}

fn unpack(bundle: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, Unproven> {
    let form = |_| Unproven::Form("it is no zip, or a damaged one");
    let mut zip = zip::ZipArchive::new(Cursor::new(bundle)).map_err(form)?;
    if zip.len() > FILES_LIMIT {
        return Err(Unproven::Form("it holds too many files"));
    }
    let (mut files, mut left) = (BTreeMap::new(), SIZE_LIMIT_BYTES);
    for index in 0..zip.len() {
        let file = zip.by_index(index).map_err(form)?;
        let (name, mut bytes) = (file.name().to_owned(), Vec::new());
        file.take(left + 1).read_to_end(&mut bytes).map_err(|_| Unproven::Changed(name.clone()))?;
        left = left.checked_sub(bytes.len() as u64).ok_or(Unproven::Form("it is larger than 512 MiB"))?;
        if files.insert(name.clone(), bytes).is_some() {
            return Err(Unproven::Added(name));
        }
    }
    Ok(files)
}

/// The JWS must carry this very manifest, and one of the keys must have signed it; answers which.
fn check_signature(jws: &[u8], manifest: &[u8], keys: &[u8]) -> Result<String, Unproven> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
        kid: String,
    }
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Jwk>,
    }
    #[derive(Deserialize)]
    struct Jwk {
        kid: String,
        #[serde(default)]
        x: String,
    }
    let form = || Unproven::Form("its signature cannot be read");
    let text = std::str::from_utf8(jws).map_err(|_| form())?.trim();
    let mut parts = text.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(form());
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| form());
    let head: Header = serde_json::from_slice(&decode(header)?).map_err(|_| form())?;
    let wrong = || Unproven::Signature(head.kid.clone());
    if head.alg != "EdDSA" || decode(payload)? != manifest {
        return Err(wrong());
    }
    let set: Set = serde_json::from_slice(keys).map_err(|_| Unproven::Keys)?;
    let unknown = || Unproven::KeyUnknown(head.kid.clone());
    let key = set.keys.iter().find(|key| key.kid == head.kid).ok_or_else(unknown)?;
    // A set could call any key by that name; the thumbprint (RFC 7638) is the name.
    if thumbprint(&key.x) != head.kid {
        return Err(wrong());
    }
    let public = UnparsedPublicKey::new(&ED25519, decode(&key.x)?);
    let signed = format!("{header}.{payload}");
    public.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| wrong())?;
    Ok(head.kid)
}

fn check_audit(lines: &[u8], signing: &str) -> Result<BTreeMap<u64, Vec<u8>>, Unproven> {
    #[derive(Deserialize)]
    struct Subject {
        signing: Option<String>,
    }
    let mut found = BTreeMap::new();
    for (line, seq) in chain::verify_slice(lines).map_err(|broken| Unproven::Audit(broken.to_string()))? {
        let subject: Subject =
            serde_json::from_slice(&line).map_err(|_| Unproven::Form("a line is no JSON"))?;
        if subject.signing.as_deref() != Some(signing) {
            return Err(Unproven::Foreign(seq));
        }
        found.insert(seq, line);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use proptest::prelude::*;

    use super::*;

    fn about() -> About {
        let made_at = Timestamp::from_second(1_800_000_000).unwrap();
        About {
            signing: "sig_1".into(),
            envelope: None,
            status: "completed".into(),
            made_at,
            audit_head: None,
            events_left_out: 0,
            events_since: None,
            personal_data_destroyed: false,
        }
    }

    fn key(seed: u8) -> (Ed25519KeyPair, String, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(sha256(thumbprint.as_bytes()));
        let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}]}}"#);
        (pair, kid, set)
    }

    fn bundle(seed: u8) -> Vec<u8> {
        let (pair, kid, set) = key(seed);
        let files = vec![
            ("documents/combined.pdf".to_owned(), b"%PDF-1.7 signed".to_vec()),
            ("events/0001.json".to_owned(), b"{\"event\":\"envelope-completed\"}".to_vec()),
        ];
        pack(about(), files, &set, |manifest| {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#));
            let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(manifest));
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(pair.sign(input.as_bytes())))
        })
    }

    #[test]
    fn a_bundle_as_it_was_made_is_good_and_says_whose_key_it_was() {
        let (_, kid, set) = key(1);
        let verified = verify(&bundle(1), None).unwrap();
        assert_eq!((verified.files, &verified.key), (3, &kid));
        assert_eq!(verified.about.signing, "sig_1");
        let earlier = r#"{"signing":"sig_1","envelope":null,"status":"completed","made_at":"2026-06-01T12:00:00Z","audit_head":null}"#;
        let earlier = serde_json::from_str::<About>(earlier).unwrap();
        assert_eq!((earlier.events_left_out, earlier.events_since), (0, None));
        assert!(!earlier.personal_data_destroyed);
        assert!(verify(&bundle(1), Some(&set)).is_ok());
        assert_eq!(verify(&bundle(2), Some(&set)).unwrap_err(), Unproven::KeyUnknown(key(2).1));
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        for bytes in [&b""[..], b"PK\x03\x04", b"not a zip", &bundle(1)[..200]] {
            assert!(matches!(verify(bytes, None), Err(Unproven::Form(_))), "{}", bytes.len());
        }
    }

    /// Everything in it again, with one file changed by `change`, and the same manifest.
    fn repacked(change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>, more: Option<&str>) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, bytes) in unpack(&bundle(1)).unwrap() {
            if let Some(bytes) = change(&name, bytes) {
                zip.start_file(name, options).unwrap();
                zip.write_all(&bytes).unwrap();
            }
        }
        if let Some(name) = more {
            zip.start_file(name, options).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn what_was_changed_taken_out_or_put_in_is_named() {
        let good = repacked(|_, bytes| Some(bytes), None);
        assert!(verify(&good, None).is_ok(), "the positive control");
        let pdf = "documents/combined.pdf";
        let changed = repacked(|name, bytes| Some(if name == pdf { b"other".to_vec() } else { bytes }), None);
        assert_eq!(verify(&changed, None).unwrap_err(), Unproven::Changed(pdf.to_owned()));
        let missing = repacked(|name, bytes| (name != pdf).then_some(bytes), None);
        assert_eq!(verify(&missing, None).unwrap_err(), Unproven::Missing(pdf.to_owned()));
        let added = repacked(|_, bytes| Some(bytes), Some("documents/other.pdf"));
        assert_eq!(verify(&added, None).unwrap_err(), Unproven::Added("documents/other.pdf".to_owned()));
    }

    #[test]
    fn another_key_under_the_same_name_signs_nothing() {
        let (_, kid, _) = key(1);
        let x = URL_SAFE_NO_PAD.encode(key(2).0.public_key());
        let forged = format!(r#"{{"keys":[{{"kid":"{kid}","x":"{x}"}}]}}"#);
        assert_eq!(verify(&bundle(1), Some(&forged)).unwrap_err(), Unproven::Signature(kid));
    }

    proptest! {
        #[test]
        fn any_changed_byte_of_a_content_is_found(at in 0_usize..10_000, with in any::<u8>()) {
            let files = unpack(&bundle(1)).unwrap();
            let whole: usize = files.values().map(Vec::len).sum();
            let mut at = at % whole;
            let name = files.iter().find_map(|(name, bytes)| {
                if at < bytes.len() { return Some(name.clone()); }
                at -= bytes.len();
                None
            }).unwrap();
            prop_assume!(files[&name][at] != with);
            let changed = repacked(|this, mut bytes| {
                if this == name { bytes[at] = with; }
                Some(bytes)
            }, None);
            prop_assert!(verify(&changed, None).is_err(), "{} {}", name, at);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert!(verify(&bytes, None).is_err());
        }
    }
}
