//! A million packets that no host would send: each raises a counter, none does anything else.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::PacketBuilder;
use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ustack::device::{Caps, Frame, Offload, memory};
use ustack::{Config, Stack, TcpListener, TcpStream, UdpSocket};

const PACKETS: u64 = 1_000_000;
/// Packets before memory is looked at first: pools and tables have their size by then.
const WARM_UP: u64 = 100_000;
const BATCH: u64 = 1_000;

const CAPS: Caps = Caps {
    mtu: 1500,
    tx_checksum: false,
    tso: false,
    uso: false,
};
const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HERE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
const THERE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const TCP_PORT: u16 = 80;
const UDP_PORT: u16 = 7;

#[tokio::test]
async fn a_million_garbage_packets_raise_counters_and_nothing_else() {
    let (here, there) = memory::pair(CAPS);
    let config = Config::new().address(HERE, 24).address(HERE_V6, 64);
    let (stack, driver) = Stack::new(config, here).expect("settings that work");
    let driver = tokio::spawn(driver);
    let port = |port| SocketAddr::from((HERE, port));
    let listener = TcpListener::bind(&stack, port(TCP_PORT)).expect("a free port");
    let _udp = UdpSocket::bind(&stack, port(UDP_PORT)).expect("a free port");

    let mut rng = Rng::with_seed(0x6761_7262);
    let (mut sent, mut warm) = (0, 0);
    while sent < PACKETS {
        for _ in 0..BATCH {
            let data = garbage(&mut rng).into();
            let offload = Offload::default();
            assert!(
                there.push(Frame { data, offload }),
                "no packet is lost on the way"
            );
        }
        sent += BATCH;
        while stack.stats().ip.in_receives < sent {
            tokio::task::yield_now().await;
        }
        if sent == WARM_UP {
            warm = resident_kib();
        }
    }

    let stats = stack.stats();
    println!("{:?}", stats.ip);
    assert_eq!(there.pop(), None, "garbage is never answered");
    assert_eq!(
        stats.ip.dropped(),
        PACKETS,
        "each is dropped, and counted once"
    );
    assert_eq!(stats.ip.in_delivers, 0);
    assert_eq!((stats.tcp.counters.in_segs, stats.tcp.connections), (0, 0));
    let grown = resident_kib().saturating_sub(warm);
    assert!(grown < 2_048, "memory grew by {grown} KiB");

    // The host is as it was: the other end, now a stack, connects.
    let (other, other_driver) =
        Stack::new(Config::new().address(THERE, 24), there).expect("settings that work");
    tokio::spawn(other_driver);
    let mut client = TcpStream::connect(&other, port(TCP_PORT))
        .await
        .expect("a connection");
    let (mut server, _) = listener.accept().await.expect("a connection");
    server.write_all(b"alive").await.expect("a client");
    drop(server);
    let mut text = String::new();
    client
        .read_to_string(&mut text)
        .await
        .expect("the greeting");
    assert_eq!(text, "alive");
    drop(driver);
}

/// One packet with one thing wrong.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    let mut packet = sound(rng);
    match rng.u8(..4) {
        // Random bytes, half of them with a plausible first nibble.
        0 => {
            let mut bytes: Vec<u8> = (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect();
            if rng.bool() {
                bytes[0] = if rng.bool() { 0x45 } else { 0x60 };
            }
            bytes
        }
        // Cut short, anywhere.
        1 => {
            packet.truncate(rng.usize(1..packet.len()));
            packet
        }
        // A length that lies: of the IP packet, or of a header inside it.
        2 => {
            let ipv4 = packet[0] >> 4 == 4;
            let length = if ipv4 { 2 } else { 4 };
            let wrong = u16::from_be_bytes([packet[length], packet[length + 1]]) ^ rng.u16(1..1024);
            packet[length..length + 2].copy_from_slice(&wrong.to_be_bytes());
            if ipv4 {
                mend_ipv4_header(&mut packet);
            }
            packet
        }
        // One flipped bit: some checksum is wrong, or a length or version is.
        _ => {
            let transport = if packet[0] >> 4 == 4 { 20 } else { 40 };
            let at = rng.usize(transport..packet.len());
            packet[at] ^= 1 << rng.u8(..8);
            packet
        }
    }
}

/// A packet that the host would take: to an open port, with data.
fn sound(rng: &mut Rng) -> Vec<u8> {
    let payload: Vec<u8> = (0..rng.usize(1..64)).map(|_| rng.u8(..)).collect();
    let ipv4 = rng.bool();
    let ip = if ipv4 {
        PacketBuilder::ipv4(THERE.octets(), HERE.octets(), 64)
    } else {
        PacketBuilder::ipv6(THERE_V6.octets(), HERE_V6.octets(), 64)
    };
    let mut packet = Vec::new();
    let written = match rng.u8(..3) {
        0 => ip
            .tcp(rng.u16(1..), TCP_PORT, rng.u32(..), 65_000)
            .syn()
            .write(&mut packet, &payload),
        1 => ip.udp(rng.u16(1..), UDP_PORT).write(&mut packet, &payload),
        _ if ipv4 => ip
            .icmpv4_echo_request(rng.u16(..), 1)
            .write(&mut packet, &payload),
        _ => ip
            .icmpv6_echo_request(rng.u16(..), 1)
            .write(&mut packet, &payload),
    };
    written.expect("memory");
    packet
}

/// Sets the IPv4 header's checksum to what the header now says.
fn mend_ipv4_header(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let checksum = ustack::checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// What the process holds in memory.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse().ok()).expect("a number")
}
