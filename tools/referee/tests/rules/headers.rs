//! Headers, options and timestamps.

use referee::{Options, Rule};

use crate::common::{Parts, alter, damage, play, read, tcp};
use crate::{assert_first, broken, server_ack, server_data};

const MSS: [u8; 4] = [2, 4, 5, 0xb4];

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
