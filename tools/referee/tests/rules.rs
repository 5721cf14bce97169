//! Each rule, broken by the smallest change to a conversation that keeps it.

mod common;

use std::time::Duration;

use common::{Parts, alter, damage, is_server, play, play_ends, read, tcp};
use referee::capture::Recorded;
use referee::packet::{ACK, FIN, RST, SYN, TcpPacket};
use referee::{Options, Rule, Violation};

const MSS: [u8; 4] = [2, 4, 5, 0xb4];

/// The first violation is this one.
#[track_caller]
fn assert_first(found: &[Violation], rule: Rule, packet: usize) {
    let first = found
        .first()
        .unwrap_or_else(|| panic!("nothing found, but {rule} is broken"));
    assert_eq!((first.rule, first.packet), (rule, packet), "{first}");
}

/// The index of the `nth` segment for which `which` holds, from 0.
fn find(packets: &[Recorded], nth: usize, which: impl Fn(&Recorded, &TcpPacket) -> bool) -> usize {
    let mut fitting = (0..packets.len()).filter(|&at| which(&packets[at], &tcp(&packets[at])));
    fitting.nth(nth).expect("such a segment")
}

fn server_data(packets: &[Recorded], nth: usize) -> usize {
    find(packets, nth, |packet, tcp| {
        is_server(packet) && !tcp.payload.is_empty()
    })
}

fn client_data(packets: &[Recorded], nth: usize) -> usize {
    find(packets, nth, |packet, tcp| {
        !is_server(packet) && !tcp.payload.is_empty()
    })
}

fn server_ack(packets: &[Recorded], nth: usize) -> usize {
    find(packets, nth, |packet, tcp| {
        is_server(packet) && tcp.flags == ACK && tcp.payload.is_empty()
    })
}

/// Alters one segment: it, and nothing before it, breaks the rule.
#[track_caller]
fn broken(
    rule: Rule,
    name: &str,
    which: impl Fn(&[Recorded]) -> usize,
    change: impl FnOnce(&mut Parts),
) {
    let mut packets = read(name);
    let at = which(&packets);
    alter(&mut packets[at], |_| {});
    assert_eq!(play(&packets, Options::default()), [], "{name} as it is");
    alter(&mut packets[at], change);
    assert_first(
        &play(&packets, Options::default()),
        rule,
        packets[at].number,
    );
}

/// Inserts a copy of packet `of` at the time of `after`, with the next number.
fn repeat(packets: &mut Vec<Recorded>, of: usize, after: usize, later: Duration) -> usize {
    let mut copy = packets[of].clone();
    copy.time = packets[after].time + later;
    let at = packets
        .iter()
        .position(|packet| packet.time > copy.time)
        .unwrap_or(packets.len());
    packets.insert(at, copy);
    for (index, packet) in packets.iter_mut().enumerate() {
        packet.number = index + 1;
    }
    at
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn malformed() {
    let mut packets = read("download");
    damage(&mut packets[3], |data| data.push(0));
    assert_first(&play(&packets, Options::default()), Rule::Malformed, 4);
    damage(&mut packets[3], |data| data.truncate(39));
    assert_first(&play(&packets, Options::default()), Rule::Malformed, 4);
}

#[test]
fn checksum() {
    for (name, at) in [
        ("download", 30),
        ("http-keepalive-ipv6", 50),
        ("udp-echo", 28),
        ("ping", 24),
        ("ping-ipv6", 44),
    ] {
        let mut packets = read(name);
        damage(&mut packets[3], |data| data[at] ^= 1);
        assert_first(&play(&packets, Options::default()), Rule::Checksum, 4);
    }
    let mut packets = read("download");
    damage(&mut packets[3], |data| data[5] ^= 1);
    assert_first(&play(&packets, Options::default()), Rule::Checksum, 4);
}

#[test]
fn option_malformed() {
    broken(
        Rule::OptionMalformed,
        "download",
        |packets| server_data(packets, 0),
        |parts| parts.options[3] = 9,
    );
    broken(
        Rule::OptionMalformed,
        "download",
        |packets| server_data(packets, 0),
        |parts| {
            parts.options = vec![0, 0, 0, 7];
        },
    );
}

#[test]
fn reserved_bits() {
    let mut packets = read("download");
    alter(&mut packets[4], |_| {});
    // Two words of the sum change by the same amount: it stays right.
    damage(&mut packets[4], |data| {
        data[32] ^= 4;
        let sum = u16::from_be_bytes([data[36], data[37]]);
        let sum = sum
            .checked_sub(0x400)
            .unwrap_or_else(|| sum.wrapping_sub(0x401));
        data[36..38].copy_from_slice(&sum.to_be_bytes());
    });
    assert_first(&play(&packets, Options::default()), Rule::ReservedBits, 5);
}

#[test]
fn flags() {
    broken(Rule::Flags, "download", |_| 0, |parts| parts.tcp.fin = true);
    broken(
        Rule::Flags,
        "download",
        |packets| server_data(packets, 2),
        |parts| parts.tcp.ack = false,
    );
}

#[test]
fn syn_option() {
    broken(
        Rule::SynOption,
        "download",
        |packets| server_data(packets, 2),
        |parts| parts.options.extend(MSS),
    );
}

#[test]
fn window_scale_too_large() {
    broken(
        Rule::WindowScaleTooLarge,
        "download",
        |_| 0,
        |parts| *parts.options.last_mut().unwrap() = 15,
    );
}

#[test]
fn option_not_agreed() {
    let rule = Rule::OptionNotAgreed;
    let timestamps = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1];
    let no_timestamps = "handshake-no-timestamps";
    broken(
        rule,
        no_timestamps,
        |packets| server_data(packets, 1),
        |parts| parts.options.extend(timestamps),
    );
    broken(
        rule,
        no_timestamps,
        |_| 1,
        |parts| parts.options.extend(timestamps),
    );
    broken(
        rule,
        "handshake-no-wscale",
        |_| 1,
        |parts| parts.options.extend([3, 3, 7]),
    );
    broken(
        rule,
        "handshake-no-sack",
        |packets| server_ack(packets, 0),
        |parts| {
            let seq = parts.tcp.acknowledgment_number;
            parts.options.extend([5, 10]);
            parts.options.extend((seq - 9).to_be_bytes());
            parts.options.extend(seq.to_be_bytes());
        },
    );
}

#[test]
fn timestamp_missing() {
    broken(
        Rule::TimestampMissing,
        "download",
        |packets| server_data(packets, 2),
        |parts| parts.options.clear(),
    );
}

/// Adds to the TSval (`at` 4) or TSecr (`at` 8) of a segment of Linux: NOP, NOP, timestamps.
fn add_time(parts: &mut Parts, at: usize, by: i32) {
    let value = u32::from_be_bytes(parts.options[at..at + 4].try_into().unwrap());
    let value = value.wrapping_add_signed(by);
    parts.options[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[test]
fn timestamp_back() {
    broken(
        Rule::TimestampBack,
        "download",
        |packets| server_data(packets, 9),
        |parts| add_time(parts, 4, -100),
    );
}

#[test]
fn echo_unseen() {
    broken(
        Rule::EchoUnseen,
        "download",
        |packets| server_data(packets, 9),
        |parts| add_time(parts, 8, 100),
    );
    broken(
        Rule::EchoUnseen,
        "download",
        |_| 0,
        |parts| parts.options[15] = 1,
    );
}

#[test]
fn echo_back() {
    let packets = read("download");
    let (first, _) = tcp(&packets[0]).options.timestamps.unwrap();
    broken(
        Rule::EchoBack,
        "download",
        |packets| server_data(packets, 15),
        |parts| {
            parts.options[8..12].copy_from_slice(&first.to_be_bytes());
        },
    );
}

#[test]
fn ack_unseen() {
    broken(
        Rule::AckUnseen,
        "upload",
        |packets| server_ack(packets, 3),
        |parts| {
            parts.tcp.acknowledgment_number =
                parts.tcp.acknowledgment_number.wrapping_add(1_000_000);
        },
    );
    broken(
        Rule::AckUnseen,
        "download",
        |packets| server_data(packets, 0),
        |parts| {
            parts.tcp.acknowledgment_number = parts.tcp.acknowledgment_number.wrapping_add(1);
        },
    );
}

#[test]
fn ack_back() {
    broken(
        Rule::AckBack,
        "download",
        |packets| server_data(packets, 0),
        |parts| {
            parts.tcp.acknowledgment_number = parts.tcp.acknowledgment_number.wrapping_sub(1);
        },
    );
}

#[test]
fn ack_delayed() {
    let mut packets = read("interactive");
    let at = client_data(&packets, 3);
    assert_eq!(play(&packets, Options::default()), []);
    for packet in &mut packets[at + 1..] {
        packet.time += 600 * MS;
    }
    assert_first(
        &play(&packets, Options::default()),
        Rule::AckDelayed,
        packets[at].number,
    );
    packets.truncate(at + 1);
    let mut referee = referee::Referee::new(
        referee::View::Point {
            near: common::server(),
        },
        Options::default(),
    );
    for packet in &packets {
        referee.on_seen(packet.number, packet.time, &packet.data, packet.lost);
    }
    assert_eq!(referee.finish(packets[at].time + 500 * MS), 0);
    assert_eq!(referee.finish(packets[at].time + 600 * MS), 1);
}

#[test]
fn window_shrunk() {
    broken(
        Rule::WindowShrunk,
        "upload",
        |packets| server_ack(packets, 5),
        |parts| parts.tcp.window_size = 1,
    );
    // One unit of the scale less than allowed is more than rounding.
    broken(
        Rule::WindowShrunk,
        "download",
        |packets| server_data(packets, 5),
        |parts| parts.tcp.window_size -= 1,
    );
}

#[test]
fn sack_false() {
    let sack = |packets: &[Recorded]| {
        find(packets, 1, |packet, tcp| {
            is_server(packet) && !tcp.options.sack.is_empty()
        })
    };
    let last = |parts: &Parts| parts.options.len() - 4;
    broken(Rule::SackFalse, "loss-upload", sack, |parts| {
        let at = last(parts);
        parts.options[at + 1] = parts.options[at + 1].wrapping_add(2);
    });
    broken(Rule::SackFalse, "loss-upload", sack, |parts| {
        let at = last(parts);
        parts.options.copy_within(at - 4..at, at);
    });
    // The block reaches down to the acknowledgment, as if the hole were filled.
    broken(Rule::SackFalse, "loss-upload", sack, |parts| {
        let at = last(parts);
        parts.options[at - 4..at].copy_from_slice(&parts.tcp.acknowledgment_number.to_be_bytes());
    });
}

#[test]
fn outside_window() {
    // The first probe of a closed window brings two new bytes.
    let probe = |packets: &[Recorded]| {
        let closed = find(packets, 0, |packet, tcp| {
            !is_server(packet) && tcp.window == 0
        });
        closed + find(&packets[closed..], 0, |packet, _| is_server(packet))
    };
    let bring = |bytes: usize| {
        move |parts: &mut Parts| {
            parts.tcp.sequence_number = parts.tcp.sequence_number.wrapping_add(1);
            parts.payload = vec![0; bytes];
        }
    };
    broken(Rule::OutsideWindow, "zero-window-client", probe, bring(2));
    let mut packets = read("zero-window-client");
    let at = probe(&packets);
    alter(&mut packets[at], bring(1));
    packets.truncate(at + 1);
    assert_eq!(play(&packets, Options::default()), [], "one byte may ask");
}

#[test]
fn mss_exceeded() {
    let longer = |parts: &mut Parts| parts.payload.push(0);
    let full = |packets: &[Recorded]| {
        find(packets, 0, |packet, tcp| {
            is_server(packet) && tcp.payload.len() + tcp.option_bytes == 536
        })
    };
    broken(Rule::MssExceeded, "handshake-small-mss", full, longer);
    let mut packets = read("handshake-small-mss");
    let at = full(&packets);
    alter(&mut packets[at], longer);
    packets.truncate(at + 1);
    let options = Options { offload: true };
    assert_eq!(play(&packets, options), [], "the device will cut it");
}

#[test]
fn other_bytes() {
    let mut packets = read("loss-download");
    let again = find(&packets, 0, |packet, tcp| {
        let before = packets
            .iter()
            .take_while(|before| before.number < packet.number);
        let seq = |before: &Recorded| is_server(before) && common::tcp(before).seq == tcp.seq;
        is_server(packet)
            && !tcp.payload.is_empty()
            && before.clone().any(|before| seq(before) && before.lost)
    });
    let number = packets[again].number;
    alter(&mut packets[again], |parts| parts.payload[700] ^= 1);
    assert_first(
        &play(&packets, Options::default()),
        Rule::OtherBytes,
        number,
    );
}

#[test]
fn gap() {
    broken(
        Rule::Gap,
        "download",
        |packets| server_data(packets, 4),
        |parts| {
            parts.tcp.sequence_number = parts.tcp.sequence_number.wrapping_add(1);
        },
    );
}

#[test]
fn acknowledged_again() {
    let mut packets = read("download");
    let of = server_data(&packets, 1);
    let after = server_data(&packets, 30);
    let (tsval, tsecr) = tcp(&packets[after]).options.timestamps.unwrap();
    let at = repeat(&mut packets, of, after, Duration::ZERO);
    alter(&mut packets[at], |parts| {
        parts.options[4..8].copy_from_slice(&tsval.to_be_bytes());
        parts.options[8..12].copy_from_slice(&tsecr.to_be_bytes());
    });
    assert_first(&play_ends(&packets), Rule::AcknowledgedAgain, at + 1);
}

#[test]
fn before_handshake() {
    let mut packets = read("http-get");
    packets.remove(0);
    assert_first(&play_ends(&packets), Rule::BeforeHandshake, 2);
    packets.remove(0);
    assert_first(&play_ends(&packets), Rule::BeforeHandshake, 3);
    // The answer comes before the last part of the handshake.
    let mut packets = read("http-get");
    let at = server_data(&packets, 0);
    packets.drain(2..at);
    let number = packets[2].number;
    alter(&mut packets[2], |parts| {
        parts.tcp.acknowledgment_number = 0;
        parts.tcp.ack = true;
    });
    let found = play(&packets, Options::default());
    assert!(
        found
            .iter()
            .any(|one| (one.rule, one.packet) == (Rule::BeforeHandshake, number)),
        "{found:?}"
    );
}

#[test]
fn other_isn() {
    let again = |packets: &[Recorded]| find(packets, 1, |_, tcp| tcp.flags == SYN | ACK);
    broken(Rule::OtherIsn, "loss-syn-ack", again, |parts| {
        parts.tcp.sequence_number ^= 4;
    });
    // A SYN in the middle of an open connection.
    let mut packets = read("download");
    let after = client_data(&packets, 0);
    let at = repeat(&mut packets, 0, after, MS);
    alter(&mut packets[at], |parts| parts.tcp.sequence_number ^= 4);
    assert_first(&play(&packets, Options::default()), Rule::OtherIsn, at + 1);
}

#[test]
fn fin_moved() {
    let again =
        |packets: &[Recorded]| find(packets, 1, |packet, tcp| is_server(packet) && tcp.has(FIN));
    broken(Rule::FinMoved, "loss-fin", again, |parts| {
        parts.tcp.sequence_number = parts.tcp.sequence_number.wrapping_add(1);
    });
    broken(Rule::FinMoved, "loss-fin", again, |parts| {
        let length = parts.payload.len() as u32;
        parts.payload.clear();
        parts.tcp.sequence_number = parts
            .tcp
            .sequence_number
            .wrapping_add(length)
            .wrapping_sub(1);
    });
}

#[test]
fn after_fin() {
    let again =
        |packets: &[Recorded]| find(packets, 1, |packet, tcp| is_server(packet) && tcp.has(FIN));
    broken(Rule::AfterFin, "loss-fin", again, |parts| {
        parts.tcp.fin = false;
        parts.payload.push(0);
    });
}

#[test]
fn reset_misplaced() {
    let reset =
        |packets: &[Recorded]| find(packets, 0, |packet, tcp| is_server(packet) && tcp.has(RST));
    broken(Rule::ResetMisplaced, "refused", reset, |parts| {
        parts.tcp.acknowledgment_number = parts.tcp.acknowledgment_number.wrapping_add(1);
    });
    broken(Rule::ResetMisplaced, "refused", reset, |parts| {
        parts.tcp.sequence_number = 1;
    });
    broken(Rule::ResetMisplaced, "reset-by-server", reset, |parts| {
        parts.tcp.sequence_number = parts.tcp.sequence_number.wrapping_add(1);
    });
}

#[test]
fn after_reset() {
    let mut packets = read("reset-by-server");
    let of = server_ack(&packets, 0);
    let last = packets.len() - 1;
    let at = repeat(&mut packets, of, last, 100 * MS);
    assert_first(
        &play(&packets, Options::default()),
        Rule::AfterReset,
        at + 1,
    );
}

/// The last segment of `loss-tail`, all before it acknowledged, is sent again in these intervals.
/// Answers with the number of the last packet, too.
fn intervals(intervals: &[u64]) -> (Vec<Recorded>, usize) {
    let mut packets = read("loss-tail");
    let lost = packets.iter().position(|packet| packet.lost).unwrap();
    packets.truncate(lost + 1 + server_data(&packets[lost + 1..], 0));
    let mut before = lost;
    for &interval in intervals {
        before = repeat(&mut packets, lost, before, Duration::from_millis(interval));
    }
    let number = packets[before].number;
    (packets, number)
}

#[test]
fn back_off() {
    let (packets, _) = intervals(&[200, 300, 600, 1200, 2400]);
    assert_eq!(play(&packets, Options::default()), []);
    let (packets, number) = intervals(&[200, 300, 600, 1200, 1300]);
    assert_first(&play(&packets, Options::default()), Rule::BackOff, number);
    let (packets, number) = intervals(&[300, 300, 300]);
    assert_first(&play(&packets, Options::default()), Rule::BackOff, number);
}

#[test]
fn retransmitted_early() {
    let mut packets = read("download");
    let of = server_data(&packets, 20);
    let at = repeat(&mut packets, of, of, Duration::from_nanos(1));
    assert_first(&play_ends(&packets), Rule::RetransmittedEarly, at + 1);
}

#[test]
fn ecn_not_agreed() {
    let rule = Rule::EcnNotAgreed;
    broken(
        rule,
        "download",
        |packets| server_data(packets, 2),
        |parts| parts.tcp.ece = true,
    );
    broken(
        rule,
        "download",
        |packets| server_data(packets, 2),
        |parts| parts.ecn = 2,
    );
    broken(rule, "download", |_| 1, |parts| parts.tcp.ece = true);
}

/// "Fragmentation needed" about this packet.
fn too_big(about: &Recorded, mtu: u16) -> Recorded {
    use etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded;
    use etherparse::{Icmpv4Header, Icmpv4Type, IpNumber, Ipv4Header};
    let quoted = &about.data[..28];
    let kind = Icmpv4Type::DestinationUnreachable(FragmentationNeeded { next_hop_mtu: mtu });
    let icmp = Icmpv4Header::with_checksum(kind, quoted);
    let length = (icmp.header_len() + quoted.len()) as u16;
    let to = [10, 88, 0, 2];
    let mut ip = Ipv4Header::new(length, 64, IpNumber::ICMP, [10, 88, 0, 9], to).unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    let mut data = Vec::new();
    ip.write(&mut data).unwrap();
    icmp.write(&mut data).unwrap();
    data.extend_from_slice(quoted);
    Recorded {
        data: data.into(),
        ..about.clone()
    }
}

#[test]
fn path_mtu_exceeded() {
    let with = |mtu| {
        let mut packets = read("download");
        let at = server_data(&packets, 12);
        let error = too_big(&packets[at], mtu);
        packets.insert(at + 1, error);
        let long = server_data(&packets[at + 2..], 0) + at + 2;
        (packets[long].number, play_ends_with_errors(&packets))
    };
    let (number, found) = with(1400);
    assert_first(&found, Rule::PathMtuExceeded, number);
    let (_, found) = with(1500);
    assert_eq!(found, []);
}

/// Like `play`, with both ends exact but at the same place, as errors come from between.
fn play_ends_with_errors(packets: &[Recorded]) -> Vec<Violation> {
    let mut referee = referee::Referee::new(referee::View::Ends, Options::default());
    for packet in packets {
        referee.on_sent(packet.number, packet.time, &packet.data);
        referee.on_delivered(packet.number, packet.time, &packet.data);
    }
    referee.take_violations()
}
