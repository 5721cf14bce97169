//! Attempts to connect as the network sees them.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use covers::covers;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use ustack::device::memory::MemoryDevice;
use ustack::{Clock, Config, ConnectOptions, TcpStream};

use super::{V4, V6, alone, at, config};

/// The other addresses of the host under test.
const SECOND: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 77)),
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x77)),
];

/// A connection from there.
fn from(local: Option<SocketAddr>) -> ConnectOptions {
    let mut options = ConnectOptions::new();
    options.local = local;
    options
}

/// Source, port and sequence number of each SYN that left.
fn syns(cable: &MemoryDevice) -> Vec<(IpAddr, u16, u32)> {
    std::iter::from_fn(|| cable.pop())
        .map(|frame| {
            let packet = SlicedPacket::from_ip(&frame.data).expect("well-formed");
            let source: IpAddr = match packet.net.expect("IP") {
                NetSlice::Ipv4(ip) => ip.header().source_addr().into(),
                NetSlice::Ipv6(ip) => ip.header().source_addr().into(),
                NetSlice::Arp(_) => panic!("ARP"),
            };
            let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
                panic!("no segment");
            };
            assert!(tcp.syn() && !tcp.ack());
            (source, tcp.source_port(), tcp.sequence_number())
        })
        .collect()
}

/// Of two addresses the one that was asked for, or else one that IP picks before the first SYN: and
/// that on every SYN.
#[tokio::test(start_paused = true)]
#[covers("MUST-43", "MUST-44", "MUST-45")]
async fn a_connection_has_one_source() {
    for (family, [peer, us]) in [V4, V6].into_iter().enumerate() {
        for asked in [None, Some(us), Some(SECOND[family])] {
            let config = config(1).address(SECOND[0], 24).address(SECOND[1], 64);
            let (stack, _driver, cable) = alone(config);
            let options = from(asked.map(|ip| at(ip, 0)));
            let attempt = TcpStream::connect_with(&stack, at(peer, 80), options);
            let ended = tokio::time::timeout(Duration::from_secs(20), attempt).await;
            assert!(ended.is_err(), "nobody answers");
            let syns = syns(&cable);
            assert!(syns.len() >= 5, "{syns:?}");
            assert!(syns.iter().all(|syn| *syn == syns[0]), "{syns:?}");
            assert!([us, SECOND[family]].contains(&syns[0].0));
            assert!(asked.is_none_or(|asked| syns[0].0 == asked), "{syns:?}");
        }
        // What is not this host's is refused.
        let (stack, _driver, cable) = alone(config(1));
        let options = from(Some(at(SECOND[family], 0)));
        let refused = TcpStream::connect_with(&stack, at(peer, 80), options).await;
        assert!(refused.is_err());
        assert!(syns(&cable).is_empty());
        // And so is an address of the other family.
        let options = from(Some(at([V6, V4][family][1], 0)));
        let refused = TcpStream::connect_with(&stack, at(peer, 80), options).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(syns(&cable).is_empty());
    }
}

/// Nobody is at a group's address, a broadcast's, or none: an error at once, and not a packet.
#[tokio::test(start_paused = true)]
#[covers("MUST-46")]
async fn nobody_is_called_at_what_is_no_host() {
    for remote in [
        "224.0.0.1",
        "239.1.2.3",
        "255.255.255.255",
        "10.77.0.255",
        "0.0.0.0",
        "240.0.0.1",
        "ff02::1",
        "ff0e::1",
        "::",
    ] {
        let (stack, _driver, cable) = alone(config(1));
        let attempt = TcpStream::connect(&stack, at(remote.parse().expect("an address"), 80));
        let ended = tokio::time::timeout(Duration::from_secs(5), attempt).await;
        assert!(ended.expect("at once").is_err(), "{remote}");
        assert_eq!(cable.pop(), None, "{remote}");
    }
}

/// The secret is the system's, drawn at each start: stacks that differ in nothing else share
/// neither sequence numbers nor ports.
#[tokio::test(start_paused = true)]
#[covers("ISN-1", "MUST-9")]
async fn each_start_has_a_secret_of_its_own() {
    for [peer, us] in [V4, V6] {
        let mut isns = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let config = Config::new().address(us, 24).clock(Clock::Tokio);
            let (stack, _driver, cable) = alone(config);
            let options = from(Some(at(us, 5000)));
            let attempt = TcpStream::connect_with(&stack, at(peer, 80), options);
            let _ = tokio::time::timeout(Duration::from_millis(10), attempt).await;
            let syns = syns(&cable);
            assert_eq!(syns[0].1, 5000);
            isns.insert(syns[0].2 >> 10); // apart by more than a clock moves
        }
        assert!(isns.len() >= 19, "{isns:?}");
    }
}
