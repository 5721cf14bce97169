//! smoltcp as the stack under test: peer-smoltcp IFNAME IP MTU [napi]
//!
//! With `napi` the device has NAPI, in a thread.
//!
//! TCP 7 echoes, 9 discards, 19 sends; UDP 7 echoes, 9 counts, 19 sends as ordered.

use std::io;
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::time::Instant as Clock;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Medium, TunTapInterface, wait as phy_wait};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address};

/// Listening sockets of each service: connections at once.
const POOL: usize = 8;
const ECHO_POOL: usize = 64;

/// Buffers: large where bulk goes through, small elsewhere.
const LARGE: usize = 1 << 20;
const SMALL: usize = 8192;

/// See `tools/bench/src/datagrams.rs`.
const SIZE: usize = 1200;
const QUESTION: &[u8] = b"counted?";

static ZEROS: [u8; LARGE] = [0; LARGE];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, ip, mtu, napi @ ..] = &arguments[..] else {
        panic!("usage: peer-smoltcp IFNAME IP MTU [napi]");
    };
    let ip: Ipv4Address = ip.parse().expect("an IPv4 address");
    let mtu = mtu.parse().expect("a number of bytes");
    let device = match napi {
        [] => TunTapInterface::new(name, Medium::Ip),
        [napi] if napi == "napi" => open_napi(name, mtu),
        _ => panic!("usage: peer-smoltcp IFNAME IP MTU [napi]"),
    };
    let mut device = device.expect("the TUN device");
    let fd = device.as_raw_fd();
    let config = Config::new(HardwareAddress::Ip);
    let mut iface = Interface::new(config, &mut device, Instant::now());
    iface.update_ip_addrs(|addresses| {
        let cidr = IpCidr::new(IpAddress::Ipv4(ip), 24);
        addresses.push(cidr).expect("room for one");
    });
    let mut sockets = SocketSet::new(vec![]);
    let mut services = Services::new(&mut sockets);
    loop {
        iface.poll(Instant::now(), &mut device, &mut sockets);
        services.serve(&mut sockets);
        // What was just written makes this zero. A second poll here would take in packets that
        // nobody looks at before the next one comes.
        let delay = iface.poll_delay(Instant::now(), &sockets);
        let delay = match services.next_datagram() {
            Some(wait) => Some(delay.map_or(wait, |delay| delay.min(wait))),
            None => delay,
        };
        if delay.is_none_or(|delay| delay.total_micros() > 0) {
            let _ = phy_wait(fd, delay);
        }
    }
}

fn open_napi(name: &str, mtu: usize) -> io::Result<TunTapInterface> {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const IFF_TUN_NO_PI_NAPI: i16 = 0x1011;
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).open("/dev/net/tun")?;
    let mut request = [0_u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&IFF_TUN_NO_PI_NAPI.to_ne_bytes());
    // SAFETY: the request is as long as `struct ifreq`; the other call has no pointer.
    unsafe {
        if libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) != 0
            || libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    std::fs::write(format!("/sys/class/net/{name}/threaded"), "1")?;
    TunTapInterface::from_fd(file.into_raw_fd(), Medium::Ip, mtu)
}

struct Services {
    echoes: Vec<SocketHandle>,
    sinks: Vec<SocketHandle>,
    sources: Vec<SocketHandle>,
    udp_echo: SocketHandle,
    udp_sink: SocketHandle,
    udp_source: SocketHandle,
    counted: u64,
    order: Option<Order>,
    buffer: Vec<u8>,
}

struct Order {
    count: u64,
    per_second: u64,
    to: udp::UdpMetadata,
    begin: Clock,
    sent: u64,
}

impl Services {
    fn new(sockets: &mut SocketSet<'_>) -> Self {
        let mut pool = |count, receive, send| {
            let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
            (0..count)
                .map(|_| sockets.add(tcp::Socket::new(buffer(receive), buffer(send))))
                .collect()
        };
        let (echoes, sinks, sources) = (
            pool(ECHO_POOL, SMALL, SMALL),
            pool(POOL, LARGE, SMALL),
            pool(POOL, SMALL, LARGE),
        );
        let mut bind = |port| {
            let buffer = || {
                udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 1024], vec![0; 2 * LARGE])
            };
            let mut socket = udp::Socket::new(buffer(), buffer());
            socket.bind(port).expect("a free port");
            sockets.add(socket)
        };
        Self {
            echoes,
            sinks,
            sources,
            udp_echo: bind(7),
            udp_sink: bind(9),
            udp_source: bind(19),
            counted: 0,
            order: None,
            buffer: vec![0; 65536],
        }
    }

    fn serve(&mut self, sockets: &mut SocketSet<'_>) {
        for &handle in &self.echoes {
            let socket = sockets.get_mut::<tcp::Socket>(handle);
            while socket.can_recv() && socket.can_send() {
                let len = socket.recv_slice(&mut self.buffer[..4096]).unwrap_or(0);
                let _ = socket.send_slice(&self.buffer[..len]);
            }
            end(socket, 7);
        }
        for &handle in &self.sinks {
            let socket = sockets.get_mut::<tcp::Socket>(handle);
            while socket.can_recv() {
                let _ = socket.recv(|data| (data.len(), ()));
            }
            end(socket, 9);
        }
        for &handle in &self.sources {
            let socket = sockets.get_mut::<tcp::Socket>(handle);
            while socket.can_send() {
                let _ = socket.send_slice(&ZEROS);
            }
            if socket.state() == tcp::State::CloseWait {
                // The next poll sends the reset; until then it is not to listen.
                socket.abort();
            } else {
                end(socket, 19);
            }
        }
        self.serve_datagrams(sockets);
    }

    fn serve_datagrams(&mut self, sockets: &mut SocketSet<'_>) {
        let socket = sockets.get_mut::<udp::Socket>(self.udp_echo);
        while let Ok((len, from)) = socket.recv_slice(&mut self.buffer) {
            let _ = socket.send_slice(&self.buffer[..len], from.endpoint);
        }
        let socket = sockets.get_mut::<udp::Socket>(self.udp_sink);
        while let Ok((len, from)) = socket.recv_slice(&mut self.buffer) {
            if self.buffer[..len] == *QUESTION {
                let _ = socket.send_slice(&self.counted.to_be_bytes(), from.endpoint);
            } else {
                self.counted += 1;
            }
        }
        let socket = sockets.get_mut::<udp::Socket>(self.udp_source);
        while let Ok((len, to)) = socket.recv_slice(&mut self.buffer) {
            self.order = Order::new(&self.buffer[..len], to);
        }
        let Some(order) = &mut self.order else {
            return;
        };
        while order.sent < order.due() && socket.can_send() {
            let _ = socket.send_slice(&ZEROS[..SIZE], order.to.endpoint);
            order.sent += 1;
        }
        if order.sent == order.count {
            self.order = None;
        }
    }

    /// How long until a datagram is due.
    fn next_datagram(&self) -> Option<Duration> {
        let order = self.order.as_ref()?;
        let due = order.sent < order.due();
        Some(Duration::from_micros(if due { 0 } else { 50 }))
    }
}

/// Ends what the peer has ended, and listens again.
fn end(socket: &mut tcp::Socket<'_>, port: u16) {
    if !socket.is_open() {
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_congestion_control(tcp::CongestionControl::Cubic);
        socket.listen(port).expect("a closed socket can listen");
    } else if !socket.may_recv() && socket.may_send() && port != 19 {
        socket.close();
    }
}

impl Order {
    fn new(bytes: &[u8], to: udp::UdpMetadata) -> Option<Self> {
        let bytes: &[u8; 16] = bytes.try_into().ok()?;
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        Some(Self {
            count: word(0),
            per_second: word(8),
            to,
            begin: Clock::now(),
            sent: 0,
        })
    }

    fn due(&self) -> u64 {
        let nanos = self.begin.elapsed().as_nanos();
        let due = nanos * u128::from(self.per_second) / 1_000_000_000;
        self.count.min(due as u64)
    }
}
