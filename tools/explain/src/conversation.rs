//! Two ends, and what passes between them.

mod acks;
mod text;

use std::net::SocketAddr;
use std::time::Duration;

use referee::packet::{ACK, ECE, RST, SYN, TcpPacket};
use referee::{Quote, position};
use serde::Serialize;

use crate::moment::{Moment, seconds};
use crate::rules::Rules;
use crate::side::Side;

/// Resets, ICMP errors and pauses kept of one conversation; more are only counted.
const MAX_KEPT: usize = 32;
/// A pause is at least so long, and so many round trips.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest packet of a usual link.
const LARGEST: usize = 1500;

/// How the record of a conversation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Began {
    /// With its SYN.
    Syn,
    /// With the answer to a SYN that was not recorded.
    SynAck,
    /// In the middle.
    Middle,
}

/// A RST.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reset {
    /// 0: the client's, 1: the server's.
    pub by: usize,
    /// The RST.
    pub now: Moment,
    /// TTL or hop limit of the RST, and of the other packets of its sender.
    pub hops: (u8, Option<u8>),
    /// Its sequence number, as on the wire.
    pub seq: u32,
    /// It carries an acknowledgment.
    pub has_ack: bool,
    /// The segment that it answers: it has the number which that one acknowledges.
    pub answers: Option<Moment>,
    /// How long its sender had said nothing.
    #[serde(serialize_with = "seconds")]
    pub silence: Duration,
    /// Bytes on their way from either end that nobody acknowledged.
    pub in_flight: [u64; 2],
    /// Which ends had said FIN.
    pub fins: [bool; 2],
    /// Its sender went on as if nothing had happened: the first such packet.
    pub contradicted: Option<Moment>,
    /// Nothing but SYNs had passed.
    pub in_handshake: bool,
}

/// An ICMP error about one of the segments.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Icmp {
    /// When it passed.
    pub now: Moment,
    /// The end whose segment it is about.
    pub about: usize,
    /// Type and code.
    pub kind: (u8, u8),
    /// The MTU that it tells, in bytes.
    pub mtu: Option<usize>,
    /// It is ICMPv6.
    pub is_v6: bool,
}

/// Nothing was said, and nothing waited for an answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pause {
    /// The last packet before it.
    pub began: Moment,
    /// The first packet after it.
    pub ended: Moment,
}

/// One TCP conversation.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) number: usize,
    /// The client's address, and the server's.
    pub(crate) addresses: [SocketAddr; 2],
    pub(crate) began: Began,
    pub(crate) first: Moment,
    pub(crate) last: Moment,
    pub(crate) packets: u64,
    pub(crate) cut: u64,
    pub(crate) sides: [Side; 2],
    /// The acknowledgment of the server's SYN.
    pub(crate) established: Option<Moment>,
    pub(crate) resets: Vec<Reset>,
    pub(crate) reset_count: u32,
    pub(crate) icmp: Vec<Icmp>,
    pub(crate) icmp_count: u32,
    pub(crate) pauses: Vec<Pause>,
    pub(crate) pause_count: u32,
    pub(crate) rules: Rules,
    /// The latest segment of each end: when, and what it acknowledges.
    latest: [Option<(Moment, u32)>; 2],
    /// It is over for whoever needs the room.
    pub(crate) was_dropped: bool,
}

/// A segment in the numbers of its conversation.
struct Seen<'a> {
    now: Moment,
    tcp: &'a TcpPacket,
    side: usize,
    /// Position of its sequence number, and after its last byte.
    seq: u64,
    end: u64,
}

impl Conversation {
    pub(crate) fn new(number: usize, now: Moment, tcp: &TcpPacket) -> Self {
        let began = match (tcp.has(SYN), tcp.has(ACK)) {
            (true, false) => Began::Syn,
            (true, true) => Began::SynAck,
            _ => Began::Middle,
        };
        // Of a conversation in the middle nobody knows who began; servers have the lower port.
        let turned = match began {
            Began::Syn => false,
            Began::SynAck => true,
            Began::Middle => tcp.source.port() < tcp.destination.port(),
        };
        let addresses = if turned {
            [tcp.destination, tcp.source]
        } else {
            [tcp.source, tcp.destination]
        };
        Self {
            number,
            addresses,
            began,
            first: now,
            last: now,
            packets: 0,
            cut: 0,
            sides: [Side::default(), Side::default()],
            established: None,
            resets: Vec::new(),
            reset_count: 0,
            icmp: Vec::new(),
            icmp_count: 0,
            pauses: Vec::new(),
            pause_count: 0,
            rules: Rules::new(began == Began::Syn),
            latest: [None; 2],
            was_dropped: false,
        }
    }

    pub(crate) fn side(&self, source: SocketAddr) -> usize {
        usize::from(source != self.addresses[0])
    }

    /// Both ends have closed, or one has reset.
    pub(crate) fn is_over(&self) -> bool {
        self.reset_count > 0 || self.sides.iter().all(|side| side.fin.is_some())
    }

    /// From one end to the other and back, as fast as it ever was.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let [client, server] = &self.sides;
        match (client.answers.least, server.answers.least) {
            (None, None) => None,
            (client, server) => Some(client.unwrap_or_default() + server.unwrap_or_default()),
        }
    }

    /// The payload that `side` may put into a segment.
    pub(crate) fn mss(&self, side: usize) -> u64 {
        let (own, peer) = (&self.sides[side], &self.sides[1 - side]);
        let offered = |side: &Side| side.offer.as_ref().and_then(|offer| offer.mss);
        let timestamps = |side: &Side| side.offer.as_ref().is_some_and(|offer| offer.timestamps);
        let options = if timestamps(own) && timestamps(peer) {
            12
        } else {
            0
        };
        match offered(peer) {
            Some(mss) => mss
                .min(offered(own).unwrap_or(mss))
                .saturating_sub(options)
                .max(1)
                .into(),
            None => (own.largest.min(LARGEST) as u64).max(536),
        }
    }

    /// How many bytes of memory it takes besides what every conversation does, about.
    pub(crate) fn held(&self) -> usize {
        let ranges: usize = self.sides.iter().map(|side| side.flight.held()).sum();
        ranges + self.rules.held(&self.sides)
    }

    /// Memory is scarce: what is not needed for the story of today is forgotten.
    pub(crate) fn shed(&mut self) {
        self.rules.stop();
        for side in &mut self.sides {
            side.flight.shed();
        }
    }

    /// It is over, and what comes yet are repetitions: it keeps what its story needs.
    fn rest(&mut self) {
        self.rules.rest();
        for side in &mut self.sides {
            side.flight.rest();
        }
    }

    /// A segment passes.
    pub(crate) fn on_segment(&mut self, now: Moment, tcp: &TcpPacket) {
        let side = self.side(tcp.source);
        self.note(now, side, tcp);
        if tcp.has(RST) {
            self.on_reset(now, side, tcp);
            return;
        }
        self.contradict(now, side, tcp);
        if tcp.has(SYN) {
            self.sides[side].on_syn(now, tcp);
        }
        let isn = *self.sides[side].isn.get_or_insert(tcp.seq.wrapping_sub(1));
        if !tcp.has(SYN) {
            self.sides[side].flight.begin();
        }
        let seq = position(isn, self.sides[side].flight.nxt, tcp.seq);
        let ack = tcp.has(ACK).then(|| {
            let peer = &mut self.sides[1 - side];
            if peer.isn.is_none() {
                // Its SYN was not recorded: what it says begins here.
                peer.isn = Some(tcp.ack.wrapping_sub(1));
                peer.flight.begin();
            }
            let isn = peer.isn.unwrap_or_default();
            position(isn, peer.flight.nxt, tcp.ack)
        });
        let end = seq + tcp.seq_len();
        let seen = Seen {
            now,
            tcp,
            side,
            seq,
            end,
        };
        if let Some(ack) = ack {
            self.on_ack(&seen, ack);
        }
        self.on_text(&seen);
        self.latest[side] = Some((now, tcp.ack));
        self.sides[side].last = Some(now);
        if self.is_over() && self.sides.iter().all(|side| side.flight.size() == 0) {
            self.rest();
        }
    }

    /// What every segment tells.
    fn note(&mut self, now: Moment, side: usize, tcp: &TcpPacket) {
        self.packets += 1;
        let pause = PAUSE.max(4 * self.round_trip().unwrap_or_default());
        let is_quiet = self.sides.iter().all(|side| side.flight.size() == 0);
        let is_closed = self.sides.iter().any(|side| side.window.is_closed());
        if self.packets > 1 && now.since(self.last) >= pause && is_quiet && !is_closed {
            self.pause_count += 1;
            if self.pauses.len() < MAX_KEPT {
                self.pauses.push(Pause {
                    began: self.last,
                    ended: now,
                });
            }
        }
        self.last = now;
        let end = &mut self.sides[side];
        end.segments += 1;
        end.supers += u64::from(tcp.length > LARGEST);
        if !tcp.has(RST) {
            end.hops.get_or_insert(tcp.hops);
        }
        if tcp.ecn == 3 {
            end.marked.add(now);
        }
        if tcp.has(ECE) && !tcp.has(SYN) {
            end.echoed.add(now);
        }
    }

    fn on_reset(&mut self, now: Moment, by: usize, tcp: &TcpPacket) {
        self.reset_count += 1;
        if self.resets.len() == MAX_KEPT {
            return;
        }
        let answered = self.latest[1 - by].filter(|&(_, ack)| ack == tcp.seq && !tcp.has(ACK));
        let own = &self.sides[by];
        let in_handshake = self.established.is_none() && self.began != Began::Middle;
        self.resets.push(Reset {
            by,
            now,
            hops: (tcp.hops, own.hops),
            seq: tcp.seq,
            has_ack: tcp.has(ACK),
            answers: answered.map(|(at, _)| at),
            silence: own.last.map_or(Duration::ZERO, |last| now.since(last)),
            in_flight: self.sides.each_ref().map(|side| side.flight.size()),
            fins: self.sides.each_ref().map(|side| side.fin.is_some()),
            contradicted: None,
            in_handshake,
        });
    }

    /// Whoever has reset a connection knows it no more.
    fn contradict(&mut self, now: Moment, side: usize, tcp: &TcpPacket) {
        if tcp.has(SYN) {
            return;
        }
        let end = tcp.seq.wrapping_add(tcp.seq_len() as u32);
        // What was sent before the RST may be overtaken by it.
        let goes_on = |reset: &Reset| (end.wrapping_sub(reset.seq) as i32) > 0;
        let of_side =
            |reset: &&mut Reset| reset.by == side && reset.contradicted.is_none() && goes_on(reset);
        if let Some(reset) = self.resets.iter_mut().find(of_side) {
            reset.contradicted = Some(now);
        }
    }

    /// An ICMP error about a segment of this conversation passes.
    pub(crate) fn on_icmp(&mut self, now: Moment, quote: &Quote) {
        self.icmp_count += 1;
        self.last = now;
        if self.icmp.len() < MAX_KEPT {
            self.icmp.push(Icmp {
                now,
                about: self.side(quote.source),
                kind: quote.kind,
                mtu: quote.mtu,
                is_v6: quote.source.is_ipv6(),
            });
        }
    }
}
