//! How a connection ends: by its application, by the state machine, by a reset.

use crate::config::Config;
use crate::error::{CloseReason, SocketError};
use crate::segment::Flags;
use crate::send::{Fin, Flight, SendBuffer};
use crate::time::{Duration, Instant};

use super::Connection;
use super::state::{Edge, State};
use super::timers::Timers;

impl Connection {
    /// FIN follows what is queued.
    pub(crate) fn shutdown(&mut self) -> Result<(), SocketError> {
        match self.close_reason {
            Some(CloseReason::Finished) => Ok(()),
            Some(reason) => Err(SocketError::Closed(reason)),
            None => {
                if self.snd.fin == Fin::Open {
                    self.snd.fin = Fin::Queued;
                }
                Ok(())
            }
        }
    }

    /// RST, and the end.
    pub(crate) fn abort(&mut self) {
        if self.close_reason.is_none() {
            if self.state != State::TimeWait {
                self.owe_reset();
            } else if self.acks.is_due() {
                self.final_segment = Some((Flags::ACK, self.snd.nxt)); // or the peer repeats its FIN
            }
            self.close(CloseReason::Aborted);
        }
    }

    /// RFC 9293 §3.10.5: `<SEQ=SND.NXT><CTL=RST>`.
    pub(super) fn owe_reset(&mut self) {
        self.final_segment = Some((Flags::RST | Flags::ACK, self.snd.nxt));
    }

    /// Text that nobody will read is answered as one for no connection (RFC 9293 §3.10.7.1): the
    /// peer takes a RST with the number that it expects, whatever of ours is still on its way
    /// (RFC 5961 §3.2).
    pub(super) fn refuse_text(&mut self) {
        self.abort();
        self.final_segment = Some((Flags::RST, self.snd.una));
    }

    /// The application let go (RFC 9293 §3.6.1, SHLD-3): unread bytes mean RST.
    pub(crate) fn release(&mut self, now: Instant, config: &Config) {
        self.orphan = true;
        self.timers.released_at = Some(now);
        self.listener = None;
        if self.close_reason.is_some() {
            return;
        }
        let at_once = self.options.linger == Some(Duration::ZERO);
        // In TIME-WAIT the peer has all it wanted, and its FIN may come again (MUST-13).
        if (at_once || self.rcv.reassembler.readable() > 0) && self.state != State::TimeWait {
            self.abort();
            return;
        }
        let _ = self.shutdown();
        if self.state == State::FinWait2 {
            self.timers.linger = Some(now + self.fin_timeout(config));
        }
    }

    /// Every byte and the FIN are acknowledged, or there is nobody left to acknowledge them.
    pub(crate) fn is_flushed(&self) -> bool {
        self.close_reason.is_some() || self.snd.fin == Fin::Acked
    }

    /// The state machine moves on.
    pub(super) fn on_edge(&mut self, now: Instant, edge: Edge) {
        let Some(next) = self.state.after(edge) else {
            debug_assert!(false, "{:?} in {:?}", edge, self.state);
            return;
        };
        self.state = next;
        if !next.sends() {
            self.timers.pacing = None;
            self.ecn.release();
        }
        match next {
            State::Closed => self.close(CloseReason::Finished),
            State::TimeWait => self.enter_time_wait(now),
            State::FinWait2 => self.timers.entered_fin_wait_2 = Some(now),
            _ => {}
        }
    }

    pub(super) fn enter_time_wait(&mut self, now: Instant) {
        self.timers.loss = None;
        self.timers.entered_time_wait = Some(now);
    }

    /// A new SYN of the peer ends TIME-WAIT (RFC 6191).
    pub(crate) fn end_time_wait(&mut self) {
        self.close(CloseReason::Finished);
    }

    /// The end. What was received in order stays readable; a RST that is owed still goes out.
    pub(super) fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.close_reason = Some(reason);
        self.events.closed = Some(reason);
        self.timers = Timers::default();
        self.snd.flight = Flight::default();
        self.snd.buffer = SendBuffer::new(self.snd.nxt);
        self.rcv.reassembler.discard_out_of_order();
    }
}
