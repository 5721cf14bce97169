//! The test bench: a host whose programs make system calls, and a peer that is packets only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use packetdrill::kernel::{Blocking, Call, Data, Fd, Kernel, Message, Options, Recv, Reply};
use ustack::checksum::Sum;
use ustack::tcp::time::Instant;

/// Our host, over IPv4 and IPv6, and its neighbour, who is the bench.
pub(crate) const DUT: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
];
pub(crate) const PEER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9)),
];

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

pub(crate) const SAMPLE: &[u8] = b"Sample Data";

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A host and its link.
pub(crate) struct Dut {
    pub(crate) kernel: Kernel,
    /// 0: IPv4, 1: IPv6.
    pub(crate) family: usize,
    next_port: u16,
}

impl Dut {
    pub(crate) fn new(family: usize) -> Self {
        Self::with(family, |_| {})
    }

    /// A host with other settings.
    pub(crate) fn with(family: usize, set: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(vec![(DUT[0], 24), (DUT[1], 64)], 1500);
        set(&mut options);
        Self {
            kernel: Kernel::new(&options).expect("the settings are right"),
            family,
            next_port: 40_000,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.kernel.now()
    }

    pub(crate) fn socket(&mut self, kind: i32) -> Fd {
        let domain = [libc::AF_INET, libc::AF_INET6][self.family];
        self.kernel.socket(domain, kind, 0).expect("a socket")
    }

    /// A TCP socket at a fixed address, and that.
    pub(crate) fn bound(&mut self) -> (Fd, SocketAddr) {
        let fd = self.socket(libc::SOCK_STREAM);
        let local = SocketAddr::new(DUT[self.family], 5000);
        self.kernel.bind(fd, local).expect("a free port");
        (fd, local)
    }

    pub(crate) fn listen(&mut self, backlog: i32) -> (Fd, SocketAddr) {
        let (fd, local) = self.bound();
        self.kernel.listen(fd, backlog).expect("listening");
        (fd, local)
    }

    pub(crate) fn accept(&mut self, listener: Fd) -> Fd {
        self.kernel.accept(listener, 0).expect("a connection").0
    }

    /// A connection opened by the peer, and its descriptor.
    pub(crate) fn connected(&mut self) -> (Fd, Peer) {
        self.connected_with(&[], u16::MAX)
    }

    /// As [`Dut::connected`], with options on the SYN and a window.
    pub(crate) fn connected_with(&mut self, options: &[u8], window: u16) -> (Fd, Peer) {
        let (listener, local) = self.listen(1);
        let mut peer = self.peer(local);
        peer.window = window;
        peer.connect(self, options);
        (self.accept(listener), peer)
    }

    /// A peer of the socket at `dut`, with a port of its own.
    pub(crate) fn peer(&mut self, dut: SocketAddr) -> Peer {
        self.next_port += 1;
        Peer {
            dut,
            addr: SocketAddr::new(PEER[self.family], self.next_port),
            seq: 0xffff_fff0, // wraps early
            ack: 0,
            window: u16::MAX,
            options: vec![],
        }
    }

    pub(crate) fn write(&mut self, fd: Fd, data: &[u8]) {
        let written = self.kernel.write(fd, Data::Bytes(data.to_vec()));
        assert_eq!(written, Ok(data.len()));
    }

    /// `read` of a program that does not wait.
    pub(crate) fn read(&mut self, fd: Fd, len: usize) -> Result<Vec<u8>, i32> {
        let recv = Recv {
            len,
            ..Recv::default()
        };
        self.kernel.read(fd, recv)
    }

    pub(crate) fn set(&mut self, fd: Fd, level: i32, name: i32, value: i32) {
        let set = self
            .kernel
            .setsockopt(fd, level, name, &value.to_ne_bytes());
        assert_eq!(set, Ok(()));
    }

    pub(crate) fn nodelay(&mut self, fd: Fd) {
        self.set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    }

    /// `SO_LINGER`, in seconds where it is on.
    pub(crate) fn linger(&mut self, fd: Fd, seconds: Option<i32>) {
        let on = i32::from(seconds.is_some());
        let value = [on.to_ne_bytes(), seconds.unwrap_or(0).to_ne_bytes()].concat();
        let set = self
            .kernel
            .setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, &value);
        assert_eq!(set, Ok(()));
    }

    /// `SO_ERROR`.
    pub(crate) fn error(&mut self, fd: Fd) -> i32 {
        let value = self
            .kernel
            .getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, 4);
        let value = value.expect("a socket");
        i32::from_ne_bytes(value.try_into().expect("an int"))
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        let at = self.now() + time;
        self.kernel.advance_to(at);
    }

    /// Forgets what was sent so far.
    pub(crate) fn drain(&mut self) {
        while self.kernel.pop_sent().is_some() {}
    }

    /// The next packet sent within `time`, and when.
    pub(crate) fn next(&mut self, time: Duration) -> Option<(Instant, Vec<u8>)> {
        let limit = self.now() + time;
        loop {
            if let Some(packet) = self.kernel.pop_sent() {
                return Some(packet);
            }
            if !self.kernel.advance_to_next(limit) {
                self.kernel.advance_to(limit);
                return self.kernel.pop_sent();
            }
        }
    }

    pub(crate) fn assert_silent(&mut self, time: Duration) {
        if let Some((at, packet)) = self.next(time) {
            panic!("at {at:?}: {:?}", Seg::parse(at, &packet));
        }
    }

    /// A call of a program that waits, begun now.
    pub(crate) fn begin(&mut self, call: Call) -> Waiting {
        let mut blocking = Blocking::new(&self.kernel, call);
        let answer = blocking.attempt(&mut self.kernel);
        Waiting { blocking, answer }
    }

    pub(crate) fn inject(&mut self, packet: &[u8]) {
        self.kernel.inject(packet);
    }

    /// An ICMP message from the peer.
    pub(crate) fn inject_icmp(&mut self, header: [u8; 8], quoted: &[u8]) {
        let packet = icmp(PEER[self.family], DUT[self.family], header, quoted);
        self.inject(&packet);
    }
}

/// A call that may not have come back yet.
pub(crate) struct Waiting {
    blocking: Blocking,
    answer: Option<Result<Reply, i32>>,
}

impl Waiting {
    pub(crate) fn is_blocked(&mut self, dut: &mut Dut) -> bool {
        if self.answer.is_none() {
            self.answer = self.blocking.attempt(&mut dut.kernel);
        }
        self.answer.is_none()
    }

    /// What the call came back with: it has to, by now.
    pub(crate) fn answer(mut self, dut: &mut Dut) -> Result<Reply, i32> {
        assert!(!self.is_blocked(dut), "still blocked");
        self.answer.expect("not blocked")
    }
}

pub(crate) fn send_call(fd: Fd, data: &[u8]) -> Call {
    Call::Send(fd, Message::new(Data::Bytes(data.to_vec())))
}

pub(crate) fn recv_call(fd: Fd, len: usize) -> Call {
    Call::Recv(
        fd,
        Recv {
            len,
            ..Recv::default()
        },
    )
}

/// A segment of the host under test.
#[derive(Clone, Debug)]
pub(crate) struct Seg {
    pub(crate) at: Instant,
    pub(crate) ports: (u16, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) packet: Vec<u8>,
}

impl Seg {
    pub(crate) fn parse(at: Instant, packet: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
            return None;
        };
        Some(Self {
            at,
            ports: (tcp.source_port(), tcp.destination_port()),
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            flags: tcp.slice()[13],
            window: tcp.window_size(),
            options: tcp.options().to_vec(),
            payload: tcp.payload().to_vec(),
            packet: packet.to_vec(),
        })
    }

    fn len(&self) -> u32 {
        let control = self.flags & (SYN | FIN);
        self.payload.len() as u32 + control.count_ones()
    }

    /// The body of the option of this kind.
    pub(crate) fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = &self.options[..];
        while let [found, tail @ ..] = rest {
            match found {
                0 => return None,
                1 => rest = tail,
                _ => {
                    let len = usize::from(*tail.first()?);
                    if *found == kind {
                        return rest.get(2..len);
                    }
                    rest = rest.get(len..)?;
                }
            }
        }
        None
    }
}

/// A TCP that does as the test says.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) dut: SocketAddr,
    pub(crate) addr: SocketAddr,
    /// What it sends next, and expects next.
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    /// On every segment.
    pub(crate) options: Vec<u8>,
}

impl Peer {
    fn emit(&self, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let ip = match (self.addr.ip(), self.dut.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
            }
            _ => panic!("two families"),
        };
        let mut tcp = ip.tcp(self.addr.port(), self.dut.port(), seq, self.window);
        if flags & FIN != 0 {
            tcp = tcp.fin();
        }
        if flags & SYN != 0 {
            tcp = tcp.syn();
        }
        if flags & RST != 0 {
            tcp = tcp.rst();
        }
        if flags & PSH != 0 {
            tcp = tcp.psh();
        }
        if flags & ACK != 0 {
            tcp = tcp.ack(self.ack);
        }
        let mut packet = Vec::new();
        tcp.options_raw(&self.options)
            .expect("a multiple of four")
            .write(&mut packet, payload)
            .expect("memory");
        packet
    }

    /// Sends the next segment.
    pub(crate) fn send(&mut self, dut: &mut Dut, flags: u8, payload: &[u8]) {
        let packet = self.emit(self.seq, flags, payload);
        let control = flags & (SYN | FIN);
        self.seq = self
            .seq
            .wrapping_add(payload.len() as u32 + control.count_ones());
        dut.inject(&packet);
    }

    /// Sends one that is `offset` away from the next, which stays the next.
    pub(crate) fn send_at(&self, dut: &mut Dut, offset: i64, flags: u8, payload: &[u8]) {
        let seq = self.seq.wrapping_add(offset as u32);
        dut.inject(&self.emit(seq, flags, payload));
    }

    pub(crate) fn ack(&mut self, dut: &mut Dut) {
        self.send(dut, ACK, b"");
    }

    /// Acknowledges up to `ack`, which may lie in the past.
    pub(crate) fn ack_to(&self, dut: &mut Dut, ack: u32) {
        let that = Self {
            ack,
            ..self.clone()
        };
        that.send_at(dut, 0, ACK, b"");
    }

    /// The next segment of this connection within `time`; every segment of the host is looked at,
    /// and one of another connection is a failure.
    pub(crate) fn next(&mut self, dut: &mut Dut, time: Duration) -> Option<Seg> {
        let (at, packet) = dut.next(time)?;
        let seg = Seg::parse(at, &packet).expect("a segment");
        assert_eq!(seg.ports, (self.dut.port(), self.addr.port()));
        if seg.flags & SYN != 0 {
            self.ack = seg.seq;
        }
        if seg.seq == self.ack {
            self.ack = self.ack.wrapping_add(seg.len());
        }
        Some(seg)
    }

    /// The next segment, which has these flags and no others but PSH.
    #[track_caller]
    pub(crate) fn expect(&mut self, dut: &mut Dut, flags: u8) -> Seg {
        let Some(seg) = self.next(dut, SECOND) else {
            panic!("nothing is sent, not even {flags:#x}");
        };
        assert_eq!(seg.flags & !PSH, flags, "{seg:?}");
        seg
    }

    /// The next segment, which has this payload.
    #[track_caller]
    pub(crate) fn expect_data(&mut self, dut: &mut Dut, payload: &[u8]) -> Seg {
        let seg = self.expect(dut, ACK);
        assert!(seg.payload == payload, "{seg:?}");
        seg
    }

    /// An ACK of all that was sent, and no data.
    #[track_caller]
    pub(crate) fn expect_ack(&mut self, dut: &mut Dut) -> Seg {
        let seg = self.expect(dut, ACK);
        assert_eq!((seg.ack, seg.payload.len()), (self.seq, 0), "{seg:?}");
        seg
    }

    /// Whether the host answers with a reset.
    pub(crate) fn is_reset(&mut self, dut: &mut Dut) -> bool {
        self.next(dut, SECOND)
            .is_some_and(|seg| seg.flags & RST != 0)
    }

    /// Opens the connection.
    pub(crate) fn connect(&mut self, dut: &mut Dut, options: &[u8]) -> Seg {
        let usual = std::mem::replace(&mut self.options, options.to_vec());
        self.send(dut, SYN, b"");
        self.options = usual;
        let syn_ack = self.expect(dut, SYN | ACK);
        self.ack(dut);
        syn_ack
    }
}

/// A datagram.
pub(crate) fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let mut body = [
        source.port().to_be_bytes(),
        destination.port().to_be_bytes(),
        len.to_be_bytes(),
        [0; 2],
    ]
    .concat();
    body.extend_from_slice(payload);
    let mut sum = Sum::pseudo_header(source.ip(), destination.ip(), 17, len.into());
    sum.add(&body);
    body[6..8].copy_from_slice(&sum.checksum().to_be_bytes());
    ip(source.ip(), destination.ip(), 17, &body)
}

/// Any ICMP message, its checksum right.
pub(crate) fn icmp(
    source: IpAddr,
    destination: IpAddr,
    header: [u8; 8],
    payload: &[u8],
) -> Vec<u8> {
    let body = icmp_body(source, destination, header, payload);
    let protocol = if source.is_ipv4() { 1 } else { 58 };
    ip(source, destination, protocol, &body)
}

/// As [`icmp`], without the IP header.
pub(crate) fn icmp_body(
    source: IpAddr,
    destination: IpAddr,
    header: [u8; 8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = [&header[..], payload].concat();
    body[2..4].fill(0);
    let len = body.len() as u32;
    let mut sum = if source.is_ipv4() {
        Sum::new()
    } else {
        Sum::pseudo_header(source, destination, 58, len)
    };
    sum.add(&body);
    body[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    body
}

/// A packet of any protocol.
pub(crate) fn ip(source: IpAddr, destination: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let len = (20 + body.len()) as u16;
            let mut header = vec![0x45, 0, 0, 0, 0, 7, 0, 0, 64, protocol, 0, 0];
            header[2..4].copy_from_slice(&len.to_be_bytes());
            header.extend(source.octets());
            header.extend(destination.octets());
            seal(&mut header);
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            header[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        _ => panic!("two families"),
    };
    packet.extend_from_slice(body);
    packet
}

/// Makes an IPv4 header's checksum right.
pub(crate) fn seal(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = ustack::checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Protocol and what follows the IP header, of a packet that is no fragment.
pub(crate) fn transport(packet: &[u8]) -> (IpAddr, IpAddr, u8, Vec<u8>) {
    let sliced = SlicedPacket::from_ip(packet).expect("well-formed");
    let net = sliced.net.expect("IP");
    let (source, destination) = match &net {
        NetSlice::Ipv4(ip) => (
            IpAddr::V4(ip.header().source_addr()),
            IpAddr::V4(ip.header().destination_addr()),
        ),
        NetSlice::Ipv6(ip) => (
            IpAddr::V6(ip.header().source_addr()),
            IpAddr::V6(ip.header().destination_addr()),
        ),
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let payload = net.ip_payload_ref().expect("a payload");
    assert!(!payload.fragmented);
    let protocol = payload.ip_number.0;
    (source, destination, protocol, payload.payload.to_vec())
}
