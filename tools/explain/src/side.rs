//! One end of a conversation: what it offered, sent, announced and answered.

use std::time::Duration;

use referee::packet::{ACK, CWR, ECE, TcpPacket};
use serde::Serialize;

use crate::flight::Flight;
use crate::growth::Growth;
use crate::moment::Moment;
use crate::repeats::Repeats;
use crate::waits::Waits;
use crate::window::Window;

/// SYNs of one end that are remembered.
const MAX_SYNS: usize = 16;

/// What the SYN of an end offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Maximum segment size, in bytes.
    pub mss: Option<u16>,
    /// Window scale, as a shift.
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// ECN (RFC 3168) or Accurate ECN (RFC 9768).
    pub ecn: bool,
    /// Bytes that came with the SYN (Fast Open, RFC 7413).
    pub data: usize,
}

impl Offer {
    pub(crate) fn new(tcp: &TcpPacket) -> Self {
        let options = &tcp.options;
        let wanted = if tcp.has(ACK) { ECE } else { ECE | CWR };
        Self {
            mss: options.mss,
            window_scale: options.window_scale,
            sack: options.sack_permitted,
            timestamps: options.timestamps.is_some(),
            ecn: tcp.flags & wanted == wanted || tcp.reserved & 1 != 0,
            data: tcp.payload.len(),
        }
    }
}

/// How fast an end answers what passes here on its way to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    pub(crate) least: Option<Duration>,
    pub(crate) most: Option<Duration>,
    pub(crate) count: u32,
}

impl Answers {
    pub(crate) fn add(&mut self, after: Duration) {
        self.least = Some(self.least.map_or(after, |least| least.min(after)));
        self.most = self.most.max(Some(after));
        self.count += 1;
    }

    pub(crate) fn least(&self) -> Duration {
        self.least.unwrap_or_default()
    }
}

/// Something that happened a number of times.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Count {
    /// How often.
    pub times: u32,
    /// The first and the last time.
    pub first: Option<Moment>,
    /// See `first`.
    pub last: Option<Moment>,
}

impl Count {
    pub(crate) fn add(&mut self, now: Moment) {
        self.times = self.times.saturating_add(1);
        self.first.get_or_insert(now);
        self.last = Some(now);
    }
}

/// Large packets that never arrived, in whose place smaller ones were sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shrunk {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) now: Moment,
    pub(crate) end: u64,
    pub(crate) arrived: bool,
}

/// One end.
#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) isn: Option<u32>,
    pub(crate) offer: Option<Offer>,
    /// It sent a SYN without being asked.
    pub(crate) opened: bool,
    /// Its SYNs, the first of them.
    pub(crate) syns: Vec<Moment>,
    pub(crate) syn_count: u32,
    pub(crate) segments: u64,
    pub(crate) data_segments: u64,
    /// Payload that passed, repetitions included.
    pub(crate) payload: u64,
    /// The largest payload of a segment, and the largest IP packet.
    pub(crate) largest: usize,
    pub(crate) largest_wire: usize,
    /// The largest packet that arrived for sure.
    pub(crate) arrived_wire: usize,
    pub(crate) shrunk: Option<Shrunk>,
    /// TTL or hop limit of what is no RST.
    pub(crate) hops: Option<u8>,
    pub(crate) flight: Flight,
    pub(crate) repeats: Repeats,
    pub(crate) growth: Growth,
    pub(crate) window: Window,
    pub(crate) waits: Waits,
    pub(crate) answers: Answers,
    pub(crate) dup_acks: u32,
    /// Anything, new data, and an acknowledgment of something new, from it, last.
    pub(crate) last: Option<Moment>,
    pub(crate) last_data: Option<Moment>,
    pub(crate) last_advance: Option<Moment>,
    pub(crate) first_data: Option<Moment>,
    pub(crate) fin: Option<Moment>,
    pub(crate) fin_at: Option<u64>,
    /// Keep-alives since anything was heard, and in all.
    pub(crate) unanswered: u32,
    pub(crate) keepalives: Count,
    /// Segments whose checksum or whose options are wrong, and what about them.
    pub(crate) damaged: Count,
    pub(crate) bad_options: Count,
    pub(crate) bad_option: String,
    pub(crate) bad_syn: bool,
    /// Segments that came after later ones.
    pub(crate) reordered: Count,
    pub(crate) reordered_by: Duration,
    /// Segments that came twice, though they were not sent again.
    pub(crate) copies: Count,
    /// Retransmissions of what was lost before it came by here.
    pub(crate) lost_before: u64,
    /// Marked Congestion Experienced; ECE; packets larger than any wire's.
    pub(crate) marked: Count,
    pub(crate) echoed: Count,
    pub(crate) supers: u64,
    /// The highest TSval.
    pub(crate) tsval: Option<u32>,
}

impl Side {
    /// It sends a SYN.
    pub(crate) fn on_syn(&mut self, now: Moment, tcp: &TcpPacket) {
        self.isn.get_or_insert(tcp.seq);
        self.syn_count += 1;
        self.opened |= !tcp.has(ACK);
        if self.syns.len() < MAX_SYNS {
            self.syns.push(now);
        }
        let offer = Offer::new(tcp);
        if self.offer.is_none() || !tcp.has(ACK) {
            // A SYN that comes again may offer less; the last one counts.
            self.offer = Some(offer);
        }
    }

    /// The payload that it sent, each byte counted once.
    pub(crate) fn bytes(&self) -> u64 {
        let fin = u64::from(self.fin_at.is_some_and(|at| self.flight.nxt > at));
        self.flight.nxt.saturating_sub(1 + fin)
    }

    /// TSval goes on.
    pub(crate) fn on_tsval(&mut self, tsval: u32) {
        let newer = |old: u32| (tsval.wrapping_sub(old) as i32) > 0;
        if self.tsval.is_none_or(newer) {
            self.tsval = Some(tsval);
        }
    }
}
