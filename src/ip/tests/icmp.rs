use super::*;

const fn echo_kinds(us: &str) -> (u8, u8) {
    if us.len() == US4.len() {
        (8, 0)
    } else {
        (128, 129)
    }
}

/// IC-1, C6-6: identifier, sequence number and data come back, from the address asked.
#[test]
#[covers("IC-1", "C6-6")]
fn echo_requests_are_answered() {
    for (us, them) in FAMILIES {
        let (request, reply) = echo_kinds(us);
        for len in [0, 1, 56, 1452] {
            let header = [request, 0, 0, 0, 0x12, 0x34, 0, 9];
            let packet = icmp_message(them, us, header, &pattern(len));
            let mut ip = ip();
            let (source, destination, icmp) = dissect(&answer(&mut ip, packet));
            assert_eq!((source, destination), (addr(us), addr(them)));
            assert_eq!(icmp[..2], [reply, 0]);
            assert_eq!(icmp[4..8], header[4..]);
            assert_eq!(icmp[8..], pattern(len));
            assert_counters_add_up(&ip);
        }
    }
}

/// Of several addresses the one that was asked answers, not the one nearest to who asks.
#[test]
#[covers("IC-1", "C6-6")]
fn the_address_asked_answers() {
    for (near, far, them) in [(US4, "192.168.9.9", PEER4), (US6, "2001:db8::9", PEER6)] {
        let config = IpConfig {
            addresses: vec![(addr(near), 24), (addr(far), 32)],
            ..IpConfig::default()
        };
        let mut ip = Ip::new(config, PLAIN, [5; 32]);
        let (request, _) = echo_kinds(near);
        for asked in [near, far] {
            let packet = icmp_message(them, asked, [request, 0, 0, 0, 0, 1, 0, 1], b"who");
            let (source, destination, _) = dissect(&answer(&mut ip, packet));
            assert_eq!((source, destination), (addr(asked), addr(them)));
        }
    }
}

/// 65,507 bytes of echo data, in fragments both ways.
#[test]
#[covers("IC-1", "C6-6")]
fn the_largest_ping_comes_back() {
    for (us, them) in FAMILIES {
        let (request, reply) = echo_kinds(us);
        let data = pattern(65_507);
        let (mut ip, mut peer) = (ip(), peer());
        peer.send_echo_request(us, them, request, &data);
        let mut count = 0;
        for fragment in answers(&mut peer, at(1)) {
            assert!(fragment.len() <= 1500);
            ip.on_frame(at(1), frame(fragment)).expect("a fragment");
            count += 1;
        }
        assert!(count > 40);
        let replies = answers(&mut ip, at(2));
        assert_eq!(replies.len(), count);
        let key = ip.counters().frag_creates;
        assert_eq!(key, count as u64);
        let whole = reassemble(&replies);
        assert_eq!(whole[0], reply);
        assert_eq!(whole[8..], data);
    }
}

impl Ip {
    /// For a peer in tests: this stack never asks.
    fn send_echo_request(&mut self, to: &str, from: &str, kind: u8, data: &[u8]) {
        let message = Message {
            source: addr(from),
            destination: addr(to),
            dscp: 0,
            header: [kind, 0, 0, 0, 0, 1, 0, 1],
            payload: Bytes::copy_from_slice(data),
        };
        assert!(self.messages.push(data.len(), message));
    }
}

/// Puts fragments in order together by etherparse's reading of them.
fn reassemble(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut whole = Vec::new();
    for fragment in fragments {
        let sliced = SlicedPacket::from_ip(fragment).expect("well-formed");
        let net = sliced.net.expect("IP");
        let payload = net.ip_payload_ref().expect("a payload");
        assert!(payload.fragmented);
        whole.extend_from_slice(payload.payload);
    }
    whole
}

/// A foreign address is asked: the forwarder decides, and answers in its name.
#[test]
fn foreign_echo_is_handed_over() {
    for (other, them) in [("8.8.8.8", PEER4), ("2001:db8::1", PEER6)] {
        let mut ip = transparent();
        let (request, reply) = if other.contains(':') {
            (128, 129)
        } else {
            (8, 0)
        };
        let packet = icmp_message(them, other, [request, 0, 0, 0, 0, 7, 0, 8], b"data");
        let result = ip.on_frame(at(1), frame(packet));
        let Ok(Some(Input::EchoForeign(echo))) = result else {
            panic!("{result:?}");
        };
        assert!(answers(&mut ip, at(1)).is_empty(), "never by us");
        assert_eq!(
            (echo.ident, echo.seq, echo.data.as_ref()),
            (7, 8, &b"data"[..])
        );
        ip.send_echo_reply(at(2), &echo);
        let replies = answers(&mut ip, at(2));
        let (source, destination, icmp) = dissect(&replies[0]);
        assert_eq!((source, destination), (addr(other), addr(them)));
        assert_eq!((icmp[0], &icmp[4..]), (reply, &b"\0\x07\0\x08data"[..]));
    }
}

/// IC-2, C6-1: 256 types × codes, and bad checksums: nothing but echo is answered.
#[test]
#[covers("IC-2", "C6-1")]
fn other_messages_change_nothing() {
    for (us, them) in FAMILIES {
        let (request, _) = echo_kinds(us);
        let mut ip = ip();
        for kind in 0..=255 {
            for code in [0, 1, 4, 255] {
                let packet = icmp_message(them, us, [kind, code, 0, 0, 5, 200, 5, 200], &[0; 48]);
                let mut bad = packet.clone();
                let last = bad.len() - 1;
                bad[last] ^= 1;
                let dropped = ip.on_frame(at(1), frame(bad)).err();
                assert_eq!(dropped, Some(Dropped::IcmpChecksum));
                let _ = ip.on_frame(at(1), frame(packet));
                let expected = usize::from(kind == request && code == 0);
                assert_eq!(answers(&mut ip, at(1)).len(), expected, "{kind}/{code}");
            }
        }
        assert_eq!((ip.path_mtu(addr(them)), ip.poll_timeout()), (1500, None));
        assert_counters_add_up(&ip);
    }
}

/// UD-5, IC-4, C6-3: type, code and quotation of port unreachable, at its largest.
#[test]
#[covers("UD-5", "IC-4", "C6-3")]
fn unreachable_quotes_as_much_as_it_may() {
    for (us, them, kind, code, most) in [(US4, PEER4, 3, 3, 576), (US6, PEER6, 1, 4, 1280)] {
        for len in [0, 10, 1400] {
            let packet = udp(them, us, &pattern(len));
            let mut ip = ip();
            ip.send_unreachable(at(1), Unreachable::Port, &packet);
            let error = answers(&mut ip, at(1)).remove(0);
            let (source, destination, icmp) = dissect(&error);
            assert_eq!((source, destination), (addr(us), addr(them)));
            assert_eq!(icmp[..2], [kind, code]);
            assert_eq!(icmp[8..], packet[..icmp.len() - 8]);
            let whole = error.len() - icmp.len() + 8 + packet.len();
            assert_eq!(error.len(), whole.min(most));
        }
    }
}

/// Errors by a router come from our own address, about a SYN that nobody kept.
#[test]
fn host_unreachable_for_a_held_syn() {
    for (us, other, them, kind) in [
        (US4, "8.8.8.8", PEER4, [3, 1]),
        (US6, "2001:db8::1", PEER6, [1, 3]),
    ] {
        let mut ip = transparent();
        let flow = FlowKey {
            local: socket(other, 443),
            remote: socket(them, 4000),
        };
        ip.send_unreachable_for_syn(at(1), Unreachable::Host, &flow, WireSeq(0x0102_0304));
        let (source, destination, icmp) = dissect(&answers(&mut ip, at(1))[0]);
        assert_eq!((source, destination), (addr(us), addr(them)));
        assert_eq!(icmp[..2], kind);
        let tcp = if us == US4 { &icmp[28..] } else { &icmp[48..] };
        assert_eq!(tcp[..8], [0x0f, 0xa0, 1, 187, 1, 2, 3, 4]);
    }
}

/// IC-3, C6-3: what no error may be about.
#[test]
#[covers("IC-3", "C6-3")]
fn forbidden_errors() {
    let mut later = udp(PEER4, US4, &pattern(64));
    later[7] = 1;
    v4::complete(&mut later, 20);
    later[7] = 1;
    let later_v6 = [&[17, 0, 0, 9, 0, 0, 0, 1], &pattern(64)[..]].concat();
    let mut packets = vec![
        later,
        raw(PEER6, US6, 44, &later_v6),
        udp(PEER4, "224.0.0.1", b"x"),
        udp(PEER4, "10.77.0.255", b"x"),
        udp(PEER4, "255.255.255.255", b"x"),
        udp("0.0.0.0", US4, b"x"),
        udp("127.0.0.1", US4, b"x"),
        udp("224.0.0.1", US4, b"x"),
        udp("10.77.0.255", US4, b"x"),
        udp("250.0.0.1", US4, b"x"),
        udp(PEER6, "ff02::1", b"x"),
        udp("::", US6, b"x"),
        udp("ff02::1", US6, b"x"),
    ];
    for kind in [3, 4, 5, 11, 12, 0, 13] {
        packets.push(icmp_message(
            PEER4,
            US4,
            [kind, 0, 0, 0, 0, 0, 0, 0],
            &[0; 28],
        ));
    }
    for kind in [1, 2, 3, 4, 127, 137] {
        packets.push(icmp_message(
            PEER6,
            US6,
            [kind, 0, 0, 0, 0, 0, 0, 0],
            &[0; 48],
        ));
    }
    let mut ip = ip();
    for packet in packets {
        ip.send_unreachable(at(1), Unreachable::Port, &packet);
        assert!(answers(&mut ip, at(1)).is_empty(), "{packet:?}");
    }
    // Cut or senseless quotations do no harm either.
    let good = udp(PEER6, US6, b"x");
    for len in 0..40 {
        ip.send_unreachable(at(1), Unreachable::Port, &good[..len]);
    }
    assert!(answers(&mut ip, at(1)).is_empty());
}

/// D-13: a flood to closed ports is answered within the limit, and what is not is counted.
#[test]
fn unreachable_is_limited() {
    let mut ip = ip();
    let packet = udp(PEER4, US4, b"x");
    for _ in 0..1000 {
        ip.send_unreachable(at(1000), Unreachable::Port, &packet);
    }
    let sent = answers(&mut ip, at(1000)).len() as u64;
    assert!((5..=15).contains(&sent), "{sent}");
    assert_eq!(sent + ip.counters().icmp_out_rate_limit_host, 1000);
}

/// D-12: echo replies are bounded in bytes, and so is the queue they wait in.
#[test]
fn an_echo_flood_is_bounded() {
    let mut ip = ip();
    let packet: Bytes = icmp_message(PEER4, US4, [8, 0, 0, 0, 0, 0, 0, 0], &[0; 1400]).into();
    for _ in 0..100_000 {
        let _ = ip.on_frame(at(1), frame(packet.clone()));
    }
    let counters = ip.counters();
    assert!(counters.icmp_echo_limited > 50_000, "{counters:?}");
    assert!(counters.out_discards > 1000, "{counters:?}");
    assert!(ip.messages.charged <= 4 << 20);
    assert_counters_add_up(&ip);
}

/// MUST-54, UD-6: errors about us reach the transport with the right ends.
#[test]
#[covers("MUST-54", "UD-6", "C6-1")]
fn errors_about_our_packets_are_handed_up() {
    use ustack_tcp::IcmpError::*;
    for (us, them, kind, code, expected) in [
        (US4, PEER4, 3, 0, NetUnreachable),
        (US4, PEER4, 3, 1, HostUnreachable),
        (US4, PEER4, 3, 2, ProtocolUnreachable),
        (US4, PEER4, 3, 3, PortUnreachable),
        (US4, PEER4, 3, 13, Prohibited),
        (US4, PEER4, 11, 0, TimeExceeded),
        (US4, PEER4, 12, 0, ParameterProblem),
        (US6, PEER6, 1, 0, NetUnreachable),
        (US6, PEER6, 1, 1, Prohibited),
        (US6, PEER6, 1, 3, HostUnreachable),
        (US6, PEER6, 1, 4, PortUnreachable),
        (US6, PEER6, 3, 0, TimeExceeded),
        (US6, PEER6, 4, 1, ProtocolUnreachable),
        (US6, PEER6, 4, 2, ParameterProblem),
    ] {
        for (quoted, sequence, number) in [
            (tcp(us, them, b"x"), Some(WireSeq(7)), 6),
            (udp(us, them, b"x"), None, 17),
        ] {
            let packet = icmp_message(them, us, [kind, code, 0, 0, 0, 0, 0, 0], &quoted);
            let result = ip().on_frame(at(1), frame(packet));
            let Ok(Some(Input::IcmpError {
                protocol,
                local,
                remote,
                seq,
                error,
            })) = result
            else {
                panic!("{kind}/{code}: {result:?}");
            };
            assert_eq!((protocol, error, seq), (number, expected, sequence));
            let port = if number == 6 { 80 } else { 53 };
            assert_eq!((local, remote), (socket(us, 1000), socket(them, port)));
        }
    }
    // A quotation of somebody else's packet is no affair of ours.
    let foreign = tcp("10.77.0.9", PEER4, b"x");
    let packet = icmp_message(PEER4, US4, [3, 3, 0, 0, 0, 0, 0, 0], &foreign);
    let dropped = ip().on_frame(at(1), frame(packet)).err();
    assert_eq!(dropped, Some(Dropped::IcmpUnsolicited));
}
