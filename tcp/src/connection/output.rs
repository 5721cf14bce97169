//! What leaves next: reset, retransmission, new data and FIN, probe, ACK — in that order.

use core::num::NonZeroU16;
use core::ops::Range;

use crate::config::Config;
use crate::observe::{AckWhy, Why};
use crate::outlet::Outlet;
use crate::segment::{
    Ecn, Flags, Options, SackBlock, SackBlocks, Segment, SegmentOptions, Timestamps, TxMeta,
};
use crate::send::Fin;
use crate::seq::SeqNum;
use crate::time::Instant;

use super::info::Limit;
use super::pacing::Grant;
use super::state::{Edge, State};
use super::{Connection, header_overhead};

/// Where the device does not cut super-segments, a turn is no longer than this.
const MAX_BURST: usize = 4;

/// A super-segment with its headers stays below this (an IPv4 total length has 16 bits).
const MAX_PACKET: u32 = 65_535 - 60 - 60;

/// What IP is given to cut at a time: decided once, but none of the others waits for long.
const MAX_CUT: u32 = 24 << 10;

impl Connection {
    /// Sends what may be sent now, `burst` segments at most; true if more is waiting for its turn or
    /// for budget.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        config: &Config,
        burst: usize,
        tx: &mut impl Outlet,
    ) -> bool {
        if let Some((flags, seq)) = self.final_segment {
            if tx.budget() == 0 {
                return true;
            }
            self.final_segment = None;
            let why = if flags.contains(Flags::RST) {
                Why::Reset
            } else {
                Why::Ack(self.acks.why())
            };
            self.send_control(now, flags, seq, why, tx);
            return false;
        }
        if self.state == State::Closed {
            return false;
        }
        if !self.has_business() {
            return self.pay_ack(now, tx);
        }
        self.heed_path(now, tx);
        self.validate_window(now);
        self.send_duplicates(now, tx);
        let burst = if config.tso {
            burst
        } else {
            burst.min(MAX_BURST)
        };
        for _ in 0..burst {
            let range = self.next_range(now, config);
            if range.is_none() && self.timers.loss.is_none() && self.timers.pacing.is_none() {
                self.update_loss_timer(now, false); // what waits for the window is probed for
            }
            if range.is_none() {
                self.note_limit(now);
            }
            let probe = range.is_none() && core::mem::take(&mut self.timers.probe_owed);
            if range.is_none() && !probe && !self.acks.is_due() {
                return false;
            }
            if tx.budget() == 0 {
                self.timers.probe_owed |= probe;
                return true;
            }
            match range {
                Some(range) => {
                    self.send_range(now, range, tx);
                    if self.is_sent() {
                        self.note_limit(now);
                        return false;
                    }
                }
                // SND.NXT−1 is old news to the peer, so it must answer (SHLD-12).
                None if probe => {
                    let stale = self.snd.una.saturating_sub(1);
                    self.send_control(now, Flags::ACK, stale, self.why_probe(), tx);
                }
                None => self.send_ack(now, tx),
            }
        }
        true
    }

    /// New data has left: whether there is nothing more that [`Connection::next_range`] could find
    /// before the peer answers, as all is sent or a window is full. It need not be asked then.
    fn is_sent(&self) -> bool {
        let snd = &self.snd;
        let asks = self.timers.probe_owed || self.acks.is_due() || snd.fin == Fin::Queued;
        if asks || !self.is_calm() || self.timers.loss.is_none() {
            return false;
        }
        let (wanted, window) = (snd.unsent().min(self.options_mss()), snd.usable_window());
        wanted == 0
            || window < wanted && snd.flight.outstanding() > 0 && !self.options.nodelay
            || self.cwnd_room() < wanted.min(window)
    }

    /// Nothing leaves: is that for want of the peer's window?
    fn note_limit(&mut self, now: Instant) {
        let unsent = self.snd.unsent();
        if self.snd.usable_window() < unsent.min(self.snd.mss) {
            self.stats.on_limited(now, Some(Limit::PeerWindow));
        }
    }

    /// Whether there may be more to send than an ACK, or IP is to hear of something.
    fn has_business(&self) -> bool {
        let has_data = self.state.sends() && self.snd.end() > self.snd.nxt;
        has_data
            || self.timers.probe_owed
            || !self.is_calm()
            || (self.advice_owed || self.path.is_owed())
    }

    /// The ACK that is owed, and nothing else.
    fn pay_ack(&mut self, now: Instant, tx: &mut impl Outlet) -> bool {
        self.timers.pacing = None;
        self.send_duplicates(now, tx);
        if !self.acks.is_due() {
            return false;
        }
        for _ in 0..MAX_BURST {
            if tx.budget() == 0 {
                return true;
            }
            self.send_ack(now, tx);
            if !self.acks.is_due() {
                return false;
            }
        }
        true
    }

    /// The range to send next, lost bytes first; `None` when nothing may leave.
    fn next_range(&mut self, now: Instant, config: &Config) -> Option<Range<SeqNum>> {
        if !self.state.sends() {
            return None;
        }
        // Whoever cuts would copy the urgent pointer to every segment.
        let limit = match (self.snd.up, config.tso, config.gso) {
            (None, true, _) => self.super_segment(MAX_PACKET),
            (None, false, true) => self.super_segment(MAX_CUT).min(self.whole_segments()),
            _ => self.options_mss(),
        };
        let limit = match self.pacing_grant(now) {
            Grant::All => limit,
            Grant::Bytes(bytes) => limit.min(bytes),
            Grant::At(_) if self.recovery.is_urgent() => limit.min(self.snd.mss),
            Grant::At(at) => {
                self.timers.pacing = self.has_data_to_send().then_some(at);
                return None;
            }
        };
        self.next_by_recovery(now, limit)
    }

    /// The largest whole number of segments that a transmission of at most `most` bytes carries.
    fn super_segment(&self, most: u32) -> u32 {
        (most / self.snd.mss).max(1) * self.snd.mss
    }

    /// Unsent bytes in whole segments, at least one: whether the rest may go along is asked as if all
    /// before it were on its way.
    fn whole_segments(&self) -> u32 {
        let mss = self.options_mss();
        (self.snd.unsent() / mss).max(1) * mss
    }

    /// Payload of a segment that carries the options due now: SACK blocks take room, too.
    pub(super) fn options_mss(&self) -> u32 {
        match self.sack_room() {
            0 => self.snd.mss,
            blocks => self.snd.mss.saturating_sub(4 + 8 * blocks as u32).max(1),
        }
    }

    /// How many SACK blocks the next segment carries.
    fn sack_room(&self) -> usize {
        if !self.has_reports() || !self.sack {
            return 0;
        }
        let duplicate = self.rcv.dsack.first();
        usize::from(duplicate.is_some()) + self.sack_gaps(duplicate).len()
    }

    /// Whether there is anything for SACK blocks to report.
    fn has_reports(&self) -> bool {
        !self.rcv.dsack.is_empty() || self.rcv.reassembler.has_gap()
    }

    /// Blocks above the gap, as many as fit beside the report of a `duplicate`.
    fn sack_gaps(&self, duplicate: Option<&Range<SeqNum>>) -> SackBlocks {
        if !self.sack || !self.rcv.reassembler.has_gap() {
            return SackBlocks::new();
        }
        let most = if self.timestamps.is_some() { 3 } else { 4 };
        let most = most - usize::from(duplicate.is_some());
        self.rcv.reassembler.sack_blocks(most, duplicate)
    }

    /// Sends `range`, new or again, and notes that it is in flight.
    fn send_range<T: Outlet>(&mut self, now: Instant, range: Range<SeqNum>, tx: &mut T) {
        let why = T::IS_OBSERVED.then(|| self.why_range(&range));
        let data_end = range.end.min(self.snd.buffer.end());
        let payload_len = data_end - range.start;
        let mss = if self.path.is_next_probe(&range) {
            payload_len
        } else {
            self.options_mss()
        };
        let flags = self.data_flags(&range, payload_len);
        let is_new = payload_len > 0 && range.start >= self.snd.nxt;
        if is_new {
            self.acks.on_answer(now, self.bytes_acked > 0);
        }
        let (ecn, cwr) = self.ecn.mark(is_new);
        let segment = self.segment(now, flags | cwr, range.start);
        let gso_size = (payload_len > mss)
            .then(|| NonZeroU16::new(mss as u16))
            .flatten();
        self.note_sent(now, payload_len);
        self.on_paced(now, payload_len);
        let again = range.start < self.snd.nxt;
        self.stats.on_sent(payload_len, mss, again);
        let meta = self.meta(&segment, payload_len, gso_size, ecn);
        tx.push(&meta, self.snd.buffer.chunks(range.start..data_end));
        if again {
            self.on_resent(now, &range, mss);
            let segments = payload_len.div_ceil(mss).max(1);
            self.total_retrans += u64::from(segments);
            self.events.count().retrans_segs += segments;
        } else {
            if self.snd.flight.outstanding() == 0 {
                self.timers.stalled_since = Some(now);
            }
            self.timers.cork = None;
            if !payload_len.is_multiple_of(mss) {
                self.snd.small_end = data_end;
            }
            if payload_len >= mss {
                let headers = u32::from(header_overhead(self.flow.remote_ip()));
                let size = headers + segment.options.len() + mss;
                self.path.on_sent(&range, size as u16);
            }
            self.on_sent_new(now, &range, mss);
            self.stats.on_busy(now, true);
            self.stats.on_limited(now, None);
            self.note_window_use();
            self.wake_writer();
        }
        if flags.contains(Flags::FIN) && self.snd.fin == Fin::Queued {
            self.snd.fin = Fin::Sent;
            self.on_edge(now, Edge::FinSent);
        }
        if let Some(why) = why {
            tx.on_sent(why, || self.view());
        }
    }

    /// What the segment of `range` says besides its numbers; `payload_len` of it is text.
    #[inline]
    fn data_flags(&self, range: &Range<SeqNum>, payload_len: u32) -> Flags {
        let data_end = range.start + payload_len;
        let mut flags = Flags::ACK;
        if range.end > data_end {
            flags = flags | Flags::FIN;
        }
        if data_end == self.snd.buffer.end() && payload_len > 0 {
            flags = flags | Flags::PSH; // MUST-60
        }
        flags
    }

    /// The ACK that is owed.
    fn send_ack<T: Outlet>(&mut self, now: Instant, tx: &mut T) {
        let why = if T::IS_OBSERVED {
            Why::Ack(self.acks.why())
        } else {
            Why::NewData // nobody hears it
        };
        self.send_control(now, Flags::ACK, self.snd.nxt, why, tx);
    }

    pub(super) fn send_control(
        &mut self,
        now: Instant,
        flags: Flags,
        seq: SeqNum,
        why: Why,
        tx: &mut impl Outlet,
    ) {
        let segment = self.segment(now, flags, seq);
        self.stats.on_sent(0, 1, false);
        let meta = self.meta(&segment, 0, None, Ecn::NotEct);
        tx.push(&meta, core::iter::empty());
        tx.on_sent(why, || self.view());
    }

    /// A header with everything that the peer should know now; pays the ACK that is owed.
    fn segment(&mut self, now: Instant, flags: Flags, seq: SeqNum) -> Segment<()> {
        let nxt = self.rcv.nxt();
        let charged = self.rcv.reassembler.charged();
        let held = self.rcv.reassembler.readable();
        let (limit, mss) = (self.recv_share(), self.snd.mss);
        let window = self.rcv.window.offer(nxt, limit, charged, held, mss);
        let (flags, options) = if flags.contains(Flags::RST) {
            // RFC 7323 §3.2: timestamps SHOULD be sent in a RST, too.
            let options = SegmentOptions {
                timestamps: self.timestamps_now(now),
                ..Default::default()
            };
            (flags, Options::Segment(options))
        } else {
            (flags | self.ecn.ack_flags(), self.segment_options(now))
        };
        self.acks.on_sent(nxt);
        let (flags, urgent) = match self.snd.urgent_pointer(seq) {
            Some(pointer) if !flags.contains(Flags::RST) => (flags | Flags::URG, pointer),
            _ => (flags, 0),
        };
        if !self.rcv.dsack.is_empty() {
            self.acks.owe(AckWhy::Report); // an ACK reports one duplicate
        }
        Segment {
            seq: seq.wire(),
            ack: nxt.wire(),
            window,
            flags,
            options,
            payload: (),
            urgent,
            mss: NonZeroU16::MIN,
        }
    }

    fn timestamps_now(&self, now: Instant) -> Option<Timestamps> {
        self.timestamps.map(|ts| Timestamps {
            tsval: ts.tsval(now),
            tsecr: ts.recent,
        })
    }

    fn segment_options(&mut self, now: Instant) -> Options {
        let mut options = SegmentOptions {
            timestamps: self.timestamps_now(now),
            ..Default::default()
        };
        if self.has_reports() {
            let duplicate = self.rcv.dsack.pop();
            if let Some(duplicate) = &duplicate {
                let (left, right) = (duplicate.start.wire(), duplicate.end.wire());
                options.sack.push(SackBlock { left, right });
            }
            options.sack.extend(self.sack_gaps(duplicate.as_ref()));
        }
        self.rcv.reassembler.on_reported();
        Options::Segment(options)
    }

    /// How IP and the device should treat a segment.
    fn meta<'a>(
        &'a self,
        segment: &'a Segment<()>,
        payload_len: u32,
        gso_size: Option<NonZeroU16>,
        ecn: Ecn,
    ) -> TxMeta<'a> {
        TxMeta {
            flow: &self.flow,
            segment,
            payload_len,
            gso_size,
            ecn,
            dscp: self.options.dscp,
            ttl: self.options.ttl,
        }
    }
}
