//! IPv6 extension headers, packet by packet.

use super::*;

/// An options header of one unit that holds `option` of four bytes.
const fn options_header(next: u8, option: [u8; 6]) -> [u8; 8] {
    let [a, b, c, d, e, f] = option;
    [next, 0, a, b, c, d, e, f]
}

/// Six bytes of padding.
const PAD: [u8; 6] = [1, 4, 0, 0, 0, 0];

/// A datagram behind `chain`, whose first header is `next`.
fn behind(destination: &str, next: u8, chain: &[u8]) -> Vec<u8> {
    let inner = &udp(PEER6, destination, b"inside")[40..];
    raw(PEER6, destination, next, &[chain, inner].concat())
}

/// A fresh host and the parameter problem it answers: code and pointer.
fn problem(packet: &[u8]) -> (u8, u32) {
    let (source, destination, icmp) = dissect(&answer(&mut ip(), packet.to_vec()));
    assert_eq!((source, destination), (addr(US6), addr(PEER6)));
    assert_eq!(icmp[0], 4, "parameter problem");
    let quoted = packet.len().min(1280 - 48);
    assert_eq!(icmp[8..], packet[..quoted], "quoted unchanged");
    let pointer = u32::from_be_bytes(icmp[4..8].try_into().expect("four bytes"));
    (icmp[1], pointer)
}

/// Headers that are right are stepped over, in order.
#[test]
#[covers("V6-1")]
fn a_right_chain_is_walked() {
    let hop_by_hop = options_header(60, PAD);
    let destination = options_header(43, PAD);
    let routing = [60, 0, 0, 0, 0, 0, 0, 0];
    let last = options_header(17, PAD);
    let chain = [hop_by_hop, destination, routing, last].concat();
    let arrived = ip().on_frame(at(1), frame(behind(US6, 0, &chain)));
    assert_eq!(datagram(arrived).data, "inside");
}

/// Hop-by-hop options stand right behind the fixed header or nowhere: not second, not behind a
/// routing or fragment header, not twice.
#[test]
#[covers("V6-1")]
fn hop_by_hop_options_elsewhere_are_refused() {
    let late = options_header(17, PAD);
    for (next, before) in [
        (60, options_header(0, PAD)),
        (0, options_header(0, PAD)),
        (43, [0, 0, 0, 0, 0, 0, 0, 0]),
        (44, [0, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        let chain = [before, late].concat();
        assert_eq!(
            problem(&behind(US6, next, &chain)),
            (1, 40),
            "behind {next}"
        );
    }
}

/// The pointer names the byte that names what nobody knows, behind zero to three headers.
#[test]
#[covers("V6-2")]
fn an_unknown_next_header_is_pointed_at() {
    let headers = [
        options_header(60, PAD),
        options_header(60, PAD),
        options_header(60, PAD),
    ];
    for count in 0..=3 {
        let mut chain = headers[..count].concat();
        let pointer = if count == 0 {
            6
        } else {
            chain[count * 8 - 8] = 200;
            40 + count * 8 - 8
        };
        let next = if count == 0 { 200 } else { 60 };
        let packet = raw(PEER6, US6, next, &[&chain[..], &[0; 20]].concat());
        assert_eq!(problem(&packet), (1, pointer as u32), "{count} headers");
    }
}

/// Unknown options: the two top bits decide, in either options header, to us and to a group.
#[test]
#[covers("V6-3", "C6-3")]
fn unknown_options_do_as_they_say() {
    for next in [0, 60] {
        for low in [0x1e, 0x3f] {
            for action in 0..4_u8 {
                let kind = action << 6 | low;
                let packet = |destination| {
                    let option = options_header(17, [0, kind, 3, 0, 0, 0]);
                    behind(destination, next, &option)
                };
                match action {
                    0 => {
                        let arrived = ip().on_frame(at(1), frame(packet(US6)));
                        assert_eq!(datagram(arrived).data, "inside");
                    }
                    1 => {
                        let mut ip = ip();
                        let result = ip.on_frame(at(1), frame(packet(US6)));
                        assert_eq!(result.err(), Some(Dropped::ExtensionHeader));
                        assert!(!ip.has_ready(), "silent");
                    }
                    _ => assert_eq!(problem(&packet(US6)), (2, 43), "{kind:#x}"),
                }
                if action == 2 {
                    assert_eq!(problem(&packet("ff02::1")), (2, 43), "{kind:#x}");
                } else {
                    assert_silent(&mut ip(), packet("ff02::1"));
                }
            }
        }
    }
}

/// Routing headers of all types: with nothing left they are history, else a parameter problem at
/// the type; type 0 is no exception.
#[test]
#[covers("V6-4")]
fn routing_headers_are_history_or_refused() {
    for kind in 0..=255 {
        let header = |left| [17, 0, kind, left, 0, 0, 0, 0];
        let arrived = ip().on_frame(at(1), frame(behind(US6, 43, &header(0))));
        assert_eq!(datagram(arrived).data, "inside", "type {kind}");
        assert_eq!(
            problem(&behind(US6, 43, &header(1))),
            (0, 42),
            "type {kind}"
        );
    }
    // With an address in it that is ours, or the next hop: never followed.
    for left in 1..=3 {
        let hops = [addr(US6), addr(PEER6), addr("2001:db8::7")].map(|ip| match ip {
            IpAddr::V6(ip) => ip.octets(),
            IpAddr::V4(_) => panic!("IPv6"),
        });
        let chain = [&[17, 6, 0, left, 0, 0, 0, 0], &hops.concat()[..]].concat();
        assert_eq!(problem(&behind(US6, 43, &chain)), (0, 42));
    }
}

/// A full packet of the smallest headers is given up after a few, and quickly.
#[test]
#[covers("V6-5")]
fn a_long_chain_costs_little() {
    let chain = options_header(60, PAD).repeat((1280 - 40) / 8);
    let packet: Bytes = raw(PEER6, US6, 60, &chain).into();
    assert_eq!(packet.len(), 1280);
    let mut ip = ip();
    let started = std::time::Instant::now();
    for _ in 0..10_000 {
        let result = ip.on_frame(at(1), frame(packet.clone()));
        assert_eq!(result.err(), Some(Dropped::ExtensionHeader));
    }
    let each = started.elapsed() / 10_000;
    assert!(each.as_micros() <= 100, "{each:?} for a packet");
    assert!(!ip.has_ready());
    // Lengths that leave the packet, or would wrap if added in sixteen bits.
    for units in [1, 2, 154, 255] {
        for next in [0, 43, 60] {
            let header = [60, units, 1, 4, 0, 0, 0, 0];
            assert_silent(&mut ip, raw(PEER6, US6, next, &header));
        }
    }
    let chain = [60, 255, 1, 4, 0, 0, 0, 0].repeat(200);
    assert_silent(&mut ip, raw(PEER6, US6, 60, &chain));
}

/// "Nothing follows", whatever does; payload lengths of zero, beyond the frame, and jumbo.
#[test]
#[covers("V6-14")]
fn nothing_jumbo_and_too_long() {
    let mut ip = ip();
    for junk in [0, 1, 8, 100] {
        assert_silent(&mut ip, raw(PEER6, US6, 59, &pattern(junk)));
        let chain = [&options_header(59, PAD)[..], &pattern(junk)].concat();
        assert_silent(&mut ip, raw(PEER6, US6, 60, &chain));
    }
    assert!(ip.counters().in_no_next_header >= 7);
    let good = udp(PEER6, US6, b"x");
    for len in [0_u16, 10, 11, 1000, 65_535] {
        let mut bad = good.clone();
        bad[4..6].copy_from_slice(&len.to_be_bytes());
        let result = ip.on_frame(at(1), frame(bad));
        let expected = if len == 0 {
            Dropped::Header
        } else {
            Dropped::Truncated
        };
        assert_eq!(result.err(), Some(expected), "{len}");
    }
    // RFC 2675: a length of zero and an option that names the true one.
    let jumbo = [17, 0, 0xc2, 4, 0, 1, 0, 0];
    let mut packet = behind(US6, 0, &jumbo);
    packet[4..6].fill(0);
    assert_silent(&mut ip, packet);
    assert_eq!(ip.counters().out_requests, 0);
    assert_counters_add_up(&ip);
}
