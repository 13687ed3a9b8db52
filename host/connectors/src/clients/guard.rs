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

use self::Opens::{Never, ToAll, ToLiteral};

/// The daemon's own bounds on where any connection may go; no connection's `allow_private` reaches past them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Only hosts that match one of these, when given.
    pub allow: Option<Vec<HostPattern>>,
    /// What `allow_private` opens to a connection: only these networks, when given. Without any, it may not be said.
    pub private: Option<Vec<Network>>,
}

impl EgressPolicy {
    /// No bounds of the daemon's own: each connection's `allow_private` decides.
    pub const OPEN: Self = Self { allow: None, private: None };

    /// Whether `allow_private` opens anything.
    pub(crate) fn opens_private(&self) -> bool {
        self.private.as_ref().is_none_or(|networks| !networks.is_empty())
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Reads a range such as `10.1.0.0/16`, or a single address; `None` for anything else, and where the address has
    /// bits beyond its prefix: whether the address or the prefix is the mistake cannot be known.
    pub fn parse(text: &str) -> Option<Self> {
        let range = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
        (range == range.trunc()).then_some(Self(range))
    }
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
pub(crate) struct Refused {
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
    private: Private,
}

/// What of the refused ranges one connection may reach.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Private {
    /// The connection does not say `allow_private`.
    Nothing,
    /// The daemon sets no bounds.
    All,
    Only(Arc<[Network]>),
}

impl Guard {
    /// The guard of a connection. The daemon's bounds win.
    pub(crate) fn new(egress: &EgressPolicy, allow_private: bool) -> Self {
        let private = match (allow_private, &egress.private) {
            (false, _) => Private::Nothing,
            (true, None) => Private::All,
            (true, Some(networks)) => Private::Only(networks.as_slice().into()),
        };
        Self { allow: egress.allow.as_deref().map(Arc::from), private }
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
        let Some((range, rule, opens)) = range_of(address) else {
            return Ok(());
        };
        let is_literal = match host {
            Host::Domain(_) => false,
            Host::Ipv4(literal) => address == IpAddr::V4(*literal),
            Host::Ipv6(literal) => address == IpAddr::V6(*literal),
        };
        let remedy = match (opens, &self.private) {
            (Never, _) => "",
            (ToLiteral, _) if !is_literal => "; only a URL that holds this very address leads there",
            (_, Private::Nothing) => "; only a connection with `allow_private: true` may reach it",
            (_, Private::Only(networks)) if !networks.iter().any(|Network(range)| range.contains(&address)) => {
                "; no network of the daemon's `egress.private` holds it"
            }
            (ToLiteral | ToAll, Private::All | Private::Only(_)) => return Ok(()),
        };
        let what = if is_literal { address.to_string() } else { format!("{address} of {}", show(host)) };
        Err(Refused { what, rule: format!("{rule} ({range}){remedy}") })
    }
}

/// To whom `allow_private` opens a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opens {
    /// To nobody: no connection can be made there (multicast, broadcast), or it means something else than it says
    /// (`0.0.0.0` is this very machine).
    Never,
    /// To a URL that holds the very address. An operator who opened a private network by a name did not mean to hand
    /// out the machine's credentials to whoever answers for that name.
    ToLiteral,
    /// To every host.
    ToAll,
}

fn show(host: &Host<impl AsRef<str>>) -> String {
    match host {
        Host::Domain(name) => name.as_ref().to_string(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => format!("[{address}]"),
    }
}

/// The refused range that an address is in: the range, what it is, and to whom `allow_private` opens it.
fn range_of(address: IpAddr) -> Option<(IpNet, &'static str, Opens)> {
    if let Some(row) = RANGES.iter().find(|(range, ..)| range.contains(&address)) {
        return Some(*row);
    }
    // All of IPv6 that is given out for general use lies here; whatever is defined elsewhere later is closed already.
    match address {
        IpAddr::V6(address) if address.segments()[0] & 0xe000 != 0x2000 => {
            Some((IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)), "not a global unicast address", ToAll))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// The first row that contains an address names the rule, so narrow rows stand before wide ones.
static RANGES: LazyLock<Vec<(IpNet, &'static str, Opens)>> = LazyLock::new(|| {
    let v4 = RANGES_V4.iter().map(|&(address, prefix, rule, opens)| {
        let address = Ipv4Addr::from(address);
        (IpNet::V4(Ipv4Net::new_assert(address, prefix)), rule, opens)
    });
    let v6 = RANGES_V6.iter().map(|&(address, prefix, rule, opens)| {
        let address = Ipv6Addr::from(address);
        (IpNet::V6(Ipv6Net::new_assert(address, prefix)), rule, opens)
    });
    v4.chain(v6).collect()
});

const RANGES_V4: [([u8; 4], u8, &str, Opens); 18] = [
    ([169, 254, 169, 254], 32, "the cloud's metadata service", ToLiteral),
    ([168, 63, 129, 16], 32, "the cloud's metadata service", ToLiteral),
    ([100, 100, 100, 200], 32, "the cloud's metadata service", ToLiteral),
    ([255, 255, 255, 255], 32, "the broadcast address", Never),
    ([0, 0, 0, 0], 8, "an unspecified address", Never),
    ([10, 0, 0, 0], 8, "a private address", ToAll),
    ([100, 64, 0, 0], 10, "an address shared by carriers", ToAll),
    ([127, 0, 0, 0], 8, "a loopback address", ToAll),
    ([169, 254, 0, 0], 16, "a link-local address", ToLiteral),
    ([172, 16, 0, 0], 12, "a private address", ToAll),
    ([192, 0, 0, 0], 24, "an address for protocol assignments", ToAll),
    ([192, 0, 2, 0], 24, "an address for documentation", ToAll),
    ([192, 168, 0, 0], 16, "a private address", ToAll),
    ([198, 18, 0, 0], 15, "an address for benchmarks", ToAll),
    ([198, 51, 100, 0], 24, "an address for documentation", ToAll),
    ([203, 0, 113, 0], 24, "an address for documentation", ToAll),
    ([224, 0, 0, 0], 4, "a multicast address", Never),
    ([240, 0, 0, 0], 4, "a reserved address", ToAll),
];

/// IPv4 inside IPv6 is refused whole: where such an address leads is decided by a translator that we do not know. A
/// mapped address is this machine's own spelling of an IPv4 address, the metadata service's too, and no name has one.
const RANGES_V6: [([u16; 8], u8, &str, Opens); 16] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "the unspecified address", Never),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "the loopback address", ToAll),
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32, "the cloud's metadata service", ToLiteral),
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "an IPv4-mapped address", ToLiteral),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, "an IPv4-compatible address", ToLiteral),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "an address translated to IPv4", ToAll),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "an address translated to IPv4", ToAll),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "a discarded address", ToAll),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "an address for protocol assignments", ToAll),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "an address for documentation", ToAll),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "an address translated to IPv4", ToAll),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "an address for documentation", ToAll),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a private address", ToAll),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "a link-local address", ToLiteral),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a private address", ToAll),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "a multicast address", Never),
];

#[cfg(test)]
mod tests;
