//! What real kernels send, from the recorded conversations.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;

const CLIENT: [&str; 2] = ["10.88.0.1", "fd88::1"];
const SERVER: [&str; 2] = ["10.88.0.2", "fd88::2"];

fn host(addresses: [&str; 2]) -> Ip {
    let config = IpConfig {
        addresses: vec![(addr(addresses[0]), 24), (addr(addresses[1]), 64)],
        ..IpConfig::default()
    };
    Ip::new(config, PLAIN, [8; 32])
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("pcaps/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "pcapng"))
        // What tools make wrong on purpose.
        .filter(|path| {
            !path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("odd-"))
        })
        .collect();
    files.sort();
    files
}

/// The packets of a recording, as bytes.
fn recorded(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapNgReader::new(File::open(path).expect("readable")).expect("pcapng");
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        if let (Block::EnhancedPacket(packet), _) = block.expect("a whole block") {
            packets.push(packet.data.to_vec());
        }
    }
    packets
}

fn source(packet: &[u8]) -> IpAddr {
    if packet[0] >> 4 == 4 {
        IpAddr::from(<[u8; 4]>::try_from(&packet[12..16]).expect("four bytes"))
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&packet[8..24]).expect("sixteen bytes"))
    }
}

/// Whatever a kernel sends is taken by the other side, whichever we are; the only packets that go
/// no further are echo replies to requests this stack never makes, and link chatter.
#[test]
#[covers("V6-17")]
fn no_packet_of_a_kernel_is_malformed() {
    let files = recordings();
    assert!(files.len() >= 12);
    let mut surprises = BTreeMap::new();
    for path in files {
        for (us, them) in [(SERVER, CLIENT), (CLIENT, SERVER)] {
            let mut ip = host(us);
            for packet in recorded(&path) {
                if !them.iter().any(|ip| addr(ip) == source(&packet)) {
                    continue;
                }
                match ip.on_frame(at(1), frame(packet)) {
                    Ok(_) | Err(Dropped::IcmpIgnored | Dropped::Multicast) => {}
                    Err(other) => *surprises.entry((path.clone(), other)).or_insert(0) += 1,
                }
            }
            assert_counters_add_up(&ip);
        }
    }
    assert!(surprises.is_empty(), "{surprises:#?}");
}

/// Our answers to a kernel's pings are another kernel's, byte for byte behind the IP header.
#[test]
#[covers("IC-1", "C6-6")]
fn pings_are_answered_as_a_kernel_does() {
    for name in ["ping", "ping-ipv6"] {
        let path = format!("{}/pcaps/{name}.pcapng", env!("CARGO_MANIFEST_DIR"));
        let (mut ip, mut replies) = (host(SERVER), Vec::new());
        let mut expected = Vec::new();
        for packet in recorded(Path::new(&path)) {
            if CLIENT.iter().any(|ip| addr(ip) == source(&packet)) {
                let _ = ip.on_frame(at(1), frame(packet));
                replies.extend(answers(&mut ip, at(1)).iter().map(|packet| dissect(packet)));
            } else {
                expected.push(dissect(&packet));
            }
        }
        assert!(!expected.is_empty());
        assert_eq!(replies, expected, "{name}");
    }
}

/// Port unreachable as a kernel says it: type, code and the quotation's beginning.
#[test]
#[covers("UD-5")]
fn closed_ports_are_refused_as_a_kernel_does() {
    for name in ["udp-refused", "udp-refused-ipv6"] {
        let path = format!("{}/pcaps/{name}.pcapng", env!("CARGO_MANIFEST_DIR"));
        let (mut ip, mut errors, mut expected) = (host(SERVER), Vec::new(), Vec::new());
        for packet in recorded(Path::new(&path)) {
            if !CLIENT.iter().any(|ip| addr(ip) == source(&packet)) {
                expected.push(dissect(&packet));
                continue;
            }
            if let Ok(Some(Input::Udp { packet, .. })) = ip.on_frame(at(1), frame(packet)) {
                ip.send_unreachable(at(1), Unreachable::Port, &packet);
                errors.extend(answers(&mut ip, at(1)).iter().map(|packet| dissect(packet)));
            }
        }
        assert!(!expected.is_empty());
        assert_eq!(errors, expected, "{name}");
    }
}
