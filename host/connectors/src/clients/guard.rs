//! The guard: which hosts and addresses a connection may reach.
//!
//! Whoever may write a URL into a connection could otherwise make the daemon call what only the daemon can reach: the
//! loopback interface, the private network, the cloud's metadata service. The check is made on the address that the
//! socket is then opened to, so that a name cannot change its mind in between.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::Host;

/// The daemon's own bounds on where any connection may go; no connection's `allow_private` reaches past them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Only hosts that match one of these, when given.
    pub allow: Option<Vec<HostPattern>>,
    /// Whether a connection may say `allow_private`.
    pub private: bool,
}

impl EgressPolicy {
    /// No bounds of the daemon's own: each connection's `allow_private` decides.
    pub const OPEN: Self = Self { allow: None, private: true };
}

/// A host name, or `*.` and a name for everything below it. It always matches a whole host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// In the normal form of the `url` crate, without a dot at the end.
    name: String,
    /// Everything below the name, but not the name itself.
    below: bool,
}

impl HostPattern {
    /// Reads a pattern; `None` where it is neither a host nor `*.` and a host.
    pub fn parse(text: &str) -> Option<Self> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let host = Host::parse(name.trim_end_matches('.')).ok()?;
        let is_name = matches!(host, Host::Domain(_));
        let name = host.to_string();
        (!name.contains('*') && (is_name || !below)).then_some(Self { name, below })
    }

    fn matches(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        if !self.below {
            return host == self.name;
        }
        host.strip_suffix(self.name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

/// Why the guard let something not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The host, and the address where it is not the host itself.
    what: String,
    /// The rule, such as `a loopback address (127.0.0.0/8)`.
    rule: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused to connect to {}: {}", self.what, self.rule)
    }
}

impl std::error::Error for Refused {}

/// Where one connection may go: its own `allow_private` within the daemon's bounds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Guard {
    allow: Option<Arc<[HostPattern]>>,
    private: bool,
}

impl Guard {
    /// The guard of a connection. The daemon's bounds win.
    pub(crate) fn new(egress: &EgressPolicy, allow_private: bool) -> Self {
        Self { allow: egress.allow.as_deref().map(Arc::from), private: allow_private && egress.private }
    }

    /// Checks what can be known of a host before any look-up: its name, or its address where it is written as one.
    pub(crate) fn check_host(&self, host: &Host<impl AsRef<str>>) -> Result<(), Refused> {
        self.check_name(host)?;
        match host {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => self.check_address(host, IpAddr::V4(*address)),
            Host::Ipv6(address) => self.check_address(host, IpAddr::V6(*address)),
        }
    }

    /// Checks a host against the daemon's list only: all that can be checked where a proxy opens the connection.
    pub(crate) fn check_name(&self, host: &Host<impl AsRef<str>>) -> Result<(), Refused> {
        let Some(allow) = &self.allow else {
            return Ok(());
        };
        let text = show(host);
        if allow.iter().any(|pattern| pattern.matches(&text)) {
            return Ok(());
        }
        Err(Refused { what: text, rule: "no host of the daemon's `egress.allow` matches".into() })
    }

    /// Checks one address of a host.
    pub(crate) fn check_address(&self, host: &Host<impl AsRef<str>>, address: IpAddr) -> Result<(), Refused> {
        let Some((range, rule, reachable)) = range_of(address) else {
            return Ok(());
        };
        if self.private && reachable {
            return Ok(());
        }
        let host = show(host);
        let address = address.to_string();
        let what = if host.trim_matches(['[', ']']) == address { address } else { format!("{address} of {host}") };
        let remedy = if reachable { "; only a connection with `allow_private: true` may reach it" } else { "" };
        Err(Refused { what, rule: format!("{rule} ({range}){remedy}") })
    }
}

fn show(host: &Host<impl AsRef<str>>) -> String {
    match host {
        Host::Domain(name) => name.as_ref().to_string(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => format!("[{address}]"),
    }
}

/// The refused range that an address is in: the range, what it is, and whether `allow_private` opens it. What no
/// connection can be made to (multicast, broadcast) or what means something else than it says (`0.0.0.0` is this very
/// machine) stays closed.
fn range_of(address: IpAddr) -> Option<(IpNet, &'static str, bool)> {
    if let Some(row) = RANGES.iter().find(|(range, ..)| range.contains(&address)) {
        return Some(*row);
    }
    // All of IPv6 that is given out for general use lies here; whatever is defined elsewhere later is closed already.
    match address {
        IpAddr::V6(address) if address.segments()[0] & 0xe000 != 0x2000 => {
            Some((IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)), "not a global unicast address", true))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// The first row that contains an address names the rule, so narrow rows stand before wide ones.
static RANGES: LazyLock<Vec<(IpNet, &'static str, bool)>> = LazyLock::new(|| {
    let v4 = RANGES_V4.iter().map(|&(address, prefix, rule, reachable)| {
        let address = Ipv4Addr::from(address);
        (IpNet::V4(Ipv4Net::new_assert(address, prefix)), rule, reachable)
    });
    let v6 = RANGES_V6.iter().map(|&(address, prefix, rule, reachable)| {
        let address = Ipv6Addr::from(address);
        (IpNet::V6(Ipv6Net::new_assert(address, prefix)), rule, reachable)
    });
    v4.chain(v6).collect()
});

const RANGES_V4: [([u8; 4], u8, &str, bool); 18] = [
    ([169, 254, 169, 254], 32, "the cloud's metadata service", true),
    ([168, 63, 129, 16], 32, "the cloud's metadata service", true),
    ([100, 100, 100, 200], 32, "the cloud's metadata service", true),
    ([255, 255, 255, 255], 32, "the broadcast address", false),
    ([0, 0, 0, 0], 8, "an unspecified address", false),
    ([10, 0, 0, 0], 8, "a private address", true),
    ([100, 64, 0, 0], 10, "an address shared by carriers", true),
    ([127, 0, 0, 0], 8, "a loopback address", true),
    ([169, 254, 0, 0], 16, "a link-local address", true),
    ([172, 16, 0, 0], 12, "a private address", true),
    ([192, 0, 0, 0], 24, "an address for protocol assignments", true),
    ([192, 0, 2, 0], 24, "an address for documentation", true),
    ([192, 168, 0, 0], 16, "a private address", true),
    ([198, 18, 0, 0], 15, "an address for benchmarks", true),
    ([198, 51, 100, 0], 24, "an address for documentation", true),
    ([203, 0, 113, 0], 24, "an address for documentation", true),
    ([224, 0, 0, 0], 4, "a multicast address", false),
    ([240, 0, 0, 0], 4, "a reserved address", true),
];

/// IPv4 inside IPv6 is refused whole: where such an address leads is decided by a translator that we do not know.
const RANGES_V6: [([u16; 8], u8, &str, bool); 16] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "the unspecified address", false),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "the loopback address", true),
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, "the cloud's metadata service", true),
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "an IPv4-mapped address", true),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, "an IPv4-compatible address", true),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "an address translated to IPv4", true),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "an address translated to IPv4", true),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "a discarded address", true),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "an address for protocol assignments", true),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "an address for documentation", true),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "an address translated to IPv4", true),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "an address for documentation", true),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a private address", true),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "a link-local address", true),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a private address", true),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address", false),
];

#[cfg(test)]
mod tests;
