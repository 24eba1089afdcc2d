//! Who can be reached: the hosts of the upstream, and the daemon on this machine.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;
use url::Url;

use super::Check;
use crate::{
    app,
    config::Config,
    http_client::{Error, HttpClient, Options, Request},
    ops::health::{SENDERS, sender_of},
    telemetry::chain,
};

/// For a question to this machine.
const NEAR: Duration = Duration::from_secs(2);

/// What those try next whose network has a proxy.
const DIRECTLY: &str = "HTTPS_PROXY is not read: where only a proxy leads out, set upstream.proxy.";

/// Why a host gives no answer, with the exact next step.
pub(super) fn unreachable(name: &'static str, host: &str, emulated: bool, error: &Error) -> Check {
    let (code, fix) = match error {
        Error::Dns { .. } => (
            "dns_failure",
            format!(
                "Make this machine resolve {host}: see its resolver (/etc/resolv.conf), search domain and firewall. {DIRECTLY}"
            ),
        ),
        Error::Tls { .. } if emulated => (
            "tls_failure",
            "Set upstream.ca_file to the ca.pem that `countersign emulate --tls` wrote.".to_owned(),
        ),
        Error::Tls { .. } => (
            "tls_failure",
            format!(
                "Install the system's CA certificates (ca-certificates); if a proxy opens TLS on the way to {host}, exempt that host or install the proxy's CA."
            ),
        ),
        Error::Connect { .. } if emulated => (
            "connect_failure",
            format!(
                "Start `countersign emulate`, and set upstream.oauth_url to where it listens; nobody does at {host}."
            ),
        ),
        Error::Connect { .. } => (
            "connect_failure",
            format!("Allow outbound TCP from this machine to {host}, port 443. {DIRECTLY}"),
        ),
        Error::Proxy { proxy, .. } => (
            "proxy_failure",
            format!(
                "Have the proxy {proxy} let this machine through to {host}, port 443 (CONNECT), without a password; or correct \
                 upstream.proxy, and leave it out where none is needed."
            ),
        ),
        Error::Refused(_) => {
            ("connect_failure", format!("Check upstream.environment: {host} is not called."))
        }
        Error::Broken(_) | Error::SourceBroke | Error::TimedOut | Error::TooLarge | Error::Truncated(_) => (
            "no_answer",
            format!(
                "See whether something between here and {host} (proxy, firewall) drops or changes traffic; try again in a minute."
            ),
        ),
    };
    let said = chain(error).to_string();
    Check::failed(name, code, if said.contains(host) { said } else { format!("{host}: {said}") }, fix)
}

/// What the daemon on this machine says of itself; doctor has seen less than one that runs.
#[derive(Debug)]
pub(super) struct Daemon {
    said: Result<Ready, Unheard>,
}

/// Why there is nothing to go by.
#[derive(Debug)]
enum Unheard {
    /// What answers here has other settings.
    Another(SocketAddr),
    /// None answers, or none is asked.
    Silent(String),
}

/// The part of `/readyz` that is used here.
#[derive(Debug, Deserialize)]
struct Ready {
    status: String,
    reasons: Vec<Reason>,
    #[serde(default)]
    waiting: Vec<Reason>,
    /// None of a daemon of the version before.
    settings_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    part: String,
    code: Option<String>,
    detail: String,
}

impl Ready {
    /// What `/readyz` says there, or why nothing is heard.
    async fn ask(address: SocketAddr) -> Result<Self, String> {
        let options = Options { connect_timeout: NEAR, timeout: NEAR, ..Options::default() };
        let url = Url::parse(&format!("http://{address}/readyz")).map_err(|error| error.to_string())?;
        let client = HttpClient::new(&options).map_err(|error| chain(&error).to_string())?;
        let answer = client.send(Request::get(url)).await.map_err(|error| match error {
            Error::Connect { .. } => format!("none runs: nobody listens at {address}"),
            other => format!("none answers at {address}: {}", chain(&other)),
        })?;
        serde_json::from_slice(&answer.body)
            .map_err(|_| format!("something else than a daemon answers at {address}"))
    }
}

impl Reason {
    fn is_of(&self, sender: &str) -> bool {
        sender_of(&self.part) == Some(sender)
    }
}

impl Daemon {
    /// Asks `/readyz` where the settings say that the daemon listens.
    pub(super) async fn ask(config: &Config) -> Self {
        let listen = config.ops.listen;
        let not_asked = |why: &str| Self { said: Err(Unheard::Silent(why.to_owned())) };
        if listen.port() == 0 {
            return not_asked("ops.listen has no fixed port");
        }
        if config.ops.tls.is_some() {
            return not_asked("the ops listener speaks TLS; ask its /readyz by name");
        }
        let address = if listen.ip().is_unspecified() {
            SocketAddr::from(([127, 0, 0, 1], listen.port()))
        } else {
            listen
        };
        let ours = app::settings_id(config);
        let is_another = |ready: &Ready| ready.settings_id.as_ref().is_some_and(|theirs| *theirs != ours);
        Self {
            said: match Ready::ask(address).await {
                Ok(ready) if is_another(&ready) => Err(Unheard::Another(address)),
                Ok(ready) => Ok(ready),
                Err(why) => Err(Unheard::Silent(why)),
            },
        }
    }

    /// The line about it.
    pub(super) fn check(&self) -> Check {
        let ready = match &self.said {
            Ok(ready) => ready,
            Err(Unheard::Silent(why)) => return Check::skipped("daemon", why),
            Err(Unheard::Another(address)) => {
                let detail =
                    format!("another daemon answers at {address}: settings of another store or environment");
                let fix = "Give one of the two another ops.listen. If it is the one of these settings, store.url or \
                           upstream.environment has changed since it was started, or its service has \
                           COUNTERSIGN__STORE__URL in its environment and this shell has not, or a store.url without a \
                           leading / counts from another folder there: start it again, or run doctor with its \
                           environment and in its folder.";
                let code = Some("daemon_of_other_settings");
                return Check { code, ..Check::advised("daemon", detail, fix) };
            }
        };
        let reasons: Vec<_> =
            ready.reasons.iter().map(|reason| format!("{}: {}", reason.part, reason.detail)).collect();
        let detail = format!("it runs and is {}; {}", ready.status, reasons.join("; "));
        let fix = "Mend what it names; the lines below look closer. Where it says to start it again, \
                   do so; else it turns ready by itself once that is mended.";
        match ready.status.as_str() {
            "ready" => Check::passed("daemon", "it runs, and is ready"),
            "degraded" => Check { code: Some("daemon_degraded"), ..Check::advised("daemon", detail, fix) },
            _ => Check::failed("daemon", "daemon_not_ready", detail, fix),
        }
    }

    /// Whether a connectable sender is connected; none if no daemon says.
    pub(super) fn is_connected(&self, sender: &str) -> Option<bool> {
        let said = self.said.as_ref().ok()?;
        // Very many senders are spoken of together, and then no single one is named.
        let is_crowd = said.waiting.iter().chain(&said.reasons).any(|reason| reason.part == SENDERS);
        (!is_crowd).then(|| !said.waiting.iter().any(|reason| reason.is_of(sender)))
    }

    /// What it finds wrong with a sender, in its words.
    pub(super) fn fault(&self, sender: &str) -> Option<&str> {
        let found = self.said.as_ref().ok()?.reasons.iter().find(|reason| reason.is_of(sender));
        found.map(|reason| reason.detail.as_str())
    }

    /// What it says of a sender under this code.
    pub(super) fn says(&self, sender: &str, code: &str) -> Option<&str> {
        let reasons = &self.said.as_ref().ok()?.reasons;
        let found =
            reasons.iter().find(|reason| reason.is_of(sender) && reason.code.as_deref() == Some(code));
        found.map(|reason| reason.detail.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_daemon_finds_wrong_with_a_connected_sender_is_no_pass() {
        let said = serde_json::json!({"status": "not_ready", "waiting": [], "reasons":
            [{"part": "sender.customer", "code": "sender_not_connected", "detail": "its connection is lost"}]});
        let daemon = Daemon { said: Ok(serde_json::from_value(said).unwrap()) };
        assert_eq!(
            (daemon.is_connected("customer"), daemon.fault("customer")),
            (Some(true), Some("its connection is lost"))
        );
        assert_eq!((daemon.is_connected("other"), daemon.fault("other")), (Some(true), None));
    }

    #[test]
    fn a_daemon_that_has_to_be_started_again_is_not_said_to_turn_ready_by_itself() {
        for (status, part, detail) in [
            ("not_ready", "store", "the file was removed: stop the daemon, and start it again"),
            ("degraded", "sender.customer", "no consent"),
        ] {
            let reason = serde_json::json!({"part": part, "code": null, "detail": detail});
            let said = serde_json::json!({"status": status, "reasons": [reason]});
            let daemon = Daemon { said: Ok(serde_json::from_value(said).unwrap()) };
            let check = daemon.check();
            let fix = check.fix.unwrap();
            assert!(check.detail.contains(detail), "{}", check.detail);
            let (again, by_itself) = (fix.find("start it again").unwrap(), fix.find("by itself").unwrap());
            assert!(again < by_itself && fix.contains("else it turns ready by itself once"), "{fix}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_named_with_what_it_has_to_let_through() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 1024]).await;
                let _ = socket.write_all(b"HTTP/1.1 407 x\r\n\r\n").await;
            }
        });
        let proxy = Some(Url::parse(&format!("http://{place}")).unwrap());
        let client = HttpClient::new(&Options { proxy, ..Options::default() }).unwrap();
        let host = "account.docusign.com";
        let url = Url::parse(&format!("https://{host}/")).unwrap();
        let error = client.send(Request::get(url)).await.unwrap_err();
        let check = unreachable("account server", host, false, &error);
        assert_eq!(check.code, Some("proxy_failure"), "{check:?}");
        assert!(check.detail.contains(&place) && check.detail.contains("authorization"), "{}", check.detail);
        let fix = check.fix.unwrap();
        assert!(fix.contains(&place) && fix.contains(host) && fix.contains("upstream.proxy"), "{fix}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_and_a_closed_port_are_told_apart() {
        let client = HttpClient::new(&Options::default()).unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // RFC 2606: nothing is ever called so.
        for (url, code) in [
            ("https://account.docusign.invalid/".to_owned(), "dns_failure"),
            (format!("http://{closed}/"), "connect_failure"),
        ] {
            let url = Url::parse(&url).unwrap();
            let host = url.host_str().unwrap().to_owned();
            let error = client.send(Request::get(url)).await.unwrap_err();
            let check = unreachable("account server", &host, false, &error);
            assert_eq!(check.code, Some(code), "{check:?}");
            let fix = check.fix.unwrap();
            assert!(fix.contains(&host) && fix.contains("HTTPS_PROXY is not read"), "{fix}");
        }
    }
}
