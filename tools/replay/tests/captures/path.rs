//! Routers and large packets: path MTU discovery, ICMP errors, IPv6 fragments.

use std::time::Duration;

use replay::Services;
use replay::conversation::Role;
use replay::ports;
use replay::stream::{Plan, Report};
use ustack_tcp::CloseReason;
use ustack_tcp::State::*;

use crate::common::{read, replay};
use crate::stack::Stack;

fn as_server(name: &str) -> Report {
    let report = replay(name, &Plan::new(Role::Server));
    assert_eq!(
        report.states,
        [SynReceived, Established, CloseWait, LastAck]
    );
    let waited = report.delay;
    assert!(waited < Duration::from_millis(300), "waited {waited:?}");
    report
}

/// The stack sent full packets, and after the router's word none longer than `mtu`, many of them
/// as long as that.
fn shrank_to(report: &Report, mtu: usize) {
    let last_long = report.sizes.iter().rposition(|size| *size > mtu);
    let after = &report.sizes[last_long.expect("full packets") + 1..];
    let full = after.iter().filter(|size| **size == mtu).count();
    assert!(full >= 15, "{:?}", report.sizes);
}

#[test]
fn path_mtu() {
    shrank_to(&as_server("path-mtu"), 1300);
}

#[test]
fn path_mtu_ipv6() {
    shrank_to(&as_server("path-mtu-ipv6"), 1280);
}

/// Packets of 1500 bytes have been acknowledged: what says that they do not fit is not believed
/// before a timeout says so, too (RFC 5927 §7.2).
#[test]
fn path_mtu_doubted() {
    let report = as_server("path-mtu-doubted");
    assert!(report.tally.retransmissions >= 5, "{:?}", report.tally);
    let full = report.sizes.iter().filter(|size| **size == 1500).count();
    assert!(full > 50_000 / 1428, "{:?}", report.sizes);
}

/// A soft error ends nothing (RFC 1122 §4.2.3.9): what the router threw away is sent again.
#[test]
fn host_unreachable() {
    let report = as_server("host-unreachable");
    assert!(report.tally.retransmissions >= 13, "{:?}", report.tally);
    assert_eq!(
        (report.closed, report.error),
        (Some(CloseReason::Finished), None)
    );
    assert!(report.sent > 40_000);
}

/// As the kernel answers, but for two: a piece that lies within another makes the whole invalid
/// (RFC 5722 §4), and a fragment that holds nothing is dropped without a word.
#[test]
fn odd_fragments_ipv6() {
    let address = "fd88::2".parse().unwrap();
    let packets = read("odd-fragments-ipv6");
    let report = ports::replay::<Stack>(&packets, address, &[], Services::AsRecorded).unwrap();
    let numbers = |said: &[String]| -> Vec<u32> {
        let last = |words: &String| words.rsplit(' ').next()?.parse().ok();
        said.iter().filter_map(last).collect()
    };
    let [echoes, header] = &report.differences[..] else {
        panic!("{report:#?}");
    };
    assert_eq!(numbers(&echoes.recorded), [1, 2, 3, 4, 6, 7, 10, 11]);
    assert_eq!(numbers(&echoes.ours), [1, 2, 3, 4, 7, 10, 11]);
    assert_eq!(header.ours, [""; 0]);
    // Lengths that are not a multiple of eight, and ends beyond 65,535 bytes (RFC 8200 §4.5).
    assert_eq!((report.probes, report.same), (28, 3));
}
