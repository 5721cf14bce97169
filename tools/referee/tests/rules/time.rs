//! Ends, timers and the path.

use std::time::Duration;

use referee::capture::Recorded;
use referee::packet::RST;
use referee::{Options, Rule, Violation};

use crate::common::{is_server, play, play_ends, read};
use crate::{MS, assert_first, broken, find, repeat, server_ack, server_data};

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
    let (packets, _) = intervals(&[300, 20_000, 50_000, 60_000, 60_000]);
    assert_eq!(play(&packets, Options::default()), []);
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
fn a_repetition_may_be_repeated_at_once_and_once() {
    let (mut packets, _) = intervals(&[300]);
    let early = |packets: &[Recorded]| {
        let found = play_ends(packets).into_iter();
        let mut early = found.filter(|one| one.rule == Rule::RetransmittedEarly);
        early.next().map(|one| one.packet)
    };
    let first = packets.len() - 1;
    let rescue = repeat(&mut packets, first, first, Duration::from_nanos(1));
    assert_eq!(early(&packets), None);
    let third = repeat(&mut packets, rescue, rescue, Duration::from_nanos(1));
    assert_eq!(early(&packets), Some(packets[third].number));
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
    // Less than this nobody believes.
    let (_, found) = with(551);
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
