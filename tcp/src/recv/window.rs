//! The receive window: what is offered, when more is worth offering, and how large the buffer
//! behind it should be.

use crate::seq::{SeqNum, WindowScale, WireWindow};
use crate::time::{Duration, Instant, Span};

/// The window offered to the peer. Its right edge never moves left (SHLD-14).
#[derive(Clone, Debug)]
pub(crate) struct RecvWindow {
    /// The highest right edge that any ACK has offered.
    right: SeqNum,
    /// How our window field is scaled.
    scale: WindowScale,
    /// Size of the receive buffer, in bytes.
    buffer: u32,
}

impl RecvWindow {
    /// `right`: the edge that our SYN offered.
    pub(crate) const fn new(right: SeqNum, scale: WindowScale, buffer: u32) -> Self {
        Self {
            right,
            scale,
            buffer,
        }
    }

    /// The highest right edge offered so far: what lies below is acceptable.
    pub(crate) const fn right(&self) -> SeqNum {
        self.right
    }

    /// How our window field is scaled.
    pub(crate) const fn scale(&self) -> WindowScale {
        self.scale
    }

    /// The size of the buffer behind the window.
    pub(crate) const fn buffer(&self) -> u32 {
        self.buffer
    }

    /// A buffer of the application's choice. What was offered stays offered (SHLD-14).
    pub(crate) const fn resize(&mut self, buffer: u32) {
        self.buffer = buffer;
    }

    /// Lets the buffer grow; it never shrinks under data that is on its way.
    pub(crate) fn grow(&mut self, buffer: u32) {
        self.buffer = self.buffer.max(buffer);
    }

    /// The field of the next ACK, given RCV.NXT, the most that the buffer may hold now whatever its
    /// size, the memory charged to it, and the bytes the reader has not taken.
    ///
    /// The edge moves only in steps of min(½ buffer, MSS), so that a slow reader does not invite
    /// tiny segments (SWS avoidance, MUST-39). Scaling rounds up: what was promised stays
    /// promised (RFC 7323 §2.4). A peer of single bytes could push the edge on that way for ever,
    /// so scaling rounds down at twice the buffer.
    pub(crate) fn offer(
        &mut self,
        nxt: SeqNum,
        limit: u32,
        charged: u32,
        held: u32,
        mss: u32,
    ) -> WireWindow {
        let buffer = self.buffer.min(limit);
        let edge = nxt + buffer.saturating_sub(charged);
        let step = mss.min(buffer / 2);
        let target = if edge >= self.right + step {
            edge
        } else {
            self.right
        };
        let unit = 1 << self.scale.shift();
        let exact = target - nxt;
        let rounded = exact.div_ceil(unit).saturating_mul(unit);
        let far = held.saturating_add(rounded) > self.buffer.saturating_mul(2);
        let field = WireWindow::from_bytes(if far { exact } else { rounded }, self.scale);
        self.right = self.right.max(nxt + field.bytes(self.scale));
        field
    }

    /// The field that offers what was offered before, for the time after the last byte.
    pub(crate) fn standing(&self, nxt: SeqNum) -> WireWindow {
        let unit = 1 << self.scale.shift();
        WireWindow::from_bytes(
            (self.right - nxt).div_ceil(unit).saturating_mul(unit),
            self.scale,
        )
    }

    /// Whether the reader has freed enough for an ACK of its own: a quarter of the buffer, or a
    /// full segment for a peer that had no room for one.
    pub(crate) fn update_due(&self, nxt: SeqNum, limit: u32, charged: u32, mss: u32) -> bool {
        let buffer = self.buffer.min(limit);
        // What the window field cannot say is no news, however large the buffer.
        let most = u32::from(u16::MAX) << self.scale.shift();
        let edge = nxt + buffer.saturating_sub(charged).min(most);
        let gain = edge - self.right;
        gain >= buffer / 4 || self.right - nxt < mss && gain >= mss.min(buffer / 2)
    }
}

/// Receive buffer autotuning: the buffer holds twice what the reader takes per round trip, so the
/// sender can double its rate (after Linux's dynamic right-sizing). While that is more each time it
/// holds what the next two doublings bring, and while something is missing what waits for it, too:
/// else the window would stop a sender that goes on while it repairs.
#[derive(Debug)]
pub(crate) struct Tuning {
    /// Largest buffer; 0 when the size is fixed.
    max: u32,
    /// The receiver's estimate of the round trip.
    rtt: Option<Span>,
    /// Start of the current measurement, and bytes the reader has taken since.
    since: Instant,
    copied: u32,
    /// What `copied` came to in the measurement before, and the most it ever came to.
    space: u32,
    most: u32,
    /// Without timestamps: the edge whose arrival ends the current sample, and when it began.
    mark: Option<(SeqNum, Instant)>,
}

/// What lasts of it while nothing arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingTuning {
    since: Instant,
    rtt: Option<Span>,
    copied: u32,
    space: u32,
    most: u32,
}

impl Tuning {
    /// Whether the size is fixed.
    pub(crate) const fn is_fixed(&self) -> bool {
        self.max == 0
    }

    pub(crate) const fn rest(&self) -> RestingTuning {
        RestingTuning {
            since: self.since,
            rtt: self.rtt,
            copied: self.copied,
            space: self.space,
            most: self.most,
        }
    }

    /// A sample of the round trip by data that was under way is given up.
    pub(crate) const fn woken(rest: &RestingTuning, max: u32) -> Self {
        Self {
            max,
            rtt: rest.rtt,
            since: rest.since,
            copied: rest.copied,
            space: rest.space,
            most: rest.most,
            mark: None,
        }
    }

    pub(crate) fn new(now: Instant, max: u32, rtt: Option<Duration>) -> Self {
        Self {
            max,
            rtt: rtt.map(Span::of),
            since: now,
            copied: 0,
            space: 0,
            most: 0,
            mark: None,
        }
    }

    /// The receiver's estimate of the round trip.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt.map(Span::duration)
    }

    /// Whether the reader took anything in a round trip.
    pub(crate) const fn has_reader(&self) -> bool {
        self.most > 0
    }

    /// Whether it samples the round trip by data that is under way: rest would give that up.
    pub(crate) const fn is_sampling(&self) -> bool {
        self.max > 0 && self.mark.is_some()
    }

    /// Bytes that the reader took in the last round trip that was measured.
    pub(crate) const fn space(&self) -> u32 {
        self.space
    }

    /// The application has chosen the size.
    pub(crate) const fn stop(&mut self) {
        self.max = 0;
    }

    /// A sample of the round trip from an echoed timestamp.
    pub(crate) fn on_rtt(&mut self, sample: Duration) {
        let sample = sample.max(Duration::from_millis(1));
        let rtt = self.rtt().map_or(sample, |rtt| (7 * rtt + sample) / 8);
        self.rtt = Some(Span::of(rtt));
    }

    /// Data arrived and no timestamps tell the round trip: a window's worth takes at least one.
    pub(crate) fn on_data(&mut self, now: Instant, nxt: SeqNum, window: u32) {
        match self.mark {
            Some((edge, _)) if nxt < edge => {}
            Some((_, since)) => {
                let sample = now - since;
                let rtt = self.rtt().map_or(sample, |rtt| {
                    if sample < rtt {
                        sample
                    } else {
                        (7 * rtt + sample) / 8
                    }
                });
                self.rtt = Some(Span::of(rtt));
                self.mark = Some((nxt + window, now));
            }
            None => self.mark = Some((nxt + window, now)),
        }
    }

    /// The reader took `bytes`: the buffer that suits its pace, when that is to grow.
    pub(crate) fn on_read(
        &mut self,
        now: Instant,
        bytes: u32,
        buffer: u32,
        mss: u32,
    ) -> Option<u32> {
        self.copied = self.copied.saturating_add(bytes);
        let rtt = self.rtt()?;
        if now - self.since < rtt {
            return None;
        }
        let copied = core::mem::take(&mut self.copied);
        let risen = copied.saturating_sub(self.most);
        (self.since, self.space, self.most) = (now, copied, self.most.max(copied));
        self.larger(2 * u64::from(copied) + 4 * u64::from(risen), buffer, mss)
    }

    /// `extent` bytes lie between RCV.NXT and the end of what arrived: the buffer that lets the
    /// sender go on meanwhile, when that is to grow. They count twice, as part of the window and as
    /// what takes room. No reader, no credit: what was read in a round trip bounds it.
    pub(crate) fn on_gap(&self, extent: u32, buffer: u32, mss: u32) -> Option<u32> {
        let most = u64::from(self.most);
        let waiting = (2 * u64::from(extent)).min(12 * most);
        self.larger(4 * most + waiting, buffer, mss)
    }

    fn larger(&self, bytes: u64, buffer: u32, mss: u32) -> Option<u32> {
        let wanted = (bytes + 16 * u64::from(mss)).min(self.max.into()) as u32;
        (wanted > buffer).then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::WireSeq;
    use proptest::prelude::*;

    fn at(offset: u32) -> SeqNum {
        SeqNum::first(WireSeq(0)) + offset
    }

    /// MUST-39: a reader that frees a byte at a time moves the edge only by whole steps.
    #[test]
    fn the_edge_moves_in_whole_segments() {
        let mut window = RecvWindow::new(at(10_000), WindowScale::default(), 10_000);
        let mut edges = std::vec::Vec::new();
        for charged in (0..10_000).rev() {
            let field = window.offer(at(10_000), u32::MAX, charged, charged, 1_460);
            edges.push(field.0);
        }
        edges.dedup();
        assert!(
            edges.windows(2).all(|pair| pair[1] - pair[0] >= 1_460),
            "{edges:?}"
        );
        assert_eq!(*edges.last().unwrap(), 8_760);
    }

    /// Without scaling a window of 64 KiB is the most that can be said of a larger buffer: a reader
    /// who keeps up is no reason for an ACK.
    #[test]
    fn what_cannot_be_offered_is_no_update() {
        let mut window = RecvWindow::new(at(65_535), WindowScale::default(), 131_072);
        for nxt in [11, 1000, 60_000, 200_000].map(at) {
            assert_eq!(window.offer(nxt, u32::MAX, 0, 0, 1_460).0, 65_535);
            assert!(!window.update_due(nxt, u32::MAX, 0, 1_460));
        }
        window.offer(at(200_000), u32::MAX, 131_072, 131_072, 1_460);
        let all_held = at(265_535);
        window.offer(all_held, u32::MAX, 131_072, 131_072, 1_460);
        assert!(
            window.update_due(all_held, u32::MAX, 0, 1_460),
            "it was closed"
        );
    }

    /// Nobody reads, and the peer sends single bytes: it comes to an end.
    #[test]
    fn rounding_up_does_not_feed_a_reader_that_never_reads() {
        let (scale, buffer) = (WindowScale::new(9), 100_000);
        let mut window = RecvWindow::new(at(65_535), scale, buffer);
        let mut held = 0;
        while window.offer(at(held), u32::MAX, held, held, 1_460).0 > 0 {
            held += 1;
            assert!(held <= 2 * buffer, "the window stays open");
        }
    }

    #[test]
    fn the_buffer_follows_the_reader() {
        let start = Instant::from_millis(0);
        let mut tuning = Tuning::new(start, 1 << 20, Some(Duration::from_millis(10)));
        assert_eq!(tuning.on_read(start, 100_000, 65_536, 1_000), None);
        let later = Instant::from_millis(10);
        assert_eq!(tuning.on_read(later, 0, 65_536, 1_000), Some(616_000)); // it has only just begun
        assert_eq!(
            tuning.on_read(Instant::from_millis(20), 4 << 20, 616_000, 1_000),
            Some(1 << 20)
        );
    }

    /// A gap: what lies above it does not take the window from the sender, as long as there is a
    /// reader.
    #[test]
    fn the_buffer_makes_up_for_a_gap() {
        let rtt = Duration::from_millis(10);
        let mut tuning = Tuning::new(Instant::ZERO, 1 << 20, Some(rtt));
        assert_eq!(tuning.on_gap(60_000, 65_536, 1_000), None);
        tuning.on_read(Instant::ZERO + rtt, 50_000, 65_536, 1_000);
        assert_eq!(tuning.on_gap(60_000, 65_536, 1_000), Some(336_000));
        assert_eq!(tuning.on_gap(1 << 30, 65_536, 1_000), Some(816_000));
    }

    proptest! {
        /// SHLD-14.
        #[test]
        fn the_right_edge_never_moves_left(
            shift in 0u8..10,
            steps in proptest::collection::vec((0u32..5_000, 0u32..200_000), 1..100),
        ) {
            let scale = WindowScale::new(shift);
            let mut window = RecvWindow::new(at(65_535), scale, 100_000);
            let (mut nxt, mut edge) = (at(0), at(0));
            for (advance, charged) in steps {
                nxt = (nxt + advance).min(window.right());
                let offered = nxt + window.offer(nxt, u32::MAX, charged, 0, 1_460).bytes(scale);
                prop_assert!(offered >= edge || window.right() - nxt > 65_535 << shift);
                edge = edge.max(offered);
            }
        }
    }
}
