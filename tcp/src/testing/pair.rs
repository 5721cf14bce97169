//! `Pair`: two endpoints and a seeded link between them, under virtual time.

use std::boxed::Box;
use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, OccupiedEntry};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::vec::Vec;

use bytes::Bytes;

use super::checker::Checker;
use crate::config::{Config, SocketOptions};
use crate::endpoint::{ConnId, Event, ListenOptions, ListenerId, Read, Tcp};
use crate::segment::{Ecn, FlowKey, Segment, Transmit, TxMeta};
use crate::time::{Duration, Instant};
use crate::wire;

/// Segments that one turn reads, as the packet loop reads frames.
const TURN: usize = 32;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connects.
    Client = 0,
    /// The one that listens.
    Server = 1,
}

impl Side {
    /// The other end.
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What the link does to each wire segment, in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// One-way delay.
    pub delay: Duration,
    /// Bits per second.
    pub rate: Option<NonZeroU64>,
    /// Segments that wait for the rate; more are dropped.
    pub queue: usize,
    /// Probabilities, in units of 1/10,000.
    pub loss: u32,
    /// Held back by another delay.
    pub reorder: u32,
    /// Delivered twice.
    pub duplicate: u32,
    /// Marked CE, if ECN-capable.
    pub ce: u32,
    /// MTU of the path.
    pub mtu: u16,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            rate: None,
            queue: 1_000,
            loss: 0,
            reorder: 0,
            duplicate: 0,
            ce: 0,
            mtu: 1500,
        }
    }
}

type Fate = dyn FnMut(Instant, Side, &Sent) -> Option<Duration> + Send;

/// What a test does to single segments: how much later than others each arrives, `None` if never.
/// It is asked once per wire segment, in the order of sending.
pub struct Script(Box<Fate>);

impl Script {
    /// Asks `fate` of each segment.
    pub fn new(
        fate: impl FnMut(Instant, Side, &Sent) -> Option<Duration> + Send + 'static,
    ) -> Self {
        Self(Box::new(fate))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

/// A segment that an endpoint sent, as it stands on the wire.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Whose.
    pub flow: FlowKey,
    /// Header and payload.
    pub segment: Segment,
    /// The ECN code point of its packet.
    pub ecn: Ecn,
}

/// A [`Transmit`] that cuts super-segments and keeps what was sent.
#[derive(Debug, Default)]
pub struct Recorder {
    /// What was sent, oldest first.
    pub sent: Vec<Sent>,
    /// MTU reported for every path.
    pub mtu: u16,
    /// Whether it takes super-segments.
    pub tso: bool,
}

impl Transmit for Recorder {
    fn budget(&self) -> usize {
        1_000usize.saturating_sub(self.sent.len())
    }

    fn path_mtu(&self, _remote: IpAddr) -> u16 {
        self.mtu
    }

    fn push(&mut self, meta: &TxMeta<'_>, payload: impl Iterator<Item = Bytes>) {
        let mut bytes = Vec::new();
        payload.for_each(|chunk| bytes.extend_from_slice(&chunk));
        assert_eq!(bytes.len(), meta.payload_len as usize);
        assert!(
            self.tso || meta.gso_size.is_none(),
            "a device without offload cuts nothing"
        );
        let size = meta
            .gso_size
            .map_or(bytes.len().max(1), |size| usize::from(size.get()));
        let mut offset = 0;
        loop {
            let end = (offset + size).min(bytes.len());
            let mut header = meta.segment.clone();
            header.seq = header.seq.wrapping_add(offset as u32);
            if end < bytes.len() {
                // What a device does: FIN and PSH only on the last piece.
                header.flags.0 &= !(crate::Flags::FIN.0 | crate::Flags::PSH.0);
            }
            let (source, destination) = (meta.flow.local.port(), meta.flow.remote.port());
            let mut wire: Vec<u8> = wire::emit(&header, source, destination).to_vec();
            wire.extend_from_slice(&bytes[offset..end]);
            assert!(
                wire.len() + 20 <= usize::from(self.mtu),
                "{} bytes",
                wire.len()
            );
            let parsed = wire::parse(wire.into(), None).expect("our own segment");
            self.sent.push(Sent {
                flow: *meta.flow,
                segment: parsed.segment,
                ecn: meta.ecn,
            });
            offset = end;
            if offset >= bytes.len() {
                return;
            }
        }
    }
}

/// Two endpoints on a link. A [`Checker`] watches every connection and stops the test when an end
/// does what no TCP may.
#[derive(Debug)]
pub struct Pair {
    /// Client, then server.
    pub tcp: Vec<Tcp>,
    /// Virtual time.
    pub now: Instant,
    /// The link between them.
    pub link: Link,
    /// What happens to single segments, besides.
    pub script: Option<Script>,
    /// Everything that left an endpoint: when, who, what.
    pub log: Vec<(Instant, Side, Sent)>,
    /// Events not yet looked at.
    pub events: [Vec<Event>; 2],
    wire: BTreeMap<(Instant, u64), (Side, Sent)>,
    tso: bool,
    /// By flow as the client sees it.
    checkers: HashMap<FlowKey, Checker>,
    /// When the rate lets the next segment through.
    free_at: [Instant; 2],
    random: u64,
    counter: u64,
    /// Keeps [`Pair::log`] empty, for long runs.
    pub quiet: bool,
    /// Segments that reached each end: accepted, and dropped.
    pub outcomes: [(u64, u64); 2],
}

impl Pair {
    /// Two endpoints with these settings, and the randomness of `seed`.
    pub fn new(seed: u64, config: &Config, link: Link) -> Self {
        let key = |side: u8| {
            let mut key = [side; 32];
            key[..8].copy_from_slice(&seed.to_le_bytes());
            key
        };
        Self {
            tcp: std::vec![
                Tcp::new(config.clone(), key(1)),
                Tcp::new(config.clone(), key(2))
            ],
            now: Instant::from_millis(1_000),
            link,
            script: None,
            log: Vec::new(),
            events: [Vec::new(), Vec::new()],
            wire: BTreeMap::new(),
            tso: config.tso,
            checkers: HashMap::new(),
            free_at: [Instant::ZERO; 2],
            random: seed ^ 0x9e37_79b9_7f4a_7c15,
            counter: 0,
            quiet: false,
            outcomes: [(0, 0); 2],
        }
    }

    /// SplitMix64.
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self, of_ten_thousand: u32) -> bool {
        of_ten_thousand > 0 && self.random() % 10_000 < u64::from(of_ten_thousand)
    }

    /// The endpoint of `side`.
    pub fn end(&mut self, side: Side) -> &mut Tcp {
        &mut self.tcp[side as usize]
    }

    /// The server listens at 10.0.0.2:80.
    pub fn listen(&mut self, backlog: u16) -> ListenerId {
        let options = ListenOptions {
            local: server(),
            backlog,
            transparent: false,
            hold: false,
            socket: SocketOptions::default(),
        };
        self.end(Side::Server)
            .listen(options)
            .expect("the address is free")
    }

    /// The client begins to connect.
    pub fn connect(&mut self, options: SocketOptions) -> ConnId {
        self.connect_from("10.0.0.1".parse().expect("an address"), options)
    }

    /// The client begins to connect from one of many addresses.
    pub fn connect_from(&mut self, local: IpAddr, options: SocketOptions) -> ConnId {
        let now = self.now;
        let flow = FlowKey {
            local: SocketAddr::new(local, 0),
            remote: server(),
        };
        self.end(Side::Client)
            .connect(now, flow, options)
            .expect("a port is free")
            .0
    }

    /// Opens a connection; its id at the client and at the server.
    pub fn open(&mut self) -> (ConnId, ConnId) {
        let listener = self.listen(16);
        let client = self.connect(SocketOptions::default());
        for _ in 0..10_000 {
            if let Some((server, _)) = self.end(Side::Server).accept(listener) {
                return (client, server);
            }
            self.step();
        }
        panic!("no connection after {:?}", self.now);
    }

    /// When the next delivery or deadline comes, after what is ready has been sent.
    pub fn next_at(&mut self) -> Option<Instant> {
        self.transmit();
        let delivery = self.wire.keys().next().map(|(at, _)| *at);
        let deadline = self.tcp.iter().filter_map(Tcp::poll_timeout).min();
        [delivery, deadline].into_iter().flatten().min()
    }

    /// One turn of whatever comes first: a delivery or a deadline. False when nothing is left.
    pub fn step(&mut self) -> bool {
        let Some(next) = self.next_at() else {
            return false;
        };
        self.now = self.now.max(next);
        for _ in 0..TURN {
            let Some(entry) = self.due() else { break };
            let (from, sent) = entry.remove();
            self.checker(from, sent.flow)
                .on_delivered(from.peer() as usize, &sent.segment);
            let flow = sent.flow.reversed();
            let now = self.now;
            let outcome =
                self.end(from.peer())
                    .on_segment(now, &flow, true, sent.ecn, sent.segment);
            let (accepted, dropped) = &mut self.outcomes[from.peer() as usize];
            *(if outcome.is_ok() { accepted } else { dropped }) += 1;
        }
        let unread = self.due().is_some(); // timers wait for what is there (as in the packet loop)
        for side in [Side::Client, Side::Server] {
            let now = self.now;
            if !unread {
                self.end(side).on_timeout(now);
            }
            while let Some(event) = self.end(side).poll_event() {
                self.events[side as usize].push(event);
            }
        }
        self.transmit();
        true
    }

    /// The first segment that has reached its end of the link.
    fn due(&mut self) -> Option<OccupiedEntry<'_, (Instant, u64), (Side, Sent)>> {
        let entry = self.wire.first_entry()?;
        (entry.key().0 <= self.now).then_some(entry)
    }

    /// What was seen on the wire of the connection that `from` calls `flow`.
    pub fn checker(&mut self, from: Side, flow: FlowKey) -> &mut Checker {
        let flow = match from {
            Side::Client => flow,
            Side::Server => flow.reversed(),
        };
        self.checkers.entry(flow).or_default()
    }

    fn transmit(&mut self) {
        for side in [Side::Client, Side::Server] {
            while self.end(side).has_ready() {
                let mut recorder = Recorder {
                    sent: Vec::new(),
                    mtu: self.link.mtu,
                    tso: self.tso,
                };
                let now = self.now;
                self.end(side).poll_transmit(now, &mut recorder);
                for sent in recorder.sent {
                    self.put_on_wire(side, sent);
                }
            }
        }
    }

    fn put_on_wire(&mut self, from: Side, mut sent: Sent) {
        if !self.quiet {
            self.log.push((self.now, from, sent.clone()));
        }
        let fair = self
            .checker(from, sent.flow)
            .on_sent(from as usize, &sent.segment);
        if let Err(foul) = fair {
            panic!("{foul}, at {:?}", self.now);
        }
        let late = match &mut self.script {
            Some(Script(fate)) => fate(self.now, from, &sent),
            None => Some(Duration::ZERO),
        };
        let lost = self.chance(self.link.loss);
        let Some(late) = late.filter(|_| !lost) else {
            return;
        };
        let mut at = self.now.max(self.free_at[from as usize]);
        if let Some(rate) = self.link.rate {
            let bits = 8 * (40 + sent.segment.payload.len() as u64);
            let each = Duration::from_nanos(bits * 1_000_000_000 / rate);
            if at - self.now > each * self.link.queue as u32 {
                return;
            }
            at += each;
            self.free_at[from as usize] = at;
        }
        if sent.ecn != Ecn::NotEct && self.chance(self.link.ce) {
            sent.ecn = Ecn::Ce;
        }
        at += self.link.delay + late;
        if self.chance(self.link.reorder) {
            at += self.link.delay;
        }
        if self.chance(self.link.duplicate) {
            self.counter += 1;
            self.wire.insert((at, self.counter), (from, sent.clone()));
        }
        self.counter += 1;
        self.wire.insert((at, self.counter), (from, sent));
    }

    /// Moves `total` bytes of a pattern from `from` to the other end, then FIN; checks every byte
    /// and returns how long it took in virtual time.
    ///
    /// # Panics
    ///
    /// When a byte differs, or it takes longer than `limit`.
    pub fn transfer(
        &mut self,
        from: (Side, ConnId),
        to: ConnId,
        total: u64,
        limit: Duration,
    ) -> Duration {
        let start = self.now;
        let (side, id) = from;
        let (mut written, mut read, mut shut) = (0, 0, false);
        loop {
            let now = self.now;
            while written < total {
                let len = (total - written).min(64 << 10) as usize;
                let taken = self
                    .end(side)
                    .write(now, id, &pattern(written, len))
                    .expect("write");
                written += taken as u64;
                if taken < len {
                    break;
                }
            }
            if written == total && !shut {
                self.end(side).shutdown(now, id).expect("shutdown");
                shut = true;
            }
            loop {
                match self
                    .end(side.peer())
                    .read(now, to, 256 << 10)
                    .expect("read")
                {
                    Read::Data(data) => {
                        assert_eq!(data, pattern(read, data.len()), "bytes from {read} on");
                        read += data.len() as u64;
                    }
                    Read::Eof => {
                        assert_eq!(read, total);
                        return self.now - start;
                    }
                    Read::Empty => break,
                }
            }
            assert!(
                self.now - start < limit,
                "{read} of {total} bytes after {limit:?}"
            );
            assert!(self.step(), "nothing moves at {read} of {total} bytes");
        }
    }
}

fn server() -> SocketAddr {
    "10.0.0.2:80".parse().expect("an address")
}

/// `len` bytes of the test pattern from `offset` on.
pub fn pattern(offset: u64, len: usize) -> Bytes {
    (offset..offset + len as u64)
        .map(|n| (n % 251) as u8)
        .collect()
}
