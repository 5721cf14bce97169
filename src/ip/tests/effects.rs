//! What each ICMP message does to this host, type by type.

use super::*;

/// The second word of a header that says 1,280, as a PTB does; other types read other things.
const REST: [u8; 4] = [0, 0, 5, 0];

fn message((us, them): (&str, &str), kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let [a, b, c, d] = REST;
    icmp_message(them, us, [kind, code, 0, 0, a, b, c, d], quoted)
}

/// What of a host's state messages could change, counters and limits apart.
fn state(ip: &Ip) -> String {
    format!(
        "{:?} {:?} {:?}",
        ip.path_mtus, ip.reassembler, ip.sent_flows
    )
}

static DATA: [u8; 1400] = [7; 1400];

/// A host that has just sent a full segment, and that segment.
fn after_sending(ends: (&str, &str)) -> (Ip, Vec<u8>) {
    let mut ip = ip();
    let mut tx = TxBatch::new();
    send_segment(&mut ip, &mut tx, ends, 1000, &[&DATA], None);
    let sent = packets(&tx).remove(0);
    (ip, sent)
}

/// IPv4: only errors that RFC 1122 §3.2.2 names reach a transport, and only "fragmentation needed"
/// changes anything here. Source quench, redirect, timestamp, mask and information requests do
/// nothing.
#[test]
#[covers("IC-2", "MUST-55")]
fn v4_types_and_codes() {
    let ends = FAMILIES[0];
    let (mut ip, sent) = after_sending(ends);
    let quoted = &sent[..548];
    let before = state(&ip);
    for kind in 0..=255_u8 {
        for code in 0..=16 {
            let packet = message(ends, kind, code, quoted);
            let mut bad = packet.clone();
            bad[40] ^= 0x10;
            let dropped = ip.on_frame(at(1), frame(bad)).err();
            assert_eq!(dropped, Some(Dropped::IcmpChecksum));
            if (kind, code) == (3, 4) {
                continue; // packet too big
            }
            let is_passed = match kind {
                3 => code <= 15,
                11 => code <= 1,
                12 => true,
                _ => false,
            };
            let result = ip.on_frame(at(1), frame(packet));
            match result {
                Ok(Some(Input::IcmpError { error, .. })) => {
                    assert!(is_passed, "{kind}/{code} {error:?}");
                }
                Err(Dropped::IcmpIgnored) => assert!(!is_passed, "{kind}/{code}"),
                Ok(None) => assert_eq!((kind, code), (8, 0), "echo"),
                other => panic!("{kind}/{code}: {other:?}"),
            }
        }
    }
    assert!(state(&ip) == before, "nothing has changed");
    assert_eq!(answers(&mut ip, at(1)).len(), 1, "the echo");
    assert_counters_add_up(&ip);
}

/// IPv6: errors, known or not, reach the transport that sent the packet; informational messages
/// other than echo go nowhere; nothing with a bad checksum does.
#[test]
#[covers("C6-1")]
fn v6_types() {
    let ends = FAMILIES[1];
    let (mut ip, sent) = after_sending(ends);
    let quoted = &sent[..1232];
    let before = state(&ip);
    for kind in (0..=255_u8).filter(|kind| *kind != 2) {
        for code in [0, 1, 9] {
            let packet = message(ends, kind, code, quoted);
            let mut bad = packet.clone();
            bad[60] ^= 0x10;
            let dropped = ip.on_frame(at(1), frame(bad)).err();
            assert_eq!(dropped, Some(Dropped::IcmpChecksum));
            let result = ip.on_frame(at(1), frame(packet));
            match (kind, result) {
                (
                    0..=127,
                    Ok(Some(Input::IcmpError {
                        local, remote, seq, ..
                    })),
                ) => {
                    assert_eq!(local, socket(ends.0, 80));
                    assert_eq!((remote, seq), (socket(ends.1, 1000), Some(WireSeq(1000))));
                }
                (128, Ok(None)) => assert_eq!(code, 0),
                (128.., Err(Dropped::IcmpIgnored | Dropped::IcmpMalformed)) => {}
                (_, other) => panic!("{kind}/{code}: {other:?}"),
            }
        }
    }
    assert!(state(&ip) == before, "nothing has changed");
    assert_eq!(answers(&mut ip, at(1)).len(), 1, "the echo");
    assert_counters_add_up(&ip);
}

/// An error of a type that nobody has defined aborts nothing.
#[test]
#[covers("C6-1", "MUST-56")]
fn unknown_v6_errors_are_soft() {
    use ustack_tcp::IcmpError;
    let ends = FAMILIES[1];
    for (kind, code) in [(100, 0), (5, 7), (127, 0), (0, 0), (1, 77), (3, 9), (4, 99)] {
        let (mut ip, sent) = after_sending(ends);
        let result = ip.on_frame(at(1), frame(message(ends, kind, code, &sent[..100])));
        let Ok(Some(Input::IcmpError { error, .. })) = result else {
            panic!("{kind}/{code}: {result:?}");
        };
        assert_eq!(error, IcmpError::ParameterProblem, "{kind}/{code}");
    }
}

/// Neighbour discovery that a router could have passed on is not even that; with the hop limit
/// that proves the link, it is well-formed and not our affair. Neither is answered.
#[test]
#[covers("C6-9", "V6-17")]
fn neighbour_discovery_needs_the_full_hop_limit() {
    let ends = FAMILIES[1];
    for kind in 133..=137 {
        for (limit, expected) in [
            (255, Dropped::IcmpIgnored),
            (254, Dropped::IcmpMalformed),
            (64, Dropped::IcmpMalformed),
            (1, Dropped::IcmpMalformed),
        ] {
            let mut ip = ip();
            let before = state(&ip);
            let target = &udp(PEER6, US6, b"")[24..40];
            let mut packet = message(ends, kind, 0, target);
            set_ttl(&mut packet, limit);
            let dropped = ip.on_frame(at(1), frame(packet)).err();
            assert_eq!(dropped, Some(expected), "{kind} {limit}");
            assert!(!ip.has_ready() && state(&ip) == before);
        }
    }
}

/// The reply to a ping travels in the class of the request, without its ECN bits; errors in none.
#[test]
#[covers("IC-1", "C6-6", "IP-7")]
fn echo_replies_repeat_the_dscp() {
    for (us, them) in FAMILIES {
        let kind = if us == US4 { 8 } else { 128 };
        for dscp in [0, 8, 46, 63] {
            for ecn in 0..4 {
                let mut ping = icmp_message(them, us, [kind, 0, 0, 0, 0, 1, 0, 1], b"x");
                set_traffic_class(&mut ping, dscp << 2 | ecn);
                assert_eq!(traffic_class(&answer(&mut ip(), ping)), dscp << 2);
            }
        }
        let mut unknown = raw(them, us, 200, &[0; 20]);
        set_traffic_class(&mut unknown, 46 << 2);
        assert_eq!(traffic_class(&answer(&mut ip(), unknown)), 0);
    }
}

/// 100,000 triggers a second from a thousand sources and then from one: what leaves stays within
/// a tenth of the limit, and differs from seed to seed.
#[test]
#[covers("IC-6", "C6-5")]
fn errors_are_limited_on_the_wire() {
    for family in 0..2 {
        let trigger = |n: u32| -> Bytes {
            if family == 0 {
                let source = std::net::Ipv4Addr::from_bits(0x0a4d_0100 + n % 1000);
                raw(&source.to_string(), US4, 200, &[0; 20]).into()
            } else {
                raw(
                    &format!("fd77:0:0:{:x}::1", 1 + n % 1000),
                    US6,
                    200,
                    &[0; 20],
                )
                .into()
            }
        };
        let triggers: Vec<_> = (0..1000).map(trigger).collect();
        let mut counts = Vec::new();
        for seed in 0..4 {
            let mut ip = Ip::new(config(), PLAIN, [seed; 32]);
            let mut sent = 0;
            for n in 0..100_000_u64 {
                let now = Instant::from_micros(1_000_000 + n * 10);
                let _ = ip.on_frame(now, frame(triggers[n as usize % 1000].clone()));
                sent += answers(&mut ip, now).len();
            }
            assert!((900..=1100 + 50).contains(&sent), "{sent}");
            let (host, global) = (
                ip.counters().icmp_out_rate_limit_host,
                ip.counters().icmp_out_rate_limit_global,
            );
            assert_eq!(sent as u64 + host + global, 100_000);
            counts.push(sent);
        }
        assert!(counts.iter().any(|sent| *sent != counts[0]), "{counts:?}");
    }
}

/// CVE-2020-25705: whoever counts the errors that come back learns nothing of those that others
/// caused, because the number that is left of a burst is never the same.
#[test]
#[covers("IC-6", "C6-5")]
fn counting_errors_tells_nothing() {
    let others = |n: u32| -> Bytes {
        let source = std::net::Ipv4Addr::from_bits(0x0a4d_0200 + n);
        raw(&source.to_string(), US4, 200, &[0; 20]).into()
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut ip = ip();
    for round in 1..=60_u64 {
        let now = at(round * 2000);
        let burst = (0..200).filter(|n| {
            let _ = ip.on_frame(now, frame(others(*n)));
            !answers(&mut ip, now).is_empty()
        });
        seen.insert(burst.count());
    }
    assert!(seen.len() >= 5, "{seen:?}");
}
