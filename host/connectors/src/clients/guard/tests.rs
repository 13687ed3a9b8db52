//! The guard against a table of addresses and spellings.

use url::Url;

use super::*;

const CLOSED: Guard = Guard { allow: None, private: Private::Nothing };
const OPENED: Guard = Guard { allow: None, private: Private::All };

/// What a URL's host literal gives: by default, and with `allow_private`.
#[track_caller]
fn check(url: &str, expected: &str, expected_private: &str) {
    let url = Url::parse(url).unwrap();
    let host = url.host().unwrap();
    for (guard, expected) in [(CLOSED, expected), (OPENED, expected_private)] {
        let got = guard.check_host(&host).err().map(|refused| refused.to_string()).unwrap_or_default();
        match expected {
            "" => assert_eq!(got, "", "{url}"),
            _ => assert!(got.contains(expected), "{url}: {got:?} lacks {expected:?}"),
        }
    }
}

#[test]
fn public_addresses_pass() {
    for url in [
        "http://1.1.1.1",
        "http://8.8.8.8",
        "http://9.255.255.255",
        "http://11.0.0.0",
        "http://100.63.255.255",
        "http://100.128.0.0",
        "http://126.255.255.255",
        "http://128.0.0.1",
        "http://169.253.255.255",
        "http://172.15.255.255",
        "http://172.32.0.0",
        "http://192.0.1.1",
        "http://192.167.255.255",
        "http://198.17.255.255",
        "http://198.20.0.0",
        "http://223.255.255.255",
        "http://[2606:4700::1111]",
        "http://[2a00::1]",
        "http://[2003::1]",
        "http://[2001:200::1]",
        "http://example.com",
        "http://localhost",
    ] {
        check(url, "", "");
    }
}

#[test]
fn ranges_are_refused() {
    for (url, rule) in [
        ("http://127.0.0.1", "loopback"),
        ("http://127.255.255.254", "loopback"),
        ("http://10.0.0.1", "private"),
        ("http://10.255.255.255", "private"),
        ("http://172.16.0.1", "private"),
        ("http://172.31.255.255", "private"),
        ("http://192.168.0.1", "private"),
        ("http://192.168.255.255", "private"),
        ("http://169.254.0.1", "link-local"),
        ("http://169.254.169.254", "metadata"),
        ("http://168.63.129.16", "metadata"),
        ("http://100.100.100.200", "metadata"),
        ("http://[fd00:ec2::23]", "metadata"),
        ("http://[fd00:ec2::254]", "metadata"),
        ("http://100.64.0.0", "shared"),
        ("http://100.127.255.255", "shared"),
        ("http://192.0.0.1", "protocol"),
        ("http://192.0.2.1", "documentation"),
        ("http://198.51.100.1", "documentation"),
        ("http://203.0.113.255", "documentation"),
        ("http://198.18.0.1", "benchmarks"),
        ("http://198.19.255.255", "benchmarks"),
        ("http://240.0.0.1", "reserved"),
        ("http://255.255.255.254", "reserved"),
        ("http://[::1]", "loopback"),
        ("http://[::ffff:127.0.0.1]", "IPv4-mapped"),
        ("http://[::ffff:8.8.8.8]", "IPv4-mapped"),
        ("http://[::127.0.0.1]", "IPv4-compatible"),
        ("http://[64:ff9b::a9fe:a9fe]", "translated"),
        ("http://[64:ff9b:1::1]", "translated"),
        ("http://[2002:7f00:1::]", "translated"),
        ("http://[100::1]", "discarded"),
        ("http://[2001::1]", "protocol"),
        ("http://[2001:db8::1]", "documentation"),
        ("http://[3fff::1]", "documentation"),
        ("http://[fc00::1]", "private"),
        ("http://[fdff::1]", "private"),
        ("http://[fe80::1]", "link-local"),
        ("http://[febf::1]", "link-local"),
        ("http://[fec0::1]", "private"),
        ("http://[4000::1]", "not a global unicast"),
        ("http://[1::1]", "not a global unicast"),
    ] {
        check(url, rule, "");
    }
}

#[test]
fn what_cannot_be_a_remote_is_always_refused() {
    for (url, rule) in [
        ("http://0.0.0.0", "unspecified"),
        ("http://0.1.2.3", "unspecified"),
        ("http://224.0.0.1", "multicast"),
        ("http://239.255.255.255", "multicast"),
        ("http://255.255.255.255", "broadcast"),
        ("http://[::]", "unspecified"),
        ("http://[ff02::1]", "multicast"),
    ] {
        check(url, rule, rule);
    }
}

#[test]
fn spellings_are_normalised_first() {
    for url in [
        "http://2130706433",
        "http://0x7f000001",
        "http://0x7f.1",
        "http://017700000001",
        "http://0177.0.0.1",
        "http://127.1",
        "http://127.0.1",
        "http://0x7F.0x0.0x0.0x1",
        "http://%31%32%37.0.0.1",
        "http://127.0.0.1.",
        "http://①②⑦.0.0.1",
        "http://127。0。0。1",
    ] {
        check(url, "127.0.0.1: a loopback address (127.0.0.0/8)", "");
    }
}

#[test]
fn the_daemons_list_matches_whole_hosts() {
    #[track_caller]
    fn check(pattern: &str, host: &str, expected: bool) {
        let egress = EgressPolicy { allow: Some(vec![HostPattern::parse(pattern).unwrap()]), private: None };
        let host = Host::parse(host).unwrap();
        assert_eq!(Guard::new(&egress, true).check_host(&host).is_ok(), expected, "{pattern} {host}");
    }
    check("example.com", "example.com", true);
    check("example.com", "EXAMPLE.com", true);
    check("Example.COM.", "example.com.", true);
    check("example.com", "example.com.evil.io", false);
    check("example.com", "notexample.com", false);
    check("example.com", "a.example.com", false);
    check("*.example.com", "a.example.com", true);
    check("*.example.com", "a.b.example.com", true);
    check("*.example.com", "example.com", false);
    check("*.example.com", ".example.com", false);
    check("*.example.com", "evilexample.com", false);
    check("*.example.com", "a.example.com.evil.io", false);
    check("10.0.0.1", "10.0.0.1", true);
    check("10.0.0.1", "10.0.0.2", false);
    check("[::1]", "[0:0::1]", true);
}

#[test]
fn patterns_that_are_no_hosts_are_refused() {
    for text in ["", "*", "*.", "a*.com", "*.*.com", "a/b", "a b", "*.10.0.0.1", "http://a"] {
        assert_eq!(HostPattern::parse(text), None, "{text}");
    }
}

/// What a guard says of the address of a name.
#[track_caller]
fn check_name(guard: &Guard, address: &str, expected: &str) {
    let host = Host::parse("name.test").unwrap();
    let got = guard.check_address(&host, address.parse().unwrap()).err().map(|refused| refused.to_string());
    assert_eq!(got.unwrap_or_default(), expected);
}

#[test]
fn metadata_services_are_opened_to_their_literals_only() {
    for (literal, rule) in [
        ("169.254.169.254", "the cloud's metadata service (169.254.169.254/32)"),
        ("168.63.129.16", "the cloud's metadata service (168.63.129.16/32)"),
        ("100.100.100.200", "the cloud's metadata service (100.100.100.200/32)"),
        ("169.254.170.2", "a link-local address (169.254.0.0/16)"),
        ("fd00:ec2::254", "the cloud's metadata service (fd00:ec2::/32)"),
        ("fe80::1", "a link-local address (fe80::/10)"),
        ("::ffff:169.254.169.254", "an IPv4-mapped address (::ffff:0.0.0.0/96)"),
    ] {
        let expected = format!(
            "refused to connect to {literal} of name.test: {rule}; only a URL that holds this very address leads there"
        );
        check_name(&OPENED, literal, &expected);
        check_name(&CLOSED, literal, &expected);
        let url = if literal.contains(':') { format!("http://[{literal}]") } else { format!("http://{literal}") };
        check(&url, "; only a connection with `allow_private: true` may reach it", "");
    }
    for private in ["10.0.0.1", "127.0.0.1", "192.168.0.1", "::1", "fd00::1"] {
        check_name(&OPENED, private, "");
    }
}

#[test]
fn the_daemons_networks_bound_allow_private() {
    let networks = ["10.1.0.0/16", "192.168.7.7", "169.254.0.0/16", "fd12::/16", "224.0.0.0/4"];
    let networks = networks.map(|text| Network::parse(text).unwrap());
    let listed = Guard::new(&EgressPolicy { allow: None, private: Some(networks.into()) }, true);
    for open in ["10.1.0.0", "10.1.255.255", "192.168.7.7", "fd12::1", "1.1.1.1", "2a00::1"] {
        check_name(&listed, open, "");
    }
    let check_rule = |address: &str, rule: &str| {
        let remedy = "; no network of the daemon's `egress.private` holds it";
        check_name(&listed, address, &format!("refused to connect to {address} of name.test: {rule}{remedy}"));
    };
    check_rule("10.0.255.255", "a private address (10.0.0.0/8)");
    check_rule("10.2.0.0", "a private address (10.0.0.0/8)");
    check_rule("192.168.7.8", "a private address (192.168.0.0/16)");
    check_rule("127.0.0.1", "a loopback address (127.0.0.0/8)");
    check_rule("fd13::1", "a private address (fc00::/7)");
    let host = |text: &str| Host::<String>::parse(text).unwrap();
    assert!(listed.check_host(&host("169.254.169.254")).is_ok());
    assert!(listed.check_host(&host("168.63.129.16")).is_err());
    assert!(listed.check_host(&host("224.0.0.1")).is_err());
    assert!(listed.check_address(&host("name.test"), "169.254.169.254".parse().unwrap()).is_err());

    let unlisted = Guard::new(&EgressPolicy { allow: None, private: Some(Vec::new()) }, true);
    for policy in [unlisted, Guard::new(&EgressPolicy::OPEN, false)] {
        assert!(policy.check_host(&host("10.1.0.0")).is_err());
    }
    assert!(Guard::new(&EgressPolicy::OPEN, true).check_host(&host("10.1.0.0")).is_ok());
}

#[test]
fn networks_are_ranges_or_addresses() {
    for text in ["10.0.0.0/8", "10.1.2.3", "10.1.2.3/32", "0.0.0.0/0", "::/0", "fd00::/8", "::1"] {
        assert!(Network::parse(text).is_some(), "{text}");
    }
    for text in ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "fd00::1/8", "localhost", "*", "10.0.0.0/8 "] {
        assert!(Network::parse(text).is_none(), "{text}");
    }
}
