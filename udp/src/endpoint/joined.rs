//! Tests: datagrams that come and leave several in one frame.

use bytes::Bytes;
use core::num::NonZeroU16;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::*;
use crate::error::SendError;
use crate::message::{MAX_SEGMENTS, Message};
use crate::queue::OVERHEAD;
use crate::socket::{Transmit, TxMeta};
use alloc::vec;

const PATH: u16 = 1500;

/// A device that cuts, or one that does not.
struct Wire {
    joins: bool,
    path: u16,
    budget: usize,
    frames: usize,
    /// To whom, how cut, and its chunks.
    sent: Vec<(SocketAddr, Option<usize>, Vec<Bytes>)>,
}

impl Wire {
    const fn new(joins: bool) -> Self {
        Self {
            joins,
            path: PATH,
            budget: 10_000,
            frames: 0,
            sent: Vec::new(),
        }
    }

    /// What the peers see, after a look at each frame.
    fn datagrams(&self) -> Vec<(SocketAddr, Bytes)> {
        let mut all = Vec::new();
        for (remote, size, chunks) in &self.sent {
            let Some(size) = *size else {
                all.push((*remote, chunks[0].clone()));
                continue;
            };
            let whole: Vec<u8> = chunks.concat();
            assert!(whole.len() > size, "one datagram is not several");
            assert!(whole.len() <= crate::MAX_PAYLOAD_V4);
            assert!(whole.len().div_ceil(size) <= MAX_SEGMENTS);
            let (_, before) = chunks.split_last().expect("a chunk");
            assert!(before.iter().all(|chunk| chunk.len() % size == 0));
            assert!(chunks.iter().all(|chunk| !chunk.is_empty()));
            let pieces = whole.chunks(size).map(Bytes::copy_from_slice);
            all.extend(pieces.map(|piece| (*remote, piece)));
        }
        all
    }
}

impl Transmit for Wire {
    fn budget(&self) -> usize {
        self.budget - self.frames
    }

    fn path_mtu(&self, _remote: IpAddr) -> u16 {
        self.path
    }

    fn push(&mut self, meta: &TxMeta, payload: Bytes) {
        self.frames += 1;
        self.sent.push((meta.remote, None, vec![payload]));
    }

    fn can_join(&self, _remote: IpAddr) -> bool {
        self.joins
    }

    fn push_joined(
        &mut self,
        meta: &TxMeta,
        segment_size: NonZeroU16,
        payload: impl Iterator<Item = Bytes>,
    ) {
        assert!(self.joins);
        let size = usize::from(segment_size.get());
        let mtu = match meta.mtu_discover {
            MtuDiscover::Probe => PATH,
            _ => self.path,
        };
        assert!(size + 28 <= usize::from(mtu), "segments fit the path");
        self.frames += 1;
        self.sent.push((meta.remote, Some(size), payload.collect()));
    }
}

fn peer(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 9, 9, 9], n))
}

fn socket(options: impl FnOnce(&mut BindOptions)) -> (Udp, SocketId) {
    let config = Config {
        addresses: vec![[10, 0, 0, 1].into()],
        ..Config::default()
    };
    let mut udp = Udp::new(config, [7; 32]);
    let mut bind = BindOptions::new(SocketAddr::from(([10, 0, 0, 1], 9)));
    options(&mut bind);
    let id = udp.bind(bind).expect("bind");
    (udp, id)
}

/// `len` bytes that tell where they belong.
fn data(len: usize) -> Bytes {
    (0..len).map(|n| (n / 7) as u8).collect()
}

fn message(len: usize, size: u16) -> Message {
    Message {
        segment_size: NonZeroU16::new(size),
        ..Message::to(peer(1), data(len))
    }
}

fn send(udp: &mut Udp, id: SocketId, message: &Message) -> Result<(), SendError> {
    udp.send_message(id, message, |_| PATH)
}

#[test]
fn joined_datagrams_are_read_whole_or_one_by_one() {
    let (mut udp, id) = socket(|_| ());
    let datagram = Datagram {
        ecn: 3,
        stride: NonZeroU16::new(1000),
        ..Datagram::new(SocketAddr::from(([10, 0, 0, 1], 9)), peer(1), data(2500))
    };
    for _ in 0..2 {
        udp.on_datagram(datagram.clone(), true).expect("room");
    }
    assert_eq!(udp.counters().in_datagrams, 6);
    assert_eq!(udp.queued_bytes(id), Some((2 * (2500 + OVERHEAD), 0)));
    assert_eq!(udp.recv_joined(id), Ok(Some(datagram.clone())));
    let first = udp.recv(id).expect("no error").expect("a datagram");
    assert_eq!((first.data, first.ecn, first.stride), (data(1000), 3, None));
    let rest = udp.recv_joined(id).expect("no error").expect("the rest");
    assert_eq!(rest.stride, NonZeroU16::new(1000));
    let lengths: Vec<_> = rest.segments().map(|segment| segment.len()).collect();
    assert_eq!(lengths, [1000, 500]);
    assert_eq!(udp.recv_joined(id), Ok(None));
    // One that is left alone is a single datagram.
    udp.on_datagram(datagram, true).expect("room");
    for expected in [1000, 1000] {
        let piece = udp.recv(id).expect("no error").expect("a piece");
        assert_eq!(piece.data.len(), expected);
    }
    let last = udp.recv_joined(id).expect("no error").expect("the last");
    assert_eq!((last.data.len(), last.stride), (500, None));
    assert_eq!(udp.queued_bytes(id), Some((0, 0)));
}

#[test]
fn a_datagrams_segments_are_its_wire_datagrams() {
    let of = |len, stride| Datagram {
        stride: NonZeroU16::new(stride),
        ..Datagram::new(peer(9), peer(1), data(len))
    };
    for (len, stride, expected) in [
        (0, 0, vec![0]),
        (0, 10, vec![0]),
        (10, 0, vec![10]),
        (10, 10, vec![10]),
        (10, 20, vec![10]),
        (21, 10, vec![10, 10, 1]),
    ] {
        let datagram = of(len, stride);
        let lengths: Vec<_> = datagram.segments().map(|segment| segment.len()).collect();
        assert_eq!(lengths, expected, "{len} by {stride}");
        assert_eq!(datagram.wire_datagrams(), expected.len() as u64);
        let reply = datagram.clone().into_reply();
        assert_eq!(reply.wire_datagrams(), expected.len() as u64);
        assert_eq!((reply.local, reply.remote), (Some(peer(9)), Some(peer(1))));
    }
}

/// Joined datagrams that find no room are counted as what they are on the wire.
#[test]
fn a_full_queue_counts_each_datagram() {
    let (mut udp, _) = socket(|bind| bind.recv_buffer = 4000);
    let datagram = Datagram {
        stride: NonZeroU16::new(1000),
        ..Datagram::new(SocketAddr::from(([10, 0, 0, 1], 9)), peer(1), data(2500))
    };
    udp.on_datagram(datagram.clone(), true).expect("room");
    assert_eq!(udp.on_datagram(datagram, true), Err(Dropped::BufferFull));
    assert_eq!(udp.counters().in_datagrams, 3);
    assert_eq!(udp.counters().rcvbuf_errors, 3);
}

/// The rules of `UDP_SEGMENT`: what IP carries, what the path takes, how many.
#[test]
fn segments_have_limits() {
    let (mut udp, id) = socket(|_| ());
    for (len, size, expected) in [
        (54 * 1200, 1200, Ok(())),
        (65_507, 1472, Ok(())),
        (65_508, 1472, Err(SendError::MessageTooLong)),
        (3000, 1473, Err(SendError::MessageTooLong)),
        // Segments are never fragmented, a single one no more than several.
        (1473, 2000, Err(SendError::MessageTooLong)),
        (1472, 2000, Ok(())),
        (MAX_SEGMENTS * 5, 5, Ok(())),
        (MAX_SEGMENTS * 5 + 1, 5, Err(SendError::TooManySegments)),
        (0, 5, Ok(())),
    ] {
        let sent = send(&mut udp, id, &message(len, size));
        assert_eq!(sent, expected, "{len} by {size}");
    }
    let probe = |mtu_discover| {
        let (mut udp, id) = socket(|bind| bind.mtu_discover = mtu_discover);
        udp.send_message(id, &message(2800, 1400), |_| 1400)
    };
    let too_long = Err(SendError::MessageTooLong);
    assert_eq!(probe(MtuDiscover::Want), too_long);
    assert_eq!(probe(MtuDiscover::Do), too_long);
    assert_eq!(probe(MtuDiscover::Probe), Ok(()), "the device takes 1,500");
}

/// All of a message's segments are queued, or none.
#[test]
fn a_full_send_queue_takes_no_part() {
    let (mut udp, id) = socket(|bind| bind.send_buffer = 6000);
    send(&mut udp, id, &message(3000, 1000)).expect("room");
    let refused = send(&mut udp, id, &message(3000, 1000));
    assert_eq!(refused, Err(SendError::WouldBlock));
    assert_eq!(udp.counters().sndbuf_errors, 3);
    assert_eq!(udp.queued_bytes(id), Some((0, 3000 + OVERHEAD)));
    let mut wire = Wire::new(false);
    wire.budget = 2;
    udp.poll_transmit(&mut wire);
    assert_eq!(
        wire.datagrams().len(),
        2,
        "cut here, as far as there is room"
    );
    assert_eq!(
        udp.queued_bytes(id),
        Some((0, 3000 + OVERHEAD)),
        "its buffer is held"
    );
    wire.budget = 3;
    udp.poll_transmit(&mut wire);
    assert_eq!(udp.queued_bytes(id), Some((0, 0)));
    assert_eq!(udp.counters().out_datagrams, 3);
}

#[test]
fn neighbours_of_one_size_leave_together() {
    let (mut udp, id) = socket(|_| ());
    let lens = [100, 100, 60, 100, 0, 100, 2000, 100, 100];
    for len in lens {
        send(&mut udp, id, &message(len, 0)).expect("room");
    }
    udp.set_ttl(id, NonZeroU8::new(9));
    send(&mut udp, id, &message(100, 0)).expect("room");
    let mut wire = Wire::new(true);
    udp.poll_transmit(&mut wire);
    let frames = wire.sent.iter();
    let frames = frames.map(|(_, size, chunks)| (*size, chunks.len()));
    let frames: Vec<_> = frames.collect();
    let single = (None, 1);
    assert_eq!(
        frames,
        [
            (Some(100), 3), // the third is shorter: nothing may follow
            single,
            single, // empty
            single,
            single, // larger than the path: fragments
            (Some(100), 2),
            single, // another TTL
        ]
    );
    assert_eq!(wire.datagrams().len(), 10);
    assert_eq!(udp.counters().out_datagrams, 10);
}

/// The path becomes narrower while segments are queued: who may be fragmented is, datagram by
/// datagram; who may not hears of it.
#[test]
fn a_narrower_path_parts_them() {
    for (mtu_discover, expected) in [
        (MtuDiscover::Want, (vec![None; 3], Ok(None))),
        (MtuDiscover::Do, (vec![], Err(SocketError::MessageTooLong))),
        // ICMP's word is not taken for it.
        (MtuDiscover::Probe, (vec![Some(1400)], Ok(None))),
    ] {
        let (mut udp, id) = socket(|bind| bind.mtu_discover = mtu_discover);
        send(&mut udp, id, &message(3000, 1400)).expect("room");
        let mut wire = Wire::new(true);
        wire.path = 1300;
        udp.poll_transmit(&mut wire);
        let sizes: Vec<_> = wire.sent.iter().map(|(_, size, _)| *size).collect();
        assert_eq!((sizes, udp.recv(id)), expected);
        assert_eq!(udp.queued_bytes(id), Some((0, 0)));
    }
}

#[derive(Clone, Debug)]
enum Op {
    Send { len: usize, size: u16, to: u16 },
    Transmit { frames: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![
        Just(0_usize),
        Just(100),
        Just(100),
        Just(1200),
        1..300_usize,
        1..70_000_usize
    ];
    let size = prop_oneof![Just(0_u16), Just(0), Just(100), Just(1200), 1..1600_u16];
    prop_oneof![
        6 => (len, size, 1..3_u16).prop_map(|(len, size, to)| Op::Send { len, size, to }),
        1 => (0..40_usize).prop_map(|frames| Op::Transmit { frames }),
    ]
}

/// Whatever is sent arrives datagram by datagram in order, joined or not, whatever a turn takes.
fn run(ops: &[Op], joins: bool) {
    let (mut udp, id) = socket(|_| ());
    let mut wire = Wire::new(joins);
    wire.budget = 0;
    let mut expected = Vec::new();
    for op in ops {
        match *op {
            Op::Send { len, size, to } => {
                let message = Message {
                    remote: Some(peer(to)),
                    ..message(len, size)
                };
                if send(&mut udp, id, &message).is_ok() {
                    let size = if size == 0 { len } else { size.into() };
                    let pieces = message.data.chunks(size.max(1)).map(Bytes::copy_from_slice);
                    let empty = message.data.is_empty().then(Bytes::new);
                    expected.extend(pieces.chain(empty).map(|piece| (peer(to), piece)));
                }
            }
            Op::Transmit { frames } => {
                wire.budget += frames;
                udp.poll_transmit(&mut wire);
            }
        }
    }
    wire.budget = usize::MAX;
    udp.poll_transmit(&mut wire);
    assert_eq!(wire.datagrams(), expected);
    assert_eq!(udp.counters().out_datagrams, expected.len() as u64);
    assert_eq!(udp.queued_bytes(id), Some((0, 0)));
    assert!(joins || wire.sent.iter().all(|(_, size, _)| size.is_none()));
}

proptest! {
    #[test]
    fn what_is_sent_is_what_leaves(ops in prop::collection::vec(op(), 0..80), joins in any::<bool>()) {
        run(&ops, joins);
    }
}
