//! The address of a vendor, and the HTTP client that talks to it.
//!
//! A base URL comes from the configuration, and `response_url` comes from outside; both pass
//! here before anything is sent. Allowed is `https` to a public or private host, and plain
//! `http` only to this machine (the sandbox). Refused are credentials in the URL, link-local
//! addresses (where clouds keep their metadata service, which hands out credentials), the known
//! names of that service, unspecified and multicast addresses, also when an IPv4 address is
//! wrapped into an IPv6 one. A name is checked as written; what it resolves to is left to the
//! network policy of the deployment.
//!
//! `client` is the one place where clients are built: no redirects, so that no vendor can send
//! our credentials elsewhere; no retries, since Temporal owns them; time limits on everything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use url::{Host, Url};

/// A vendor that has not taken the connection by then is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take unless a connector is told otherwise. The slowest answers seen (Confluence under load)
/// take about half of this.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Names of the clouds' metadata services.
const METADATA_NAMES: [&str; 4] =
    ["instance-data", "instance-data.ec2.internal", "metadata", "metadata.google.internal"];
/// Metadata services that are not link-local: AWS and Google over IPv6, Alibaba.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);

/// Why an address is not used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It cannot be read as a URL with a host.
    #[error("not an address: {0}")]
    Malformed(String),
    /// Neither `https` nor `http` to this machine.
    #[error("{0} is not https; plain http is for this machine alone")]
    Insecure(String),
    /// A user name or a password stands in it.
    #[error("credentials do not belong into an address")]
    Credentials,
    /// A query or a fragment stands in it.
    #[error("a base address has no query and no fragment")]
    Query,
    /// An address that no vendor has.
    #[error("{0} is not an address of a vendor")]
    Forbidden(String),
    /// The HTTP client could not be set up.
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A checked base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Invariant: passed [`check`], has no query and no fragment, its path ends in a slash.
    base: Url,
}

impl Address {
    /// Reads and checks a base URL, with or without a slash at its end.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let mut base = check(text)?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(AddressError::Query);
        }
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        Ok(Self { base })
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.base
    }

    /// The URL of a resource below the base. Each segment is encoded, so that an id from outside
    /// stays one segment and cannot climb out of the base.
    #[must_use]
    pub fn resource(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // `.` and `..` would be dropped by the parser even when pushed as segments.
        let encoded: Vec<String> = segments
            .iter()
            .map(|segment| match *segment {
                "." => "%2E".to_owned(),
                ".." => "%2E%2E".to_owned(),
                other => other.to_owned(),
            })
            .collect();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            path.extend(encoded);
        }
        url
    }

    /// Whether the other URL has the scheme, host and port of this one.
    #[must_use]
    pub fn same_origin(&self, other: &Url) -> bool {
        self.base.origin() == other.origin()
    }

    /// Whether the vendor is on this machine, as the sandbox is.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.base.host().is_some_and(|host| is_loopback(&host))
    }
}

/// Reads a URL and refuses the ones that nothing is to be sent to.
pub fn check(text: &str) -> Result<Url, AddressError> {
    let url = Url::parse(text).map_err(|error| AddressError::Malformed(error.to_string()))?;
    let Some(host) = url.host().map(|host| host.to_owned()) else {
        return Err(AddressError::Malformed("no host".to_owned()));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::Credentials);
    }
    if is_forbidden(&host) {
        return Err(AddressError::Forbidden(host.to_string()));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&host) => Ok(url),
        _ => Err(AddressError::Insecure(format!("{}://{host}", url.scheme()))),
    }
}

/// What a client for this address begins as. One for plain HTTP reads no certificates of the machine, which may have none, as
/// a small container has; whatever leads it to HTTPS is refused.
pub fn builder(address: &str) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder();
    if address.starts_with("http://") { builder.tls_certs_only([]) } else { builder }
}

/// The client for a vendor at this address.
pub fn client(address: &Address) -> Result<reqwest::Client, AddressError> {
    client_with(address, REQUEST_TIMEOUT)
}

/// The client for whoever is at an address that [`check`] allowed: it follows no redirects and repeats nothing.
pub fn client_to(url: &Url) -> Result<reqwest::Client, AddressError> {
    limited(url, REQUEST_TIMEOUT)
}

/// As [`client`], with a time limit of its own for a request from its start to the end of its answer.
pub(crate) fn client_with(address: &Address, limit: Duration) -> Result<reqwest::Client, AddressError> {
    limited(&address.base, limit)
}

fn limited(url: &Url, limit: Duration) -> Result<reqwest::Client, AddressError> {
    // A provider that somebody installed before serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = builder(url.as_str())
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT.min(limit))
        .timeout(limit)
        .user_agent(concat!("harmony/", env!("CARGO_PKG_VERSION")));
    let builder =
        if url.host().is_some_and(|host| is_loopback(&host)) { builder.no_proxy() } else { builder };
    builder.build().map_err(AddressError::Client)
}

fn is_loopback<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.as_ref().trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => match unwrapped(*address) {
            IpAddr::V4(inner) => inner.is_loopback(),
            IpAddr::V6(outer) => outer.is_loopback(),
        },
    }
}

fn is_forbidden<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => METADATA_NAMES.contains(&name.as_ref().trim_end_matches('.')),
        Host::Ipv4(address) => is_forbidden_v4(*address),
        Host::Ipv6(address) => match unwrapped(*address) {
            IpAddr::V4(inner) => is_forbidden_v4(inner),
            IpAddr::V6(outer) => {
                outer.is_unspecified()
                    || outer.is_multicast()
                    || outer.is_unicast_link_local()
                    || METADATA_V6.contains(&outer)
                    || is_local_nat64(outer)
                    || through_6to4(outer).is_some_and(|inner| {
                        is_forbidden_v4(inner) || inner.is_private() || inner.is_loopback()
                    })
            }
        },
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address == METADATA_V4
}

/// A translator of this network (RFC 8215), which hides an IPv4 address at a place that only its operator knows.
fn is_local_nat64(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 1, ..])
}

/// The IPv4 address that a 6to4 address is a tunnel to (RFC 3056). No vendor is behind one to a private network.
fn through_6to4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x20, 0x02, a, b, c, d, ..] = address.octets() else { return None };
    Some(Ipv4Addr::new(a, b, c, d))
}

/// The IPv4 address inside an IPv6 one: mapped (`::ffff:a.b.c.d`), compatible (`::a.b.c.d`) or
/// translated (`64:ff9b::a.b.c.d`).
fn unwrapped(address: Ipv6Addr) -> IpAddr {
    if address.is_loopback() || address.is_unspecified() {
        return IpAddr::V6(address);
    }
    let segments = address.segments();
    let is_wrapped = matches!(segments, [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _]);
    if !is_wrapped {
        return IpAddr::V6(address);
    }
    let [.., a, b, c, d] = address.octets();
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_and_this_machine_are_allowed() {
        for text in [
            "https://api.statuspage.io/v1",
            "https://example.atlassian.net/wiki/api/v2/",
            "https://10.1.2.3/api",
            "https://[2002:808:808::1]/",
            "https://[fd20:ce::1]/",
            "http://127.0.0.1:8090/api",
            "http://localhost:8090",
            "http://[::1]:8090/",
            "http://[::ffff:127.0.0.1]:8090/",
        ] {
            Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "api.statuspage.io",
            "ftp://example.com/",
            "http://example.com/",
            "http://10.1.2.3/",
            "https://user@example.com/",
            "https://user:secret@example.com/",
            "https://example.com/?a=b",
            "https://example.com/#a",
            "https://169.254.169.254/latest",
            "https://0.0.0.0/",
            "http://0.0.0.0:80/",
            "https://2852039166/",
            "https://[::]/",
            "https://[fe80::1]/",
            "https://[fd00:ec2::254]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[::169.254.169.254]/",
            "https://[64:ff9b::169.254.169.254]/",
            "https://[64:ff9b:1::169.254.169.254]/",
            "https://[64:ff9b:1:a9fe:a9:fe00::]/",
            "https://[2002:a9fe:a9fe::]/",
            "https://[2002:7f00:1::]/",
            "https://[2002:0a01:203::1]/",
            "https://[2002:c0a8:101::1]/",
            "https://[fd20:ce::254]/",
            "https://metadata.google.internal/",
            "https://metadata.google.internal./",
            "https://100.100.100.200/",
            "https:///",
        ] {
            assert!(Address::parse(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn ids_cannot_leave_the_base() {
        let address = Address::parse("https://api.example.com/v1").unwrap();
        let url = |segments: &[&str]| address.resource(segments).to_string();
        assert_eq!(url(&["a", "b"]), "https://api.example.com/v1/a/b");
        assert_eq!(
            url(&["pages", "x/../../y?z#w"]),
            "https://api.example.com/v1/pages/x%2F..%2F..%2Fy%3Fz%23w"
        );
        assert!(url(&["pages", ".."]).starts_with("https://api.example.com/v1/pages/"));
    }

    #[test]
    fn origin_covers_scheme_host_and_port() {
        let address = Address::parse("http://127.0.0.1:8090/api").unwrap();
        let same = |text| address.same_origin(&Url::parse(text).unwrap());
        assert!(same("http://127.0.0.1:8090/elsewhere"));
        assert!(!same("http://127.0.0.1:8091/api"));
        assert!(!same("https://127.0.0.1:8090/api"));
    }
}
