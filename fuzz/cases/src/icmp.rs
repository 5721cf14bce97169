//! ICMP against a host in the middle of its conversations.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use ustack::device::{Caps, Offload};
use ustack::tcp;
use ustack_tcp::{ConnId, FlowKey, SocketOptions, State};
use ustack_udp::{BindOptions, SocketId};

use crate::host::{HOST, PEER, Watched, at};
use crate::input::Input;
use crate::packet::{self, ICMP, ICMP_V6, TCP};
use crate::segment::SegmentBytes;

/// What a path takes at least: RFC 791's 576 without what options may take, RFC 8200 §5.
const FLOOR: [u16; 2] = [552, 1280];
const MTU: u16 = 1500;

/// Virtual time of one input; TCP gives up much later.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays ICMP messages, true and forged, to a host with connections and datagrams on their way.
///
/// An echo request has one reply with its data; an error is never answered with an error, aborts no
/// connection (RFC 5927 §5.2), and leaves every path an MTU that its family guarantees.
pub fn icmp(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    let mut waited = Duration::ZERO;
    while !input.is_empty() && waited < PATIENCE {
        match input.below(8) {
            0 => {
                let by = Duration::from_millis(1 << input.below(13));
                waited += by;
                world.host.wait(by);
                world.note();
            }
            1 => world.talk(),
            2 => world.echo(&mut input),
            _ => world.message(&mut input),
        }
        world.check();
    }
    world.host.end(&[]);
}

struct World {
    host: Watched,
    connections: [ConnId; 2],
    sockets: [SocketId; 2],
    /// Packets of the host, for errors to quote: the last of each kind.
    quotable: Vec<Vec<u8>>,
}

impl World {
    /// A connection and a socket to the peer over each family, with data on their way.
    fn new() -> Self {
        let mut host = Watched::new(tcp::Config::default(), false, Caps::plain(MTU));
        let connections = [0, 1].map(|family| connect(&mut host, family));
        let sockets = [0, 1].map(|family| {
            let udp = host.host.udp_mut();
            let id = udp.bind(BindOptions::new(at(HOST[family], 53)));
            let id = id.expect("the port is free");
            udp.connect(id, at(PEER[family], 53)).expect("a peer");
            id
        });
        let mut world = Self {
            host,
            connections,
            sockets,
            quotable: Vec::new(),
        };
        world.talk();
        world
    }

    /// Data in both connections, a datagram in both sockets.
    fn talk(&mut self) {
        let now = self.host.now;
        for family in [0, 1] {
            let data = Bytes::from_static(&[b'x'; 3000]);
            let tcp = self.host.host.tcp_mut();
            tcp.write(now, self.connections[family], &data)
                .expect("the connection is open");
            let mtu = self.host.host.ip().path_mtu(PEER[family]);
            let udp = self.host.host.udp_mut();
            // An error that ICMP told of is the answer to one call.
            let _ = udp.send(self.sockets[family], None, None, data.clone(), |_| mtu);
        }
        self.host.transmit();
        self.note();
    }

    fn note(&mut self) {
        let sent = self.host.sent.iter().map(|(_, bytes)| bytes.clone());
        self.quotable.extend(sent);
        let excess = self.quotable.len().saturating_sub(16);
        self.quotable.drain(..excess);
    }

    fn echo(&mut self, input: &mut Input<'_>) {
        let family = input.below(2);
        let (protocol, kinds) = [(ICMP, (8, 0)), (ICMP_V6, (128, 129))][family];
        let length = input.below(1400);
        let mut body = vec![kinds.0, 0, 0, 0];
        body.extend(input.u32().to_be_bytes());
        body.extend_from_slice(input.take(length));
        let bytes = packet::build(PEER[family], HOST[family], protocol, &body);
        self.host.on_frame(&bytes, Offload::default());
        let mtu = usize::from(self.host.host.ip().path_mtu(PEER[family]));
        let (reply, _) = self.host.sent.first().expect("a reply");
        assert_eq!(reply.is_fragment, bytes.len() > mtu);
        let (from, to) = (reply.source, reply.destination);
        assert_eq!((from, to), (HOST[family], PEER[family]));
        let pieces = self.host.sent.iter().map(|(packet, _)| &packet.body);
        let reply: Vec<u8> = pieces.flatten().copied().collect();
        assert_eq!((reply[0], reply[1]), (kinds.1, 0));
        assert_eq!(reply[4..], body[4..], "the same data, once");
    }

    /// Any message, mostly an error that quotes what the host has sent, nearly.
    fn message(&mut self, input: &mut Input<'_>) {
        let family = input.below(2);
        let protocol = [ICMP, ICMP_V6][family];
        let kind = match input.byte() {
            any @ 64.. => any,
            known => {
                let kinds = [[3, 3, 3, 11, 12, 4, 5, 0], [2, 2, 1, 1, 3, 4, 0, 137]][family];
                kinds[usize::from(known) % 8]
            }
        };
        let mut body = vec![kind, input.byte() % 32, 0, 0];
        let rest = match input.below(4) {
            0 => input.u32(),
            1 => u32::from(FLOOR[family]) + u32::from(input.byte()) - 128,
            _ => u32::from(input.u16() % 1600),
        };
        body.extend(rest.to_be_bytes());
        body.extend(self.quotation(input));
        let bytes = packet::build(PEER[family], HOST[family], protocol, &body);
        let incoming = packet::Packet::read(&bytes).expect("an IP packet");
        self.host.on_frame(&bytes, Offload::default());
        for (answer, _) in &self.host.sent {
            let is_error_twice = answer.is_icmp_error() && incoming.is_icmp_error();
            assert!(!is_error_twice, "{answer:?}");
            assert!(!answer.is_reset(), "{answer:?}");
        }
        self.note();
    }

    fn quotation(&self, input: &mut Input<'_>) -> Vec<u8> {
        let shape = input.byte();
        if shape & 0x80 != 0 || self.quotable.is_empty() {
            let length = usize::from(shape & 0x7f);
            return input.take(length).to_vec();
        }
        let mut quoted = self.quotable[usize::from(shape) % self.quotable.len()].clone();
        let bend = input.byte();
        let keep = match bend & 3 {
            0 => 28,
            1 => 548,
            2 => input.below(600),
            _ => quoted.len(),
        };
        quoted.truncate(keep.min(1200));
        if bend & 0x1c == 0x1c {
            for _ in 0..=bend >> 5 {
                let (at, value) = (input.below(64), input.byte());
                if let Some(byte) = quoted.get_mut(at) {
                    *byte = value;
                }
            }
        }
        quoted
    }

    fn check(&self) {
        let summaries: Vec<_> = self.host.host.tcp().connections().collect();
        for id in self.connections {
            let state = summaries
                .iter()
                .find(|one| one.id == id)
                .map(|one| one.state);
            assert_eq!(state, Some(State::Established), "ICMP ended a connection");
        }
        for (family, peer) in PEER.iter().enumerate() {
            let mtu = self.host.host.ip().path_mtu(*peer);
            assert!((FLOOR[family]..=MTU).contains(&mtu), "an MTU of {mtu}");
        }
    }
}

/// Opens a connection to port 80 of the peer, whose part is played here.
fn connect(host: &mut Watched, family: usize) -> ConnId {
    let flow = FlowKey {
        local: at(HOST[family], 0),
        remote: at(PEER[family], 80),
    };
    let now = host.now;
    let opened = host
        .host
        .tcp_mut()
        .connect(now, flow, SocketOptions::default());
    let (id, _) = opened.expect("a free port");
    host.transmit();
    let (syn, _) = host.sent.first().expect("a SYN");
    assert_eq!(syn.protocol, TCP);
    let answer = SegmentBytes::syn_ack_of(&syn.body, 1_000_000);
    let bytes = packet::build(peer_of(syn.source), syn.source, TCP, &answer.0);
    host.on_frame(&bytes, Offload::default());
    id
}

fn peer_of(host: IpAddr) -> IpAddr {
    PEER[usize::from(host.is_ipv6())]
}
