//! What an observer sees of a connection.

#![expect(
    clippy::inline_always,
    reason = "what is read goes where it is compared or written, not to memory in between"
)]

use core::num::NonZeroU64;
use core::ops::Range;

use crate::config::{Config, LossDetection};
use crate::congestion::CongestionController;
use crate::observe::{ConnectionMark, Evidence, Phase, Seen, Timer, Variables, View, Why};
use crate::recovery;
use crate::send::Fin;
use crate::seq::{SeqNum, WindowScale};
use crate::time::Instant;

use super::timers::LossTimer;
use super::{Connection, State};

impl Connection {
    /// What it looks like now.
    #[inline]
    pub(crate) const fn view(&self) -> View<'_> {
        View {
            state: self.state,
            reason: self.close_reason,
            connection: Some(Seen::Awake(self)),
        }
    }

    /// What is kept of it while it is called.
    #[inline(always)]
    pub(crate) fn mark(&self) -> ConnectionMark {
        let recovery = match self.recovery.phase() {
            recovery::Phase::Open => None,
            recovery::Phase::Recovery(until) => Some((until, self.evidence())),
            recovery::Phase::Loss(until) => Some((until, Evidence::Timeout)),
        };
        let (cwnd, ssthresh) = self.cc.window();
        ConnectionMark {
            snd_una: self.sent_until(),
            rcv_nxt: self.received_until(),
            out_of_order: self.rcv.reassembler.ooo_bytes(),
            cwnd,
            ssthresh,
            ever: self.snd.flight.ever(),
            rtts: self.rtt.latest().1,
            recovery,
            undone: self.recovery.undone(),
            peer_scale: self.snd.scale,
            is_resting: false,
        }
    }

    /// SND.UNA, counted from the initial number, which is not kept: what has arrived since tells it.
    fn sent_until(&self) -> u64 {
        1 + self.bytes_acked + u64::from(self.snd.fin == Fin::Acked)
    }

    /// RCV.NXT, likewise.
    fn received_until(&self) -> u64 {
        1 + self.bytes_received + u64::from(self.rcv.fin_received)
    }

    /// How our window field is scaled.
    pub(crate) const fn window_scale(&self) -> WindowScale {
        self.rcv.window.scale()
    }

    /// The last round trip measured, in nanoseconds.
    pub(crate) const fn latest_rtt(&self) -> u64 {
        self.rtt.latest().0
    }

    const fn evidence(&self) -> Evidence {
        match (self.sack, self.recovery.detection()) {
            (false, _) => Evidence::DuplicateAcks,
            (true, LossDetection::Rack) => Evidence::Rack,
            (true, LossDetection::Rfc6675) => Evidence::Sack,
        }
    }

    /// Its variables now.
    #[inline(always)]
    pub(crate) fn variables(&self) -> Variables {
        let (snd, rcv, flight) = (&self.snd, &self.rcv, &self.snd.flight);
        let (snd_una, rcv_nxt) = (self.sent_until(), self.received_until());
        let (cwnd, ssthresh) = (self.cwnd(), self.cc.ssthresh());
        Variables {
            iss: snd.una.wire().wrapping_sub(snd_una as u32),
            irs: rcv.nxt().wire().wrapping_sub(rcv_nxt as u32),
            snd_una,
            snd_nxt: snd_una + u64::from(snd.nxt - snd.una),
            snd_wnd: snd.wnd,
            rcv_nxt,
            rcv_wnd: rcv.right() - rcv.nxt(),
            window_scale: rcv.window.scale(),
            cwnd,
            ssthresh,
            in_flight: flight.in_flight(),
            sacked: flight.sacked(),
            lost: flight.lost(),
            resent: flight.resent(),
            twice: flight.twice(),
            dup_acked: flight.dup_acked(),
            unsent: snd.unsent(),
            unread: rcv.reassembler.readable(),
            out_of_order: rcv.reassembler.ooo_bytes(),
            mss: snd.mss,
            srtt: self.rtt.srtt_nanos().and_then(NonZeroU64::new),
            rttvar: self.rtt.rttvar_nanos(),
            rto: self.rtt.backed_off_rto_nanos(),
            backoff: self.rtt.backoff_count(),
            stalled_since: self.timers.stalled_since,
            phase: match self.recovery.phase() {
                recovery::Phase::Recovery(_) => Phase::Recovery,
                recovery::Phase::Loss(_) => Phase::Loss,
                recovery::Phase::Open if cwnd < ssthresh => Phase::SlowStart,
                recovery::Phase::Open => Phase::Avoidance,
            },
        }
    }

    /// Why `range` leaves; asked before it does.
    pub(super) fn why_range(&self, range: &Range<SeqNum>) -> Why {
        let recovery = &self.recovery;
        let again = range.start < self.snd.nxt;
        if recovery.owes_probe() {
            return if again {
                Why::TailProbeAgain
            } else {
                Why::TailProbeNew
            };
        }
        if !again {
            return match recovery.forward_first() {
                _ if self.path.is_next_probe(range) => Why::MtuProbe,
                Some(_) => Why::SpuriousTimeoutTest,
                None => Why::NewData,
            };
        }
        let lost = self.snd.flight.next_lost();
        let is_lost = lost.is_some_and(|lost| lost.start == range.start);
        match recovery.phase() {
            recovery::Phase::Recovery(_) if !is_lost => Why::HoleRetransmit,
            recovery::Phase::Recovery(_) => Why::FastRetransmit,
            recovery::Phase::Loss(_) => Why::TimeoutRetransmit(self.timers.retransmits.max(1)),
            recovery::Phase::Open => Why::PathMtuRetransmit,
        }
    }

    /// Why a segment leaves that only wants an answer.
    pub(super) fn why_probe(&self) -> Why {
        match self.timers.loss {
            Some((_, LossTimer::Persist)) => Why::WindowProbe,
            _ => Why::KeepAlive,
        }
    }

    /// The timers that have fallen due by `now`, each with the number of its kind in a row if it
    /// does fire.
    pub(crate) fn due_timers(&self, now: Instant, config: &Config) -> [Option<Timer>; 5] {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let when = |due: bool, timer| due.then_some(timer);
        let retransmits = self.timers.retransmits.saturating_add(1);
        let probes = self.timers.persist_backoff.saturating_add(1);
        let loss = self.timers.loss.filter(|&(at, _)| at <= now);
        let idle = match self.state {
            State::TimeWait => Timer::Linger,
            State::FinWait2 if self.orphan => Timer::Linger,
            _ => Timer::KeepAlive,
        };
        [
            when(due(self.acks.deadline()), Timer::DelayedAck),
            when(due(self.patience_deadline()), Timer::Patience),
            when(due(self.recovery.reorder_deadline()), Timer::Reordering),
            loss.map(|(_, timer)| match timer {
                LossTimer::Rto => Timer::Retransmission(retransmits),
                LossTimer::Probe => Timer::TailProbe,
                LossTimer::Persist => Timer::Persist(probes),
            }),
            when(due(self.idle_deadline(config)), idle),
        ]
    }

    /// Timeouts since SND.UNA moved last.
    pub(crate) const fn retransmits(&self) -> u8 {
        self.timers.retransmits
    }
}
