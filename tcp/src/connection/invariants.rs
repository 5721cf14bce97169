//! What holds of a connection between two calls into it, checked in builds with debug assertions.
//!
//! The small facts are looked at after each call, what is counted is recounted as often as that is
//! cheap ([`Recounts`]).

use crate::config::Config;
use crate::congestion::{CongestionController, Controller};
use crate::invariant::{Held, Recounts, holds};
use crate::recovery::Phase;
use crate::send::Fin;
use crate::seq::SeqNum;
use crate::time::Instant;

use super::Connection;
use super::state::{Edge, State};
use super::timers::LossTimer;
use super::variables::Variables;

/// Half of what sequence space allows a window to be (RFC 7323 §2.3), less rounding.
const MAX_WINDOW: u32 = 65_535 << 14;

/// Memory beside four times the receive buffer that bytes above a gap may take.
const GAP_SLACK: u32 = 64 << 10;

/// What a call found, and what no later call may take back.
#[derive(Debug)]
pub(super) struct Watch {
    recounts: Recounts,
    state: State,
    snd_una: SeqNum,
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    reader: SeqNum,
    /// The right edge of our window, and of the peer's, at its widest.
    rcv_right: SeqNum,
    snd_right: SeqNum,
    bytes_received: u64,
    bytes_acked: u64,
    /// The largest buffers so far.
    recv_buffer: u32,
    send_buffer: u32,
    /// The most that our window and what the reader has left may come to.
    promise: u32,
    /// The smallest SMSS so far.
    least_mss: u32,
}

impl Watch {
    pub(super) fn new(conn: &Connection) -> Self {
        Self {
            recounts: Recounts::default(),
            state: conn.state,
            snd_una: conn.snd.una,
            snd_nxt: conn.snd.nxt,
            rcv_nxt: conn.rcv.nxt(),
            reader: conn.rcv.reader(),
            rcv_right: conn.rcv.window.right(),
            snd_right: conn.snd.right_edge(),
            bytes_received: conn.bytes_received,
            bytes_acked: conn.bytes_acked,
            recv_buffer: conn.rcv.window.buffer(),
            send_buffer: conn.snd.capacity,
            promise: conn.rcv.window.right() - conn.rcv.reader(),
            least_mss: conn.snd.mss,
        }
    }

    /// What `conn` is now is what it has been from now on.
    fn follow(&mut self, conn: &Connection) {
        let next = Self::new(conn);
        let buffer = self.recv_buffer.max(next.recv_buffer);
        *self = Self {
            recounts: core::mem::take(&mut self.recounts),
            snd_right: self.snd_right.max(next.snd_right),
            recv_buffer: buffer,
            send_buffer: self.send_buffer.max(next.send_buffer),
            least_mss: self.least_mss.min(next.least_mss),
            promise: self.promise.max(buffer.saturating_mul(2)),
            ..next
        };
    }
}

impl Connection {
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Panics with the name of the first invariant that is broken, and the connection's variables.
    /// `waits`: nobody will look at the connection before its next deadline.
    pub(crate) fn check_invariants(&mut self, now: Instant, config: &Config, waits: bool) {
        if self.watch.is_none() {
            self.watch = Some(Watch::new(self));
        }
        let Some(mut watch) = self.watch.take() else {
            return;
        };
        let held = self.held(&mut watch, config, waits);
        if let Err(broken) = held {
            panic!(
                "broken at {now:?}: {broken}\n{}\n{watch:?}",
                Variables(self)
            );
        }
        watch.follow(self);
        self.watch = Some(watch);
    }

    fn held(&self, watch: &mut Watch, config: &Config, waits: bool) -> Held {
        self.check_progress(watch)?;
        if self.state == State::Closed {
            self.check_closed(config)?;
        } else {
            self.check_send(watch)?;
            self.check_state()?;
            self.check_loss_timer()?;
            self.check_timers(config)?;
            self.check_congestion(watch)?;
            self.check_acks()?;
        }
        self.check_receive(watch)?;
        if waits {
            self.check_waiting()?;
        }
        let (send, receive) = (&self.snd.buffer, &self.rcv.reassembler);
        let len = self.snd.flight.len() + send.chunk_count() + receive.chunk_count();
        if watch.recounts.is_due(len) {
            self.snd.flight.recount()?;
            send.recount()?;
            receive.recount()?;
        }
        Ok(())
    }

    /// What only moves one way.
    fn check_progress(&self, was: &Watch) -> Held {
        let rcv = &self.rcv;
        holds(was.state.reaches(self.state), "states follow figure 5")?;
        holds(was.snd_una <= self.snd.una, "SND.UNA never goes back")?;
        holds(was.snd_nxt <= self.snd.nxt, "SND.NXT never goes back")?;
        holds(was.rcv_nxt <= rcv.nxt(), "RCV.NXT never goes back")?;
        holds(was.reader <= rcv.reader(), "the reader never goes back")?;
        let right = rcv.window.right();
        holds(
            was.rcv_right <= right,
            "our window's right edge never goes back",
        )?;
        let text = rcv.nxt() - was.rcv_nxt;
        let received = self.bytes_received - was.bytes_received;
        let fin = u64::from(rcv.fin_received);
        holds(
            received <= text.into() && u64::from(text) <= received + fin,
            "RCV.NXT moves by what was received",
        )?;
        let acked = self.bytes_acked - was.bytes_acked;
        let moved = u64::from(self.snd.una - was.snd_una);
        holds(
            acked <= moved && moved <= acked + 1,
            "SND.UNA moves by what was acknowledged",
        )
    }

    fn check_closed(&self, config: &Config) -> Held {
        let snd = &self.snd;
        holds(self.close_reason.is_some(), "CLOSED has a reason")?;
        holds(
            snd.flight.outstanding() == 0 && snd.buffer.charged() == 0,
            "CLOSED keeps nothing to send",
        )?;
        holds(
            !self.rcv.reassembler.has_gap(),
            "CLOSED waits for no gap to fill",
        )?;
        holds(self.poll_timeout(config).is_none(), "CLOSED has no timer")
    }

    fn check_send(&self, was: &Watch) -> Held {
        let snd = &self.snd;
        let text_end = snd.buffer.end();
        holds(
            snd.una <= snd.nxt && snd.nxt <= snd.end(),
            "SND.UNA <= SND.NXT <= the end of what was written",
        )?;
        holds(
            snd.buffer.start() == snd.una.min(text_end),
            "the send buffer begins at SND.UNA",
        )?;
        holds(
            snd.nxt <= was.snd_right.max(snd.right_edge()),
            "nothing was sent beyond the peer's window",
        )?;
        holds(
            snd.wnd <= snd.max_wnd && snd.max_wnd <= MAX_WINDOW,
            "SND.WND <= MAX.SND.WND",
        )?;
        holds(snd.wl2 <= snd.una, "SND.WL2 <= SND.UNA")?;
        holds(snd.wl1 <= self.rcv.right(), "SND.WL1 lies in the window")?;
        holds(snd.pushed <= text_end, "what is pushed was written")?;
        holds(snd.small_end <= snd.nxt, "the last small segment was sent")?;
        holds(
            snd.up.is_none_or(|up| snd.una < up && up <= text_end),
            "SND.UNA < SND.UP <= the end of what was written",
        )?;
        holds(
            text_end - snd.buffer.start() <= was.send_buffer.max(snd.capacity),
            "the send buffer is bounded",
        )?;
        holds(
            self.sack || snd.flight.sacked() == 0,
            "no SACK without agreement",
        )?;
        snd.flight.check_counters(&(snd.una..snd.nxt))
    }

    fn check_receive(&self, was: &Watch) -> Held {
        let rcv = &self.rcv;
        let (text_end, right) = (rcv.reassembler.nxt(), rcv.window.right());
        holds(
            rcv.reassembler.end() <= right,
            "nothing is held beyond our window",
        )?;
        let buffer = rcv.window.buffer().max(was.recv_buffer);
        let most = was.promise.max(buffer.saturating_mul(2));
        // A FIN takes no room, and comes through a closed window.
        holds(
            right - rcv.reader() <= most.saturating_add(u32::from(rcv.fin_received)),
            "the window and what is unread fit twice the buffer",
        )?;
        let (ranges, charged) = rcv.reassembler.out_of_order();
        holds(
            ranges <= 1 || charged <= buffer.saturating_mul(4).saturating_add(GAP_SLACK),
            "what lies above the gap is bounded",
        )?;
        holds(
            rcv.fin.is_none_or(|fin| rcv.reassembler.end() <= fin),
            "nothing is held above the peer's FIN",
        )?;
        holds(
            !rcv.fin_received || rcv.fin == Some(text_end) && !rcv.reassembler.has_gap(),
            "RCV.NXT passes a FIN that it has reached",
        )?;
        holds(
            rcv.urgent.is_none_or(|urgent| rcv.reader() <= urgent),
            "the urgent mark lies before the reader",
        )?;
        holds(
            self.sack || rcv.dsack.is_empty(),
            "no D-SACK without agreement",
        )?;
        let closed = self.state == State::Closed;
        holds(
            closed || !self.read_blocked || rcv.reassembler.readable() == 0 && !rcv.fin_received,
            "a reader that waits has nothing to read",
        )
    }

    fn check_state(&self) -> Held {
        let fin = match self.state {
            State::Established | State::CloseWait => {
                matches!(self.snd.fin, Fin::Open | Fin::Queued)
            }
            State::FinWait1 | State::Closing | State::LastAck => self.snd.fin == Fin::Sent,
            State::FinWait2 | State::TimeWait => self.snd.fin == Fin::Acked,
            _ => false,
        };
        holds(fin, "our FIN has come as far as the state says")?;
        let (una, nxt, end) = (self.snd.una, self.snd.nxt, self.snd.end());
        holds(
            match self.snd.fin {
                Fin::Open | Fin::Queued => nxt <= self.snd.buffer.end(),
                Fin::Sent => una < end && nxt == end,
                Fin::Acked => una == end && nxt == end,
            },
            "SND.NXT passes our FIN when it is sent, SND.UNA when it is acknowledged",
        )?;
        holds(
            self.rcv.fin_received != (self.state.receives()),
            "the peer's FIN was received as the state says",
        )?;
        holds(
            self.close_reason.is_none(),
            "what is not CLOSED has no reason to be",
        )?;
        holds(
            !self.orphan || self.snd.fin != Fin::Open && self.timers.released_at.is_some(),
            "an orphan says FIN",
        )
    }

    /// RFC 6298 §5: the timer runs while something is in flight; RFC 9293 §3.8.6.1: or while data
    /// waits for the window.
    fn check_loss_timer(&self) -> Held {
        let (timers, snd) = (&self.timers, &self.snd);
        let timer = timers.loss.map(|(_, timer)| timer);
        let outstanding = snd.flight.outstanding() > 0;
        let resends = matches!(timer, Some(LossTimer::Rto | LossTimer::Probe));
        holds(
            outstanding == resends,
            "the retransmission timer runs if and only if something is in flight",
        )?;
        holds(
            outstanding == timers.rto_since.is_some(),
            "the retransmission timer has a start",
        )?;
        holds(
            timer != Some(LossTimer::Persist) || snd.end() > snd.nxt,
            "the persist timer runs only while something waits",
        )?;
        holds(
            timers.persist_backoff == 0 || snd.wnd == 0,
            "only a shut window is probed ever less often",
        )?;
        holds(
            timers.retransmits == 0 || outstanding,
            "timeouts are counted while something is in flight",
        )?;
        holds(
            self.recovery.reorder_deadline().is_none() || outstanding && self.sack,
            "the reordering timer runs only while something is in flight",
        )
    }

    fn check_timers(&self, config: &Config) -> Held {
        let timers = &self.timers;
        holds(
            timers.entered_time_wait.is_some() == (self.state == State::TimeWait),
            "2MSL are measured in TIME-WAIT",
        )?;
        holds(
            self.state != State::FinWait2 || timers.entered_fin_wait_2.is_some(),
            "FIN-WAIT-2 has a beginning",
        )?;
        holds(
            timers.cork.is_none() || self.options.cork,
            "only a cork holds back",
        )?;
        holds(
            timers.probed_at.is_some() == (self.keepalive_probes > 0),
            "keep-alive probes are timed",
        )?;
        let idle = self.acks.deadline().is_none();
        holds(
            self.state != State::TimeWait
                || !idle
                || self.poll_timeout(config) == self.time_wait_end(config),
            "TIME-WAIT has no timer but 2MSL",
        )?;
        holds(
            self.state.sends() || timers.loss.is_none() && timers.pacing.is_none(),
            "what has nothing to send has no timer for it",
        )
    }

    fn check_congestion(&self, was: &Watch) -> Held {
        let (snd, cc) = (&self.snd, &self.cc);
        let ours = !matches!(cc, Controller::Custom(_));
        holds(
            snd.mss > 0 && snd.mss <= u16::MAX.into(),
            "SMSS fits a segment",
        )?;
        holds(!ours || cc.cwnd() >= snd.mss, "cwnd >= 1 SMSS")?;
        // It is set in bytes, and stays when segments grow. BBR has none.
        holds(
            !matches!(cc, Controller::Reno(_) | Controller::Cubic(_))
                || cc.ssthresh() >= 2 * snd.mss.min(was.least_mss),
            "ssthresh >= 2 SMSS",
        )?;
        holds(
            match self.recovery.phase() {
                Phase::Open => true,
                Phase::Recovery(point) | Phase::Loss(point) => snd.una < point && point <= snd.nxt,
            },
            "an episode of recovery ends above SND.UNA",
        )
    }

    fn check_acks(&self) -> Held {
        let since = self.rcv.nxt() - self.acks.last_sent();
        let text = self.acks.unacknowledged();
        holds(
            text <= since && since <= text + u32::from(self.rcv.fin_received),
            "what is not acknowledged equals RCV.NXT - Last.ACK.sent",
        )?;
        holds(
            since == 0 || self.acks.is_owed(),
            "what was received is acknowledged",
        )?;
        holds(
            self.acks.deadline().is_none() || text > 0,
            "a delayed ACK is for something",
        )
    }

    /// Nothing that could leave is left behind without a timer.
    fn check_waiting(&self) -> Held {
        holds(
            self.final_segment.is_none(),
            "what is due after CLOSED leaves at once",
        )?;
        if self.state == State::Closed {
            return Ok(());
        }
        holds(!self.acks.is_due(), "an ACK that is due leaves at once")?;
        holds(
            !self.timers.probe_owed,
            "a probe that is due leaves at once",
        )?;
        holds(
            !self.recovery.owes_probe(),
            "a tail loss probe leaves at once",
        )?;
        let waits = self.state.sends() && self.snd.end() > self.snd.nxt;
        let timers = &self.timers;
        let later = [timers.pacing, timers.cork, self.ecn.hold()];
        holds(
            !waits || timers.loss.is_some() || later.iter().any(Option::is_some),
            "what waits to be sent has a timer",
        )?;
        holds(
            timers.loss.is_some() || timers.stalled_since.is_none(),
            "what does not wait for the peer is not stalled",
        )?;
        let worth = self.options.notsent_lowat.is_none();
        holds(
            !self.write_blocked || !worth || self.send_room() < (self.send_capacity() / 3).max(1),
            "a writer that waits has no room",
        )
    }
}

impl State {
    /// Whether the arcs of figure 5, a reset or a timeout lead from here to `other`.
    fn reaches(self, other: Self) -> bool {
        let edges = [Edge::FinSent, Edge::FinAcked, Edge::FinReceived];
        let next = |edge| self.after(edge).is_some_and(|next| next.reaches(other));
        self == other || other == Self::Closed || edges.into_iter().any(next)
    }
}

#[cfg(test)]
mod tests;
