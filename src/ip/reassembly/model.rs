//! The reassembler against a list of datagrams with a map of their bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{HEADER, key};
use super::*;

const LIMIT: usize = 6000;
const SOURCE_LIMIT: usize = 3500;

#[derive(Clone, Debug)]
enum Op {
    Fragment(Piece),
    Wait(u64),
}

#[derive(Clone, Debug)]
struct Piece {
    source: u32,
    id: u32,
    offset: usize,
    len: usize,
    more: bool,
    ecn: Ecn,
    /// What tells its bytes from another sender's.
    salt: u8,
}

impl Piece {
    fn bytes(&self) -> impl Iterator<Item = (usize, u8)> {
        let salt = self.salt;
        (self.offset..self.offset + self.len).map(move |at| (at, at as u8 ^ salt))
    }

    fn fragment(&self) -> Fragment {
        Fragment {
            offset: self.offset,
            more: self.more,
            ecn: self.ecn,
            payload: self.bytes().map(|(_, byte)| byte).collect(),
            first: (self.offset == 0).then(|| First {
                header: Bytes::from_static(HEADER),
                packet: Bytes::from_static(b"first"),
            }),
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let offset = prop_oneof![
        30 => (0usize..5).prop_map(|blocks| blocks * 16),
        2 => (0usize..60).prop_map(|blocks| blocks * 8),
        1 => Just(65_528),
    ];
    let len = prop_oneof![
        20 => Just(16usize),
        5 => (1usize..8).prop_map(|blocks| blocks * 8),
        1 => 0usize..20,
        1 => (0usize..100).prop_map(|blocks| blocks * 8),
    ];
    let ecn = prop_oneof![
        8 => Just(Ecn::Ect0),
        1 => Just(Ecn::Ect1),
        1 => Just(Ecn::Ce),
        1 => Just(Ecn::NotEct),
    ];
    let salt = prop_oneof![15 => Just(0u8), 1 => Just(1u8)];
    let piece = (0u32..3, 0u32..4, offset, len, any::<u8>(), ecn, salt).prop_map(
        |(source, id, offset, len, more, ecn, salt)| Piece {
            source,
            id,
            offset,
            len,
            // Mostly the end of what the other pieces make.
            more: if offset == 64 { more < 20 } else { more >= 20 },
            ecn,
            salt,
        },
    );
    prop_oneof![
        20 => piece.prop_map(Op::Fragment),
        1 => (0u64..70_000).prop_map(Op::Wait),
    ]
}

#[derive(Debug, Default)]
struct Model {
    /// Oldest first.
    datagrams: Vec<Held>,
    fails: u64,
}

#[derive(Debug)]
struct Held {
    source: u32,
    id: u32,
    since: Instant,
    pieces: Vec<Piece>,
    bytes: BTreeMap<usize, u8>,
    is_spoiled: bool,
}

impl Held {
    fn charged(&self) -> usize {
        let first = |piece: &Piece| if piece.offset == 0 { 5 } else { 0 };
        let piece = |piece: &Piece| FRAGMENT_OVERHEAD + piece.len + first(piece);
        DATAGRAM_OVERHEAD + self.pieces.iter().map(piece).sum::<usize>()
    }

    fn total(&self) -> Option<usize> {
        let last = self.pieces.iter().find(|piece| !piece.more)?;
        Some(last.offset + last.len)
    }

    fn contradicts(&self, piece: &Piece) -> bool {
        let end = piece.offset + piece.len;
        let overlaps = piece.bytes().any(|(at, _)| self.bytes.contains_key(&at));
        let beyond = self
            .bytes
            .last_key_value()
            .is_some_and(|(&at, _)| at >= end);
        let ends_otherwise = match self.total() {
            Some(total) => !piece.more || end >= total,
            None => !piece.more && beyond,
        };
        overlaps || ends_otherwise
    }

    fn ecn(&self) -> Option<Ecn> {
        let any = |ecn| self.pieces.iter().any(|piece| piece.ecn == ecn);
        match (any(Ecn::Ce), any(Ecn::NotEct), any(Ecn::Ect0)) {
            (true, true, _) => None,
            (true, false, _) => Some(Ecn::Ce),
            (false, true, _) => Some(Ecn::NotEct),
            (false, false, true) => Some(Ecn::Ect0),
            (false, false, false) => Some(Ecn::Ect1),
        }
    }
}

/// Held, or whole with these bytes; `None`: dropped.
type Answer = Option<Option<(Vec<u8>, Ecn)>>;

impl Model {
    fn on_fragment(&mut self, now: Instant, piece: &Piece) -> Answer {
        let is_cut = piece.more && !piece.len.is_multiple_of(8);
        if piece.len == 0 || piece.offset + piece.len > MAX_PAYLOAD || is_cut {
            return None;
        }
        let is_it = |held: &Held| (held.source, held.id) == (piece.source, piece.id);
        if !self.datagrams.iter().any(is_it) {
            self.datagrams.push(Held {
                source: piece.source,
                id: piece.id,
                since: now,
                pieces: Vec::new(),
                bytes: BTreeMap::new(),
                is_spoiled: false,
            });
            self.make_room(piece.source);
        }
        let at = self.datagrams.iter().position(is_it)?;
        let held = &mut self.datagrams[at];
        if held.is_spoiled {
            return None;
        }
        let is_same = |other: &Piece| {
            (other.offset, other.len, other.salt) == (piece.offset, piece.len, piece.salt)
        };
        if held.pieces.iter().any(is_same) {
            return Some(None);
        }
        if held.contradicts(piece) {
            held.is_spoiled = true;
            held.pieces.clear();
            held.bytes.clear();
            self.fails += 1;
            return None;
        }
        held.bytes.extend(piece.bytes());
        held.pieces.push(piece.clone());
        if held.total() == Some(held.bytes.len()) {
            let held = self.datagrams.remove(at);
            let Some(ecn) = held.ecn() else {
                self.fails += 1;
                return None;
            };
            let packet = HEADER.iter().copied().chain(held.bytes.into_values());
            return Some(Some((packet.collect(), ecn)));
        }
        self.make_room(piece.source);
        self.datagrams.iter().any(is_it).then_some(None)
    }

    fn charged(&self, of: impl Fn(&Held) -> bool) -> usize {
        let those = self.datagrams.iter().filter(|held| of(held));
        those.map(Held::charged).sum()
    }

    /// The oldest goes, of this source first.
    fn make_room(&mut self, source: u32) {
        while self.charged(|held| held.source == source) > SOURCE_LIMIT {
            self.give_up(|held| held.source == source);
        }
        while self.charged(|_| true) > LIMIT {
            self.give_up(|_| true);
        }
    }

    fn give_up(&mut self, which: impl Fn(&Held) -> bool) {
        let oldest = self.datagrams.iter().position(which);
        let held = self.datagrams.remove(oldest.expect("it is charged"));
        self.fails += u64::from(!held.is_spoiled);
    }

    /// For each that is out of time, whether its first fragment was there.
    fn expire(&mut self, now: Instant) -> Vec<bool> {
        let is_over = |held: &mut Held| held.since + TIMEOUT <= now;
        let over = self.datagrams.extract_if(.., is_over);
        let told = over.filter(|held| !held.is_spoiled);
        let firsts: Vec<bool> = told.map(|held| held.bytes.contains_key(&0)).collect();
        self.fails += firsts.len() as u64;
        firsts
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn fragments_make_the_datagrams_that_the_model_makes(
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut reassembler = Reassembler::new(LIMIT, SOURCE_LIMIT, KeyedHash::new([1; 16]));
        let mut model = Model::default();
        let mut now = Instant::from_millis(1);
        for op in ops {
            match op {
                Op::Fragment(piece) => {
                    let key = key(piece.source, piece.id);
                    let answer = match reassembler.on_fragment(now, key, piece.fragment()) {
                        Ok(Outcome::Held) => Some(None),
                        Ok(Outcome::Complete(whole)) => {
                            prop_assert_eq!(whole.header_len, HEADER.len());
                            Some(Some((whole.packet, whole.ecn)))
                        }
                        Err(Dropped::Fragment) => None,
                        Err(other) => panic!("dropped as {other:?}"),
                    };
                    prop_assert_eq!(answer, model.on_fragment(now, &piece));
                }
                Op::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    let expired = std::iter::from_fn(|| reassembler.poll_expired(now));
                    let firsts: Vec<bool> = expired.map(|one| one.first.is_some()).collect();
                    prop_assert_eq!(firsts, model.expire(now));
                }
            }
            prop_assert_eq!(reassembler.charged(), model.charged(|_| true));
            prop_assert_eq!(reassembler.fails, model.fails);
            let deadline = model.datagrams.first().map(|held| held.since + TIMEOUT);
            prop_assert_eq!(reassembler.poll_timeout(), deadline);
        }
    }
}
