//! A connection that Fast Open began before its handshake was complete (RFC 7413 §4.2.2).

use crate::config::Config;
use crate::error::CloseReason;
use crate::seq::WireSeq;
use crate::time::{Duration, Instant};

use super::Connection;

impl Connection {
    /// The next deadline, its handshake's included.
    pub(crate) fn deadline(&self, config: &Config) -> Option<Instant> {
        let opening = self.opening.as_ref().and_then(|syn| syn.deadline());
        Instant::earliest([self.poll_timeout(config), opening])
    }

    /// SND.NXT: what an ACK may reach.
    pub(crate) fn snd_nxt(&self) -> WireSeq {
        self.snd.nxt.wire()
    }

    pub(crate) fn rcv_nxt(&self) -> WireSeq {
        self.rcv.nxt().wire()
    }

    /// Both ends use ECN.
    pub(crate) const fn uses_ecn(&self) -> bool {
        self.ecn.is_enabled()
    }

    /// The SYN,ACK acknowledges what has come so far: no ACK is owed for it.
    pub(crate) fn on_syn_ack_due(&mut self) {
        self.acks.on_sent(self.rcv.nxt());
    }

    /// The handshake is complete.
    pub(crate) fn on_handshake_complete(&mut self, now: Instant, rtt: Option<Duration>) {
        if let Some(rtt) = rtt {
            self.rtt.on_sample(now, rtt);
        }
    }

    /// Nobody confirmed the handshake.
    pub(crate) fn on_handshake_timeout(&mut self) {
        if self.close_reason.is_none() {
            self.give_up();
        }
    }

    /// The handshake came to nothing.
    pub(crate) fn on_handshake_failed(&mut self, reason: CloseReason) {
        if self.close_reason.is_none() {
            self.close(reason);
        }
    }
}
