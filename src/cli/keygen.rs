//! `countersign keygen`: an RSA pair for DocuSign.
//!
//! It only writes the files; `auth` makes the pair, in the form that DocuSign's own page gives.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use aws_lc_rs::rsa::KeySize;

use super::{output, progress::Progress};
use crate::auth::signing_key;

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
    let size = match args.bits.as_str() {
        "2048" => KeySize::Rsa2048,
        "3072" => KeySize::Rsa3072,
        _ => KeySize::Rsa4096,
    };
    let progress = Progress::start("making an RSA key pair");
    let pair = tokio::task::spawn_blocking(move || signing_key::generate_of(size)).await?;
    let pair = pair.ok_or_else(|| anyhow!("cannot make a key pair"))?;
    drop(progress);
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    create(&private_path, pair.private_pem.as_bytes(), 0o600)?;
    create(&public_path, pair.public_pem.as_bytes(), 0o644)?;
    // Settings are read from another directory than this one, most likely.
    let setting = fs::canonicalize(&private_path).unwrap_or_else(|_| private_path.clone());
    output::line(pair.public_pem.trim_end())?;
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

/// Creates a file that was not there, with this mode from its first moment, and syncs it.
fn create(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let created = (|| -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    })();
    created.with_context(|| format!("cannot write {}", path.display()))
}
