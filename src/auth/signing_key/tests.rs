//! Keys as people have them, and each way in which they are not what was meant.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/keys/", $name))
    };
}

const PKCS1: &str = fixture!("pkcs1.pem");
const PKCS8: &str = fixture!("pkcs8.pem");
const FINGERPRINT: &str = fixture!("fingerprint.txt");

/// A file of its own, gone with the test.
struct TempKey(PathBuf);

impl TempKey {
    fn new(text: &str, mode: u32) -> Self {
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        let path = std::env::temp_dir().join(format!("countersign-key-{:016x}", u64::from_ne_bytes(bytes)));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Self(path)
    }

    fn load(&self) -> Result<SigningKey, Error> {
        KeySource::File(self.0.clone()).load()
    }
}

impl Drop for TempKey {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn pkcs1_and_pkcs8_are_the_same_key_with_the_fingerprint_of_openssl() {
    for (pem, label) in [(PKCS1, Label::Pkcs1), (PKCS8, Label::Pkcs8)] {
        let key = SigningKey::from_pem(pem).unwrap();
        assert_eq!((key.label(), key.bits()), (label, 2048));
        assert_eq!(key.fingerprint().to_string(), format!("SHA256:{}", FINGERPRINT.trim()));
        assert_eq!(key.public_pem(), fixture!("public.pem"));
    }
}

#[test]
fn the_dirt_of_settings_is_taken_off() {
    let body = PKCS1.trim();
    for text in [
        body.replace('\n', "\\n"),
        body.replace('\n', "\\r\\n"),
        body.replace('\n', "\r\n"),
        body.replace('\n', " \t\n  "),
        format!("\n\n  \"{body}\"  \n"),
        format!("Bag Attributes\n    friendlyName: x\n{body}\n\n"),
        body.replace('\n', "\n\n"),
    ] {
        assert!(SigningKey::from_pem(&text).is_ok(), "{:?}", &text[..60]);
    }
    let inline = KeySource::Inline(SecretString::from(body.replace('\n', "\\n")));
    assert!(inline.load().is_ok() && inline.stamp().is_none());
}

#[test]
fn each_defect_has_its_line() {
    let defect = |text: &str| SigningKey::from_pem(text).map(|_| ()).unwrap_err();
    assert!(matches!(defect(" \n"), Defect::Empty));
    assert!(matches!(defect("keys/private.pem"), Defect::NoPem));
    assert!(matches!(defect(fixture!("encrypted.pem")), Defect::Encrypted));
    assert!(matches!(defect(fixture!("encrypted_pkcs1.pem")), Defect::Encrypted));
    assert!(matches!(defect(fixture!("public.pem")), Defect::PublicKey));
    assert!(matches!(defect("ssh-rsa AAAA user@host"), Defect::PublicKey));
    assert!(matches!(defect(fixture!("certificate.pem")), Defect::Certificate));
    assert!(matches!(defect(fixture!("ec.pem")), Defect::NotRsa));
    assert!(matches!(defect(fixture!("ec_pkcs8.pem")), Defect::NotRsa));
    assert!(matches!(defect(fixture!("ed25519.pem")), Defect::NotRsa));
    assert!(matches!(defect(fixture!("pss.pem")), Defect::NotRsa));
    assert!(matches!(defect(fixture!("openssh.pem")), Defect::OpenSsh));
    assert!(matches!(defect("-----BEGIN PGP MESSAGE-----\n-----END PGP MESSAGE-----"), Defect::OtherLabel));
    assert!(matches!(defect(fixture!("rsa1024.pem")), Defect::Size { bits: 1024 }));
    assert!(matches!(defect(fixture!("inconsistent.pem")), Defect::Inconsistent));
}

#[test]
fn a_key_cut_anywhere_is_cut_off_and_never_taken() {
    for pem in [PKCS1, PKCS8] {
        let end = pem.trim_end().len();
        for length in (0..end).step_by(7).chain([end - 1]) {
            let defect = SigningKey::from_pem(&pem[..length]).map(|_| ()).unwrap_err();
            assert!(
                matches!(defect, Defect::Truncated | Defect::Empty | Defect::NoPem),
                "{length}: {defect}"
            );
        }
        // A line lost in the middle.
        let lines: Vec<&str> = pem.lines().collect();
        let holed = [&lines[..5], &lines[6..]].concat().join("\n");
        assert!(matches!(SigningKey::from_pem(&holed).map(|_| ()).unwrap_err(), Defect::Truncated));
    }
}

#[test]
fn one_changed_character_is_noticed() {
    let at = PKCS1.find('\n').unwrap() + 400;
    let mut bytes = PKCS1.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    assert!(SigningKey::from_pem(std::str::from_utf8(&bytes).unwrap()).is_err());
}

#[test]
fn s4_a_key_file_that_others_may_read_is_refused() {
    for mode in [0o644, 0o640, 0o604, 0o660, 0o700, 0o4600] {
        let error = TempKey::new(PKCS1, mode).load().map(|_| ()).unwrap_err();
        assert!(matches!(error.defect, Defect::TooWide { mode: found, .. } if found == mode), "{error}");
        assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
    }
    for mode in [0o600, 0o400] {
        assert!(TempKey::new(PKCS1, mode).load().is_ok());
    }
}

#[test]
fn s4_behind_a_symlink_the_target_counts() {
    let wide = TempKey::new(PKCS1, 0o644);
    let link = wide.0.with_extension("link");
    std::os::unix::fs::symlink(&wide.0, &link).unwrap();
    let error = KeySource::File(link.clone()).load().map(|_| ()).unwrap_err();
    assert!(matches!(error.defect, Defect::TooWide { .. }));
    std::fs::set_permissions(&wide.0, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(KeySource::File(link.clone()).load().is_ok());
    std::fs::remove_file(link).unwrap();
}

#[test]
fn what_is_no_readable_file_is_named_with_its_path() {
    let defect = |path: &str| KeySource::File(path.into()).load().map(|_| ()).unwrap_err();
    let error = defect("/nonexistent/key.pem");
    assert!(matches!(error.defect, Defect::Unreadable(_)));
    assert_eq!(error.to_string(), "private key /nonexistent/key.pem: there is no such file");
    assert!(matches!(defect("/tmp").defect, Defect::NotAFile | Defect::Unreadable(_)));
    assert!(matches!(defect("/dev/null").defect, Defect::NotAFile));
    let long = TempKey::new(&"x".repeat(70_000), 0o600);
    assert!(matches!(long.load().map(|_| ()).unwrap_err().defect, Defect::TooLong));
}

#[test]
fn t10_the_stamp_changes_with_content_name_and_link() {
    let (first, second) = (TempKey::new(PKCS1, 0o600), TempKey::new(PKCS1, 0o600));
    let link = first.0.with_extension("data");
    std::os::unix::fs::symlink(&first.0, &link).unwrap();
    let source = KeySource::File(link.clone());
    let before = source.stamp().unwrap();
    assert_eq!(source.stamp().unwrap(), before);
    // As Kubernetes does: a new link, renamed over the old one.
    let next = first.0.with_extension("tmp");
    std::os::unix::fs::symlink(&second.0, &next).unwrap();
    std::fs::rename(&next, &link).unwrap();
    let swapped = source.stamp().unwrap();
    assert_ne!(swapped, before);
    std::fs::write(&second.0, PKCS8).unwrap();
    assert_ne!(source.stamp().unwrap(), swapped);
    std::fs::remove_file(&link).unwrap();
    assert_eq!(source.stamp(), Some(Stamp(None)));
}

#[test]
fn a_generated_pair_can_be_taken_at_once() {
    let pair = generate().unwrap();
    let key = SigningKey::from_pem(&pair.private_pem).unwrap();
    assert_eq!((key.bits(), key.label(), key.fingerprint()), (2048, Label::Pkcs1, pair.fingerprint));
    assert!(pair.public_pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert!(!format!("{pair:?} {key:?}").contains("BEGIN"));
}

#[test]
fn s4_only_roots_own_file_may_be_read_by_our_group() {
    assert_eq!(widest(1_000, 1_000), 0o600);
    assert_eq!(widest(0, 0), 0o600, "root reads its own and needs no group");
    assert_eq!(widest(0, 65_532), 0o640, "a Secret that Kubernetes mounts with fsGroup");
}
