//! Passive opens: a SYN for a listener, and the handshake that follows (RFC 9293 §3.10.7.2, §3.10.7.4).

use alloc::boxed::Box;

use crate::connection::{Connection, Negotiated};
use crate::endpoint::input::can_open;
use crate::endpoint::{ConnId, Entry, Event, ListenerId, Slot, Tcp};
use crate::error::{CloseReason, Dropped};
use crate::handshake::{Ours, SynReceived, SynReceivedOutcome};
use crate::segment::{Flags, FlowKey, Segment, SynOptions};
use crate::time::Instant;

impl Tcp {
    pub(super) fn on_syn(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        listener_id: ListenerId,
        seg: &Segment,
        peer: SynOptions,
    ) -> Result<(), Dropped> {
        if !can_open(flow) {
            return Err(Dropped::BadAddress);
        }
        let full = self.table.len() >= self.config.max_connections;
        let Some(listener) = self.listeners.get_mut(listener_id) else {
            return Err(Dropped::NoSocket);
        };
        if full || !listener.has_room() {
            self.counters.listen_overflows += 1;
            return Err(Dropped::BacklogFull);
        }
        listener.half_open += 1;
        let (options, held) = (listener.options.socket, listener.options.hold);
        let iss = self.secrets.isn(now, flow);
        let ours = Ours::new(*flow, options, iss, self.secrets.timestamp_offset(flow));
        let wnd = u32::from(seg.window.0);
        let syn = SynReceived::new(ours, Some(listener_id), seg.seq, peer, wnd, held);
        let id = self.insert(*flow, Slot::SynReceived(Box::new(syn)));
        if held {
            let (listener, seq) = (listener_id, seg.seq);
            self.events.push_back(Event::Incoming {
                listener,
                conn: id,
                flow: *flow,
                seq,
            });
        }
        self.settle(now, id);
        Ok(())
    }

    pub(super) fn on_syn_received(
        &mut self,
        now: Instant,
        id: ConnId,
        seg: Segment,
    ) -> Result<(), Dropped> {
        let Some(Entry {
            slot: Slot::SynReceived(syn),
            ..
        }) = self.table.get_mut(id)
        else {
            return Err(Dropped::NoSocket);
        };
        let (flow, active) = (syn.ours.flow, syn.listener.is_none());
        match syn.on_segment(now, &self.config, &seg) {
            SynReceivedOutcome::Ignore => {
                self.settle(now, id);
                Err(Dropped::BadFlags)
            }
            SynReceivedOutcome::Reply(segment) => {
                self.reply(&flow, segment);
                Err(Dropped::BadAck)
            }
            SynReceivedOutcome::Reset => {
                let reason = if active {
                    CloseReason::Refused
                } else {
                    CloseReason::Reset
                };
                self.drop_half_open(id, reason);
                Err(Dropped::Reset)
            }
            SynReceivedOutcome::Connected(settled) => {
                self.on_opened(now, id, &settled);
                if seg.has(Flags::SYN) {
                    self.settle(now, id); // a crossed SYN,ACK: nothing in it is new
                    return Ok(());
                }
                self.on_flow_segment(now, id, true, seg)
            }
        }
    }

    /// The third segment of a handshake arrived.
    fn on_opened(&mut self, now: Instant, id: ConnId, settled: &Negotiated) {
        let conn = Connection::new(now, &self.config, settled);
        self.replace(id, Slot::Connection(Box::new(conn)));
        let Some(listener_id) = settled.listener else {
            self.counters.active_opens += 1;
            self.events.push_back(Event::Connected(id));
            return;
        };
        self.counters.passive_opens += 1;
        if let Some(listener) = self.listeners.get_mut(listener_id) {
            listener.half_open -= 1;
            listener.accept_queue.push_back(id);
            self.events.push_back(Event::Accepted(listener_id));
        }
    }
}
