//! What is taken for one, and that nothing shows of it but the price.

use bytes::Bytes;
use etherparse::PacketBuilder;
use fastrand::Rng;
use ustack_tcp::{ConnId, ListenOptions, ListenerId, Read, time::Instant};

use super::*;
use crate::batch::{RxBatch, TxBatch};
use crate::config::Config;
use crate::device::Caps;
use crate::testing::VirtualHost;

const SIZE: usize = 1000;
const SERVER_PORT: u16 = 80;

/// Where a client stands, and what its next segment says.
#[derive(Clone)]
struct Client {
    v6: bool,
    port: u16,
    seq: u32,
    ack: u32,
    window: u16,
    /// Instead of none.
    timestamps: Option<(u32, u32)>,
    ttl: u8,
    traffic_class: u8,
    random: Rng,
}

#[derive(Clone, Copy)]
struct Flags {
    syn: bool,
    fin: bool,
    psh: bool,
    urg: bool,
    ece: bool,
}

impl Client {
    fn new(v6: bool, port: u16) -> Self {
        Self {
            v6,
            port,
            seq: 0xffff_f000,
            ack: 0,
            window: 5000,
            timestamps: None,
            ttl: 64,
            traffic_class: 0,
            random: Rng::with_seed(u64::from(port)),
        }
    }

    /// The next segment; the one after it follows.
    fn send(&mut self, len: usize, flags: Flags) -> Frame {
        let text: Vec<u8> = (0..len).map(|_| self.random.u8(..)).collect();
        let frame = self.packet(&text, flags);
        let controls = u32::from(flags.syn) + u32::from(flags.fin);
        self.seq = self.seq.wrapping_add(len as u32 + controls);
        frame
    }

    fn packet(&self, text: &[u8], flags: Flags) -> Frame {
        use etherparse::TcpOptionElement::{MaximumSegmentSize, Timestamp, WindowScale};
        let ip = if self.v6 {
            let mut ip = etherparse::Ipv6Header {
                source: client_v6(),
                destination: server_v6(),
                hop_limit: self.ttl,
                ..Default::default()
            };
            ip.traffic_class = self.traffic_class;
            etherparse::IpHeaders::Ipv6(ip, etherparse::Ipv6Extensions::default())
        } else {
            let mut ip = etherparse::Ipv4Header::new(
                0,
                self.ttl,
                etherparse::IpNumber::TCP,
                [10, 0, 0, 1],
                [10, 0, 0, 2],
            )
            .unwrap();
            ip.ecn = (self.traffic_class & 3).try_into().unwrap();
            ip.identification = self.seq as u16;
            etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default())
        };
        let mut step = PacketBuilder::ip(ip).tcp(self.port, SERVER_PORT, self.seq, self.window);
        let mut options = Vec::new();
        if flags.syn {
            step = step.syn();
            options.extend([MaximumSegmentSize(SIZE as u16), WindowScale(7)]);
        } else {
            step = step.ack(self.ack);
        }
        if flags.fin {
            step = step.fin();
        }
        if flags.psh {
            step = step.psh();
        }
        if flags.urg {
            step = step.urg(1);
        }
        if flags.ece {
            step = step.ece();
        }
        options.extend(self.timestamps.map(|(val, ecr)| Timestamp(val, ecr)));
        step = step.options(&options).unwrap();
        let mut data = Vec::new();
        step.write(&mut data, text).unwrap();
        Frame {
            data: data.into(),
            offload: Offload::default(),
        }
    }
}

fn client_v6() -> [u8; 16] {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets()
}

fn server_v6() -> [u8; 16] {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets()
}

/// How `frames` are grouped: so many packets in each train.
fn trains(frames: &[Frame]) -> Vec<usize> {
    let mut frames = frames.to_vec();
    let mut frames = frames.drain(..);
    let mut followers = Followers::default();
    let mut lengths = Vec::new();
    while next_train(&mut frames, &mut followers).is_some() {
        lengths.push(1 + followers.len());
    }
    lengths
}

const NONE: Flags = Flags {
    syn: false,
    fin: false,
    psh: false,
    urg: false,
    ece: false,
};

const PSH: Flags = Flags { psh: true, ..NONE };

#[test]
fn what_continues_a_segment_joins_it() {
    for v6 in [false, true] {
        let mut client = Client::new(v6, 1);
        client.timestamps = Some((5, 6));
        let mut frames: Vec<_> = (0..5).map(|_| client.send(SIZE, NONE)).collect();
        frames.push(client.send(200, PSH));
        frames.push(client.send(200, NONE));
        assert_eq!(trains(&frames), [6, 1], "one that is shorter is the last");
    }
}

#[test]
fn a_train_is_no_longer_than_a_packet_can_be() {
    let mut client = Client::new(false, 1);
    let frames: Vec<_> = (0..100).map(|_| client.send(SIZE, PSH)).collect();
    assert_eq!(trains(&frames), [65, 35]);
}

type Change = fn(&mut Client);
type Sent = fn(&mut Client) -> Frame;

/// Differences that a receiver may see, or that say something is wrong.
const CHANGES: [(&str, Change); 8] = [
    ("ack", |client| client.ack += 1),
    ("window", |client| client.window += 1),
    ("timestamps", |client| client.timestamps = Some((6, 6))),
    ("no timestamps", |client| client.timestamps = None),
    ("hop limit", |client| client.ttl -= 1),
    ("congestion", |client| client.traffic_class = 3),
    ("port", |client| client.port += 1),
    ("a gap", |client| client.seq = client.seq.wrapping_add(1)),
];

/// Segments that are different.
const SEGMENTS: [(&str, Sent); 8] = [
    ("again", |client| {
        client.seq = client.seq.wrapping_sub(SIZE as u32);
        client.send(SIZE, NONE)
    }),
    ("longer", |client| client.send(SIZE + 1, NONE)),
    ("no text", |client| client.send(0, NONE)),
    ("FIN", |client| {
        client.send(SIZE, Flags { fin: true, ..NONE })
    }),
    ("URG", |client| {
        client.send(SIZE, Flags { urg: true, ..NONE })
    }),
    ("ECE", |client| {
        client.send(SIZE, Flags { ece: true, ..NONE })
    }),
    ("a wrong byte", |client| {
        let mut frame = client.send(SIZE, NONE);
        let mut data = frame.data.to_vec();
        *data.last_mut().unwrap() ^= 1;
        frame.data = data.into();
        frame
    }),
    ("a byte too many", |client| {
        let mut frame = client.send(SIZE - 1, NONE);
        frame.data = [&frame.data[..], &[0]].concat().into();
        frame
    }),
];

fn check_apart(name: &str, v6: bool, change: impl Fn(&mut Client) -> Frame) {
    let mut client = Client::new(v6, 1);
    client.timestamps = Some((5, 6));
    let mut frames = vec![client.send(SIZE, NONE), client.send(SIZE, NONE)];
    frames.push(change(&mut client));
    assert_eq!(trains(&frames), [2, 1], "{name}");
    frames.remove(0);
    assert_eq!(trains(&frames), [1, 1], "{name}");
    frames.swap(0, 1);
    assert_eq!(trains(&frames), [1, 1], "{name}, first");
}

#[test]
fn what_says_something_new_does_not_join() {
    for v6 in [false, true] {
        for (name, change) in CHANGES {
            check_apart(name, v6, |client| {
                change(client);
                client.send(SIZE, NONE)
            });
        }
        for (name, segment) in SEGMENTS {
            check_apart(name, v6, segment);
        }
    }
}

#[test]
fn fragments_and_headers_that_are_wrong_do_not_join() {
    let mut client = Client::new(false, 1);
    let frames: Vec<_> = (0..3).map(|_| client.send(SIZE, NONE)).collect();
    // More fragments; another protocol; a wrong header checksum; an offset.
    for (at, bit) in [(6, 0x20), (9, 1), (10, 1), (7, 1)] {
        for place in 0..3 {
            let mut frames = frames.clone();
            let mut data = frames[place].data.to_vec();
            data[at] ^= bit;
            frames[place].data = data.into();
            let expected: &[usize] = match place {
                0 => &[1, 2],
                1 => &[1, 1, 1],
                _ => &[2, 1],
            };
            assert_eq!(trains(&frames), expected, "byte {at} of {place}");
        }
    }
}

/// The checksum of a header is told from that of the first: as right as if it were summed up.
#[test]
fn a_header_joins_if_its_checksum_is_right() {
    let (seed, mut right) = (7, 0);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut client = Client::new(false, 1);
    for _ in 0..10_000 {
        let mut frames = vec![client.send(SIZE, NONE), client.send(SIZE, NONE)];
        let mut data = frames[1].data.to_vec();
        let ident = [0, 0xffff, random.u16(..)][random.usize(..3)];
        data[4..6].copy_from_slice(&ident.to_be_bytes());
        data[10..12].fill(0);
        let sum = checksum_of_header(&data);
        let sum = [sum, !sum, 0, 0xffff, random.u16(..)][random.usize(..5)];
        data[10..12].copy_from_slice(&sum.to_be_bytes());
        let is_right = is_header_right(&data, IPV4_LEN);
        right += u32::from(is_right);
        frames[1].data = data.into();
        assert_eq!(trains(&frames).len() == 1, is_right);
    }
    assert!((1000..9000).contains(&right), "{right}");
}

fn checksum_of_header(packet: &[u8]) -> u16 {
    crate::checksum::checksum(&packet[..IPV4_LEN])
}

#[test]
fn nothing_short_enough_to_be_cut_makes_it_panic() {
    let mut client = Client::new(false, 1);
    client.timestamps = Some((5, 6));
    for v6 in [false, true] {
        client.v6 = v6;
        let frames = [client.send(SIZE, PSH), client.send(SIZE, PSH)];
        for len in 0..100 {
            for place in 0..2 {
                let mut frames = frames.clone();
                frames[place].data.truncate(len);
                assert_eq!(trains(&frames), [1, 1]);
            }
        }
    }
}

/// One host, with a listener.
struct Host {
    stack: VirtualHost,
    listener: ListenerId,
    conns: Vec<ConnId>,
    received: Vec<u8>,
    tx: TxBatch,
}

impl Host {
    fn new() -> Self {
        let config = Config::new()
            .address([10, 0, 0, 2], 8)
            .address(Ipv6Addr::from(server_v6()), 64);
        let mut stack = VirtualHost::new(config, Caps::plain(1500)).unwrap();
        let any = SocketAddr::from(([0; 16], SERVER_PORT));
        let listener = stack.tcp_mut().listen(ListenOptions::new(any)).unwrap();
        Self {
            stack,
            listener,
            conns: Vec::new(),
            received: Vec::new(),
            tx: TxBatch::new(),
        }
    }

    /// The rest of a turn: what was read, and the packets that leave.
    fn turn(&mut self, now: Instant, writes: bool, reads: bool) -> (Vec<u8>, Vec<Frame>) {
        self.stack.on_timeout(now);
        let tcp = self.stack.tcp_mut();
        while tcp.poll_event().is_some() {}
        self.conns
            .extend(std::iter::from_fn(|| Some(tcp.accept(self.listener)?.0)));
        self.received.clear();
        for &conn in &self.conns {
            while reads && let Ok(Read::Data(data)) = tcp.read(now, conn, 5000) {
                self.received.extend_from_slice(&data);
            }
            if writes {
                let _ = tcp.write(now, conn, &Bytes::from_static(&[7; 300]));
            }
        }
        self.stack.poll_transmit(now, &mut self.tx);
        let sent = self.tx.iter().map(|frame| frame.to_frame()).collect();
        self.tx.clear();
        (std::mem::take(&mut self.received), sent)
    }
}

/// One frame that comes next from `client`: mostly the next segment, sometimes trouble.
fn next_frame(random: &mut Rng, client: &mut Client) -> Frame {
    let mut flags = Flags {
        psh: random.u8(..8) == 0,
        ..NONE
    };
    let before = client.seq;
    match random.u8(..60) {
        0 => client.seq = client.seq.wrapping_add(SIZE as u32), // lost
        1 => client.seq = client.seq.wrapping_sub(random.u32(..5000)), // again
        2 => client.window = random.u16(1000..6000),
        3 => client.traffic_class = random.u8(..4),
        4 => client.ttl = random.u8(60..64),
        5 => flags.urg = true,
        6 => flags.ece = true,
        7 => client.timestamps = client.timestamps.map(|(val, ecr)| (val + 1, ecr)),
        8 => client.timestamps = client.timestamps.map(|(val, ecr)| (val - 1, ecr)),
        _ => {}
    }
    let len = match random.u8(..20) {
        0 => random.usize(..SIZE),
        1 => 0,
        _ => SIZE,
    };
    let lost = before.wrapping_add(SIZE as u32) == client.seq;
    let mut frame = client.send(len, flags);
    if random.u8(..60) == 0 {
        let mut data = frame.data.to_vec();
        let at = random.usize(..data.len());
        data[at] ^= 1 << random.u8(..8);
        frame.data = data.into();
    }
    if lost || random.u8(..100) == 0 {
        client.seq = before; // it comes later
    }
    frame
}

/// Two hosts, of which one is given every frame alone.
struct Hosts {
    alone: Host,
    together: Host,
    batch: RxBatch,
}

impl Hosts {
    fn new() -> Self {
        Self {
            alone: Host::new(),
            together: Host::new(),
            batch: RxBatch::new(),
        }
    }

    /// A turn of both; the packets that leave, which are the same.
    fn turn(&mut self, now: Instant, frames: Vec<Frame>, writes: bool, reads: bool) -> Vec<Frame> {
        for frame in frames {
            self.alone.stack.on_received(now, frame.clone());
            self.batch.push(frame);
        }
        self.together.stack.on_batch(now, &mut self.batch);
        let alone = self.alone.turn(now, writes, reads);
        let together = self.together.turn(now, writes, reads);
        assert_eq!(alone, together);
        let (alone_stats, stats) = (self.alone.stack.stats(), self.together.stack.stats());
        assert_eq!(alone_stats.ip, stats.ip);
        assert_eq!(alone_stats.tcp.counters, stats.tcp.counters);
        assert_eq!(alone_stats.tcp.dropped, stats.tcp.dropped);
        alone.1
    }
}

/// The same frames one by one and in batches: the same packets leave, the same bytes are read, the
/// same is counted.
#[test]
fn nothing_shows_of_it() {
    let mut joined = 0;
    for seed in 0..60 {
        println!("seed {seed}");
        let random = &mut Rng::with_seed(seed);
        let mut hosts = Hosts::new();
        let mut clients = [Client::new(false, 1), Client::new(random.bool(), 2)];
        let mut now = Instant::from_millis(1000);
        for client in &mut clients {
            client.timestamps = random.bool().then_some((100, 0));
            let syn = true;
            let syn = Flags { syn, ..NONE };
            let answers = hosts.turn(now, vec![client.send(0, syn)], false, false);
            client.ack = next_of(&tcp_of(&answers[0]).unwrap());
            hosts.turn(now, vec![client.send(0, NONE)], false, false);
        }
        for _ in 0..120 {
            let mut client = random.usize(..2);
            let frames: Vec<_> = (0..random.usize(1..=32))
                .map(|_| {
                    client = if random.u8(..10) == 0 {
                        1 - client
                    } else {
                        client
                    };
                    next_frame(random, &mut clients[client])
                })
                .collect();
            joined += frames.len() - trains(&frames).len();
            let (writes, reads) = (random.u8(..8) == 0, random.u8(..3) > 0);
            for frame in hosts.turn(now, frames, writes, reads) {
                if let Some(tcp) = tcp_of(&frame) {
                    answer(&mut clients, &tcp, random);
                }
            }
            now += std::time::Duration::from_millis(random.u64(..30));
        }
        let conns = &hosts.together.conns;
        assert_eq!(conns.len(), 2);
        for &conn in conns {
            let [alone, together] = [&hosts.alone, &hosts.together]
                .map(|host| format!("{:?}", host.stack.tcp().info(now, conn)));
            assert_eq!(alone, together);
        }
    }
    assert!(joined > 10_000, "{joined}");
}

fn next_of(tcp: &etherparse::TcpSlice<'_>) -> u32 {
    let len = tcp.payload().len() as u32 + u32::from(tcp.syn());
    tcp.sequence_number().wrapping_add(len)
}

/// The segment; none when it is ICMP.
fn tcp_of(frame: &Frame) -> Option<etherparse::TcpSlice<'_>> {
    match etherparse::SlicedPacket::from_ip(&frame.data)
        .unwrap()
        .transport
    {
        Some(etherparse::TransportSlice::Tcp(tcp)) => Some(tcp),
        _ => None,
    }
}

/// The client that a segment is for acknowledges it, as a rule.
fn answer(clients: &mut [Client], tcp: &etherparse::TcpSlice<'_>, random: &mut Rng) {
    let port = tcp.destination_port();
    let Some(client) = clients.iter_mut().find(|client| client.port == port) else {
        return; // to a packet that was not as it should be
    };
    if random.u8(..3) > 0 {
        client.ack = next_of(tcp);
    }
    if random.u8(..4) == 0 {
        client.seq = tcp.acknowledgment_number(); // what was lost comes again
    }
}
