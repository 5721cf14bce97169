//! A whole host with sockets of all kinds, and any packets.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use ustack::device::{Caps, Checksum, Gso, GsoKind, Offload, gso};
use ustack::{device::Frame, tcp};
use ustack_tcp::{ConnId, Event, FlowKey, ListenOptions, ListenerId, Read, SocketOptions, State};
use ustack_udp::{BindOptions, SocketId};

use crate::host::{HOST, PEER, Watched, at};
use crate::input::Input;
use crate::packet::{self, Packet, TCP, UDP};
use crate::segment::{ACK, Fields, Header, SYN, SegmentBytes};

/// Header that somebody listens at: plainly, with Fast Open, with UDP.
const PLAIN: u16 = 80;
const FAST_OPEN: u16 = 81;
const DATAGRAMS: u16 = 53;
/// The peer's port that the host connects to.
const SERVER: u16 = 9000;

const BACKLOG: usize = 4;

/// Three bytes for one of the last packets, of one frame at least.
const MAX_CREDIT: usize = 10_000;

/// Plays packets, deadlines and calls of applications to a host.
///
/// Every packet that leaves is well-formed and fits the MTU. As long as applications send nothing,
/// the answers to packets are at most three times their size. A RST has no RST for an answer, an ICMP
/// error no error, and nothing is sent to a group. Tables keep to their limits, and are empty once
/// everybody has let go.
pub fn ip_input(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        match input.below(16) {
            0..=3 => world.raw(&mut input),
            4..=9 => world.reply(&mut input),
            10 | 11 => world.segment(&mut input),
            12 => world.offloaded(&mut input),
            13 => {
                let by = Duration::from_millis(1 << input.below(17));
                world.host.wait(by);
                world.note();
            }
            _ => world.call(&mut input),
        }
        world.check();
    }
    world.host.end(&world.listeners);
}

struct World {
    host: Watched,
    listeners: [ListenerId; 2],
    socket: SocketId,
    connections: Vec<ConnId>,
    /// The last segments that the host sent, to answer.
    sent: Vec<Packet>,
    /// An application has sent something.
    is_talking: bool,
    /// What may be sent for what came, in bytes.
    credit: usize,
}

fn config(shape: u8) -> tcp::Config {
    let mut config = tcp::Config::default();
    config.max_connections = 24;
    config.max_syn_backlog = BACKLOG;
    config.max_tw_buckets = 4;
    config.max_orphans = 4;
    config.recv_buffer_max = 32 << 10;
    config.recv_buffer_initial = 8 << 10;
    config.send_buffer_max = 32 << 10;
    config.send_buffer_initial = 8 << 10;
    config.syn_cookies = shape & 1 == 0;
    config.ecn = if shape & 2 == 0 {
        tcp::EcnMode::Passive
    } else {
        tcp::EcnMode::On
    };
    config
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let shape = input.byte();
        let caps = if shape & 4 == 0 {
            Caps::plain(1500)
        } else {
            Caps::offload(1280)
        };
        let mut host = Watched::new(config(shape), shape & 8 != 0, caps);
        let listeners = [(PLAIN, None), (FAST_OPEN, Some(4))].map(|(port, fast_open)| {
            let mut options = ListenOptions::new(at("::".parse().expect("any"), port));
            options.backlog = 4;
            options.socket.fast_open = fast_open;
            options.transparent = shape & 8 != 0;
            host.host.tcp_mut().listen(options).expect("a free port")
        });
        let any = at("::".parse().expect("any"), DATAGRAMS);
        let socket = host
            .host
            .udp_mut()
            .bind(BindOptions::new(any))
            .expect("a free port");
        let mut world = Self {
            host,
            listeners,
            socket,
            connections: Vec::new(),
            sent: Vec::new(),
            is_talking: false,
            credit: 0,
        };
        world.connect(0);
        world
    }

    fn connect(&mut self, family: usize) {
        let flow = FlowKey {
            local: at(HOST[family], 0),
            remote: at(PEER[family], SERVER),
        };
        let now = self.host.now;
        let tcp = self.host.host.tcp_mut();
        if let Ok((id, _)) = tcp.connect(now, flow, SocketOptions::default()) {
            self.connections.push(id);
        }
        self.host.transmit();
        self.note();
    }

    /// Any bytes; half of the time their checksums are made right.
    fn raw(&mut self, input: &mut Input<'_>) {
        let shape = input.byte();
        let length = input.below(1600);
        let mut bytes = input.take(length).to_vec();
        if shape & 1 != 0 {
            let family = usize::from(shape >> 1 & 1);
            let protocol = [TCP, UDP, 1, 58, 44, 0, 60, 43][usize::from(shape >> 2 & 7)];
            bytes = packet::build(PEER[family], HOST[family], protocol, &bytes);
        } else if shape & 2 != 0 {
            packet::seal(&mut bytes);
        }
        self.on_packet(&bytes, Offload::default());
    }

    /// What may follow one of the last segments of the host, nearly.
    fn reply(&mut self, input: &mut Input<'_>) {
        if self.sent.is_empty() {
            return self.segment(input);
        }
        let sent = self.sent[input.below(self.sent.len())].clone();
        let Some(ports) = Header::of(&sent.body) else {
            return;
        };
        let shape = input.byte();
        let bend = |input: &mut Input<'_>, bit: u8| match shape & bit {
            0 => 0,
            _ => u32::from(input.u16()).wrapping_sub(0x8000),
        };
        let fields = Fields {
            seq: ports.ack.wrapping_add(bend(input, 1)),
            ack: ports.end.wrapping_add(bend(input, 2)),
            flags: if shape & 4 == 0 {
                ACK
            } else {
                u16::from(input.byte())
            },
            window: if shape & 8 == 0 { 0xffff } else { input.u16() },
        };
        let options = if shape & 16 == 0 {
            &[][..]
        } else {
            input.take(40)
        };
        let payload = if shape & 32 == 0 {
            0
        } else {
            input.below(1400)
        };
        let payload = vec![0x55; payload];
        let segment = SegmentBytes::new((ports.ports.1, ports.ports.0), fields, options, &payload);
        let bytes = packet::build(sent.destination, sent.source, TCP, &segment.0);
        self.on_packet(&bytes, Offload::default());
    }

    /// A segment out of the blue, often a SYN.
    fn segment(&mut self, input: &mut Input<'_>) {
        let shape = input.byte();
        let family = usize::from(shape & 1);
        let port = [PLAIN, FAST_OPEN, DATAGRAMS, SERVER][usize::from(shape >> 1 & 3)];
        let from = 1000 + u16::from(input.byte() & 15);
        let fields = Fields {
            seq: input.u32(),
            ack: if shape & 8 == 0 { 0 } else { input.u32() },
            flags: if shape & 8 == 0 { SYN } else { input.u16() },
            window: input.u16(),
        };
        let options = input.take(usize::from(shape >> 4) * 4).to_vec();
        let payload = input.below(64);
        let segment = SegmentBytes::new((from, port), fields, &options, input.take(payload));
        let bytes = packet::build(PEER[family], HOST[family], TCP, &segment.0);
        self.on_packet(&bytes, Offload::default());
    }

    /// Any packet, of which the device says anything.
    fn offloaded(&mut self, input: &mut Input<'_>) {
        let checksum = match input.below(3) {
            0 => Checksum::Verified,
            _ => Checksum::Partial {
                start: input.u16() % 128,
                offset: input.u16() % 64,
            },
        };
        let kind = input.choose(&[GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::Udp]);
        let header_len = u16::from(input.byte());
        let gso = NonZeroU16::new(input.u16());
        let gso = gso.map(|size| Gso {
            kind,
            header_len,
            size,
        });
        let length = input.below(3000);
        let bytes = input.take(length).to_vec();
        self.on_packet(&bytes, Offload { checksum, gso });
    }

    fn on_packet(&mut self, bytes: &[u8], offload: Offload) {
        let length = match gso_len(bytes, offload) {
            Some(length) => length,
            None => bytes.len(),
        };
        let came = Packet::read(bytes);
        let sent = self.host.on_frame(bytes, offload);
        // ACKs may be delayed, and be sent for some segments at once.
        self.credit = (self.credit + 3 * length).min(MAX_CREDIT);
        let is_paid = self.is_talking || sent <= self.credit;
        assert!(is_paid, "{sent} bytes for {length}, {} in all", self.credit);
        self.credit = self.credit.saturating_sub(sent);
        for (answer, _) in &self.host.sent {
            let to = answer.destination;
            assert!(!to.is_multicast() && !to.is_unspecified(), "{answer:?}");
            let Some(came) = &came else { continue };
            assert!(
                !(came.is_reset() && answer.is_reset()),
                "RST for RST: {answer:?}"
            );
            let errors = came.is_icmp_error() && answer.is_icmp_error();
            assert!(!errors, "error for error: {answer:?}");
        }
        self.note();
    }

    /// An application does something.
    fn call(&mut self, input: &mut Input<'_>) {
        let now = self.host.now;
        match input.below(8) {
            0 | 1 => self.accept(),
            2 => self.connect(1),
            3 => self.datagram(input),
            call => {
                let Some(&id) = self.connections.get(input.below(8)) else {
                    return;
                };
                let tcp = self.host.host.tcp_mut();
                // The connection may be over, or not open yet.
                match call {
                    4 => while let Ok(Read::Data(_)) = tcp.read(now, id, 700) {},
                    5 => {
                        let data = Bytes::from(vec![0xaa; input.below(5000)]);
                        self.is_talking = true;
                        let _ = tcp.write(now, id, &data);
                    }
                    6 => {
                        // FIN may bring out what the peer has not yet seen.
                        self.is_talking = true;
                        let _ = tcp.shutdown(now, id);
                    }
                    _ => {
                        self.is_talking = true;
                        self.connections.retain(|&other| other != id);
                        tcp.release(now, id);
                    }
                }
            }
        }
        self.host.transmit();
        self.note();
    }

    fn accept(&mut self) {
        for listener in self.listeners {
            while let Some((id, _)) = self.host.host.tcp_mut().accept(listener) {
                self.connections.push(id);
            }
        }
        while let Some(event) = self.host.host.tcp_mut().poll_event() {
            if let Event::Closed(id, _) = event {
                let now = self.host.now;
                self.connections.retain(|&other| other != id);
                self.host.host.tcp_mut().release(now, id);
            }
        }
    }

    fn datagram(&mut self, input: &mut Input<'_>) {
        let udp = self.host.host.udp_mut();
        while let Ok(Some(_)) = udp.recv(self.socket) {}
        let data = Bytes::from(vec![1; input.below(3000)]);
        let remote = at(PEER[input.below(2)], input.u16());
        let _ = udp.send(self.socket, None, Some(remote), data, |_| 1280);
    }

    fn note(&mut self) {
        let segments = self.host.sent.iter().map(|(packet, _)| packet);
        let segments = segments.filter(|packet| packet.protocol == TCP && !packet.is_fragment);
        self.sent.extend(segments.cloned());
        let excess = self.sent.len().saturating_sub(8);
        self.sent.drain(..excess);
    }

    fn check(&mut self) {
        let tcp = self.host.host.tcp();
        assert!(tcp.connection_count() <= 24);
        let count = |state| tcp.connections().filter(|one| one.state == state).count();
        assert!(count(State::SynReceived) <= BACKLOG + 4 + 1, "half-open");
        for listener in self.listeners {
            let (half_open, waiting) = tcp.backlog(listener).expect("it listens");
            assert!(
                half_open <= BACKLOG && waiting <= 5,
                "{half_open} and {waiting}"
            );
        }
        let counters = self.host.host.ip().counters();
        assert_eq!(
            counters.in_receives,
            counters.in_delivers + counters.reasm_held + counters.dropped(),
            "{counters:?}"
        );
    }
}

/// Bytes on the wire of what came joined.
fn gso_len(bytes: &[u8], offload: Offload) -> Option<usize> {
    let frame = Frame {
        data: Bytes::copy_from_slice(bytes),
        offload,
    };
    let mut length = 0;
    gso::cut(&frame, |packet| length += packet.len()).ok()?;
    Some(length)
}
