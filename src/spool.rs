//! Bytes that are on their way and too many for memory: files that nobody else can read and that leave
//! nothing behind.
//!
//! A file loses its name as soon as it is open, so it goes with its last reader, or with the process. What
//! is in it is sealed under a key of its own that is never written anywhere: a disk that is taken away holds
//! noise. It is written once, front to back, and then read from anywhere, by any number of readers.
//!
//! Memory costs one frame a writer and one a reader, whatever the size ([`FRAME`]). All files together stay
//! below a limit; a file counts for as long as someone reads it. Room on the disk is set aside before anything is asked
//! for to fill it: what is to be kept here may be had only a few times an hour. It counts from then on, for it is taken.
//!
//! Format: frames of 64 KiB, each sealed by AES-256-GCM with its number as the nonce (NIST SP 800-38D, 8.2.1:
//! the key is used for this one file, so no number comes twice).

use std::{
    fmt,
    fs::File,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest,
};
use bytes::Bytes;
use futures_util::Stream;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::{Errno, retry_on_intr},
};

use crate::digest::hex;

/// Bytes of a frame, before it is sealed.
const FRAME: usize = 64 * 1024;
const TAG: usize = 16;

/// Why bytes could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All files together would be over the limit.
    #[error("the space for documents on their way is used up")]
    Full,
    /// The disk did not take or give them.
    #[error("the disk failed")]
    Io(#[from] std::io::Error),
}

/// Where files are made, and how much of them there may be. Clones share the count.
#[derive(Debug, Clone)]
pub struct Spool {
    directory: Arc<Path>,
    limit_bytes: u64,
    used: Arc<AtomicU64>,
}

/// A part of the limit, given back when it is dropped.
struct Share {
    used: Arc<AtomicU64>,
    bytes: u64,
}

/// A file that is being written.
pub struct Writer {
    file: Arc<File>,
    key: Arc<LessSafeKey>,
    spool: Spool,
    share: Share,
    digest: digest::Context,
    frame: Vec<u8>,
    frames: u64,
    length: u64,
}

/// A file that is whole.
pub struct Spooled {
    file: Arc<File>,
    key: Arc<LessSafeKey>,
    length: u64,
    sha256: [u8; 32],
    _share: Share,
}

impl Spool {
    /// Files in this directory, all together no larger than the limit.
    pub fn new(directory: PathBuf, limit_bytes: u64) -> Self {
        Self { directory: directory.into(), limit_bytes, used: Arc::default() }
    }

    /// The most that there may be.
    pub const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// What all files hold now, or have set aside.
    #[cfg(test)]
    fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Begins a file, with room for so many bytes. Fails when there is no space left for them, or for any.
    pub async fn create(&self, room_bytes: u64) -> Result<Writer, Error> {
        if self.used.load(Ordering::Relaxed) >= self.limit_bytes {
            return Err(Error::Full);
        }
        let mut share = Share { used: Arc::clone(&self.used), bytes: 0 };
        share.grow(room_bytes, self.limit_bytes)?;
        let mut secret = [0_u8; 40];
        aws_lc_rs::rand::fill(&mut secret).expect("the system gives random bytes");
        let (key, name) = secret.split_at(32);
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes");
        let path = self.directory.join(format!(".countersign-{}", hex(name)));
        let file = blocking(move || {
            let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            std::fs::remove_file(&path)?;
            set_aside(&file, room_bytes)?;
            Ok(file)
        })
        .await?;
        Ok(Writer {
            file: Arc::new(file),
            key: Arc::new(LessSafeKey::new(key)),
            spool: self.clone(),
            share,
            digest: digest::Context::new(&digest::SHA256),
            frame: Vec::with_capacity(FRAME + TAG),
            frames: 0,
            length: 0,
        })
    }
}

impl Share {
    /// Takes what it lacks to so many bytes, or nothing at all.
    fn grow(&mut self, bytes: u64, limit_bytes: u64) -> Result<(), Error> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let taken = |used: u64| used.checked_add(more).filter(|sum| *sum <= limit_bytes);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).map_err(|_| Error::Full)?;
        self.bytes += more;
        Ok(())
    }

    /// Gives back what it has above so many bytes.
    fn shrink(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.used.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Writer {
    /// Sets room aside for so many bytes in all, or fails now and not later. When there is no space for them nothing has
    /// changed: once there is, they can be asked for again.
    pub async fn set_aside(&mut self, room_bytes: u64) -> Result<(), Error> {
        self.share.grow(room_bytes, self.spool.limit_bytes)?;
        let file = Arc::clone(&self.file);
        Ok(blocking(move || set_aside(&file, room_bytes)).await?)
    }

    /// Adds bytes at the end. When there is no space for them nothing has changed: once there is, the
    /// same bytes can be added again.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        let length = self.length.saturating_add(bytes.len() as u64);
        self.share.grow(length, self.spool.limit_bytes)?;
        self.digest.update(bytes);
        self.length = length;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(FRAME - self.frame.len()));
            self.frame.extend_from_slice(now);
            bytes = later;
            if self.frame.len() == FRAME {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Ends the file: from now on it can be read.
    pub async fn finish(mut self) -> Result<Spooled, Error> {
        if !self.frame.is_empty() {
            self.flush().await?;
        }
        // What was set aside and not needed. If it cannot be given back it goes with the file, and counts until then.
        let (file, size) = (Arc::clone(&self.file), self.length + self.frames * TAG as u64);
        if blocking(move || file.set_len(size)).await.is_ok() {
            self.share.shrink(self.length);
        }
        let sha256 = self.digest.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
        Ok(Spooled { file: self.file, key: self.key, length: self.length, sha256, _share: self.share })
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let (file, key, number) = (Arc::clone(&self.file), Arc::clone(&self.key), self.frames);
        let mut frame = std::mem::take(&mut self.frame);
        self.frames += 1;
        self.frame = blocking(move || {
            key.seal_in_place_append_tag(nonce(number), Aad::empty(), &mut frame)
                .map_err(|_| std::io::Error::other("a frame cannot be sealed"))?;
            file.write_all_at(&frame, place(number))?;
            frame.clear();
            Ok(frame)
        })
        .await?;
        Ok(())
    }
}

impl Spooled {
    /// How many bytes it holds.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The SHA-256 of all of them.
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The bytes from `start` to before `end`, a frame at a time, as fast as they are taken.
    pub fn read(
        self: &Arc<Self>,
        start: u64,
        end: u64,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let state = (Arc::clone(self), start, end.min(self.length));
        futures_util::stream::try_unfold(state, |(spooled, at, end)| async move {
            if at >= end {
                return Ok(None);
            }
            let number = at / FRAME as u64;
            let frame = spooled.frame(number).await?;
            let first = usize::try_from(at % FRAME as u64).unwrap_or(FRAME);
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
            let last = first.saturating_add(wanted).min(frame.len());
            if first >= last {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
            let next = at + (last - first) as u64;
            Ok(Some((frame.slice(first..last), (spooled, next, end))))
        })
    }

    async fn frame(&self, number: u64) -> std::io::Result<Bytes> {
        let (file, key) = (Arc::clone(&self.file), Arc::clone(&self.key));
        let left = self.length.saturating_sub(number * FRAME as u64);
        let size = usize::try_from(left).unwrap_or(FRAME).min(FRAME);
        blocking(move || {
            let mut frame = vec![0; size + TAG];
            file.read_exact_at(&mut frame, place(number))?;
            let plain = key
                .open_in_place(nonce(number), Aad::empty(), &mut frame)
                .map_err(|_| std::io::Error::other("a frame was changed on the disk"))?
                .len();
            frame.truncate(plain);
            Ok(Bytes::from(frame))
        })
        .await
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Where a frame begins in the file.
const fn place(number: u64) -> u64 {
    number * (FRAME + TAG) as u64
}

fn set_aside(file: &File, room_bytes: u64) -> std::io::Result<()> {
    let frames = room_bytes.div_ceil(FRAME as u64);
    let size = room_bytes.saturating_add(frames.saturating_mul(TAG as u64));
    if size == 0 {
        return Ok(());
    }
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, size)) {
        // Not every file system can promise it.
        Err(Errno::NOSYS | Errno::NOTSUP) => Ok(()),
        done => Ok(done?),
    }
}

/// A disk may be slow: it is waited for on a thread that is there for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("length", &self.length).finish_non_exhaustive()
    }
}

impl fmt::Debug for Spooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spooled").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;
    use proptest::prelude::*;

    use super::*;

    fn spool(limit_bytes: u64) -> Spool {
        Spool::new(std::env::temp_dir(), limit_bytes)
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    async fn spooled(spool: &Spool, content: &[u8], piece: usize) -> Arc<Spooled> {
        let mut writer = spool.create(0).await.unwrap();
        for piece in content.chunks(piece) {
            writer.write(piece).await.unwrap();
        }
        Arc::new(writer.finish().await.unwrap())
    }

    async fn read(spooled: &Arc<Spooled>, start: u64, end: u64) -> Vec<u8> {
        let pieces: Vec<Bytes> = spooled.read(start, end).try_collect().await.unwrap();
        assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= FRAME));
        pieces.concat()
    }

    #[tokio::test]
    async fn what_is_written_is_read_from_anywhere() {
        let spool = spool(1 << 30);
        for length in [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME + 17] {
            let content = bytes(length);
            let kept = spooled(&spool, &content, 10_000).await;
            let whole = digest::digest(&digest::SHA256, &content);
            assert_eq!((kept.length(), &kept.sha256()[..]), (length as u64, whole.as_ref()));
            assert_eq!(read(&kept, 0, length as u64).await, content);
            assert_eq!(read(&kept, 0, u64::MAX).await, content);
            let middle = length / 2;
            assert_eq!(read(&kept, middle as u64, length as u64).await, content[middle..]);
        }
        assert_eq!(spool.used_bytes(), 0, "files go with their readers");
    }

    #[tokio::test]
    async fn no_file_has_a_name_and_nothing_on_the_disk_is_readable() {
        let directory = std::env::temp_dir().join(format!("spool-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&directory).unwrap();
        let kept = spooled(&Spool::new(directory.clone(), 1 << 30), &b"a name, ".repeat(20_000), 7_777).await;
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        let mut on_disk = vec![0; 160_000];
        kept.file.read_exact_at(&mut on_disk, 0).unwrap();
        assert!(!on_disk.windows(8).any(|window| window == b"a name, "));
        // A bit that turned on the disk is an error, never a wrong document.
        kept.file.write_all_at(&[on_disk[5] ^ 1], 5).unwrap();
        assert!(kept.read(0, 10).try_collect::<Vec<_>>().await.is_err());
        assert!(kept.read(FRAME as u64, 70_000).try_collect::<Vec<_>>().await.is_ok());
        std::fs::remove_dir(&directory).unwrap();
    }

    #[tokio::test]
    async fn the_limit_is_for_all_files_and_counts_what_is_still_read() {
        let spool = spool(100);
        let first = spooled(&spool, &bytes(60), 60).await;
        let mut second = spool.create(0).await.unwrap();
        second.write(&bytes(40)).await.unwrap();
        assert!(matches!(second.write(b"!").await, Err(Error::Full)));
        assert_eq!(spool.used_bytes(), 100);
        drop(second);
        assert_eq!(spool.used_bytes(), 60);
        let reader = first.read(0, 60);
        drop(first);
        assert_eq!(spool.used_bytes(), 60);
        drop(reader);
        assert_eq!(spool.used_bytes(), 0);
    }

    #[tokio::test]
    async fn room_is_set_aside_before_it_is_needed_and_what_is_not_needed_is_given_back() {
        let spool = spool(1 << 20);
        let mut writer = spool.create(300_000).await.unwrap();
        let size = |file: &File| file.metadata().unwrap().len();
        // On a file system that cannot promise it there is nothing to see.
        assert!([0, 300_000 + 5 * TAG as u64].contains(&size(&writer.file)));
        writer.write(&bytes(100_000)).await.unwrap();
        let kept = Arc::new(writer.finish().await.unwrap());
        assert_eq!(size(&kept.file), 100_000 + 2 * TAG as u64);
        assert_eq!(read(&kept, 0, u64::MAX).await, bytes(100_000));
        assert_eq!(spool.used_bytes(), 100_000, "what was set aside counts no more");
        let mut writer = spool.create(0).await.unwrap();
        assert!(matches!(writer.set_aside(2 << 20).await, Err(Error::Full)), "it would never fit");
        let full = Spool { limit_bytes: 100_000, ..spool };
        assert!(matches!(full.create(0).await, Err(Error::Full)));
    }

    #[tokio::test]
    async fn what_is_set_aside_is_part_of_the_limit_before_a_byte_comes() {
        let spool = spool(100);
        let mut first = spool.create(60).await.unwrap();
        assert_eq!(spool.used_bytes(), 60);
        assert!(matches!(spool.create(41).await, Err(Error::Full)));
        let mut second = spool.create(10).await.unwrap();
        assert!(matches!(second.set_aside(41).await, Err(Error::Full)));
        assert_eq!(spool.used_bytes(), 70, "nothing has changed");
        second.set_aside(40).await.unwrap();
        assert!(matches!(second.write(&bytes(41)).await, Err(Error::Full)));
        // It fills what it has, and takes nothing twice.
        first.write(&bytes(50)).await.unwrap();
        assert_eq!(spool.used_bytes(), 100);
        let first = first.finish().await.unwrap();
        assert_eq!(spool.used_bytes(), 90, "what was not needed is given back");
        second.write(&bytes(50)).await.unwrap();
        drop((first, second));
        assert_eq!(spool.used_bytes(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_range_is_that_of_the_content(length in 0_usize..200_000, a in 0_u64..210_000, b in 0_u64..210_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (content, (start, end)) = (bytes(length), (a.min(b), a.max(b)));
            let got = runtime.block_on(async {
                read(&spooled(&spool(1 << 30), &content, 31_000).await, start, end).await
            });
            let clamp = |at: u64| usize::try_from(at).unwrap().min(length);
            prop_assert_eq!(&got[..], &content[clamp(start)..clamp(end)]);
        }
    }
}
