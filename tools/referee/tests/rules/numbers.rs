//! Sequence numbers, acknowledgments and windows.

use referee::capture::Recorded;
use referee::packet::{ACK, FIN, SYN};
use referee::{Options, Rule};

use crate::common::{self, Parts, alter, is_server, play, play_ends, read, tcp};
use crate::{MS, assert_first, broken, client_data, find, repeat, server_ack, server_data};
use std::time::Duration;

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
        parts.payload.extend([0, 0]);
    });
}
