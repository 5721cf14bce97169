//! What is known of one connection, however it was recorded: the input of the figures.
//!
//! Times are seconds since the recording began; sequence numbers count bytes from the beginning of
//! their direction (the SYN is 0, the first byte of data 1).

use std::net::SocketAddr;

/// All connections of a recording.
#[derive(Debug, Default)]
pub struct Log {
    /// In the order in which they began.
    pub traces: Vec<Trace>,
    /// Connections that were too many to be kept.
    pub left_out: u64,
    /// Events that the recording itself missed.
    pub missing: u64,
    /// Its end is not complete: its writer was stopped.
    pub is_cut: bool,
}

/// One connection as it was seen from the stack.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The stack's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Every segment that left.
    pub sent: Vec<Segment>,
    /// Every segment that came.
    pub received: Vec<Segment>,
    /// The sender's variables, whenever a record had them.
    pub samples: Vec<Sample>,
    /// Round trips that were measured: time, and seconds.
    pub round_trips: Vec<(f64, f64)>,
    /// What happened besides segments.
    pub marks: Vec<Mark>,
    /// Losses and how they were repaired, in order.
    pub recoveries: Vec<Recovery>,
    /// Changes of state: time, and the RFC's name of the state entered.
    pub states: Vec<(f64, String)>,
    /// Records that were too many to be kept.
    pub missing: u64,
    /// Bytes judged lost whose repair has not begun.
    pub(crate) lost: u64,
}

/// Segments of one direction, and samples, that a trace keeps; more are counted as missing.
const MAX_RECORDS: usize = 2_000_000;

impl Trace {
    /// A connection of which nothing is known yet.
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local,
            remote,
            sent: Vec::new(),
            received: Vec::new(),
            samples: Vec::new(),
            round_trips: Vec::new(),
            marks: Vec::new(),
            recoveries: Vec::new(),
            states: Vec::new(),
            missing: 0,
            lost: 0,
        }
    }

    /// Whether there is room for one more record.
    pub(crate) fn has_room(&mut self) -> bool {
        let most = self.sent.len().max(self.received.len());
        let has_room = most.max(self.samples.len()) < MAX_RECORDS;
        self.missing += u64::from(!has_room);
        has_room
    }

    /// First and last moment of which something is known.
    pub fn span(&self) -> (f64, f64) {
        let segments = self.sent.iter().chain(&self.received);
        let times = segments
            .map(|segment| segment.at)
            .chain(self.states.iter().map(|state| state.0))
            .chain(self.marks.iter().map(|mark| mark.at));
        let span = times.fold(None, |span: Option<(f64, f64)>, at| {
            span.map_or(Some((at, at)), |(from, to)| {
                Some((from.min(at), to.max(at)))
            })
        });
        span.unwrap_or((0.0, 0.0))
    }
}

/// One segment, or several that left or came as one.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// When.
    pub at: f64,
    /// The number of its first byte.
    pub seq: u64,
    /// Bytes of payload; SYN and FIN not counted.
    pub len: u32,
    /// Its acknowledgement number, in the numbers of the other direction.
    pub ack: Option<u64>,
    /// The window that it offers, in bytes; `None` where it tells nothing of a window, as in a RST.
    pub window: Option<u32>,
    /// What it reports as received out of order, in the numbers of the other direction.
    pub sack: Vec<(u64, u64)>,
    /// Why it left, or what became of it.
    pub kind: Kind,
}

/// Why a segment left, or what became of one that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// New data, or nothing but an acknowledgment; of what came: it was taken in order.
    #[default]
    New,
    /// Sent again: later data had arrived (RFC 6675, RFC 8985).
    FastRetransmit,
    /// Sent again after a timeout (RFC 6298).
    TimeoutRetransmit,
    /// Asks for an acknowledgment of the tail (RFC 8985 §7).
    TailProbe,
    /// Sent again for another reason: the handshake, a path that takes less.
    OtherRetransmit,
    /// Asks whether a closed window is open, or whether the peer is there (RFC 9293 §3.8.6.1, §3.8.4).
    Probe,
    /// It came above a gap.
    OutOfOrder,
    /// Nothing of it was new.
    Duplicate,
    /// It was dropped.
    Dropped,
}

impl Kind {
    /// Whether it carried bytes that had been sent before.
    pub fn is_retransmission(self) -> bool {
        use Kind::{FastRetransmit, OtherRetransmit, TailProbe, TimeoutRetransmit};
        matches!(
            self,
            FastRetransmit | TimeoutRetransmit | TailProbe | OtherRetransmit
        )
    }
}

/// The sender's variables at one moment. Bytes, but for the round trips: seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// When.
    pub at: f64,
    /// The oldest number not acknowledged.
    pub una: u64,
    /// The congestion window.
    pub cwnd: f64,
    /// The slow-start threshold, once there is one.
    pub ssthresh: Option<f64>,
    /// What is on its way.
    pub in_flight: f64,
    /// The smoothed round trip, once one was measured.
    pub srtt: Option<f64>,
    /// Room that is offered to the peer.
    pub rcv_wnd: f64,
    /// Received and not yet read.
    pub unread: f64,
    /// Received above a gap.
    pub out_of_order: f64,
}

/// A moment worth a tick.
#[derive(Clone, Debug)]
pub struct Mark {
    /// When.
    pub at: f64,
    /// What happened: the name of the row that it stands in.
    pub row: String,
}

/// One repair of losses.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// When the loss was noticed.
    pub from: f64,
    /// When all of it was repaired, or taken back; `None`: never, as far as is known.
    pub to: Option<f64>,
    /// What showed it.
    pub by: String,
    /// Bytes that were judged lost, from here to the next one.
    pub lost: u64,
    /// It was taken back: nothing had been lost.
    pub undone: bool,
}
