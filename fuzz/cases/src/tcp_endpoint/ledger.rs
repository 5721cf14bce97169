//! What a bystander writes down of one flow, and holds the endpoint to.

use std::ops::Range;

use ustack_tcp::seq::WindowScale;
use ustack_tcp::testing::{Sent, pattern};
use ustack_tcp::{Flags, Options, Segment};

/// Sending less than this in a segment is refused to any peer.
const MSS_FLOOR: u16 = 216;

/// Positions count from the initial sequence number of their direction; SYN lies at 0.
pub(super) type Position = i64;

/// The byte that the peer sends at a place of the sequence space.
pub(super) const fn byte_at(wire: u32) -> u8 {
    (wire.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// One incarnation of the flow, from a SYN of the endpoint on.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) iss: u32,
    /// The peer's, once it is known which of its SYNs counts.
    pub(super) irs: Option<u32>,
    /// Bytes that the application has written, and whether it has said that this is all.
    pub(super) written: u64,
    pub(super) is_shut: bool,
    /// Bytes that it has read.
    pub(super) read: u64,
    /// After the last number sent.
    pub(super) next: Position,
    fin: Option<Position>,
    /// How far the peer ever let it send.
    edge: Position,
    /// The last acknowledgment sent, and the end of the window with it.
    pub(super) ack: Position,
    pub(super) window_end: Position,
    our_scale: Option<u8>,
    /// The largest of what the peer's SYNs said.
    peer_scale: Option<u8>,
    peer_mss: u16,
    /// The peer's numbers that arrived.
    arrived: Vec<Range<Position>>,
}

/// The position nearest to `near` that the wire shows as `wire`.
fn expand(first: u32, near: Position, wire: u32) -> Position {
    let expected = first.wrapping_add(near as u32);
    near + Position::from(wire.wrapping_sub(expected) as i32)
}

impl Ledger {
    /// An incarnation that begins with this SYN. `syn`: the peer's latest, if there was any.
    pub(super) fn new(sent: &Segment, syn: Option<&Segment>) -> Self {
        let Options::Syn(options) = &sent.options else {
            panic!("no SYN: {sent:?}");
        };
        let mut ledger = Self {
            iss: sent.seq.0,
            irs: None,
            written: 0,
            is_shut: false,
            read: 0,
            next: 0,
            fin: None,
            edge: 0,
            ack: 0,
            window_end: 0,
            our_scale: options.window_scale.map(WindowScale::shift),
            peer_scale: None,
            peer_mss: 0,
            arrived: Vec::new(),
        };
        if sent.has(Flags::ACK) {
            // Fast Open acknowledges what came with the SYN, too.
            let acknowledges = |syn: &&Segment| sent.ack.0.wrapping_sub(syn.seq.0) <= syn.len();
            let irs = syn.filter(acknowledges).map(|syn| syn.seq.0);
            ledger.irs = irs.or(Some(sent.ack.0.wrapping_sub(1)));
            ledger.add(0..1); // which may have been an earlier one
        }
        if let Some(syn) = syn {
            ledger.on_delivered(syn);
        }
        ledger
    }

    /// A segment of the peer arrives.
    pub(super) fn on_delivered(&mut self, segment: &Segment) {
        if let Options::Syn(options) = &segment.options {
            let scale = options.window_scale.map(WindowScale::shift);
            self.peer_scale = self.peer_scale.max(scale);
            self.peer_mss = self.peer_mss.max(options.mss.unwrap_or(1220));
        }
        let irs = self.irs.unwrap_or(segment.seq.0);
        let start = expand(irs, self.ack, segment.seq.0);
        if !segment.is_empty() {
            self.add(start..start + Position::from(segment.len()));
        }
        // What acknowledges more than was sent is nothing to go by; a SYN without ACK tells of the
        // window, too.
        let ack = if segment.has(Flags::ACK) {
            expand(self.iss, self.next, segment.ack.0)
        } else {
            1
        };
        if ack <= self.next.max(1) {
            let scale = self.peer_scale.unwrap_or(0);
            let window = Position::from(segment.window.0) << scale;
            self.edge = self.edge.max(ack + window);
        }
    }

    /// Whether `segment` comes from where this incarnation ended.
    pub(super) fn is_at(&self, segment: &Segment) -> bool {
        !segment.has(Flags::SYN) && segment.seq.0 == self.ours(self.next)
    }

    /// The peer's last SYN was not taken: it has yet to begin.
    pub(super) fn forget_peer(&mut self) {
        (self.irs, self.edge) = (None, 0);
        (self.peer_scale, self.peer_mss) = (None, 0);
        self.arrived.clear();
    }

    fn add(&mut self, mut new: Range<Position>) {
        self.arrived.retain(|range| {
            let is_apart = range.end < new.start || range.start > new.end;
            if !is_apart {
                new = new.start.min(range.start)..new.end.max(range.end);
            }
            is_apart
        });
        self.arrived.push(new);
    }

    /// A segment of the endpoint leaves.
    ///
    /// # Panics
    ///
    /// When no TCP may send it.
    pub(super) fn on_sent(&mut self, sent: &Sent) {
        let segment = &sent.segment;
        let start = expand(self.iss, self.next, segment.seq.0);
        let text = start + Position::from(segment.has(Flags::SYN));
        let end = text + segment.payload.len() as Position;
        if !segment.payload.is_empty() {
            self.check_text(text, end, segment);
        }
        if segment.has(Flags::FIN) {
            assert!(self.is_shut, "a FIN that nobody asked for");
            assert_eq!(end, 1 + self.written as Position, "where the FIN is");
            assert_eq!(*self.fin.get_or_insert(end), end, "the FIN moves");
        }
        let end = end + Position::from(segment.has(Flags::FIN));
        self.next = self.next.max(end);
        if segment.has(Flags::ACK) {
            self.check_ack(segment);
        }
    }

    fn check_text(&self, text: Position, end: Position, segment: &Segment) {
        assert!(text >= 1, "text at {text}");
        assert!(
            end <= 1 + self.written as Position,
            "text that nobody wrote"
        );
        // Fast Open sends before the peer has said anything.
        let is_first = segment.has(Flags::SYN) && !segment.has(Flags::ACK);
        let past = end - self.edge;
        assert!(is_first || past <= 0, "{past} past the window");
        let expected = pattern(text as u64 - 1, segment.payload.len());
        assert_eq!(segment.payload, expected, "other bytes");
        let limit = usize::from(self.peer_mss.max(MSS_FLOOR));
        assert!(
            is_first || segment.payload.len() <= limit,
            "more than {limit} in a segment"
        );
    }

    fn check_ack(&mut self, segment: &Segment) {
        let irs = *self.irs.get_or_insert(segment.ack.0.wrapping_sub(1));
        let ack = expand(irs, self.ack, segment.ack.0);
        let whole = self.arrived.iter().find(|range| range.contains(&0));
        let whole = whole.map_or(0, |range| range.end);
        assert!(ack <= whole, "acknowledges {} too many", ack - whole);
        assert!(ack >= self.ack, "takes back an acknowledgment");
        let scale = match self.our_scale {
            Some(scale) if self.peer_scale.is_some() && !segment.has(Flags::SYN) => scale,
            _ => 0,
        };
        let window_end = ack + (Position::from(segment.window.0) << scale);
        // Less than the window's unit may be lost in rounding (RFC 7323 §2.4).
        let taken_back = self.window_end - window_end;
        // A SYN,ACK says again what it said first; its number is too old for a peer to go by.
        assert!(
            taken_back < 1 << scale || segment.has(Flags::SYN),
            "takes back {taken_back} of the window"
        );
        (self.ack, self.window_end) = (ack, window_end.max(self.window_end));
        if let Options::Segment(options) = &segment.options {
            for block in &options.sack {
                let left = expand(irs, ack, block.left.0);
                let right = expand(irs, ack, block.right.0);
                let has = |range: &Range<Position>| range.start <= left && right <= range.end;
                let is_true = left < right && self.arrived.iter().any(has);
                assert!(is_true, "SACKs {left}..{right}: {:?}", self.arrived);
            }
        }
    }

    /// The application reads.
    ///
    /// # Panics
    ///
    /// When these are not the peer's bytes, in order and from the first on.
    pub(super) fn on_read(&mut self, bytes: &[u8]) {
        self.check_unread(bytes);
        self.read += bytes.len() as u64;
    }

    /// What the application will read next.
    ///
    /// # Panics
    ///
    /// When these are not the peer's bytes.
    pub(super) fn check_unread(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let irs = self.irs.expect("bytes of a peer that never spoke");
        let first = irs.wrapping_add(1).wrapping_add(self.read as u32);
        for (index, &byte) in bytes.iter().enumerate() {
            let wire = first.wrapping_add(index as u32);
            let place = self.read + index as u64;
            assert_eq!(byte, byte_at(wire), "byte {place} of the stream");
        }
    }

    /// The wire's number of a position of the endpoint's stream.
    pub(super) const fn ours(&self, position: Position) -> u32 {
        self.iss.wrapping_add(position as u32)
    }

    /// The wire's number of a position of the peer's stream.
    pub(super) fn theirs(&self, position: Position) -> u32 {
        self.irs.unwrap_or(0).wrapping_add(position as u32)
    }
}
