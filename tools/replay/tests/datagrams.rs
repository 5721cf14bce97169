//! UDP and ICMP captures against the stack: every answer as the kernel gave it.

mod common;

use std::net::IpAddr;
use std::path::Path;

use common::Stack;
use replay::datagram::{self, Report};
use replay::message::Message;
use replay::{Services, capture};

const V4: &str = "10.88.0.2";
const V6: &str = "fd88::2";

fn replay(name: &str, address: &str, services: Services) -> Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    let packets = capture::read(&folder.join(format!("{name}.pcapng"))).unwrap();
    let address: IpAddr = address.parse().unwrap();
    datagram::replay::<Stack>(&packets, address, services)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn udp_lengths(report: &Report) -> Vec<usize> {
    let length = |message: &Message| match message {
        Message::Udp { payload, .. } => payload.len(),
        other => panic!("{other:?} among echoes"),
    };
    report.messages.iter().map(length).collect()
}

/// All are errors of this type and code, and quote at least a header and eight bytes.
fn unreachable(report: &Report, expected: (u8, u8), header: usize, count: usize) {
    assert_eq!(report.messages.len(), count);
    for message in &report.messages {
        let Message::Error { kind, quote, .. } = message else {
            panic!("{message:?} is no error");
        };
        assert_eq!(*kind, expected);
        assert!(quote.len() >= header + 8, "quotes {} bytes", quote.len());
    }
}

#[test]
fn udp_echo() {
    assert_eq!(
        udp_lengths(&replay("udp-echo", V4, Services::Echo(7))),
        [0, 1, 512, 1472]
    );
}

#[test]
fn udp_echo_ipv6() {
    assert_eq!(
        udp_lengths(&replay("udp-echo-ipv6", V6, Services::Echo(7))),
        [0, 1, 512, 1452]
    );
}

#[test]
fn udp_fragments() {
    let report = replay("udp-fragments", V4, Services::Echo(7));
    assert_eq!(udp_lengths(&report), [1473, 20000]);
    assert_eq!(report.packets_out, 2 + 14);
}

#[test]
fn udp_fragments_ipv6() {
    let report = replay("udp-fragments-ipv6", V6, Services::Echo(7));
    assert_eq!(udp_lengths(&report), [1453, 20000]);
    assert_eq!(report.packets_out, 2 + 14);
}

#[test]
fn dns_udp() {
    let lengths = udp_lengths(&replay("dns-udp", V4, Services::AsRecorded));
    assert_eq!(lengths, [64]);
}

#[test]
fn dns_udp_ipv6() {
    let lengths = udp_lengths(&replay("dns-udp-ipv6", V6, Services::AsRecorded));
    assert_eq!(lengths, [76]);
}

/// The answer that says there is more than fits; the TCP half of the file finds a closed port here.
#[test]
fn dns_truncated_udp() {
    let lengths = udp_lengths(&replay("dns-truncated", V4, Services::AsRecorded));
    assert_eq!(lengths, [1113]);
}

#[test]
fn udp_refused() {
    unreachable(&replay("udp-refused", V4, Services::None), (3, 3), 20, 1);
}

#[test]
fn udp_refused_ipv6() {
    unreachable(
        &replay("udp-refused-ipv6", V6, Services::None),
        (1, 4),
        40,
        1,
    );
}

#[test]
fn traceroute() {
    unreachable(&replay("traceroute", V4, Services::None), (3, 3), 20, 3);
}

#[test]
fn ping() {
    assert_eq!(replay("ping", V4, Services::None).messages.len(), 3);
}

#[test]
fn ping_ipv6() {
    assert_eq!(replay("ping-ipv6", V6, Services::None).messages.len(), 3);
}

#[test]
fn ping_fragments() {
    let report = replay("ping-fragments", V4, Services::None);
    assert_eq!((report.messages.len(), report.packets_out), (1, 14));
}

#[test]
fn ping_fragments_ipv6() {
    let report = replay("ping-fragments-ipv6", V6, Services::None);
    assert_eq!((report.messages.len(), report.packets_out), (1, 14));
}

#[test]
fn ping_options() {
    assert_eq!(replay("ping-options", V4, Services::None).messages.len(), 1);
}

#[test]
fn a_missing_answer_is_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    let packets = capture::read(&folder.join("udp-echo.pcapng")).unwrap();
    let error =
        datagram::replay::<Stack>(&packets, V4.parse().unwrap(), Services::None).unwrap_err();
    assert!(
        error.starts_with("packet 2 is UDP 10.88.0.2:7 > 10.88.0.1:"),
        "{error}"
    );
    assert!(
        error.contains("the stack says ICMP error (3, 3)"),
        "{error}"
    );
}
