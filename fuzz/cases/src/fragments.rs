//! Fragments of IPv4 and IPv6, against a reassembler that keeps a list and nothing clever.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use ustack::device::{Caps, Frame};
use ustack::ip::{Input as Delivered, Ip, IpConfig};
use ustack_tcp::time::{Duration, Instant};

use crate::host::{HOST, PEER};
use crate::input::Input;
use crate::packet::{self, FRAGMENT_HEADER, UDP, transport_checksum};

/// How long a datagram is waited for (RFC 1122 §3.3.2, RFC 8200 §4.5).
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the fragments of one input hold at most, below what one source may.
const BUDGET: usize = 700_000;

/// Plays fragments of some datagrams in any order, with overlaps, lies and pauses.
///
/// A datagram is delivered exactly when its pieces fit, whole and with the bytes that came; memory
/// is bounded and free again once time is over. With little memory, what is delivered is still
/// right.
pub fn fragments(data: &[u8]) {
    let mut input = Input::new(data);
    let is_tight = input.byte() & 1 != 0;
    let mut world = World::new(is_tight);
    while !input.is_empty() && world.spent < BUDGET {
        world.step(&mut input);
    }
    world.end();
}

/// Which datagram: family, and one of a few identifications.
type Key = (usize, u16);

struct World {
    ip: Ip,
    now: Instant,
    model: BTreeMap<Key, Held>,
    is_tight: bool,
    /// A fragment held other bytes than its datagram has.
    has_lied: bool,
    spent: usize,
}

/// A datagram as far as it has come.
struct Held {
    since: Instant,
    /// Offset, bytes, ECN.
    pieces: Vec<(usize, Vec<u8>, u8)>,
    total: Option<usize>,
    is_spoiled: bool,
}

/// One fragment.
struct Piece {
    key: Key,
    offset: usize,
    more: bool,
    ecn: u8,
    bytes: Vec<u8>,
}

impl World {
    fn new(is_tight: bool) -> Self {
        let mut config = IpConfig {
            addresses: vec![(HOST[0], 24), (HOST[1], 64)],
            ..IpConfig::default()
        };
        if is_tight {
            config.reassembly_memory = 10_000;
            config.reassembly_memory_per_source = 6_000;
        }
        Self {
            ip: Ip::new(config, Caps::plain(1500), [3; 32]),
            now: Instant::from_millis(1000),
            model: BTreeMap::new(),
            is_tight,
            has_lied: false,
            spent: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        if op & 0x0f == 0x0f {
            self.wait(Duration::from_millis(500 * u64::from(input.byte())));
            return;
        }
        let piece = self.piece(op, input);
        let packet = piece.packet();
        self.spent += packet.len() + 700;
        let frame = Frame {
            data: packet.into(),
            ..Frame::default()
        };
        let delivered = self.ip.on_frame(self.now, frame);
        let delivered = delivered.ok().flatten().map(|input| match input {
            Delivered::Udp { datagram, .. } => datagram.data,
            other => panic!("{other:?}"),
        });
        let counters = self.ip.counters();
        assert_eq!(
            counters.in_receives,
            counters.in_delivers + counters.reasm_held + counters.dropped()
        );
        if self.is_tight {
            let body = body(piece.key);
            let is_right = |data: &Bytes| self.has_lied || data[..] == body[8..];
            assert!(delivered.as_ref().is_none_or(is_right), "other bytes");
        } else {
            assert_eq!(delivered, self.expected(&piece), "of {:?}", piece.key);
        }
    }

    /// A piece of the datagram that its key stands for; rarely with a wrong byte.
    fn piece(&mut self, op: u8, input: &mut Input<'_>) -> Piece {
        let key = (usize::from(op & 1), u16::from(op >> 1 & 3));
        let body = body(key);
        let shape = input.byte();
        let unit = if shape & 0x40 != 0 { 8 } else { 1400 };
        let offset = (input.below(64) * unit / 8 * 8).min(body.len() - 1) / 8 * 8;
        let len = match shape & 0x30 {
            0x00 => usize::from(input.byte()).max(1) * 8,
            0x10 => usize::from(input.byte()),
            _ => 1400,
        };
        let end = (offset + len).min(body.len());
        let mut bytes = body[offset..end].to_vec();
        let is_lie = shape & 0x8f == 0x8f;
        if let Some(last) = bytes.last_mut().filter(|_| is_lie) {
            *last ^= 0x80;
            self.has_lied = true;
        }
        let is_last = end == body.len();
        Piece {
            key,
            offset,
            more: is_last == (shape & 0x0c == 0x0c),
            ecn: shape & 3,
            bytes,
        }
    }

    fn wait(&mut self, by: Duration) {
        self.now += by;
        self.ip.on_timeout(self.now);
        let now = self.now;
        self.model.retain(|_, held| held.since + TIMEOUT > now);
    }

    /// What the list makes of it.
    fn expected(&mut self, piece: &Piece) -> Option<Bytes> {
        let Piece {
            key,
            offset,
            more,
            ecn,
            bytes,
        } = piece;
        let end = offset + bytes.len();
        if *offset == 0 && !more {
            return deliverable(piece.key.0, bytes);
        }
        let is_cut = *more && !bytes.len().is_multiple_of(8);
        let hides_ports = *offset == 0 && bytes.len() < 8;
        if bytes.is_empty() || is_cut || hides_ports || end > 65_535 {
            return None;
        }
        let held = self.model.entry(*key).or_insert(Held {
            since: self.now,
            pieces: Vec::new(),
            total: None,
            is_spoiled: false,
        });
        let is_copy = |(at, known, _): &(usize, Vec<u8>, u8)| at == offset && known == bytes;
        if held.is_spoiled || held.pieces.iter().any(is_copy) {
            return None;
        }
        let overlaps =
            |(at, known, _): &(usize, Vec<u8>, u8)| *at < end && at + known.len() > *offset;
        let beyond = |limit: usize| {
            held.pieces
                .iter()
                .any(|(at, known, _)| at + known.len() > limit)
        };
        let disagrees = match held.total {
            Some(total) => !more || end > total,
            None => !more && beyond(end),
        };
        if held.pieces.iter().any(overlaps) || disagrees {
            held.is_spoiled = true;
            return None;
        }
        held.pieces.push((*offset, bytes.clone(), *ecn));
        if !more {
            held.total = Some(end);
        }
        let length: usize = held.pieces.iter().map(|(_, known, _)| known.len()).sum();
        if held.total != Some(length) {
            return None;
        }
        let mut whole = self.model.remove(key)?.pieces;
        whole.sort();
        let is_marked = whole.iter().any(|(.., ecn)| *ecn == 3);
        if is_marked && whole.iter().any(|(.., ecn)| *ecn == 0) {
            return None; // RFC 3168 §5.3
        }
        let whole: Vec<u8> = whole.into_iter().flat_map(|(_, known, _)| known).collect();
        deliverable(piece.key.0, &whole)
    }

    fn end(mut self) {
        self.wait(TIMEOUT);
        assert_eq!(self.ip.poll_timeout(), None, "fragments are left");
    }
}

/// What UDP makes of a whole datagram.
fn deliverable(family: usize, body: &[u8]) -> Option<Bytes> {
    let length = usize::from(u16::from_be_bytes([*body.get(4)?, *body.get(5)?]));
    let covered = body.get(..length).filter(|_| length >= 8)?;
    let has_none = covered[6..8] == [0, 0];
    let is_right = transport_checksum(PEER[family], HOST[family], UDP, covered) == 0;
    let is_good = if has_none { family == 0 } else { is_right };
    is_good.then(|| Bytes::copy_from_slice(&covered[8..]))
}

/// The datagram of a key with its UDP header.
fn body((family, id): Key) -> &'static [u8] {
    static BODIES: LazyLock<[[Vec<u8>; 4]; 2]> =
        LazyLock::new(|| [0, 1].map(|family| [0, 1, 2, 3].map(|id| make_body(family, id))));
    &BODIES[family][usize::from(id)]
}

fn make_body(family: usize, id: u16) -> Vec<u8> {
    let length = [24, 1480, 4000, 65_507 + 8][usize::from(id)];
    let mut body: Vec<u8> = (0..length)
        .map(|n| (n * 7 + n / 251 + family) as u8)
        .collect();
    body[..8].copy_from_slice(&[0x10, 0, 0x20, 0, 0, 0, 0, 0]);
    body[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    let sum = transport_checksum(PEER[family], HOST[family], UDP, &body);
    body[6..8].copy_from_slice(&sum.to_be_bytes());
    body
}

impl Piece {
    fn packet(&self) -> Vec<u8> {
        let (family, id) = self.key;
        let (source, destination) = (PEER[family], HOST[family]);
        let field = self.offset as u16;
        if source.is_ipv6() {
            let mut body = vec![UDP, 0, 0, 0, 0, 0, 0, id as u8];
            body[2..4].copy_from_slice(&(field | u16::from(self.more)).to_be_bytes());
            body.extend_from_slice(&self.bytes);
            let mut packet = packet::build(source, destination, FRAGMENT_HEADER, &body);
            packet[1] |= self.ecn << 4;
            return packet;
        }
        let mut packet = packet::build(source, destination, 255, &self.bytes);
        packet[1] = self.ecn;
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[6..8].copy_from_slice(&((field / 8) | (u16::from(self.more) << 13)).to_be_bytes());
        packet[9] = UDP;
        let header = &mut packet[..20];
        header[10..12].fill(0);
        let sum = packet::checksum([&*header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }
}
