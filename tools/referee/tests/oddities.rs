//! What looks odd and is right.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{alter, is_server, play, play_ends, play_from_afar, read, tcp};
use referee::capture::Recorded;
use referee::packet::FIN;
use referee::{Options, Rule, Violation};

const STRICT: Options = Options { offload: false };

#[track_caller]
fn assert_right(packets: &[Recorded]) {
    assert_eq!(play(packets, STRICT), Vec::<Violation>::new());
}

/// The same conversation with other initial sequence numbers.
fn renumbered(name: &str, client: u32, server: u32) -> Vec<Recorded> {
    let mut packets = read(name);
    let isns = [0, 1].map(|at| tcp(&packets[at]).seq);
    let add = [client.wrapping_sub(isns[0]), server.wrapping_sub(isns[1])];
    for packet in &mut packets {
        let own = usize::from(is_server(packet));
        let sack = tcp(packet).options.sack;
        alter(packet, |parts| {
            parts.tcp.sequence_number = parts.tcp.sequence_number.wrapping_add(add[own]);
            if parts.tcp.ack {
                let ack = parts.tcp.acknowledgment_number;
                parts.tcp.acknowledgment_number = ack.wrapping_add(add[1 - own]);
            }
            // Linux puts SACK blocks last.
            let start = parts.options.len() - 8 * sack.len();
            let edges = sack.iter().flat_map(|&(left, right)| [left, right]);
            for (index, edge) in edges.enumerate() {
                let edge = edge.wrapping_add(add[1 - own]).to_be_bytes();
                parts.options[start + 4 * index..][..4].copy_from_slice(&edge);
            }
        });
    }
    packets
}

#[test]
fn sequence_numbers_wrap() {
    for name in [
        "download",
        "loss-download",
        "loss-upload",
        "loss-fin",
        "keepalive",
    ] {
        for isn in [u32::MAX, u32::MAX - 20_000, 0x7fff_f000] {
            let packets = renumbered(name, isn, isn.wrapping_sub(7));
            assert_right(&packets);
            assert_eq!(play_ends(&packets), []);
        }
    }
}

#[test]
fn ports_are_used_again() {
    for name in ["http-get", "reset-by-server", "loss-fin"] {
        let mut packets = read(name);
        let end = packets.last().unwrap().time + Duration::from_secs(1);
        for mut packet in renumbered(name, 7, 1_000_000) {
            packet.time += end;
            packet.number += packets.len();
            packets.push(packet);
        }
        assert_right(&packets);
    }
}

#[test]
fn a_segment_of_the_connection_before_is_answered_by_a_reset() {
    let mut packets = read("http-get");
    let end = packets.last().unwrap().time + Duration::from_secs(1);
    let client = packets
        .iter()
        .rposition(|packet| !is_server(packet))
        .unwrap();
    let expected = tcp(&packets[client]).ack;
    let server = packets
        .iter()
        .position(|one| is_server(one) && one.number > 2);
    let mut reset = packets[server.unwrap()].clone();
    alter(&mut reset, |parts| {
        (parts.tcp.ack, parts.tcp.psh, parts.tcp.rst) = (false, false, true);
        (parts.tcp.sequence_number, parts.tcp.acknowledgment_number) = (expected, 0);
        parts.options.clear();
        parts.payload.clear();
    });
    let mut again = renumbered("http-get", 7, 1_000_000);
    reset.time = again[0].time;
    again.insert(1, reset);
    for mut packet in again {
        packet.time += end;
        packet.number = packets.len() + 1;
        packets.push(packet);
    }
    assert_right(&packets);
}

#[test]
fn a_reset_with_the_number_of_the_fin_may_be_the_end() {
    for resets in [false, true] {
        let mut packets = read("server-closes");
        let has_fin = |packet: &&Recorded| tcp(packet).has(FIN);
        let fin = packets.iter().find(has_fin).unwrap().clone();
        assert!(is_server(&fin));
        packets.retain(|packet| packet.number <= fin.number);
        let mut reset = fin.clone();
        alter(&mut reset, |parts| {
            parts.tcp.sequence_number += parts.payload.len() as u32;
            (parts.tcp.fin, parts.tcp.psh, parts.tcp.rst) = (false, false, true);
            parts.payload.clear();
            parts.options.clear();
        });
        let mut again = renumbered("server-closes", 7, 1_000_000);
        if resets {
            reset.time = again[0].time;
            again.insert(0, reset);
        }
        for mut packet in again {
            packet.time += fin.time + Duration::from_millis(1);
            packet.number = packets.len() + 1;
            packets.push(packet);
        }
        let found = play(&packets, STRICT);
        let other_isn = found.iter().any(|one| one.rule == Rule::OtherIsn);
        assert_eq!(other_isn, !resets, "{found:?}");
    }
}

#[test]
fn an_attempt_that_was_given_up_is_followed_by_another() {
    let mut packets = read("http-get");
    let mut before = packets[0].clone();
    before.lost = true;
    alter(&mut before, |parts| parts.tcp.sequence_number ^= 0x5555);
    packets.insert(0, before);
    assert_right(&packets);
}

#[test]
fn a_capture_may_begin_in_the_middle() {
    for from in [1, 2, 5, 30] {
        assert_right(&read("loss-download")[from..]);
    }
}

#[test]
fn a_keep_alive_may_bring_one_byte_of_before() {
    let mut packets = read("keepalive");
    let (mut sent, mut probes) = (0, 0);
    let fields = |packet: &Recorded| (tcp(packet).seq, tcp(packet).payload.len() as u32);
    for packet in packets.iter_mut().filter(|packet| !is_server(packet)) {
        let (seq, length) = fields(packet);
        if length == 0 && sent != 0 && seq == sent - 1 && !tcp(packet).has(FIN) {
            alter(packet, |parts| parts.payload.push(b'?'));
            probes += 1;
        }
        sent = sent.max(seq + length);
    }
    assert!(probes > 0, "no keep-alive in the capture");
    assert_right(&packets);
}

#[test]
fn ecn_is_given_up_after_a_lost_syn() {
    let mut packets = read("handshake-ecn");
    let mut again = packets[0].clone();
    packets[0].lost = true;
    again.time += Duration::from_micros(10);
    alter(&mut again, |parts| {
        (parts.tcp.ece, parts.tcp.cwr) = (false, false);
    });
    packets.insert(1, again);
    assert_right(&packets);
}

#[test]
fn a_retransmission_may_be_cut_elsewhere() {
    let mut packets = read("loss-download");
    let lost = packets
        .iter()
        .find(|packet| packet.lost)
        .map(|packet| tcp(packet).seq)
        .unwrap();
    let again = |packet: &Recorded| is_server(packet) && !packet.lost && tcp(packet).seq == lost;
    let at = packets.iter().position(again).unwrap();
    let mut rest = packets[at].clone();
    alter(&mut packets[at], |parts| parts.payload.truncate(1000));
    alter(&mut rest, |parts| {
        parts.tcp.sequence_number = parts.tcp.sequence_number.wrapping_add(1000);
        parts.payload.drain(..1000);
    });
    packets.insert(at + 1, rest);
    assert_right(&packets);
}

#[test]
fn fast_open_brings_bytes_before_the_handshake_is_over() {
    let mut packets = read("http-get");
    let request = packets.iter().map(tcp).find(|tcp| !tcp.payload.is_empty());
    let request = request.unwrap().payload;
    let length = request.len() as u32;
    alter(&mut packets[0], |parts| {
        parts.options.extend([34, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        parts.payload = request.to_vec();
    });
    alter(&mut packets[1], |parts| {
        parts.tcp.acknowledgment_number = parts.tcp.acknowledgment_number.wrapping_add(length);
    });
    let answer = packets
        .iter()
        .position(|packet| is_server(packet) && !tcp(packet).payload.is_empty());
    packets.drain(2..answer.unwrap());
    let echoed = tcp(&packets[0]).options.timestamps.unwrap().0;
    for packet in packets[2..]
        .iter_mut()
        .take_while(|packet| is_server(packet))
    {
        alter(packet, |parts| {
            parts.options[8..12].copy_from_slice(&echoed.to_be_bytes());
        });
    }
    assert_right(&packets);
}

#[test]
fn offload_shows_super_segments_and_sums_of_half_the_packet() {
    let mut packets = read("download");
    let full = |packet: &Recorded| is_server(packet) && tcp(packet).payload.len() > 1400;
    let at = packets
        .windows(2)
        .position(|pair| full(&pair[0]) && full(&pair[1]))
        .unwrap();
    let second = tcp(&packets.remove(at + 1)).payload;
    alter(&mut packets[at], |parts| parts.payload.extend(&second));
    let mut data = packets[at].data.to_vec();
    let length = data.len() as u32 - 20;
    let words = data[12..20]
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.sum::<u32>() + 6 + length;
    let sum = (sum & 0xffff) + (sum >> 16);
    data[36..38].copy_from_slice(&((sum & 0xffff) as u16 + (sum >> 16) as u16).to_be_bytes());
    packets[at].data = Bytes::from(data);
    assert_eq!(play(&packets, Options { offload: true }), []);
    assert_ne!(play(&packets, STRICT), []);
}

#[test]
fn a_capture_may_hold_every_packet_twice() {
    for name in [
        "loss-retransmission",
        "loss-tail",
        "loss-fin",
        "zero-window-client",
    ] {
        let mut packets = Vec::new();
        for mut packet in read(name) {
            packets.push(packet.clone());
            packet.time += Duration::from_micros(20);
            packets.push(packet);
        }
        packets.sort_by_key(|packet| packet.time);
        assert_eq!(play_from_afar(&packets), []);
    }
}

#[test]
fn from_afar_packets_come_in_any_order() {
    for name in ["download", "upload", "loss-download", "window-scaling"] {
        let mut packets = read(name);
        // Behind the handshake, pairs change places.
        for pair in packets[4..].chunks_exact_mut(2) {
            if is_server(&pair[0]) == is_server(&pair[1]) {
                pair.swap(0, 1);
            }
        }
        assert_eq!(play_from_afar(&packets), []);
    }
}

#[test]
fn a_keep_alive_after_fin_has_the_place_of_the_fin() {
    let mut packets = read("loss-fin");
    let fin = |packet: &Recorded| is_server(packet) && tcp(packet).has(FIN);
    let again = packets.iter().rposition(fin).unwrap();
    alter(&mut packets[again], |parts| {
        let length = std::mem::take(&mut parts.payload).len() as u32;
        parts.tcp.sequence_number = parts.tcp.sequence_number.wrapping_add(length);
        parts.tcp.fin = false;
        parts.payload.push(b'?');
    });
    packets.truncate(again + 1);
    assert_right(&packets);
}

#[test]
fn a_reset_in_time_wait_may_be_ignored() {
    let mut packets = read("server-closes");
    let last = packets.last().unwrap();
    let from_client = packets.iter().rfind(|packet| !is_server(packet)).unwrap();
    let from_server = packets.iter().rfind(|packet| is_server(packet)).unwrap();
    let (end, time) = (packets.len(), last.time);
    let (mut reset, mut answer) = (from_client.clone(), from_server.clone());
    let next = tcp(&answer).ack;
    alter(&mut reset, |parts| {
        (parts.tcp.rst, parts.tcp.fin, parts.tcp.psh) = (true, false, false);
        parts.tcp.sequence_number = next;
    });
    let (reset_at, answer_at) = (
        time + Duration::from_millis(1),
        time + Duration::from_secs(1),
    );
    (reset.time, reset.number, answer.time, answer.number) =
        (reset_at, end + 1, answer_at, end + 2);
    packets.extend([reset, answer]);
    assert_right(&packets);
}
