//! Scans, and packets made wrong on purpose: every answer as the kernel gave it, except where the
//! test says why not.

use replay::Services;
use replay::ports::{self, Report};

use crate::common::read;
use crate::stack::Stack;

/// Probes of a host that listens on TCP port 80 and has an echo service.
fn probe(name: &str, services: Services) -> Report {
    let address = "10.88.0.2".parse().unwrap();
    let report = ports::replay::<Stack>(&read(name), address, &[80], services);
    report.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The flows on which something else was said than the kernel said, each with what was said.
fn others(report: &Report) -> Vec<(&str, &[String])> {
    let list = report.differences.iter();
    list.map(|other| (other.flow.as_str(), other.ours.as_slice()))
        .collect()
}

/// A SYN is a SYN, whatever FIN says besides (RFC 9293 §3.10.7.2); the kernel drops it.
fn took_the_syn(said: &[String]) {
    assert!(!said.is_empty());
    let is_syn_ack = |words: &String| words.starts_with("SYN,ACK seq isn+0");
    assert!(said.iter().all(is_syn_ack), "{said:?}");
}

/// A TCP header in pieces of eight bytes is no header (RFC 1858 §3); the kernel takes it.
fn dropped_the_fragments(said: &[String]) {
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn scan_open_ports() {
    let report = probe("scan-open-ports", Services::None);
    // SYN,ACK and RST for either kind of scan; the ACK and RST that close one are not answered.
    assert_eq!((report.probes, report.same), (7, 4));
    assert_eq!(others(&report), []);
}

#[test]
fn odd_flags() {
    let report = probe("odd-flags", Services::None);
    assert_eq!((report.probes, report.same), (23, 14));
    let others = others(&report);
    let [(flow, said)] = others[..] else {
        panic!("{others:?}");
    };
    assert_eq!(flow, "TCP 10.88.0.2:80 > 10.88.0.1:40006");
    took_the_syn(said);
}

#[test]
fn scan_udp() {
    let report = probe("scan-udp", Services::AsRecorded);
    assert_eq!((report.probes, report.same), (3, 2));
    assert_eq!(others(&report), []);
}

#[test]
fn odd_fragments() {
    let report = probe("odd-fragments", Services::None);
    let others = others(&report);
    assert_eq!(others.len(), 2);
    for (_, said) in others {
        dropped_the_fragments(said);
    }
}

#[test]
fn scan_operating_system() {
    let report = probe("odd-operating-system", Services::None);
    assert_eq!((report.probes, report.same), (32, 15));
    let others = others(&report);
    let [(syn_fin, said), (icmp, no_reply)] = others[..] else {
        panic!("{others:?}");
    };
    assert!(syn_fin.starts_with("TCP 10.88.0.2:80 > 10.88.0.1:"));
    took_the_syn(said);
    // An echo request has code 0 (RFC 792); the kernel does not look at it.
    assert_eq!(icmp, "ICMP (0, 9) 10.88.0.2 > 10.88.0.1");
    assert!(no_reply.is_empty());
}

#[test]
fn hping_oddities() {
    let report = probe("odd-hping", Services::None);
    assert_eq!((report.probes, report.same), (118, 48));
    let others = others(&report);
    let silent: Vec<&str> = (others.iter())
        .filter(|(_, said)| said.is_empty())
        .map(|&(flow, _)| flow)
        .collect();
    assert_eq!(
        silent,
        [
            // Odd codes, and timestamps, which a host need not tell (RFC 1122 §3.2.2.8).
            "ICMP (0, 5) 10.88.0.2 > 10.88.0.1",
            "ICMP (14, 0) 10.88.0.2 > 10.88.0.1",
            // Port 0 is reserved.
            "TCP 10.88.0.2:80 > 10.88.0.1:0",
            // A TCP header in pieces.
            "TCP 10.88.0.2:80 > 10.88.0.1:41030",
            "TCP 10.88.0.2:81 > 10.88.0.1:41030",
        ]
    );
    let said: Vec<_> = others.iter().filter(|(_, said)| !said.is_empty()).collect();
    let [(flow, said)] = said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(*flow, "TCP 10.88.0.2:80 > 10.88.0.1:41010");
    took_the_syn(said);
}
