//! What a bystander knows of one end of a conversation.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Values;
use crate::kept::Kept;
use crate::packet::{ACK, CWR, ECE, SYN, TcpPacket};
use crate::path::PathMtu;
use crate::ranges::Ranges;
use crate::timing::{AckDue, Timer};

/// Acknowledgment numbers kept of what arrived before an end had a number of its own.
const MAX_ACKS: usize = 64;

/// How well an end is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sight {
    /// From afar: what it sent may have overtaken, got lost or doubled before it was seen; what was
    /// sent to it may not have arrived.
    Passing,
    /// What it sends is seen at once and in order; what is sent to it arrives, a little later.
    Near,
    /// What it sends, and what arrives, is seen when it happens.
    Exact,
}

/// What the SYNs of an end offered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer {
    /// It sent a SYN without ACK.
    pub(crate) first: bool,
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) timestamps: bool,
    pub(crate) ecn: bool,
    /// Accurate ECN (RFC 9768), whose flags mean something else.
    pub(crate) accurate_ecn: bool,
    /// A SYN carried data.
    pub(crate) data: bool,
}

impl Offer {
    /// A SYN that comes again may offer less; what was offered once may have been taken up.
    pub(crate) fn add(&mut self, tcp: &TcpPacket) {
        let options = &tcp.options;
        self.first |= !tcp.has(ACK);
        self.mss = self.mss.max(options.mss);
        self.window_scale = options.window_scale.or(self.window_scale);
        self.sack |= options.sack_permitted;
        self.timestamps |= options.timestamps.is_some();
        self.accurate_ecn |= tcp.reserved & 1 != 0;
        let wanted = if tcp.has(ACK) { ECE } else { ECE | CWR };
        self.ecn |= tcp.flags & (ECE | CWR) == wanted;
        self.data |= !tcp.payload.is_empty();
    }
}

/// One end. Positions in its own stream count from its ISN, those in the peer's from the peer's.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) sight: Sight,
    pub(crate) isn: Option<u32>,
    pub(crate) offer: Offer,
    /// When it sent its first SYN, its last, and when anything reached it last.
    pub(crate) began: Duration,
    pub(crate) asked: Duration,
    pub(crate) heard: Duration,

    /// After the highest position it sent, and where its FIN lies.
    pub(crate) sent: u64,
    pub(crate) fin: Option<u64>,
    pub(crate) kept: Kept,
    /// What reached it of the peer's acknowledgments: the highest, and the highest right edge.
    pub(crate) acked: u64,
    pub(crate) edge: u64,
    /// The highest of acknowledgments that it must have read.
    pub(crate) knows_acked: u64,
    pub(crate) window_closed: bool,
    /// The largest window that it was given.
    pub(crate) widest: u64,
    /// Acknowledgment numbers that reached it, as long as it has no ISN.
    pub(crate) acks: VecDeque<u32>,
    pub(crate) timer: Timer,

    /// What reached it of the peer's stream.
    pub(crate) got: Ranges,
    /// What of that it cannot have refused.
    pub(crate) taken: Ranges,
    pub(crate) got_fin: Option<u64>,
    /// A RST came with the number of the peer's FIN, which had come: Linux takes it
    /// (`tcp_reset_check`), others do not.
    pub(crate) perhaps_reset: bool,
    pub(crate) ack_due: Option<AckDue>,
    /// It said something after its SYN.
    pub(crate) opened: bool,
    /// What it told the peer: the highest acknowledgment, and the highest right edge.
    pub(crate) said_ack: u64,
    pub(crate) said_edge: u64,

    /// Timestamps: its own clock, what it got of the peer's, what it echoed.
    pub(crate) said_times: Values,
    pub(crate) got_times: Values,
    pub(crate) echoed: Values,
    /// Since when it is over by RST, sent or received.
    pub(crate) reset: Option<Duration>,
    /// What the path takes, as far as it was told.
    pub(crate) path: Option<PathMtu>,
}

impl End {
    pub(crate) fn new(sight: Sight) -> Self {
        Self {
            sight,
            isn: None,
            offer: Offer::default(),
            began: Duration::ZERO,
            asked: Duration::ZERO,
            heard: Duration::ZERO,
            sent: 0,
            fin: None,
            kept: Kept::default(),
            acked: 0,
            edge: 0,
            knows_acked: 0,
            window_closed: false,
            widest: 0,
            acks: VecDeque::new(),
            timer: Timer::default(),
            got: Ranges::default(),
            taken: Ranges::default(),
            got_fin: None,
            perhaps_reset: false,
            ack_due: None,
            opened: false,
            said_ack: 0,
            said_edge: 0,
            said_times: Values::default(),
            got_times: Values::default(),
            echoed: Values::default(),
            reset: None,
            path: None,
        }
    }

    /// Forgets what it got and acknowledged: the peer begins anew.
    pub(crate) fn forget_peer(&mut self) {
        self.got = Ranges::default();
        self.taken = Ranges::default();
        self.got_fin = None;
        self.ack_due = None;
        (self.said_ack, self.said_edge) = (0, 0);
        self.got_times = Values::default();
        self.echoed = Values::default();
    }

    /// Its SYN was acknowledged, and it has acknowledged the peer's.
    pub(crate) fn synchronized(&self) -> bool {
        self.acked > 0 && self.said_ack > 0
    }

    /// `tcp` was surely sent after everything seen from this end so far.
    pub(crate) fn sent_later(&self, tcp: &TcpPacket) -> bool {
        let advance = |(tsval, _)| self.said_times.advance(tsval);
        self.sight > Sight::Passing
            || tcp
                .options
                .timestamps
                .and_then(advance)
                .is_some_and(|by| by > 0)
    }

    /// Both directions are over, and it knows: RFC 1337 lets it ignore a RST.
    pub(crate) fn is_over(&self) -> bool {
        let got = self.got.contiguous();
        self.fin.is_some_and(|fin| self.acked > fin) && self.got_fin.is_some_and(|fin| got > fin)
    }

    /// RFC 9293 §3.10.7.4, first check, and PAWS: it reads all of a segment at `seq` that is
    /// `length` long.
    pub(crate) fn accepts(&self, tcp: &TcpPacket, seq: u64, length: u64) -> bool {
        let (next, edge) = (self.got.contiguous(), self.said_edge);
        let advance = |(tsval, _)| self.got_times.advance(tsval);
        let old = tcp
            .options
            .timestamps
            .and_then(advance)
            .is_some_and(|by| by < 0);
        let inside = if length == 0 {
            seq == next || (next..edge).contains(&seq)
        } else {
            next < edge && seq < edge && seq + length > next
        };
        inside && !old
    }

    /// Some acknowledgment number reaches it before it has an ISN.
    pub(crate) fn note_ack(&mut self, tcp: &TcpPacket) {
        if self.isn.is_none() && tcp.has(ACK) {
            if self.acks.len() == MAX_ACKS {
                self.acks.pop_front();
            }
            self.acks.push_back(tcp.ack);
        }
    }

    /// The window scale that it asked for, if the peer agreed.
    pub(crate) fn scale(&self, peer: &Self, tcp: &TcpPacket) -> u8 {
        match (self.offer.window_scale, peer.offer.window_scale) {
            (Some(scale), Some(_)) if !tcp.has(SYN) => scale.min(14),
            _ => 0,
        }
    }
}
