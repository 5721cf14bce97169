//! The IPv4 header and its options, bit by bit.

use super::*;

/// Record route, timestamp, security, stream identifier, router alert, and one that nobody knows:
/// each a multiple of four with padding.
const HARMLESS: [&[u8]; 6] = [
    &[7, 7, 4, 0, 0, 0, 0, 0],
    &[68, 8, 5, 0, 0, 0, 0, 0],
    &[130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[136, 4, 0, 1],
    &[148, 4, 0, 0],
    &[1, 0x9e, 6, 1, 2, 3, 4, 1],
];

/// The same packet with options behind its header.
fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut bytes = [&packet[..20], options, &packet[20..]].concat();
    bytes[0] = 0x45 + (options.len() / 4) as u8;
    let len = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    seal(&mut bytes);
    bytes
}

/// TCP, UDP and ping get what they would get without.
#[test]
#[covers("MUST-50", "MAY-10", "MAY-11", "IP-9")]
fn harmless_options_are_as_if_absent() {
    let ping = icmp_message(PEER4, US4, [8, 0, 0, 0, 0, 1, 0, 1], b"ping");
    for options in HARMLESS {
        let mut ip = ip();
        let segment = with_options(&tcp(PEER4, US4, b"data"), options);
        let result = ip.on_frame(at(1), frame(segment));
        let Ok(Some(Input::Tcp { segment, .. })) = result else {
            panic!("{options:?}: {result:?}");
        };
        assert_eq!(segment.payload, "data");
        let arrived = with_options(&udp(PEER4, US4, b"data"), options);
        let arrived = datagram(ip.on_frame(at(1), frame(arrived)));
        assert_eq!(arrived.data, "data");
        let reply = answer(&mut ip, with_options(&ping, options));
        assert_eq!(dissect(&reply).2[8..], *b"ping");
    }
}

/// Lengths that lead nowhere: no loop, no answer, one count each.
#[test]
#[covers("IP-9", "IP-3")]
fn malformed_options_end_the_packet() {
    for kind in (2..=255).filter(|kind| ![131, 137].contains(kind)) {
        for len in [0, 1, 9, 41, 255] {
            let mut ip = ip();
            let options = [kind, len, 4, 0, 0, 0, 0, 0];
            let packet = with_options(&udp(PEER4, US4, b"x"), &options);
            let result = ip.on_frame(at(1), frame(packet));
            assert_eq!(result.err(), Some(Dropped::Header), "{kind} {len}");
            assert!(answers(&mut ip, at(1)).is_empty());
            assert_eq!(ip.counters().in_hdr_errors, 1);
        }
    }
}

/// Loose and strict source routes are refused, whatever is left of them: planned, and counted.
#[test]
#[covers("MUST-51", "MUST-52", "MUST-53", "SHLD-24", "IP-9")]
fn source_routes_are_refused() {
    let mut count = 0;
    let mut ip = transparent();
    for kind in [131, 137] {
        for pointer in [4, 8] {
            let route = [kind, 7, pointer, 10, 77, 0, 2, 0];
            for options in [route, [1, kind, 7, pointer, 10, 77, 0, 2]] {
                for packet in [tcp(PEER4, US4, b""), udp(PEER4, US4, b"x")] {
                    count += 1;
                    assert_silent(&mut ip, with_options(&packet, &options));
                    assert_eq!(ip.counters().in_source_routes, count);
                }
            }
        }
    }
    assert_eq!(count, 16);
}

/// Any flipped bit of the header drops the packet, silently, and is counted once.
#[test]
#[covers("IP-2")]
fn every_flipped_header_bit_is_silent() {
    for packet in [
        udp(PEER4, US4, b"x"),
        with_options(&tcp(PEER4, US4, b"x"), HARMLESS[0]),
    ] {
        let header_len = usize::from(packet[0] & 0xf) * 4;
        for bit in 0..header_len * 8 {
            let mut bad = packet.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut ip = transparent();
            assert!(ip.on_frame(at(1), frame(bad)).is_err(), "bit {bit}");
            assert_eq!((ip.counters().dropped(), ip.has_ready()), (1, false));
            let by_sum = ip.counters().in_csum_errors == 1;
            // Version, header length and total length are looked at first.
            assert!(by_sum || bit / 8 < 4, "bit {bit}: {:?}", ip.counters());
        }
        assert!(transparent().on_frame(at(1), frame(packet)).is_ok());
    }
}

/// All header lengths against all total lengths around them.
#[test]
#[covers("IP-3", "IP-1")]
fn lengths_must_agree() {
    let good = udp(PEER4, US4, &pattern(42));
    for ihl in 0..16_u8 {
        for total in 0..90_u16 {
            let mut bytes = good.clone();
            bytes[0] = 0x40 | ihl;
            bytes[2..4].copy_from_slice(&total.to_be_bytes());
            if ihl >= 5 {
                seal(&mut bytes);
            }
            let mut ip = ip();
            let result = ip.on_frame(at(1), frame(bytes));
            let is_whole = ihl == 5 && total == good.len() as u16;
            if is_whole {
                assert_eq!(datagram(result).data, pattern(42));
                continue;
            }
            // Longer headers make options of the UDP header; none of that is a datagram any more.
            assert!(result.is_err(), "ihl {ihl} total {total}: {result:?}");
            assert!(!ip.has_ready(), "ihl {ihl} total {total}");
            if ihl < 5 || usize::from(total) < usize::from(ihl) * 4 {
                assert_eq!(ip.counters().in_hdr_errors, 1, "ihl {ihl} total {total}");
            } else if usize::from(total) > good.len() {
                assert_eq!(ip.counters().in_truncated_pkts, 1);
            }
        }
    }
}

/// A packet on its last hop has arrived, over both families, for every protocol.
#[test]
#[covers("IP-7")]
fn a_ttl_of_one_is_accepted() {
    for (us, them) in FAMILIES {
        let echo = if us == US4 { 8 } else { 128 };
        let ping = icmp_message(them, us, [echo, 0, 0, 0, 0, 1, 0, 1], b"x");
        for mut packet in [tcp(them, us, b"x"), udp(them, us, b"x"), ping] {
            set_ttl(&mut packet, 1);
            assert!(ip().on_frame(at(1), frame(packet)).is_ok());
        }
    }
}

/// What may be fragmented on the way has an identification of its own; what may not, needs none.
#[test]
#[covers("IP-11")]
fn identifications_tell_nothing() {
    let mut ip = ip();
    let mut ids = |them: &str, len: usize| {
        let mut tx = TxBatch::new();
        send_datagram(&mut ip, &mut tx, (US4, them), &pattern(len));
        let all = packets(&tx);
        let field = |packet: &[u8], at| u16::from_be_bytes([packet[at], packet[at + 1]]);
        assert!(
            all.iter()
                .all(|packet| field(packet, 4) == field(&all[0], 4))
        );
        assert!(
            all.iter()
                .all(|packet| (packet[6] & 0x40 != 0) == (len < 1473))
        );
        field(&all[0], 4)
    };
    assert_eq!((ids(PEER4, 1472), ids("10.77.0.9", 10)), (0, 0), "DF");
    let pairs: Vec<_> = (0..3000)
        .map(|_| (ids(PEER4, 1473), ids("10.77.0.9", 1473)))
        .collect();
    let unique: std::collections::HashSet<_> = pairs.iter().map(|(id, _)| id).collect();
    assert_eq!(unique.len(), pairs.len(), "none twice within its lifetime");
    let is_step = |a: u16, b: u16| (1..=4).contains(&b.wrapping_sub(a));
    let runs = pairs.windows(2).filter(|w| is_step(w[0].0, w[1].0)).count();
    let shared = pairs.iter().filter(|(a, b)| is_step(*a, *b)).count();
    assert!(runs < 10, "{runs} follow their predecessor");
    assert!(shared < 10, "{shared} continue another destination's");
}
