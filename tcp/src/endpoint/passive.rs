//! Passive opens: a SYN for a listener, and the handshake that follows (RFC 9293 §3.10.7.2,
//! §3.10.7.4), with or without state (RFC 4987).

use alloc::sync::Arc;

use crate::config::SocketOptions;
use crate::connection::{Connection, Negotiated};
use crate::endpoint::input::can_open;
use crate::endpoint::{ConnId, Event, ListenerId, Marking, Slot, Tcp, TimeWait};
use crate::error::{CloseReason, Dropped};
use crate::handshake::{
    COOKIE_LIFE, Ours, PeerSyn, SynReceived, SynReceivedOutcome, cookie_syn_ack,
};
use crate::listener::Listener;
use crate::segment::{Ecn, Flags, FlowKey, Segment, SynOptions};
use crate::time::Instant;

impl Tcp {
    /// `before`: the connection in TIME-WAIT that this SYN follows.
    pub(super) fn on_syn(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        id: ListenerId,
        (seg, options): (&Segment, SynOptions),
        before: Option<TimeWait>,
    ) -> Result<(), Dropped> {
        if !can_open(flow) {
            return Err(Dropped::BadAddress);
        }
        if self
            .memory
            .as_ref()
            .is_some_and(|memory| memory.is_exhausted())
        {
            return Err(Dropped::NoMemory); // the peer tries again
        }
        let full = self.connection_count() >= self.config.max_connections;
        let Some(listener) = self.listeners.get_mut(id) else {
            return Err(Dropped::NoSocket);
        };
        if full || !listener.can_queue() {
            self.counters.listen_overflows += 1;
            return Err(Dropped::BacklogFull);
        }
        let held = listener.options.hold;
        let socket = Arc::clone(&listener.socket);
        if held && !listener.can_hold() {
            self.counters.req_q_full_drop += 1;
            return Err(Dropped::BacklogFull);
        }
        let peer = PeerSyn::new(seg, options, &self.config);
        if self.half_open >= self.config.max_syn_backlog {
            // Neither a held SYN nor one that follows a connection in TIME-WAIT can be answered
            // without a memory of it.
            if self.config.syn_cookies && !held && before.is_none() {
                self.send_cookie(now, flow, id, peer);
                return Ok(());
            }
            self.drop_oldest(now);
        }
        let mut ours = self.ours(now, flow, &socket, options.timestamps.is_some());
        ours.window_limit = self.first_window();
        if let Some(before) = &before {
            ours.iss = before.next_iss(ours.iss);
        }
        let mut syn = SynReceived::new(ours, Some(id), peer, held);
        syn.time_wait = before;
        if socket.fast_open.is_some() && !held {
            self.on_fast_open_syn(now, syn, seg, options.fast_open);
        } else {
            self.begin(now, syn);
        }
        Ok(())
    }

    /// This end of a passive open, perhaps with timestamps.
    fn ours(
        &self,
        now: Instant,
        flow: &FlowKey,
        socket: &Arc<SocketOptions>,
        timestamps: bool,
    ) -> Ours {
        let iss = self.secrets.isn(now, flow);
        let offset = if timestamps {
            self.secrets.timestamp_offset(flow)
        } else {
            0
        };
        Ours::new(*flow, Arc::clone(socket), iss, offset)
    }

    /// One more handshake is under way.
    pub(super) fn begin(&mut self, now: Instant, syn: SynReceived) {
        let (flow, irs, held, listener) = (syn.ours.flow, syn.peer.irs, syn.held, syn.listener);
        let syn = self.dormitory.handshake(syn);
        let id = self.table.insert(Slot::SynReceived(syn));
        if let Some(listener) = listener
            && let Some(waiting) = self.listeners.get_mut(listener)
        {
            self.half_open += 1;
            waiting.half_open += 1;
            waiting.oldest.push_back(id);
            if waiting.oldest.len() > 2 * waiting.half_open as usize + 64 {
                waiting
                    .oldest
                    .retain(|&id| self.table.get(id).is_some_and(Slot::is_half_open));
            }
            if held {
                self.events.push_back(Event::Incoming {
                    listener,
                    conn: id,
                    flow,
                    seq: irs,
                });
            }
        }
        self.settle(now, id);
    }

    /// Makes room for a SYN: the oldest handshake goes, of the listener that has the most.
    fn drop_oldest(&mut self, now: Instant) {
        while let Some(listener) = self.listeners.busiest()
            && let Some(oldest) = listener.oldest.pop_front()
        {
            if self.table.get(oldest).is_some_and(Slot::is_half_open) {
                self.counters.req_q_full_drop += 1;
                self.drop_half_open(now, oldest, CloseReason::Aborted);
                return;
            }
        }
    }

    /// Answers a SYN and forgets it (SY-2).
    fn send_cookie(&mut self, now: Instant, flow: &FlowKey, id: ListenerId, peer: PeerSyn) {
        let Some(listener) = self.listeners.get_mut(id) else {
            return;
        };
        listener.cookies_until = Some(now + COOKIE_LIFE);
        let socket = Arc::clone(&listener.socket);
        let ours = self.ours(now, flow, &socket, peer.options.timestamps.is_some());
        let segment = cookie_syn_ack(now, &self.config, &self.secrets, ours, peer);
        self.counters.syncookies_sent += 1;
        self.reply(flow, segment, Marking::of(&socket));
    }

    /// An ACK for a listener: it may bring a cookie back. `None`: it does not.
    pub(super) fn on_cookie(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        listener_id: ListenerId,
        seg: &Segment,
    ) -> Option<Result<(), Dropped>> {
        let listener = self.expects_cookie(now, flow, listener_id, seg)?;
        let room = listener.can_queue();
        let Some(settled) = self.settled_by_cookie(now, flow, listener_id, seg) else {
            self.counters.syncookies_failed += 1;
            return None;
        };
        if !room || self.connection_count() >= self.config.max_connections {
            self.counters.listen_overflows += 1;
            return Some(Err(Dropped::BacklogFull));
        }
        self.counters.syncookies_recv += 1;
        let conn = || Connection::new(now, &self.config, &settled);
        let conn = self.dormitory.boxed(conn);
        let id = self.table.insert(Slot::Connection(conn));
        self.queue_accept(id, listener_id);
        Some(self.on_flow_segment(now, id, true, Ecn::NotEct, &mut seg.clone()))
    }

    /// The listener, if it has sent cookies lately and this may be one.
    fn expects_cookie(
        &self,
        now: Instant,
        flow: &FlowKey,
        id: ListenerId,
        seg: &Segment,
    ) -> Option<&Listener> {
        let listener = self.listeners.get(id)?;
        let expected = listener.cookies_until.is_some_and(|until| now <= until);
        let may_be = !seg.flags.intersects(Flags::SYN | Flags::RST) && can_open(flow);
        (expected && may_be).then_some(listener)
    }

    /// What the cookie that this ACK brings back has settled; `None` when it brings none.
    pub(super) fn settled_by_cookie(
        &self,
        now: Instant,
        flow: &FlowKey,
        id: ListenerId,
        seg: &Segment,
    ) -> Option<Negotiated> {
        let listener = self.expects_cookie(now, flow, id, seg)?;
        let timestamps = seg.options.timestamps().is_some();
        let ours = self.ours(now, flow, &listener.socket, timestamps);
        crate::handshake::check_cookie(now, &self.config, &self.secrets, ours, id, seg)
    }

    /// A connection waits for [`Tcp::accept`].
    pub(super) fn queue_accept(&mut self, id: ConnId, listener_id: ListenerId) {
        self.counters.passive_opens += 1;
        if let Some(listener) = self.listeners.get_mut(listener_id) {
            listener.accept_queue.push_back(id);
            self.events.push_back(Event::Accepted(listener_id));
        }
    }

    pub(super) fn on_syn_received(
        &mut self,
        now: Instant,
        id: ConnId,
        ecn: Ecn,
        seg: &mut Segment,
    ) -> Result<(), Dropped> {
        let Some(Slot::SynReceived(syn)) = self.table.get_mut(id) else {
            return Err(Dropped::NoSocket);
        };
        let flow = syn.ours.flow;
        let nxt = syn.snd_nxt();
        match syn.on_segment(now, &self.config, seg, nxt) {
            SynReceivedOutcome::Noted => {
                self.settle(now, id);
                Ok(())
            }
            SynReceivedOutcome::Deferred => {
                self.counters.defer_accept_drop += 1;
                self.settle(now, id);
                Ok(())
            }
            SynReceivedOutcome::Drop(reason) => {
                self.settle(now, id);
                Err(reason)
            }
            SynReceivedOutcome::Reply(segment) => {
                self.reset(&flow, segment);
                Err(Dropped::BadAck)
            }
            SynReceivedOutcome::Reset => {
                // MUST-11: back to LISTEN, or the application hears of it.
                let reason = if syn.listener.is_none() {
                    CloseReason::Refused
                } else {
                    CloseReason::Reset
                };
                self.drop_half_open(now, id, reason);
                Err(Dropped::Reset)
            }
            SynReceivedOutcome::Connected(ack, wnd) => {
                let queue = syn.listener.and_then(|id| self.listeners.get(id));
                if !queue.is_none_or(Listener::can_queue) {
                    // The SYN,ACK will go out again, and its ACK find room perhaps (SY-4).
                    self.counters.listen_overflows += 1;
                    return Err(Dropped::BacklogFull);
                }
                let settled = syn.settle(now, &self.config, ack, wnd);
                self.on_opened(now, id, &settled);
                if seg.has(Flags::SYN) {
                    self.settle(now, id); // a crossed SYN,ACK: nothing in it is new
                    return Ok(());
                }
                self.on_flow_segment(now, id, true, ecn, seg)
            }
        }
    }

    /// The third segment of a handshake arrived.
    fn on_opened(&mut self, now: Instant, id: ConnId, settled: &Negotiated) {
        self.open(now, id, settled);
        let Some(listener_id) = settled.listener else {
            self.events.push_back(Event::Connected(id));
            return;
        };
        self.on_handshake_end(Some(listener_id));
        self.queue_accept(id, listener_id);
    }

    /// A handshake no longer counts against its listener.
    pub(super) fn on_handshake_end(&mut self, listener: Option<ListenerId>) {
        if let Some(listener) = listener.and_then(|id| self.listeners.get_mut(id)) {
            listener.half_open -= 1;
        }
        self.half_open -= usize::from(listener.is_some());
    }

    /// Puts a connection in the place of its handshake.
    pub(super) fn open(&mut self, now: Instant, id: ConnId, settled: &Negotiated) {
        self.discharge(id);
        let conn = || Connection::new(now, &self.config, settled);
        let mut conn = self.dormitory.boxed(conn);
        conn.queue_taken(settled.data.clone());
        if let Some(slot) = self.table.get_mut(id)
            && let Slot::SynReceived(syn) = core::mem::replace(slot, Slot::Connection(conn))
        {
            self.dormitory.keep_handshake(syn);
        }
    }

    /// A handshake came to nothing: the flow is free, or in TIME-WAIT as before (MAY-2).
    pub(super) fn drop_half_open(&mut self, now: Instant, id: ConnId, reason: CloseReason) {
        self.counters.attempt_fails += 1;
        let Some(Slot::SynReceived(syn)) = self.table.get_mut(id) else {
            return;
        };
        let (flow, listener, before) = (syn.ours.flow, syn.listener, syn.time_wait.take());
        self.on_handshake_end(listener);
        self.drop_slot(id, reason);
        if let Some(record) = before {
            self.insert_time_wait(now, flow, record);
        }
    }
}
