//! Addresses that no packet between hosts has (IP-4, V6-18).

use super::*;

/// One of each class that is nobody's, over IPv4 and IPv6.
const V4: [&str; 9] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "10.77.0.255",
];
const V6: [&str; 6] = [
    "::",
    "::1",
    "ff02::1",
    "ff0e::1",
    "::ffff:10.77.0.2",
    "::ffff:0.0.0.0",
];

/// A datagram, a SYN and a ping.
fn packets_between(source: &str, destination: &str) -> [Vec<u8>; 3] {
    let echo = if addr(source).is_ipv4() { 8 } else { 128 };
    let mut syn = Vec::new();
    builder(source, destination, 64)
        .tcp(1000, 80, 7, 1024)
        .syn()
        .write(&mut syn, b"")
        .expect("a vector takes all");
    [
        udp(source, destination, b"x"),
        syn,
        icmp_message(source, destination, [echo, 0, 0, 0, 0, 1, 0, 1], b"x"),
    ]
}

/// Whatever a host asks in the name of nobody, or of us, is not answered, and nobody hears of it.
#[test]
#[covers("IP-4", "V6-18", "MUST-57", "MUST-63")]
fn nobody_may_be_a_source() {
    let v4 = V4.iter().chain([&US4]).map(|source| (*source, US4));
    let v6 = V6.iter().chain([&US6]).map(|source| (*source, US6));
    for (source, destination) in v4.chain(v6) {
        for mut ip in [ip(), transparent()] {
            for packet in packets_between(source, destination) {
                let result = ip.on_frame(at(1), frame(packet));
                assert_eq!(result.err(), Some(Dropped::Source), "from {source}");
            }
            assert_eq!(ip.counters().in_martians, 3);
            assert!(answers(&mut ip, at(1)).is_empty(), "from {source}");
        }
    }
}

/// Nor a destination, whether or not foreign ones are taken in.
#[test]
#[covers("IP-4", "V6-18", "MUST-57", "IC-3")]
fn nobody_may_be_a_destination() {
    let v4 = V4.iter().map(|destination| (PEER4, *destination));
    let v6 = V6.iter().map(|destination| (PEER6, *destination));
    for (source, destination) in v4.chain(v6) {
        for mut ip in [ip(), transparent()] {
            for packet in packets_between(source, destination) {
                let result = ip.on_frame(at(1), frame(packet));
                let is_refused = matches!(
                    result,
                    Err(Dropped::Multicast | Dropped::Destination | Dropped::IcmpIgnored)
                );
                assert!(is_refused, "to {destination}: {result:?}");
            }
            assert!(answers(&mut ip, at(1)).is_empty(), "to {destination}");
            assert_counters_add_up(&ip);
        }
    }
}

/// Packets to others are not ours to send on, and no error tells that we saw them.
#[test]
#[covers("IP-4")]
fn nothing_is_forwarded() {
    for (source, destination) in [(PEER4, "8.8.8.8"), (PEER6, "2001:db8::1")] {
        let mut ip = ip();
        for packet in packets_between(source, destination) {
            assert_silent(&mut ip, packet);
        }
        assert_eq!(ip.counters().in_addr_errors, 3);
        assert_eq!(ip.counters().out_requests, 0);
    }
}

/// RFC 1122 §3.2.1.3: 127/8 and the like are never seen outside a host, whoever asks for it.
#[test]
#[covers("IP-4")]
fn nobody_is_sent_to() {
    let reserved_v4 = V4.iter().filter(|ip| !ip.ends_with("255"));
    let v4 = reserved_v4.map(|them| (US4, *them));
    let v6 = V6.iter().map(|them| (US6, *them));
    for ends in v4.chain(v6).filter(|(_, them)| !addr(them).is_multicast()) {
        let mut ip = ip();
        let mut tx = TxBatch::new();
        send_datagram(&mut ip, &mut tx, ends, b"x");
        send_segment(&mut ip, &mut tx, ends, 5, &[], None);
        assert_eq!((tx.len(), ip.has_ready()), (0, false), "to {}", ends.1);
        assert_eq!(ip.counters().out_discards, 2);
    }
}
