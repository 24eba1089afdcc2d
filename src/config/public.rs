//! `[public]`: the listener for browsers and the upstream, and how its pages look.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use url::Url;

use super::{
    ConfigError, Environment, Tls,
    api::RawTls,
    network::Network,
    secret::Credentials,
    values::{self, Origin, Setting},
};

/// A logo is sent with every page, from memory.
const LOGO_LIMIT_BYTES: u64 = 256 * 1024;

/// The section, checked.
#[derive(Debug, Clone)]
pub struct Public {
    /// TCP address.
    pub listen: SocketAddr,
    /// The origin under which visitors reach us. None: the listener is off, and there are no links.
    pub base_url: Option<Origin>,
    /// Speak TLS, where no proxy in front does.
    pub tls: Option<Tls>,
    /// Reverse proxies whose word on where a request came from is taken.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they say it.
    pub proxy_header: ProxyHeader,
    /// How the pages look.
    pub brand: Brand,
}

impl Public {
    /// The origin under which visitors reach us, if they do.
    pub fn origin(&self) -> Option<&str> {
        self.base_url.as_ref().map(Origin::as_str)
    }
}

/// Where a reverse proxy writes the address that it was called from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// RFC 7239.
    Forwarded,
    /// What most proxies write.
    XForwardedFor,
}

impl Setting for ProxyHeader {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "forwarded" => Ok(Self::Forwarded),
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            _ => Err("not such a header; write x-forwarded-for or forwarded".into()),
        }
    }
}

/// How the pages look.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brand {
    /// Shown on top of each page.
    #[serde(deserialize_with = "values::given")]
    pub name: String,
    /// Of buttons and links, `#rrggbb`.
    #[serde(deserialize_with = "values::given")]
    pub color: String,
    /// Of the page, `#rrggbb`.
    #[serde(deserialize_with = "values::given")]
    pub background: String,
    /// SVG or PNG.
    #[serde(default, deserialize_with = "values::maybe")]
    pub logo_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::given")]
    listen: SocketAddr,
    #[serde(default, deserialize_with = "values::maybe")]
    base_url: Option<Url>,
    #[serde(default)]
    tls: Option<RawTls>,
    #[serde(default, deserialize_with = "values::list")]
    trusted_proxies: Vec<Network>,
    #[serde(deserialize_with = "values::given")]
    proxy_header: ProxyHeader,
    brand: Brand,
}

impl Raw {
    pub(super) fn check(
        self,
        environment: Environment,
        credentials: &Credentials,
    ) -> Result<Public, ConfigError> {
        self.brand.check()?;
        let base_url = self.base_url.as_ref().map(|url| base_url(url, environment)).transpose()?;
        let tls = self.tls.map(|tls| tls.check("public", credentials)).transpose()?;
        Ok(Public {
            listen: self.listen,
            base_url,
            tls,
            trusted_proxies: self.trusted_proxies,
            proxy_header: self.proxy_header,
            brand: self.brand,
        })
    }
}

fn base_url(url: &Url, environment: Environment) -> Result<Origin, ConfigError> {
    let setting = "public.base_url";
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        let fix = "give the listener a host name of its own, such as https://sign.example.com";
        return Err(ConfigError::new(setting, "has a path", fix));
    }
    // `Url` leaves out the port that the scheme has anyway; whoever has 0 in a link reaches nobody.
    if url.port() == Some(0) {
        let fix = "write the port under which visitors reach public.listen, or leave it out if it is the scheme's own";
        return Err(ConfigError::new(setting, "port 0 is no port", fix));
    }
    let plain_is_fine = environment == Environment::Emulator && values::is_loopback_to_browsers(url);
    if url.scheme() != "https" && !plain_is_fine {
        let fix = "use https (plain http is for loopback with the emulator)";
        let error = ConfigError::new(setting, "visitors and DocuSign need https", fix);
        return Err(error.coded("public_url_not_https"));
    }
    Ok(Origin::of(url))
}

impl Brand {
    fn check(&self) -> Result<(), ConfigError> {
        for (key, color) in [("color", &self.color), ("background", &self.background)] {
            // Strict, because the text goes into a style sheet.
            let hex = color.strip_prefix('#').filter(|hex| hex.len() == 6);
            if !hex.is_some_and(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit())) {
                let setting = format!("public.brand.{key}");
                return Err(ConfigError::new(setting, "not a colour", "write such as \"#1f4f8f\""));
            }
        }
        let Some(path) = &self.logo_file else { return Ok(()) };
        let setting = "public.brand.logo_file";
        values::readable(setting, path)?;
        if !path.extension().is_some_and(|kind| kind == "svg" || kind == "png") {
            return Err(ConfigError::new(
                setting,
                "neither .svg nor .png",
                "convert the logo to one of them",
            ));
        }
        if std::fs::metadata(path).is_ok_and(|found| found.len() > LOGO_LIMIT_BYTES) {
            return Err(ConfigError::new(setting, "larger than 256 KiB", "make the logo smaller"));
        }
        Ok(())
    }
}
