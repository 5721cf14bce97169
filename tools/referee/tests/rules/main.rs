//! Each rule, broken by the smallest change to a conversation that keeps it.

#[path = "../common/mod.rs"]
mod common;
mod headers;
mod numbers;
mod time;

use std::time::Duration;

use common::{Parts, alter, is_server, play, read, tcp};
use referee::capture::Recorded;
use referee::packet::{ACK, TcpPacket};
use referee::{Options, Rule, Violation};

/// The first violation is this one.
#[track_caller]
pub(crate) fn assert_first(found: &[Violation], rule: Rule, packet: usize) {
    let first = found
        .first()
        .unwrap_or_else(|| panic!("nothing found, but {rule} is broken"));
    assert_eq!((first.rule, first.packet), (rule, packet), "{first}");
}

/// The index of the `nth` segment for which `which` holds, from 0.
pub(crate) fn find(
    packets: &[Recorded],
    nth: usize,
    which: impl Fn(&Recorded, &TcpPacket) -> bool,
) -> usize {
    let mut fitting = (0..packets.len()).filter(|&at| which(&packets[at], &tcp(&packets[at])));
    fitting.nth(nth).expect("such a segment")
}

pub(crate) fn server_data(packets: &[Recorded], nth: usize) -> usize {
    find(packets, nth, |packet, tcp| {
        is_server(packet) && !tcp.payload.is_empty()
    })
}

pub(crate) fn client_data(packets: &[Recorded], nth: usize) -> usize {
    find(packets, nth, |packet, tcp| {
        !is_server(packet) && !tcp.payload.is_empty()
    })
}

pub(crate) fn server_ack(packets: &[Recorded], nth: usize) -> usize {
    find(packets, nth, |packet, tcp| {
        is_server(packet) && tcp.flags == ACK && tcp.payload.is_empty()
    })
}

/// Alters one segment: it, and nothing before it, breaks the rule.
#[track_caller]
pub(crate) fn broken(
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
pub(crate) fn repeat(
    packets: &mut Vec<Recorded>,
    of: usize,
    after: usize,
    later: Duration,
) -> usize {
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

pub(crate) const MS: Duration = Duration::from_millis(1);

#[test]
fn rules_have_names_of_their_own_and_a_source() {
    let mut names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Rule::ALL.len());
    assert!(Rule::ALL.iter().all(|rule| rule.source().contains("RFC ")));
    let readme = include_str!("../../README.md");
    for rule in Rule::ALL {
        let line = format!("| `{}` | ", rule.name());
        assert!(readme.contains(&line), "the README lacks {line}");
    }
}
