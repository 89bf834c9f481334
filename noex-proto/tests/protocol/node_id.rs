//! The rules for identities, as a user meets them.

use std::net::{IpAddr, Ipv6Addr};

use noex_proto::{NodeId, NodeIdFault};
use proptest::prelude::*;

fn fault(text: &str) -> NodeIdFault {
    text.parse::<NodeId>().expect_err(text).reason()
}

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

#[test]
fn every_form_of_host_has_one_canonical_form() {
    for (input, canonical, host) in [
        ("app1@192.168.1.1:4369", "app1@192.168.1.1:4369", "192.168.1.1"),
        ("a@DB-1.Example.ORG:1", "a@db-1.example.org:1", "db-1.example.org"),
        ("a@4ever:65535", "a@4ever:65535", "4ever"),
        ("a@1.2.3.4.example:80", "a@1.2.3.4.example:80", "1.2.3.4.example"),
        ("a@[::1]:4369", "a@[::1]:4369", "::1"),
        ("a@::1:4369", "a@[::1]:4369", "::1"),
        ("a@2001:DB8:0:0:0:0:0:1:4369", "a@[2001:db8::1]:4369", "2001:db8::1"),
        ("a@[::ffff:10.0.0.1]:1", "a@[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1"),
        ("App_1-x@h:1", "App_1-x@h:1", "h"),
        ("4f0c7d2b91aa@stack_service:1", "4f0c7d2b91aa@stack_service:1", "stack_service"),
        ("a@Seed.example.:1", "a@seed.example:1", "seed.example"),
    ] {
        let id = id(input);
        assert_eq!(id.as_str(), canonical);
        assert_eq!(id.to_string(), canonical);
        assert_eq!(id.host(), host);
        assert!(NodeId::is_valid(input) && NodeId::is_valid(canonical));
        assert_eq!(NodeId::new(id.name(), id.host(), id.port()).unwrap(), id);
    }
}

#[test]
fn each_rule_has_its_fault() {
    let long = "x".repeat(64);
    let label = format!("a@{long}:1");
    let name = format!("{long}x@h:1");
    let host = format!("a@{}:1", vec!["label"; 43].join("."));
    for (text, expected) in [
        ("", NodeIdFault::MissingAt),
        ("host:1", NodeIdFault::MissingAt),
        ("a@host", NodeIdFault::MissingPort),
        ("a@[::1]", NodeIdFault::MissingPort),
        ("@h:1", NodeIdFault::NameEmpty),
        ("-a@h:1", NodeIdFault::NameStart),
        ("_a@h:1", NodeIdFault::NameStart),
        ("ä@h:1", NodeIdFault::NameStart),
        ("a.b@h:1", NodeIdFault::NameCharacter),
        ("aä@h:1", NodeIdFault::NameCharacter),
        (&name, NodeIdFault::NameTooLong),
        ("a@:1", NodeIdFault::HostEmpty),
        ("a@1.2.3:1", NodeIdFault::HostDotted),
        ("a@1.2.3.256:1", NodeIdFault::HostDotted),
        ("a@01.2.3.4:1", NodeIdFault::HostDotted),
        ("a@2130706433:1", NodeIdFault::HostDotted),
        ("a@.:1", NodeIdFault::HostDotted),
        ("a@0x7f000001:1", NodeIdFault::HostDotted),
        ("a@0X7F.1:1", NodeIdFault::HostDotted),
        ("a@127.0x:1", NodeIdFault::HostDotted),
        ("a@[h]:1", NodeIdFault::HostBrackets),
        ("a@[1.2.3.4]:1", NodeIdFault::HostBrackets),
        ("a@[::1:1", NodeIdFault::HostBrackets),
        ("a@[fe80::1%eth0]:1", NodeIdFault::HostBrackets),
        ("a@fe80::1%eth0:1", NodeIdFault::HostIpv6),
        ("a@::1", NodeIdFault::HostIpv6),
        ("a@1:2:3:4:5:6:7:8", NodeIdFault::HostIpv6),
        ("a@-h:1", NodeIdFault::HostLabel),
        ("a@h-:1", NodeIdFault::HostLabel),
        ("a@h..x:1", NodeIdFault::HostLabel),
        ("a@h..:1", NodeIdFault::HostLabel),
        ("a@10.0.0.1.:1", NodeIdFault::HostDotted),
        ("a@127.1.:1", NodeIdFault::HostDotted),
        ("a@b@h:1", NodeIdFault::HostLabel),
        ("a@ h:1", NodeIdFault::HostLabel),
        ("a@bücher.de:1", NodeIdFault::HostLabel),
        (&label, NodeIdFault::HostLabel),
        (&host, NodeIdFault::HostTooLong),
        ("a@h:", NodeIdFault::PortDigits),
        ("a@h:+1", NodeIdFault::PortDigits),
        ("a@h:1 ", NodeIdFault::PortDigits),
        ("a@h:٣", NodeIdFault::PortDigits),
        ("a@h:0", NodeIdFault::PortRange),
        ("a@h:65536", NodeIdFault::PortRange),
        ("a@h:99999999999999999999", NodeIdFault::PortRange),
        ("a@h:01", NodeIdFault::PortLeadingZero),
        ("a@h:00", NodeIdFault::PortLeadingZero),
    ] {
        assert_eq!(fault(text), expected, "{text}");
        assert!(!NodeId::is_valid(text));
    }
}

#[test]
fn the_longest_parts_are_valid() {
    let name = "x".repeat(64);
    let host = [63, 63, 63, 61].map(|length| "h".repeat(length)).join(".");
    assert_eq!(host.len(), 253);
    let id = NodeId::new(&name, &host, u16::MAX).unwrap();
    assert_eq!((id.name(), id.host(), id.port()), (&*name, &*host, u16::MAX));
}

#[test]
fn parts_are_checked_like_a_text() {
    assert_eq!(NodeId::new("a", "[::1]", 1).unwrap(), NodeId::new("a", "::1", 1).unwrap());
    assert_eq!(NodeId::new("a", "h", 0).unwrap_err().reason(), NodeIdFault::PortRange);
    assert_eq!(NodeId::new("a@b", "h", 1).unwrap_err().reason(), NodeIdFault::NameCharacter);
    assert_eq!(NodeId::new("a", "h:1", 1).unwrap_err().reason(), NodeIdFault::HostIpv6);
}

#[test]
fn an_error_names_value_and_rule_in_few_bytes() {
    let error = NodeId::new("a", "h", 0).unwrap_err();
    assert_eq!(error.value(), "a@h:0");
    assert_eq!(error.to_string(), "invalid node id \"a@h:0\": the port must be 1 to 65535");
    let error = "ü\n".repeat(100_000).parse::<NodeId>().unwrap_err();
    assert!(error.value().len() < 200 && error.value().ends_with('…'));
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn addresses_and_loopback_are_told_apart() {
    assert_eq!(id("a@10.0.0.1:1").host_ip(), Some(IpAddr::from([10, 0, 0, 1])));
    assert_eq!(id("a@[::1]:1").host_ip(), Some(Ipv6Addr::LOCALHOST.into()));
    assert_eq!(id("a@h:1").host_ip(), None);
    for text in ["a@127.1.2.3:1", "a@[::1]:1", "a@[::ffff:127.0.0.1]:1", "a@0.0.0.0:1", "a@LocalHost:1", "a@x.localhost:1"] {
        assert!(id(text).is_loopback(), "{text}");
    }
    for text in ["a@10.0.0.1:1", "a@[::ffff:10.0.0.1]:1", "a@mylocalhost:1", "a@localhost.de:1"] {
        assert!(!id(text).is_loopback(), "{text}");
    }
}

#[test]
fn display_takes_a_width_and_debug_is_the_text() {
    assert_eq!(format!("{:>8}|{:<8}|{:?}", id("a@h:1"), id("a@h:1"), id("a@h:1")), "   a@h:1|a@h:1   |\"a@h:1\"");
}

#[test]
fn serde_is_the_text() {
    assert_eq!(serde_json::to_string(&id("a@::1:1")).unwrap(), "\"a@[::1]:1\"");
    assert_eq!(serde_json::from_str::<NodeId>("\"a@H:1\"").unwrap(), id("a@h:1"));
    let error = serde_json::from_str::<NodeId>("\"a@h:0\"").unwrap_err().to_string();
    assert!(error.contains("the port must be 1 to 65535"), "{error}");
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| IpAddr::from(ip).to_string()),
        any::<[u16; 8]>().prop_map(|ip| IpAddr::from(ip).to_string()),
        proptest::collection::vec(0..3_u16, 8).prop_map(|ip| {
            let ip: [u16; 8] = ip.try_into().unwrap();
            format!("[{}]", ip.map(|part| format!("{part:04X}")).join(":"))
        }),
        "[a-zA-Z]([a-zA-Z0-9_-]{0,10}[a-zA-Z0-9_])?(\\.[a-zA-Z0-9]{1,5}){0,3}\\.?",
    ]
}

fn any_id() -> impl Strategy<Value = NodeId> {
    ("[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}", host(), 1..=u16::MAX)
        .prop_map(|(name, host, port)| NodeId::new(&name, &host, port).unwrap())
}

proptest! {
    #[test]
    fn valid_parts_survive_every_round_trip(id in any_id()) {
        prop_assert_eq!(&id.as_str().parse::<NodeId>().unwrap(), &id);
        prop_assert_eq!(&NodeId::new(id.name(), id.host(), id.port()).unwrap(), &id);
        prop_assert_eq!(&serde_json::from_str::<NodeId>(&serde_json::to_string(&id).unwrap()).unwrap(), &id);
        prop_assert_eq!(id.host_ip().is_some(), id.host().parse::<IpAddr>().is_ok());
    }

    #[test]
    fn case_of_the_host_makes_no_difference(name in "[a-z]{1,5}", host in host(), port in 1..=u16::MAX) {
        let lower = NodeId::new(&name, &host.to_lowercase(), port).unwrap();
        prop_assert_eq!(NodeId::new(&name, &host.to_uppercase(), port).unwrap(), lower);
    }

    #[test]
    fn order_and_equality_are_those_of_the_text(a in any_id(), b in any_id()) {
        prop_assert_eq!(a.cmp(&b), a.as_str().as_bytes().cmp(b.as_str().as_bytes()));
        prop_assert_eq!(a == b, a.as_str() == b.as_str());
    }

    #[test]
    fn nothing_panics_and_what_is_read_is_canonical(text in "\\PC*|[a-c]{1,2}@[0-9a-fA-F.:\\[\\]-]{0,20}:[0-9+]{0,6}") {
        if let Ok(id) = text.parse::<NodeId>() {
            prop_assert_eq!(id.as_str().parse::<NodeId>().unwrap(), id.clone());
            prop_assert!(id.port() != 0);
        }
    }
}
