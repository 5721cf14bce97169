//! TCP Fast Open at a listener: a connection opens with its SYN (RFC 7413 §4.2.2).

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::connection::Connection;
use crate::endpoint::input::text_of_syn;
use crate::endpoint::{ConnId, Slot, Tcp};
use crate::error::{CloseReason, Dropped};
use crate::handshake::{CookieCheck, FastOpenKeys, SynReceived, SynReceivedOutcome};
use crate::observe::AckWhy;
use crate::segment::{Ecn, FastOpen, Flags, Segment};
use crate::time::Instant;

impl Tcp {
    /// A SYN for a listener that takes Fast Open.
    pub(super) fn on_fast_open_syn(
        &mut self,
        now: Instant,
        syn: SynReceived,
        seg: &Segment,
        option: Option<FastOpen>,
    ) {
        let Some(got) = option else {
            return self.begin(now, syn);
        };
        let flow = syn.ours.flow;
        let keys = FastOpenKeys {
            fixed: self.config.fast_open_key,
            secrets: &self.secrets,
        };
        let check = keys.check(now, &flow, got);
        let cookie = keys.cookie(now, &flow).in_experimental(got.experimental);
        let fresh = Some(cookie).filter(|_| check != CookieCheck::Fresh);
        if check == CookieCheck::Wrong {
            if got.cookie().is_empty() {
                self.counters.fast_open_cookie_reqd += 1;
            } else {
                self.counters.fast_open_passive_fail += 1;
            }
            return self.begin(now, syn.with_fast_open(0, fresh));
        }
        let listener = syn.listener.and_then(|id| self.listeners.get_mut(id));
        if listener.is_some_and(|listener| listener.can_fast_open(now)) {
            self.open_with_data(now, syn, seg, fresh);
        } else {
            self.counters.fast_open_listen_overflow += 1;
            self.begin(now, syn);
        }
    }

    /// The connection opens at once, with what the SYN brought.
    fn open_with_data(
        &mut self,
        now: Instant,
        syn: SynReceived,
        seg: &Segment,
        cookie: Option<FastOpen>,
    ) {
        let Some(listener_id) = syn.listener else {
            return;
        };
        let settled = syn.fast_opened(now, &self.config);
        let conn = || Connection::new(now, &self.config, &settled);
        let mut conn = self.dormitory.boxed(conn);
        let mut text = text_of_syn(seg);
        // Its ACK is still to come, and a FIN will come again with it.
        text.flags = Flags::ACK | Flags::PSH;
        text.ack = syn.snd_nxt();
        if let Some(memory) = &mut self.memory {
            memory.grant(&mut conn, text.payload.len());
        }
        let _ = conn.on_segment(now, Ecn::NotEct, &mut text); // what the window does not take comes again, too
        conn.on_syn_ack_due();
        let taken = conn.rcv_nxt().0.wrapping_sub(syn.rcv_nxt().0);
        conn.note_syn_data(taken > 0);
        let id = self.table.insert(Slot::Connection(conn));
        if let Some(Slot::Connection(conn)) = self.table.get_mut(id) {
            let mut opening = syn.with_fast_open(taken, cookie);
            Arc::make_mut(&mut opening.ours.options).defer_accept = None; // it is accepted already
            conn.opening = Some(Box::new(opening));
        }
        if let Some(listener) = self.listeners.get_mut(listener_id) {
            listener.fast_open_pending += 1;
        }
        self.counters.fast_open_passive += 1;
        self.queue_accept(id, listener_id);
        self.settle(now, id);
    }

    /// A segment for a connection whose handshake is not complete.
    pub(super) fn on_opening_segment(
        &mut self,
        now: Instant,
        id: ConnId,
        ecn: Ecn,
        seg: &mut Segment,
    ) -> Result<(), Dropped> {
        let Some(Slot::Connection(conn)) = self.table.get_mut(id) else {
            return Err(Dropped::NoSocket);
        };
        let nxt = conn.snd_nxt();
        let Some(syn) = &mut conn.opening else {
            return Err(Dropped::NoSocket);
        };
        let outcome = syn.on_segment(now, &self.config, seg, nxt);
        let flow = conn.flow;
        let done = match outcome {
            SynReceivedOutcome::Noted | SynReceivedOutcome::Deferred => Ok(()),
            SynReceivedOutcome::Drop(reason) => {
                // The connection knows what it has offered since the SYN,ACK.
                if syn.take_owed_ack() {
                    conn.owe_ack(AckWhy::OutOfWindow);
                }
                Err(reason)
            }
            SynReceivedOutcome::Reply(segment) => {
                self.reset(&flow, segment);
                Err(Dropped::BadAck)
            }
            SynReceivedOutcome::Reset => {
                conn.on_handshake_failed(CloseReason::Reset);
                self.end_opening(now, id, true);
                Err(Dropped::Reset)
            }
            SynReceivedOutcome::Connected(ack, wnd) => {
                let settled = syn.settle(now, &self.config, ack, wnd);
                conn.on_handshake_complete(now, settled.rtt);
                let done = conn.on_segment(now, ecn, seg);
                self.end_opening(now, id, false);
                done
            }
        };
        self.settle(now, id);
        done
    }

    /// A connection is open for good, or closed.
    pub(super) fn end_opening(&mut self, now: Instant, id: ConnId, reset: bool) {
        let syn = match self.table.get_mut(id) {
            Some(Slot::Connection(conn)) => conn.opening.take(),
            _ => None,
        };
        let listener = syn.and_then(|syn| syn.listener);
        if let Some(listener) = listener.and_then(|id| self.listeners.get_mut(id)) {
            listener.on_fast_open_end(now, reset);
        }
    }
}
