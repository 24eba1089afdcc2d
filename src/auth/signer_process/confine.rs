//! What the signer takes from itself before it reads a key, and the proof that it is gone.
//!
//! The order matters: namespaces first, because the filter forbids them; the filter last, because it
//! forbids everything that is not on its list. Then it tries what it must not be able to do. A signer
//! that could still do it ends before it has read a key.
//!
//! Follows prctl(2), seccomp(2), network_namespaces(7), mlockall(2). The list is of what reading a
//! file and computing need; all else is answered with EPERM, so that a libc that asks for something
//! new gets an error and not a corpse.

use std::{
    fs::OpenOptions,
    io,
    net::UdpSocket,
    os::{
        fd::{AsRawFd as _, BorrowedFd},
        unix::net::UnixDatagram,
    },
};

use rustix::{
    mm::MlockAllFlags,
    process::{DumpableBehavior, Resource, Rlimit, Signal},
    thread::UnshareFlags,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::wire::Hello;

/// Memory that must still be had after locking, far more than the keys of any daemon need.
const HEADROOM_BYTES: usize = 4 * 1024 * 1024;

/// Gives everything away. Answers what this machine allowed of what is not essential.
///
/// `link` is the socket to the daemon, the only thing that can be written to afterwards.
pub(super) fn confine(link: BorrowedFd<'_>) -> io::Result<Hello> {
    // The daemon ends: so does this, even if it hangs.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // No core, and no debugger of the same user.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Once more for whoever looks at limits; a supervisor's own filter may forbid to set them.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    rustix::thread::set_no_new_privs(true)?;
    let has_own_network = leave_the_network();
    let is_memory_locked = lock_memory();
    filter(link)?;
    prove()?;
    Ok(Hello { is_memory_locked, has_own_network })
}

/// A network namespace of its own is empty. Containers and systemd may forbid it; the filter remains.
fn leave_the_network() -> bool {
    #[expect(deprecated, reason = "unsafe for CLONE_FILES alone, which is not asked for; one thread runs")]
    let unshare = rustix::thread::unshare;
    unshare(UnshareFlags::NEWNET).is_ok() || unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET).is_ok()
}

/// Locks what is touched, now and later; needs CAP_IPC_LOCK or a wide RLIMIT_MEMLOCK.
fn lock_memory() -> bool {
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if rustix::mm::mlockall(flags).is_err() {
        return false;
    }
    // Under a narrow limit the lock may hold and the next allocation fail: better no lock.
    let has_headroom = Vec::<u8>::new().try_reserve_exact(HEADROOM_BYTES).is_ok();
    if !has_headroom {
        // It was locked a moment ago, so this is allowed.
        let _ = rustix::mm::munlockall();
    }
    has_headroom
}

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    // Who we are decides how wide a key file may be (rule S4).
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_tgkill,
];

fn filter(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut rules: Vec<(i64, Vec<SeccompRule>)> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Opened for reading only; nothing is created.
    let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
    rules.push((libc::SYS_openat, vec![without(2, writing)?]));
    // Written to the daemon alone, whatever else was left open by whoever started that.
    let is_link = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        link.as_raw_fd().unsigned_abs().into(),
    );
    let to_link = is_link.and_then(|is_link| SeccompRule::new(vec![is_link])).map_err(io::Error::other)?;
    rules.push((libc::SYS_write, vec![to_link]));
    // No memory becomes code.
    rules.push((libc::SYS_mmap, vec![without(2, libc::PROT_EXEC)?]));
    rules.push((libc::SYS_mprotect, vec![without(2, libc::PROT_EXEC)?]));
    let target = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules.into_iter().collect(), refuse, SeccompAction::Allow, target);
    let program = filter.and_then(BpfProgram::try_from).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// Allows a call if none of these bits is set in that argument.
fn without(argument: u8, bits: libc::c_int) -> io::Result<SeccompRule> {
    let mask = SeccompCmpOp::MaskedEq(bits.unsigned_abs().into());
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, mask, 0);
    condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(io::Error::other)
}

/// Tries to reach the network, other processes and the disk.
fn prove() -> io::Result<()> {
    let null = || OpenOptions::new().write(true).open("/dev/null").map(drop);
    let tries = [
        ("open an internet socket", UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("open a local socket", UnixDatagram::unbound().map(drop)),
        ("write to a file", null()),
    ];
    match tries.into_iter().find(|(_, tried)| !is_refused(tried)) {
        None => Ok(()),
        Some((what, _)) => Err(io::Error::other(format!("the filter is on, and it could {what}"))),
    }
}

fn is_refused(tried: &io::Result<()>) -> bool {
    tried.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}
