//! The daemon's sockets: bound here or inherited from a service manager, with TLS where the settings say so.

use std::{io, path::Path};

use anyhow::{Context as _, bail};

use crate::{
    app::certificates::Certificates,
    config::{Config, ConfigError},
    listener::Bound,
};

/// The sockets, bound and not served yet.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) api: Bound,
    pub(super) public: Option<Bound>,
    pub(super) ops: Bound,
}

/// The names that a service manager gives our sockets (`FileDescriptorName=`).
const NAMES: [&str; 3] = ["api", "public", "ops"];

/// A socket that a service manager holds for us.
#[derive(Debug)]
pub enum InheritedSocket {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// The sockets that a service manager holds for us, by listener.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, InheritedSocket)>);

impl Inherited {
    /// Sockets with their names. A single one without a name of ours is the API's.
    pub fn new(mut sockets: Vec<(String, InheritedSocket)>) -> anyhow::Result<Self> {
        if let [(name, _)] = sockets.as_mut_slice()
            && !NAMES.contains(&name.as_str())
        {
            "api".clone_into(name);
        }
        for (at, (name, _)) in sockets.iter().enumerate() {
            if !NAMES.contains(&name.as_str()) || sockets[..at].iter().any(|(other, _)| other == name) {
                bail!("socket {at} must be named api, public or ops (FileDescriptorName=), each once");
            }
        }
        Ok(Self(sockets))
    }

    fn take(&mut self, name: &str) -> anyhow::Result<Option<Bound>> {
        let Some(at) = self.0.iter().position(|(given, _)| given == name) else { return Ok(None) };
        let bound = match self.0.remove(at).1 {
            InheritedSocket::Tcp(socket) => Bound::inherited(socket),
            InheritedSocket::Unix(socket) => Bound::inherited_unix(socket),
        };
        bound.map(Some).with_context(|| format!("cannot listen on the inherited socket {name}"))
    }
}

/// Binds what the settings name, unless it is inherited.
pub(super) async fn bind(
    config: &Config,
    mut inherited: Inherited,
    certificates: &Certificates,
) -> anyhow::Result<Listeners> {
    let with_tls = |bound: Bound, listener: &str| match certificates.of(listener) {
        Some(tls) => bound.with_tls(tls),
        None => bound,
    };
    let tcp = async |setting: &str, address| {
        Bound::tcp(address).await.map_err(|error| unbound(setting, &address, &error))
    };
    let unix =
        |path: &Path| Bound::unix(path).map_err(|error| unbound("api.unix_socket", &path.display(), &error));
    let api = match (inherited.take("api")?, &config.api.unix_socket) {
        (Some(bound), _) => bound,
        (None, Some(path)) => unix(path)?,
        (None, None) => tcp("api.listen", config.api.listen).await?,
    };
    let public = match (inherited.take("public")?, &config.public.base_url) {
        (bound, None) => {
            drop(bound);
            None
        }
        (Some(bound), Some(_)) => Some(bound),
        (None, Some(_)) => Some(tcp("public.listen", config.public.listen).await?),
    };
    let ops = match inherited.take("ops")? {
        Some(bound) => bound,
        None => tcp("ops.listen", config.ops.listen).await?,
    };
    let api = with_tls(api, "api");
    let public = public.map(|bound| with_tls(bound, "public"));
    let ops = with_tls(ops, "ops");
    Ok(Listeners { api, public, ops })
}

/// A place that cannot be listened on: a fault of the setting that names it, because another try finds the same.
fn unbound(setting: &str, place: &dyn std::fmt::Display, error: &io::Error) -> ConfigError {
    let fix = match error.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or write another address",
        io::ErrorKind::AddrNotAvailable => "write an address of this machine",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "make its folder, or write another path",
        io::ErrorKind::PermissionDenied => {
            "let this user do that (ports below 1024 want CAP_NET_BIND_SERVICE), or write another"
        }
        _ => "write an address of this machine that is free",
    };
    ConfigError::new(setting, format!("cannot listen on {place}: {error}"), fix)
}
