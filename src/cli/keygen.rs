//! `countersign keygen`: an RSA pair for DocuSign.
//!
//! The private half is PKCS#1 PEM, as DocuSign's own page gives it, so that its samples read it, too.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use rsa::{
    pkcs1::EncodeRsaPrivateKey as _,
    pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding},
};
use zeroize::Zeroizing;

use super::{output, progress::Progress};

/// Makes an RSA key pair and says where to paste its public half.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for private_key.pem and public_key.pem; made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Size of the key. DocuSign takes 2048 and more; 4096 takes six times as long to sign.
    #[arg(long, value_name = "N", default_value = "2048", value_parser = ["2048", "3072", "4096"])]
    bits: String,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (private_path, public_path) = (args.out.join("private_key.pem"), args.out.join("public_key.pem"));
    // Before the work, and for both: half a pair would be worse than none.
    for path in [&private_path, &public_path] {
        if fs::symlink_metadata(path).is_ok() {
            bail!("{} exists and is not overwritten; move it away or choose another --out", path.display());
        }
    }
    let progress = Progress::start("making an RSA key pair");
    let pair = tokio::task::spawn_blocking(move || Pair::generate(&args.bits)).await??;
    drop(progress);
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    create(&private_path, pair.private.as_bytes(), 0o600)?;
    create(&public_path, pair.public.as_bytes(), 0o644)?;
    // Settings are read from another directory than this one, most likely.
    let setting = fs::canonicalize(&private_path).unwrap_or_else(|_| private_path.clone());
    output::line(pair.public.trim_end());
    output::note(format_args!(
        "\nPrivate key: {} (mode 0600; keep it, show it to nobody)\nPublic key:  {}\n\n\
         In DocuSign: Settings > Apps and Keys > your app > Actions > Edit > Service Integration >\n\
         Upload RSA, paste the public key above (both BEGIN and END lines), Save.\n\
         Then in the settings: keys = [\"{}\"]",
        private_path.display(),
        public_path.display(),
        setting.display(),
    ));
    Ok(ExitCode::SUCCESS)
}

struct Pair {
    private: Zeroizing<String>,
    public: String,
}

impl Pair {
    fn generate(bits: &str) -> anyhow::Result<Self> {
        let size = match bits {
            "2048" => KeySize::Rsa2048,
            "3072" => KeySize::Rsa3072,
            _ => KeySize::Rsa4096,
        };
        // aws-lc makes a key in a tenth of the time; the rsa crate knows the formats.
        let pair = KeyPair::generate(size).map_err(|_| anyhow!("cannot make a key pair"))?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| anyhow!("cannot encode the key"))?;
        let private = rsa::PrivateKey::from_pkcs8_der(der.as_ref()).context("cannot encode the key")?;
        let public =
            private.to_public_key().to_public_key_pem(LineEnding::LF).context("cannot encode the key")?;
        let private = private.to_pkcs1_pem(LineEnding::LF).context("cannot encode the key")?;
        Ok(Self { private, public })
    }
}

/// Creates a file that was not there, with this mode from its first moment, and syncs it.
fn create(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let created = (|| -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    })();
    created.with_context(|| format!("cannot write {}", path.display()))
}
