//! How many files this process may have open: as many as the system lets it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one; answers what it was, and what it is. Callers, signers and receivers
/// of webhooks are sockets, and the usual soft limit of 1,024 is meant for programs that use `select`.
/// Where it cannot be raised it stays, and everything makes do with less.
pub(super) fn raise() -> (Option<u64>, Option<u64>) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    (current, if raised.is_ok() { maximum } else { current })
}
