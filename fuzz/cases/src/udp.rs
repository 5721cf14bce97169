//! UDP: the parser, and sockets of a host under any datagrams and calls.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use bytes::Bytes;
use etherparse::UdpSlice;
use ustack::device::{Caps, Checksum, Gso, GsoKind, Offload};
use ustack::tcp;
use ustack_udp::{BindOptions, Message, MtuDiscover, SocketId, wire};

use crate::host::{HOST, PEER, Watched, at};
use crate::input::Input;
use crate::packet::{self, ICMP, ICMP_V6, UDP};

/// Ports of the sockets: two to all addresses, two to one, of which the last has one peer only.
const PORTS: [u16; 4] = [7, 8, 9, 10];
const PEER_PORT: u16 = 4000;

/// Bytes that a socket's queue is charged at most.
const QUEUE: u32 = 8_000;

/// Parses `data`, and plays it as datagrams and calls on the sockets of a host.
///
/// Each datagram read is one that came, in order; queues keep to their limits; answers are errors
/// about unknown ports and never more than that; what is sent arrives on the wire as it was given.
pub fn udp(data: &[u8]) {
    check_parser(&Bytes::copy_from_slice(data));
    let mut input = Input::new(data);
    let mut world = World::new();
    while !input.is_empty() {
        world.step(&mut input);
    }
    world.end();
}

fn check_parser(bytes: &Bytes) {
    let Ok(parsed) = wire::parse(bytes) else {
        // Etherparse takes a length of zero for "as much as there is".
        let theirs = UdpSlice::from_slice(bytes).is_ok_and(|slice| slice.length() != 0);
        assert!(!theirs, "etherparse reads it");
        return;
    };
    let theirs = UdpSlice::from_slice(bytes).expect("etherparse does not read what we read");
    assert_eq!(parsed.payload(), theirs.payload());
    assert_eq!(parsed.source_port, theirs.source_port());
    assert_eq!(parsed.destination_port, theirs.destination_port());
    assert_eq!(parsed.checksum, theirs.checksum());
    let mut built = wire::emit(
        parsed.source_port,
        parsed.destination_port,
        parsed.payload().len(),
    );
    built[6..8].copy_from_slice(&parsed.checksum.to_be_bytes());
    assert_eq!(built, parsed.datagram[..8]);
}

struct World {
    host: Watched,
    /// Sockets with what came for each and was not read.
    sockets: Vec<(SocketId, VecDeque<Bytes>)>,
}

impl World {
    fn new() -> Self {
        let mut host = Watched::new(tcp::Config::default(), false, Caps::plain(1500));
        let sockets = PORTS.iter().enumerate().map(|(index, &port)| {
            let any = if index == 0 { "0.0.0.0" } else { "::" };
            let any = any.parse().expect("an address");
            let mut options =
                BindOptions::new(at(if index < 2 { any } else { HOST[index - 2] }, port));
            options.recv_buffer = QUEUE;
            options.send_buffer = QUEUE;
            options.mtu_discover = [
                MtuDiscover::Want,
                MtuDiscover::Do,
                MtuDiscover::Want,
                MtuDiscover::Probe,
            ][index];
            let udp = host.host.udp_mut();
            let id = udp.bind(options).expect("the port is free");
            if index == 3 {
                udp.connect(id, at(PEER[1], PEER_PORT)).expect("a peer");
            }
            (id, VecDeque::new())
        });
        let sockets = sockets.collect();
        Self { host, sockets }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(8) {
            0..=3 => self.receive(input),
            4 | 5 => self.read(input),
            6 => self.send(input),
            _ => {
                let millis = u64::from(input.byte());
                self.host.wait(std::time::Duration::from_millis(millis));
            }
        }
    }

    /// A datagram to one of the ports, or to another, its length or checksum perhaps a lie.
    fn receive(&mut self, input: &mut Input<'_>) {
        let shape = input.byte();
        let family = usize::from(shape & 1);
        let port = match input.below(5) {
            known @ 0..=3 => PORTS[known],
            _ => input.u16(),
        };
        let payload = input.below(1400);
        let payload = Bytes::copy_from_slice(input.take(payload));
        let mut body = wire::emit(PEER_PORT, port, payload.len()).to_vec();
        body.extend_from_slice(&payload);
        let mut bytes = packet::build(PEER[family], HOST[family], UDP, &body);
        let at = bytes.len() - body.len();
        let mut offload = Offload::default();
        match shape >> 1 & 7 {
            1 => bytes[at + 4..at + 6].copy_from_slice(&input.u16().to_be_bytes()),
            2 => bytes[at + 6..at + 8].copy_from_slice(&input.u16().to_be_bytes()),
            3 => bytes[at + 6..at + 8].fill(0),
            4 => {
                offload.checksum = Checksum::Partial {
                    start: at as u16,
                    offset: 6,
                };
                offload.gso = NonZeroU16::new(input.u16()).map(|size| Gso {
                    kind: GsoKind::Udp,
                    header_len: at as u16 + 8,
                    size,
                });
            }
            5 => {
                let len = bytes.len();
                bytes.truncate(len - usize::from(input.byte()) % len);
            }
            _ => {}
        }
        let before = self.host.host.stats().udp;
        let sent = self.host.on_frame(&bytes, offload);
        assert!(sent <= 3 * bytes.len(), "{sent} bytes for {}", bytes.len());
        let after = self.host.host.stats().udp;
        let taken = after.in_datagrams - before.in_datagrams;
        let full = after.rcvbuf_errors - before.rcvbuf_errors;
        let socket = socket_of(family, port);
        self.check_answers(socket.is_some());
        assert!(shape >> 1 & 7 != 0 || socket.is_none() || taken + full == 1);
        if let Some(socket) = socket.filter(|_| taken > 0) {
            let parsed = wire::parse(&Bytes::copy_from_slice(&bytes[at..])).expect("it was taken");
            let mut pieces = pieces(&parsed.payload(), offload);
            assert_eq!(pieces.len() as u64, taken);
            self.sockets[socket].1.append(&mut pieces);
        } else {
            assert_eq!(taken, 0, "nobody has port {port}");
        }
    }

    /// Only errors are answered, and only where nobody listens.
    fn check_answers(&self, is_bound: bool) {
        for (packet, _) in &self.host.sent {
            assert!(!is_bound && packet.is_icmp_error(), "{packet:?}");
            assert!(matches!(packet.protocol, ICMP | ICMP_V6));
        }
        assert!(self.host.sent.len() <= 1);
    }

    fn read(&mut self, input: &mut Input<'_>) {
        let (id, expected) = &mut self.sockets[input.below(4)];
        let udp = self.host.host.udp_mut();
        while udp.poll_event().is_some() {}
        let times = input.byte();
        let is_joined = times >= 128;
        for _ in 0..times {
            let read = if is_joined {
                udp.recv_joined(*id)
            } else {
                udp.recv(*id)
            };
            let Some(datagram) = read.expect("no error was reported") else {
                assert_eq!(expected.front(), None);
                break;
            };
            assert!(is_joined || datagram.stride.is_none());
            for segment in datagram.segments() {
                assert_eq!(Some(segment), expected.pop_front());
            }
        }
        let (received, _) = udp.queued_bytes(*id).expect("the socket lives");
        // An empty queue takes one datagram, or one joined one, of any size.
        assert!(received <= QUEUE as usize + 65_535);
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let socket = input.below(4);
        let (family, port) = (input.below(2), input.u16());
        let length = input.below(12_000);
        let message = Message {
            local: None,
            remote: Some(at(PEER[family], port)),
            data: (0..length).map(|n| n as u8).collect(),
            // Several datagrams of one size, or one.
            segment_size: NonZeroU16::new(port % 1600).filter(|_| port % 3 == 0),
        };
        let (id, _) = self.sockets[socket];
        let udp = self.host.host.udp_mut();
        let result = udp.send_message(id, &message, |_| 1500);
        self.host.transmit();
        let sent = &self.host.sent;
        if result.is_err() {
            assert!(sent.is_empty(), "refused and sent");
            return;
        }
        assert!(
            sent.iter()
                .all(|(packet, _)| packet.destination == PEER[family])
        );
        let bodies = sent.iter().map(|(packet, _)| &packet.body[..]);
        if let Some(size) = message.segment_size {
            let segments: Vec<_> = bodies.map(|body| &body[8..]).collect();
            assert_eq!(segments.concat(), message.data);
            assert_eq!(segments.len() as u64, message.wire_datagrams());
            let (last, before) = segments.split_last().expect("a datagram");
            assert!(
                before
                    .iter()
                    .all(|one| one.len() == usize::from(size.get()))
            );
            assert!(last.len() <= size.get().into());
        } else {
            let whole: Vec<_> = bodies.collect(); // or its fragments
            assert_eq!(whole.concat()[8..], message.data[..]);
        }
    }

    fn end(mut self) {
        for (id, _) in &self.sockets {
            self.host.host.udp_mut().close(*id);
        }
        assert_eq!(
            self.host.host.udp_mut().socket_count(),
            0,
            "sockets are left"
        );
        self.host.end(&[]);
    }
}

/// Who has the port: see [`PORTS`].
fn socket_of(family: usize, port: u16) -> Option<usize> {
    let index = PORTS.iter().position(|&known| known == port)?;
    let families: &[usize] = [&[0][..], &[0, 1], &[0], &[1]][index];
    families.contains(&family).then_some(index)
}

/// The datagrams that one frame stands for.
fn pieces(payload: &Bytes, offload: Offload) -> VecDeque<Bytes> {
    match offload.gso {
        Some(gso) if !payload.is_empty() => payload
            .chunks(gso.size.get().into())
            .map(Bytes::copy_from_slice)
            .collect(),
        _ => [payload.clone()].into(),
    }
}
