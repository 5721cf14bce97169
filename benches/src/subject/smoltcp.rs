//! smoltcp, driven as cheaply as its interface allows: one pass over what has arrived, one over
//! what is to be sent.

use std::collections::VecDeque;
use std::hint::black_box;

use ::smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use ::smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use ::smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use ::smoltcp::time::Instant;
use ::smoltcp::wire::{HardwareAddress, IpCidr};

use super::{Needs, Subject};
use crate::peer::{HEADERS, MSS, SERVER, Segment};

/// Packets that can wait for the interface.
const FRAMES: usize = 64;

/// An interface with its sockets, each of which listens.
pub struct Smoltcp {
    interface: Interface,
    device: Device,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    /// The first handle without a connection.
    next: usize,
    /// One whose connection is to be forgotten.
    closing: Option<usize>,
    page: Vec<u8>,
}

fn time(now: u64) -> Instant {
    Instant::from_micros(now as i64)
}

fn listening(needs: Needs) -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; needs.buffer as usize]);
    let mut socket = Socket::new(buffer(), buffer());
    if needs.acks_each {
        socket.set_ack_delay(None);
    }
    socket.listen(SERVER).expect("a new socket");
    socket
}

impl Subject for Smoltcp {
    type Conn = usize;

    fn new(needs: Needs) -> Self {
        let mut device = Device::new();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut device, time(0));
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(SERVER.0.into(), 8);
            addresses.push(address).expect("room for one address");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let handles = (0..needs.connections)
            .map(|_| sockets.add(listening(needs)))
            .collect();
        Self {
            interface,
            device,
            sockets,
            handles,
            next: 0,
            closing: None,
            page: vec![0x5a; 64 << 10],
        }
    }

    fn on_segment(&mut self, _now: u64, segment: &Segment) {
        self.device.receive(segment);
    }

    fn settle(&mut self, now: u64) {
        let Self {
            interface,
            device,
            sockets,
            ..
        } = self;
        while interface.poll_ingress_single(time(now), device, sockets)
            != PollIngressSingleResult::None
        {}
        if let Some(conn) = self.closing {
            let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[conn]);
            if socket.state() == State::Closed {
                socket.listen(SERVER).expect("a closed socket");
                (self.closing, self.next) = (None, conn);
            }
        }
    }

    fn transmit(&mut self, now: u64, sent: &mut Vec<Segment>) {
        let Self {
            interface,
            device,
            sockets,
            ..
        } = self;
        interface.poll_egress(time(now), device, sockets);
        sent.append(&mut self.device.sent);
    }

    fn accept(&mut self) -> Option<usize> {
        let handle = *self.handles.get(self.next)?;
        let socket = self.sockets.get::<Socket<'_>>(handle);
        socket.may_send().then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn read(&mut self, _now: u64, conn: usize) -> u32 {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[conn]);
        let mut total = 0;
        while socket.can_recv() {
            let read = socket.recv(|data| (data.len(), black_box(data).len()));
            total += read.unwrap_or(0) as u32;
        }
        total
    }

    fn write(&mut self, _now: u64, conn: usize, len: u32) -> u32 {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[conn]);
        let taken = socket.send_slice(&self.page[..len as usize]);
        taken.unwrap_or(0) as u32
    }

    fn close(&mut self, _now: u64, conn: usize) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[conn]);
        socket.close();
        self.closing = Some(conn);
    }

    fn connections(&self) -> usize {
        let is_open = |handle: &&SocketHandle| {
            let state = self.sockets.get::<Socket<'_>>(**handle).state();
            !matches!(state, State::Closed | State::Listen)
        };
        self.handles.iter().filter(is_open).count()
    }
}

/// A device without checksums at an MTU of 1500.
struct Device {
    buffers: Vec<Vec<u8>>,
    next: usize,
    /// Buffers that wait, with the lengths of their packets.
    waiting: VecDeque<(usize, usize)>,
    packet: Vec<u8>,
    sent: Vec<Segment>,
}

impl Device {
    fn new() -> Self {
        Self {
            buffers: vec![vec![0; HEADERS + MSS as usize]; FRAMES],
            next: 0,
            waiting: VecDeque::with_capacity(FRAMES),
            packet: vec![0; 65_536],
            sent: Vec::with_capacity(FRAMES),
        }
    }

    fn receive(&mut self, segment: &Segment) {
        assert!(
            self.waiting.len() < FRAMES,
            "the interface is polled in time"
        );
        let len = segment.write(&mut self.buffers[self.next]);
        self.waiting.push_back((self.next, len));
        self.next = (self.next + 1) % FRAMES;
    }
}

impl phy::Device for Device {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let (index, len) = self.waiting.pop_front()?;
        let sending = Sending {
            packet: &mut self.packet,
            sent: &mut self.sent,
        };
        Some((Received(&self.buffers[index][..len]), sending))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending {
            packet: &mut self.packet,
            sent: &mut self.sent,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Sending<'a> {
    packet: &'a mut Vec<u8>,
    sent: &'a mut Vec<Segment>,
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let result = f(&mut self.packet[..len]);
        self.sent.push(Segment::read(&self.packet[..len]));
        result
    }
}
