//! The sockets of two stacks, joined by a cable in memory, under virtual time.

mod errors;
mod http;
mod incoming;
mod lifetime;
mod listing;
mod options;
mod ping;
mod shards;
mod tcp;
mod tcp_wire;
mod threads;
mod udp;
mod udp_joined;
mod udp_wire;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};
use tokio::task::JoinHandle;
use ustack::device::memory::{self, MemoryDevice};
use ustack::device::{Caps, Device, Frame};
use ustack::{Clock, Config, Stack, TcpListener, TcpStream};

/// A cable that needs wire packets with their checksums.
const PLAIN: Caps = Caps::plain(1500);

/// A cable that takes super-segments.
const OFFLOAD: Caps = Caps::offload(1500);

const V4: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1)),
    IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 2)),
];

const V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2)),
];

type Running = JoinHandle<std::io::Result<()>>;

/// Host 0 or 1 of a net, under virtual time.
fn config(host: usize) -> Config {
    Config::new()
        .address(V4[host], 24)
        .address(V6[host], 64)
        .clock(Clock::Tokio)
        .seed([host as u8; 32])
}

fn start(config: Config, device: impl Device + 'static) -> (Stack, Running) {
    let (stack, driver) = Stack::new(config, device).expect("the settings are right");
    (stack, tokio::spawn(driver))
}

/// A client and a server.
struct Net {
    client: Stack,
    server: Stack,
    drivers: [Running; 2],
}

fn net(caps: Caps) -> Net {
    net_with(caps, config(0), config(1))
}

fn net_with(caps: Caps, client: Config, server: Config) -> Net {
    let (left, right) = memory::pair(caps);
    let (client, client_driver) = start(client, left);
    let (server, server_driver) = start(server, right);
    Net {
        client,
        server,
        drivers: [client_driver, server_driver],
    }
}

/// A stack alone, and the other end of its cable, which nobody answers.
fn alone(config: Config) -> (Stack, Running, MemoryDevice) {
    let (left, right) = memory::pair(PLAIN);
    let (stack, driver) = start(config, left);
    (stack, driver, right)
}

/// A segment without text from port `from` of host 0 to port 7 of host 1.
fn segment_to_7(
    from: u16,
    seq: u32,
    flags: impl FnOnce(PacketBuilderStep<TcpHeader>) -> PacketBuilderStep<TcpHeader>,
) -> Frame {
    let ends = PacketBuilder::ipv4([10, 77, 0, 1], [10, 77, 0, 2], 64);
    let mut data = Vec::new();
    let segment = flags(ends.tcp(from, 7, seq, 1000));
    segment.write(&mut data, &[]).expect("room for all");
    Frame {
        data: data.into(),
        ..Frame::default()
    }
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

/// Both ends of a new connection: the client's and the server's.
async fn connected(net: &Net) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(&net.server, at(V4[1], 0)).expect("a free port");
    let (client, accepted) = tokio::join!(
        TcpStream::connect(&net.client, listener.local_addr()),
        listener.accept()
    );
    (client.expect("connected"), accepted.expect("accepted").0)
}

/// No test waits for more than this much virtual time.
async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), future)
        .await
        .expect("it ends in time")
}

/// Bytes in which every position shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}
