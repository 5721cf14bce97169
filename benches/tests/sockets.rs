//! Once warm, a round trip and a segment allocate nothing between two programs either: from
//! `write` of the one through its stack, a device and the other's stack to `read` of the other.

use std::os::fd::OwnedFd;

use core_bench::allocator::{self, Counting};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ustack::device::tun::{FdOptions, Tun};
use ustack::device::{Caps, Device, memory};
use ustack::tcp::SocketOptions;
use ustack::{Config, Stack, TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MTU: u16 = 1500;
const MSS: u32 = 1460;

/// Bytes of a request, and of its response.
const REQUEST: usize = 64;
const ROUND_TRIPS: u32 = 2000;

/// Bytes of one write of a bulk transfer, and of all.
const WRITE: usize = 32 << 10;
const BULK: usize = 64 << 20;

/// What is on its way at most: without a link's delay the queues of the devices would hold all that a
/// receiver ever grants.
const WINDOW: u32 = 1 << 20;

/// What may be: slots of timer wheels are used for the first time as time goes by.
const FEW: f64 = 0.01;

/// Two connected streams, their stacks' drivers on the runtime of the caller.
async fn connected<D: Device + 'static>((left, right): (D, D)) -> (TcpStream, TcpStream) {
    let stack = |last: u8, device: D| {
        let socket = SocketOptions {
            recv_buffer: Some(WINDOW),
            send_buffer: Some(WINDOW),
            ..SocketOptions::default()
        };
        let config = Config::new().address([10, 77, 0, last], 24).socket(socket);
        let (stack, driver) = Stack::new(config, device).expect("settings that work");
        tokio::spawn(driver);
        stack
    };
    let (client, server) = (stack(1, left), stack(2, right));
    let address = ([10, 77, 0, 2], 7).into();
    let listener = TcpListener::bind(&server, address).expect("a free port");
    let connecting = TcpStream::connect(&client, address);
    let (ours, theirs) = tokio::join!(connecting, listener.accept());
    (ours.expect("connected"), theirs.expect("accepted").0)
}

/// Allocations of a round trip.
async fn round_trips(mut client: TcpStream, mut server: TcpStream) -> f64 {
    let echo = tokio::spawn(async move {
        let mut buffer = [0; REQUEST];
        while server.read_exact(&mut buffer).await.is_ok() {
            server.write_all(&buffer).await.expect("a client");
        }
    });
    let mut allocations = [0; 2];
    for pass in &mut allocations {
        let before = allocator::counts().allocations;
        let mut answer = [0; REQUEST];
        for round in 0..ROUND_TRIPS {
            let request = [round as u8; REQUEST];
            client.write_all(&request).await.expect("a server");
            client.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(answer, request);
        }
        *pass = allocator::counts().allocations - before;
    }
    drop(client);
    echo.await.expect("no panic");
    allocations[1] as f64 / f64::from(ROUND_TRIPS)
}

/// Allocations of a wire segment.
async fn bulk(mut client: TcpStream, mut server: TcpStream) -> f64 {
    let writing = tokio::spawn(async move {
        let buffer = vec![7; WRITE];
        for _ in 0..2 * BULK / WRITE {
            client.write_all(&buffer).await.expect("a server");
        }
    });
    let mut allocations = [0; 2];
    let mut buffer = vec![0; WRITE];
    for pass in &mut allocations {
        let before = allocator::counts().allocations;
        let mut got = 0;
        while got < BULK {
            let most = WRITE.min(BULK - got);
            got += server.read(&mut buffer[..most]).await.expect("a client");
        }
        *pass = allocator::counts().allocations - before;
    }
    writing.await.expect("no panic");
    allocations[1] as f64 / (BULK as f64 / f64::from(MSS))
}

/// Two ends of a socket pair, as descriptors of TUN devices: what a device reads and writes, without
/// a kernel's stack in between.
fn tuns(vnet_hdr: bool) -> (Tun, Tun) {
    let (left, right) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a socket pair");
    let options = FdOptions {
        mtu: MTU,
        vnet_hdr: Some(vnet_hdr),
    };
    let tun = |fd: OwnedFd| Tun::from_fd(fd, &options).expect("a descriptor that works");
    (tun(left), tun(right))
}

/// Counts both over a pair of devices.
async fn check<D: Device + 'static>(name: &str, devices: impl Fn() -> (D, D)) {
    let (client, server) = connected(devices()).await;
    let per_round_trip = round_trips(client, server).await;
    let (client, server) = connected(devices()).await;
    let per_segment = bulk(client, server).await;
    println!("{name:16} {per_round_trip:.4} per round trip, {per_segment:.4} per segment");
    assert!(per_round_trip < FEW, "{name}: {per_round_trip}");
    assert!(per_segment < FEW, "{name}: {per_segment}");
}

/// One test: the counts are the program's.
#[tokio::test]
async fn a_warm_connection_allocates_nothing() {
    allocator::start();
    check("memory, plain", || memory::pair(Caps::plain(MTU))).await;
    check("memory, offload", || memory::pair(Caps::offload(MTU))).await;
    check("tun, plain", || tuns(false)).await;
    check("tun, offload", || tuns(true)).await;
}
