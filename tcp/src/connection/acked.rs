//! What an acceptable ACK does to the sender: what arrived, how long it took, what is lost, how
//! much may be in flight.

use crate::congestion::CongestionKind;
use crate::recovery::Ack;
use crate::segment::{Options, SackBlocks, Segment, SegmentOptions};
use crate::send::{AckOutcome, Fin};
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

use super::Connection;
use super::state::Edge;

impl Connection {
    /// Everything that an acceptable ACK says: what arrived, how long it took, what is lost.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        ack: SeqNum,
        seg: &Segment,
        window_changed: bool,
    ) {
        const NO_SACK: &SackBlocks = &SackBlocks::new_const();
        let sack = match &seg.options {
            Options::Segment(SegmentOptions { sack, .. }) if self.sack => sack,
            _ => NO_SACK,
        };
        let advanced = ack > self.snd.una;
        let in_flight = self.snd.flight.in_flight();
        let recovering = self.recovery.in_recovery(); // the ACK that ends it does not grow cwnd (NR-2)
        let outcome = self.snd.flight.on_ack(now, ack, self.snd.nxt, sack);
        let duplicate =
            !advanced && self.snd.flight.outstanding() > 0 && seg.is_empty() && !window_changed;
        if advanced {
            let end = ack.min(self.snd.buffer.end());
            self.bytes_acked += u64::from(end - self.snd.una);
            self.snd.una = ack;
            self.snd.buffer.advance(end);
        }
        let echoed = || self.echoed_rtt(seg, &outcome).filter(|_| advanced);
        let rtt = outcome.rtt.or_else(echoed);
        if let Some(rtt) = rtt {
            self.rtt.on_sample(now, rtt);
        }
        let facts = Ack {
            una: ack,
            nxt: self.snd.nxt,
            advanced,
            duplicate,
            sack: self.sack,
            mss: self.snd.mss,
            outcome: &outcome,
        };
        let reduce = self
            .recovery
            .on_ack(now, &facts, &mut self.snd.flight, &self.rtt);
        if reduce {
            self.on_congestion(now, CongestionKind::Loss);
        } else if advanced && !self.ecn.is_echo(seg) {
            self.grow_window(now, &outcome, in_flight, recovering, rtt);
        }
        if advanced {
            self.on_una_moved(now);
        }
        self.update_loss_timer(now, advanced);
    }

    /// The round trip of a retransmission, when the echoed timestamp shows that it is this one that
    /// was answered and not an earlier transmission (RT-6, RFC 7323 §4.1).
    fn echoed_rtt(&self, seg: &Segment, outcome: &AckOutcome) -> Option<Duration> {
        let (ours, echo) = (self.timestamps.as_ref()?, seg.options.timestamps()?);
        let newest = outcome.newest?;
        let since = echo.tsecr.wrapping_sub(ours.tsval(newest.sent_at)) as i32;
        (since >= 0).then_some(newest.rtt)
    }

    /// SND.UNA moved: room for the writer, progress for the timers, and perhaps our FIN is there.
    fn on_una_moved(&mut self, now: Instant) {
        self.timers.retransmits = 0;
        self.timers.persist_backoff = 0;
        self.timers.stalled_since = None;
        self.snd.up = self.snd.up.filter(|&up| up > self.snd.una);
        self.grow_send_buffer();
        self.wake_writer();
        if self.snd.fin == Fin::Sent && self.snd.una == self.snd.end() {
            self.snd.fin = Fin::Acked;
            self.on_edge(now, Edge::FinAcked);
        }
    }
}
