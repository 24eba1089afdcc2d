//! The signer itself: the one process that reads the private keys, and that can do nothing else.
//!
//! It has no thread but one, no network, no way to write or to start anything, and no log: what goes
//! wrong, it tells the daemon over the one socket that it was given as standard input. It makes the
//! assertion it signs from claims that it has checked, back-dated and short-lived by its own code, so
//! whoever takes the daemon over gets assertions of ten minutes, and not the key. It ends when the
//! daemon does.

use std::{collections::BTreeMap, fs::File, io, os::fd::AsFd as _, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};

use super::{
    confine,
    wire::{Answer, LIMIT_BYTES, Refusal, Request, WireClaims},
};
use crate::{
    auth::{
        assertion::Draft,
        signing_key::{Fingerprint, KeySource, SigningKey, Stamp},
    },
    clock::{Clock as _, SystemClock},
    own_process,
};

/// How far the account server's time may be from this machine's: a day of clock error is survived
/// (rule T9), and no assertion can be made in advance for longer.
const MAX_SKEW: SignedDuration = SignedDuration::from_hours(25);

/// Serves the daemon until it is gone. Standard input is the socket to it.
pub fn run() -> io::Result<()> {
    let mut link = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
    if !rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&link)?.st_mode).is_socket() {
        return Err(io::Error::other("this command is for the daemon, which starts it itself"));
    }
    // Shown by ps; the binary is the daemon's own.
    let _ = rustix::thread::set_name(c"countersign-key");
    let hello = confine::confine(link.as_fd());
    own_process::write(&mut link, &hello.as_ref().map_err(ToString::to_string), LIMIT_BYTES)?;
    hello?;
    let mut held = Held::default();
    while let Some(request) = own_process::read(&mut link, LIMIT_BYTES)? {
        let answer = held.answer(request, SystemClock.now());
        own_process::write(&mut link, &answer, LIMIT_BYTES)?;
    }
    Ok(())
}

/// The keys, by the daemon's number of their place.
#[derive(Default)]
struct Held(BTreeMap<u64, Slot>);

#[derive(Default)]
struct Slot {
    /// What the file looked like when it was last read; none if it never was.
    read: Option<Stamp>,
    keys: Vec<SigningKey>,
}

impl Held {
    fn answer(&mut self, request: Request, now: Timestamp) -> Answer {
        match request {
            Request::Close { slot } => {
                self.0.remove(&slot);
                Answer::Closed
            }
            Request::Look { slot, path, known, wanted } => {
                self.0.entry(slot).or_default().look(path, known.as_ref(), &wanted)
            }
            Request::Sign { slot, key, claims, now: theirs } => {
                let held = self.0.get(&slot).and_then(|slot| slot.find(key));
                held.ok_or(Refusal::UnknownKey)
                    .and_then(|key| sign(key, claims, theirs, now))
                    .map_or_else(Answer::Refused, |signature| {
                        Answer::Signature(URL_SAFE_NO_PAD.encode(signature))
                    })
            }
        }
    }
}

impl Slot {
    fn find(&self, key: Fingerprint) -> Option<&SigningKey> {
        self.keys.iter().find(|held| held.fingerprint() == key)
    }

    fn look(&mut self, path: PathBuf, known: Option<&Stamp>, wanted: &[Fingerprint]) -> Answer {
        self.keys.retain(|key| wanted.contains(&key.fingerprint()));
        let source = KeySource::File(path);
        // Stamped before it is read: a change in between is seen at the next look.
        let stamp = source.stamp().expect("a file has a stamp");
        let is_same = known == Some(&stamp) && self.read.as_ref() == Some(&stamp);
        if is_same {
            return Answer::Same;
        }
        self.read = Some(stamp.clone());
        match source.load() {
            Err(error) => Answer::Defect { stamp, defect: error.defect },
            Ok(key) => {
                let (fingerprint, bits) = (key.fingerprint(), key.bits());
                self.keys.retain(|held| held.fingerprint() != fingerprint);
                self.keys.push(key);
                Answer::Key { stamp, fingerprint, bits }
            }
        }
    }
}

/// The one thing that is ever signed.
fn sign(key: &SigningKey, claims: WireClaims, theirs: i64, ours: Timestamp) -> Result<Vec<u8>, Refusal> {
    let claims = claims.check().ok_or(Refusal::Claims)?;
    let theirs = Timestamp::from_second(theirs).map_err(|_| Refusal::Time)?;
    if theirs.duration_since(ours).unsigned_abs() > MAX_SKEW.unsigned_abs() {
        return Err(Refusal::Time);
    }
    let draft = Draft::new(&claims, theirs).ok_or(Refusal::Time)?;
    key.sign(draft.input().as_bytes()).map_err(|()| Refusal::Failed)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::auth::{
        assertion::{Claims, LIFE},
        identity::Scopes,
        testing::{TempDir, fresh_key},
    };

    const NOW: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn look(path: &std::path::Path, known: Option<Stamp>, wanted: Vec<Fingerprint>) -> Request {
        Request::Look { slot: 1, path: path.to_owned(), known, wanted }
    }

    fn ask(key: Fingerprint, now: i64) -> Request {
        let claims = Claims {
            integration_key: Uuid::from_u128(1).into(),
            user_id: Uuid::from_u128(2).into(),
            audience: "account-d.docusign.com".into(),
            scopes: Scopes::default(),
        };
        Request::Sign { slot: 1, key, claims: WireClaims::from(&claims), now }
    }

    #[test]
    fn it_signs_what_it_made_itself_and_nothing_that_is_valid_far_from_now() {
        let (dir, mut held) = (TempDir::new(), Held::default());
        let pem = fresh_key();
        let path = dir.write("key.pem", &pem);
        let Answer::Key { fingerprint, bits: 2048, .. } = held.answer(look(&path, None, vec![]), at(NOW))
        else {
            panic!("it reads the key")
        };
        let Answer::Signature(signature) = held.answer(ask(fingerprint, NOW + 80_000), at(NOW)) else {
            panic!("it signs")
        };
        let Request::Sign { claims, .. } = ask(fingerprint, NOW) else { unreachable!() };
        let claims = claims.check().unwrap();
        let draft = Draft::new(&claims, at(NOW + 80_000)).unwrap();
        let text = format!("{}.{signature}", draft.input());
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
        validation.set_audience(&["account-d.docusign.com"]);
        validation.validate_exp = false;
        let public = SigningKey::from_pem(&pem).unwrap().decoding_key();
        let decoded = jsonwebtoken::decode::<serde_json::Value>(&text, &public, &validation).unwrap().claims;
        let life = decoded["exp"].as_i64().unwrap() - decoded["iat"].as_i64().unwrap();
        assert!(life <= 600 && u64::try_from(life).unwrap() == LIFE.as_secs());
        for far in [NOW + 90_100, NOW - 90_100, i64::MAX, i64::MIN] {
            let answer = held.answer(ask(fingerprint, far), at(NOW));
            assert!(matches!(answer, Answer::Refused(Refusal::Time)), "{far}: {answer:?}");
        }
        let other = Fingerprint::of_spki(b"other");
        assert!(matches!(held.answer(ask(other, NOW), at(NOW)), Answer::Refused(Refusal::UnknownKey)));
    }

    #[test]
    fn it_follows_the_file_and_forgets_what_nobody_wants() {
        let (dir, mut held) = (TempDir::new(), Held::default());
        let path = dir.write("key.pem", &fresh_key());
        let Answer::Key { stamp, fingerprint: old, .. } = held.answer(look(&path, None, vec![]), at(NOW))
        else {
            panic!("it reads the key")
        };
        let same = held.answer(look(&path, Some(stamp.clone()), vec![old]), at(NOW));
        assert!(matches!(same, Answer::Same));
        dir.write("key.pem", &fresh_key());
        let Answer::Key { stamp, fingerprint: new, .. } =
            held.answer(look(&path, Some(stamp), vec![old]), at(NOW))
        else {
            panic!("it reads the new key")
        };
        // Both sign until the old one is no longer wanted.
        assert!(matches!(held.answer(ask(old, NOW), at(NOW)), Answer::Signature(_)));
        assert!(matches!(held.answer(ask(new, NOW), at(NOW)), Answer::Signature(_)));
        held.answer(look(&path, Some(stamp.clone()), vec![new]), at(NOW));
        assert!(matches!(held.answer(ask(old, NOW), at(NOW)), Answer::Refused(Refusal::UnknownKey)));
        // A bad file takes nothing away.
        dir.write("key.pem", "nonsense");
        let bad = held.answer(look(&path, Some(stamp), vec![new]), at(NOW));
        assert!(matches!(bad, Answer::Defect { .. }), "{bad:?}");
        assert!(matches!(held.answer(ask(new, NOW), at(NOW)), Answer::Signature(_)));
    }

    #[test]
    fn it_forgets_the_keys_of_a_place_that_is_closed_and_no_others() {
        let (dir, mut held) = (TempDir::new(), Held::default());
        let path = dir.write("key.pem", &fresh_key());
        let elsewhere = Request::Look { slot: 2, path: path.clone(), known: None, wanted: Vec::new() };
        let Answer::Key { fingerprint, .. } = held.answer(elsewhere, at(NOW)) else {
            panic!("it reads the key")
        };
        held.answer(look(&path, None, vec![]), at(NOW));
        assert!(matches!(held.answer(Request::Close { slot: 2 }, at(NOW)), Answer::Closed));
        assert!(matches!(held.answer(ask(fingerprint, NOW), at(NOW)), Answer::Signature(_)));
        held.answer(Request::Close { slot: 1 }, at(NOW));
        assert!(held.0.is_empty());
        let refused = held.answer(ask(fingerprint, NOW), at(NOW));
        assert!(matches!(refused, Answer::Refused(Refusal::UnknownKey)), "{refused:?}");
        // One that it never had, because it is another than the one that was told of it.
        assert!(matches!(held.answer(Request::Close { slot: 3 }, at(NOW)), Answer::Closed));
    }

    #[test]
    fn a_new_signer_reads_a_file_that_the_daemon_knows_already() {
        let (dir, mut old, mut new) = (TempDir::new(), Held::default(), Held::default());
        let path = dir.write("key.pem", &fresh_key());
        let Answer::Key { stamp, fingerprint, .. } = old.answer(look(&path, None, vec![]), at(NOW)) else {
            panic!("it reads the key")
        };
        let answer = new.answer(look(&path, Some(stamp), vec![fingerprint]), at(NOW));
        assert!(matches!(answer, Answer::Key { .. }), "{answer:?}");
        assert!(matches!(new.answer(ask(fingerprint, NOW), at(NOW)), Answer::Signature(_)));
    }
}
