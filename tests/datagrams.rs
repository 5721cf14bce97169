//! Datagrams over a TUN device with a kernel at its other end: one by one, and joined
//! (`UDP_SEGMENT`, `UDP_GRO`), both ways and in both families.

mod common;

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket as HostSocket};
use std::num::NonZeroU16;
use std::os::fd::AsRawFd as _;
use std::process::ExitCode;
use std::time::Duration;

use common::Test;
use nix::sys::socket::sockopt::{Ipv4Tos, Ipv4Ttl, ReceiveTimeout, UdpGroSegment, UdpGsoSegment};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use nix::sys::time::TimeVal;
use ustack::device::tun::{self, DeviceKind, TunOptions};
use ustack::udp::{BindOptions, Message, MtuDiscover};
use ustack::{Config, Stack, Stats, UdpSocket};

const KERNEL: [&str; 2] = ["10.77.0.1", "fd77::1"];
const STACK: [&str; 2] = ["10.77.0.2", "fd77::2"];

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for kind in [DeviceKind::Offload, DeviceKind::Plain] {
        let add = |tests: &mut Vec<Test>, name: &str, body: fn(DeviceKind, usize)| {
            for family in [0, 1] {
                let name = format!("{name}_{kind}_ipv{}", [4, 6][family]);
                let test = Test::new(name, move || body(kind, family));
                tests.push(test.needs(&["ip"]));
            }
        };
        add(&mut tests, "the_kernels_segments_arrive", arrive);
        add(&mut tests, "our_segments_arrive", leave);
        add(&mut tests, "neighbours_arrive_one_by_one", neighbours);
        add(&mut tests, "a_closed_port_refuses_segments", refused);
    }
    common::main(tests)
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

/// Runs `test` beside a stack on a device, and says whether the device joins datagrams.
fn with_stack<F: Future<Output = ()>>(kind: DeviceKind, test: impl FnOnce(Stack, bool) -> F) {
    let opened = tun::open(&TunOptions {
        name: "us0".into(),
        kind,
        host_addresses: vec![
            (KERNEL[0].parse().unwrap(), 24),
            (KERNEL[1].parse().unwrap(), 64),
        ],
        stack_addresses: STACK.map(|address| address.parse().unwrap()).to_vec(),
        ..TunOptions::default()
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let joins = opened.report.offload.uso();
    let config = Config::new()
        .address(STACK[0].parse::<IpAddr>().unwrap(), 24)
        .address(STACK[1].parse::<IpAddr>().unwrap(), 64);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (stack, driver) = Stack::new(config, opened.tun).unwrap();
        tokio::spawn(driver);
        tokio::time::timeout(Duration::from_secs(30), test(stack, joins))
            .await
            .expect("in time");
    });
}

/// A kernel's socket that waits no longer than five seconds.
fn host_socket(family: usize) -> HostSocket {
    let socket = HostSocket::bind(at(KERNEL[family], 4000)).unwrap();
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(5, 0)).unwrap();
    socket
}

/// Waits until a counter has a value, and no more: the driver tells its own after each turn.
async fn until(stack: &Stack, counter: impl Fn(&Stats) -> u64, expected: u64) {
    while counter(&stack.stats()) < expected {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(counter(&stack.stats()), expected);
}

/// `len` bytes that differ from one datagram to the next.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 251) as u8).collect()
}

/// Bytes and size of segments: whole ones, a shorter last one, one, as many as there may be.
const SHAPES: [(usize, u16); 6] = [
    (50 * 1200, 1200),
    (10_001, 1000),
    (1001, 1000),
    (700, 1000),
    (64 * 20, 20),
    (65_000, 1440),
];

/// The kernel sends with `UDP_SEGMENT`; each shape is read whole, then one by one.
fn arrive(kind: DeviceKind, family: usize) {
    with_stack(kind, |stack, joins| async move {
        let socket = UdpSocket::bind(&stack, at(STACK[family], 9)).unwrap();
        let kernel = host_socket(family);
        kernel.connect(at(STACK[family], 9)).unwrap();
        if family == 0 {
            setsockopt(&kernel, Ipv4Tos, &3).unwrap(); // CE
            setsockopt(&kernel, Ipv4Ttl, &7).unwrap();
        }
        for (len, size) in SHAPES {
            setsockopt(&kernel, UdpGsoSegment, &i32::from(size)).unwrap();
            let data = pattern(len);
            let count = len.div_ceil(size.into());
            assert_eq!(kernel.send(&data).unwrap(), len);
            let (mut received, mut frames) = (Vec::new(), 0);
            while received.len() < count {
                let mut datagrams = Vec::new();
                frames += socket.recv_many(&mut datagrams, 64).await.unwrap();
                for datagram in &datagrams {
                    assert_eq!(datagram.remote, at(KERNEL[family], 4000));
                    assert_eq!(datagram.local, at(STACK[family], 9));
                    assert_eq!(datagram.ecn, if family == 0 { 3 } else { 0 });
                    received.extend(datagram.segments());
                }
            }
            assert_eq!(received.concat(), data);
            assert!(
                received
                    .iter()
                    .take(count - 1)
                    .all(|one| one.len() == usize::from(size))
            );
            assert_eq!(frames, if joins { 1 } else { count }, "{len} by {size}");

            assert_eq!(kernel.send(&data).unwrap(), len);
            let mut buf = [0; 1500];
            let mut again = Vec::new();
            for _ in 0..count {
                let (len, _, _) = socket.recv_from_to(&mut buf).await.unwrap();
                again.extend_from_slice(&buf[..len]);
            }
            assert_eq!(again, data);
        }
        assert_eq!(stack.stats().udp.rcvbuf_errors, 0);
    });
}

/// We send segments; the kernel takes them together where it may (`UDP_GRO`) and one by one.
fn leave(kind: DeviceKind, family: usize) {
    with_stack(kind, |stack, joins| async move {
        let socket = UdpSocket::bind(&stack, at(STACK[family], 9)).unwrap();
        let kernel = host_socket(family);
        for takes_joined in [true, false] {
            setsockopt(&kernel, UdpGroSegment, &takes_joined).unwrap();
            for (len, size) in SHAPES {
                let data = pattern(len);
                let before = stack.stats().device.tx_frames;
                let sent = socket.send_segments(&data, size, Some(at(KERNEL[family], 4000)));
                assert_eq!(sent.await.unwrap(), len);
                let received = receive(&kernel, len);
                assert_eq!(received.concat(), data, "{len} by {size}");
                let (last, before_last) = received.split_last().unwrap();
                assert!(before_last.iter().all(|one| one.len() == usize::from(size)));
                assert!(last.len() <= size.into());
                let frames = if joins { 1 } else { received.len() as u64 };
                until(&stack, |stats| stats.device.tx_frames, before + frames).await;
            }
        }
        // What does not fit: the path, an IP packet.
        for (len, size) in [(3000, 1480), (65_600, 1200)] {
            let data = pattern(len);
            let refused = socket.send_segments(&data, size, Some(at(KERNEL[family], 4000)));
            let code = refused.await.unwrap_err().raw_os_error();
            assert_eq!(code, Some(90), "EMSGSIZE");
        }
    });
}

/// Reads datagrams until `len` bytes are there: each as the sender cut it.
fn receive(kernel: &HostSocket, len: usize) -> Vec<Vec<u8>> {
    let mut received: Vec<Vec<u8>> = Vec::new();
    while received.iter().map(Vec::len).sum::<usize>() < len {
        let mut buf = vec![0; 1 << 16];
        let mut control = nix::cmsg_space!(i32);
        let mut slices = [IoSliceMut::new(&mut buf)];
        let message = recvmsg::<SockaddrStorage>(
            kernel.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::empty(),
        )
        .expect("more datagrams");
        let bytes = message.bytes;
        let stride = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
            _ => None,
        });
        let stride = stride.unwrap_or(bytes).max(1);
        received.extend(buf[..bytes].chunks(stride).map(<[u8]>::to_vec));
    }
    received
}

/// Single datagrams that are sent together may share a frame; nobody sees that.
fn neighbours(kind: DeviceKind, family: usize) {
    with_stack(kind, |stack, joins| async move {
        let mut options = BindOptions::new(at(STACK[family], 9));
        options.mtu_discover = MtuDiscover::Do;
        let socket = UdpSocket::bind_with(&stack, options).unwrap();
        let kernel = host_socket(family);
        let lens = [[1200; 30].as_slice(), &[300], &[1200; 2], &[0], &[40; 3]].concat();
        let to = at(KERNEL[family], 4000);
        let mut messages: VecDeque<_> = (lens.iter().enumerate())
            .map(|(n, &len)| Message::to(to, vec![n as u8; len].into()))
            .collect();
        // One that has no destination fails alone.
        messages.push_front(Message::default());
        messages[5].segment_size = NonZeroU16::new(1200); // which says nothing new
        let before = stack.stats().device.tx_frames;
        let lost = socket.send_many(&mut messages).await.unwrap_err();
        assert_eq!(lost.kind(), std::io::ErrorKind::NotConnected);
        socket.send_many(&mut messages).await.unwrap();
        assert!(messages.is_empty());
        let mut buf = [0; 1500];
        for (n, &len) in lens.iter().enumerate() {
            let (received, from) = kernel.recv_from(&mut buf).expect("a datagram");
            assert_eq!((received, from), (len, at(STACK[family], 9)), "number {n}");
            assert!(buf[..len].iter().all(|&byte| byte == n as u8));
        }
        // 31 of which the last is shorter, two, an empty one, three.
        let frames = if joins { 4 } else { lens.len() as u64 };
        until(&stack, |stats| stats.device.tx_frames, before + frames).await;
    });
}

/// Nobody is there: the sender of several is told as the sender of one is.
fn refused(kind: DeviceKind, family: usize) {
    with_stack(kind, |stack, _| async move {
        let kernel = host_socket(family);
        kernel.connect(at(STACK[family], 99)).unwrap();
        setsockopt(&kernel, UdpGsoSegment, &1000).unwrap();
        kernel.send(&pattern(5000)).unwrap();
        let error = tokio::task::spawn_blocking(move || kernel.recv(&mut [0; 8]).unwrap_err());
        let error = error.await.unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        until(&stack, |stats| stats.udp.no_ports, 5).await;
    });
}
