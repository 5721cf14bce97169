//! Where a segment goes: its connection, a listener, or back as a RST (RFC 9293 §3.10.7).

use alloc::boxed::Box;
use core::net::IpAddr;

use crate::connection::{Connection, Negotiated, OUT_OF_WINDOW_PERIOD, State};
use crate::endpoint::{ConnId, Entry, Event, NO_MSS, Slot, Tcp, TimeWait};
use crate::error::{CloseReason, Dropped, IcmpError};
use crate::handshake::{Ours, SynReceived, SynReceivedOutcome, SynSentOutcome, reset_for};
use crate::segment::{
    Ecn, Flags, FlowKey, Options, Segment, SegmentOptions, SynOptions, Timestamps,
};
use crate::seq::WireSeq;
use crate::time::Instant;

impl Tcp {
    /// A segment arrived for `flow`. `local` says whether `flow.local` is one of this host's own
    /// addresses (transparent listeners take the others).
    pub fn on_segment(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        local: bool,
        _ecn: Ecn,
        segment: Segment,
    ) -> Result<(), Dropped> {
        self.counters.in_segs += 1;
        let done = match self.table.lookup(flow) {
            Some(id) => self.on_flow_segment(now, id, local, segment),
            None => self.on_unknown(now, flow, local, &segment),
        };
        self.counters.dropped += u64::from(done.is_err());
        done
    }

    fn on_flow_segment(
        &mut self,
        now: Instant,
        id: ConnId,
        local: bool,
        segment: Segment,
    ) -> Result<(), Dropped> {
        let Some(entry) = self.table.get_mut(id) else {
            return Err(Dropped::NoSocket);
        };
        match &mut entry.slot {
            Slot::Connection(conn)
                if conn.state() == State::TimeWait
                    && conn.time_wait(&self.config, now).is_reopened_by(&segment) =>
            {
                // The application keeps its socket, and the flow begins anew (TW-1).
                conn.end_time_wait();
                let flow = conn.flow;
                self.table.forget_flow(id);
                self.settle(now, id);
                self.on_unknown(now, &flow, local, &segment)
            }
            Slot::Connection(conn) => {
                let done = conn.on_segment(now, segment);
                self.settle(now, id);
                done
            }
            Slot::SynSent(_) => self.on_syn_sent(now, id, segment),
            Slot::SynReceived(_) => self.on_syn_received(now, id, segment),
            Slot::TimeWait(record) => {
                let record = *record;
                self.on_time_wait(now, id, record, local, &segment)
            }
        }
    }

    /// RFC 9293 §3.10.7.1 and §3.10.7.2: no connection, perhaps a listener.
    fn on_unknown(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        local: bool,
        seg: &Segment,
    ) -> Result<(), Dropped> {
        let listener = self.listeners.lookup(flow.local, local);
        match (listener, &seg.options) {
            (Some(listener), Options::Syn(peer))
                if !seg.flags.intersects(Flags::ACK | Flags::RST | Flags::FIN) =>
            {
                self.on_syn(now, flow, listener, seg, *peer)
            }
            // SYN with FIN is nobody's honest beginning, and is not worth an answer.
            (Some(_), _) if seg.has(Flags::SYN | Flags::FIN) => Err(Dropped::BadFlags),
            (Some(_), _) if !seg.flags.intersects(Flags::ACK | Flags::SYN | Flags::RST) => {
                Err(Dropped::BadFlags)
            }
            // A transparent host leaves other hosts' addresses alone.
            (None, _) if !local => Err(Dropped::NoSocket),
            _ => {
                if let Some(reset) = reset_for(seg) {
                    self.counters.out_rsts += 1;
                    self.reply(flow, reset);
                }
                Err(Dropped::NoSocket)
            }
        }
    }

    fn on_syn(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        listener_id: crate::endpoint::ListenerId,
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

    fn on_syn_sent(&mut self, now: Instant, id: ConnId, seg: Segment) -> Result<(), Dropped> {
        let Some(Entry {
            slot: Slot::SynSent(syn),
            ..
        }) = self.table.get(id)
        else {
            return Err(Dropped::NoSocket);
        };
        let flow = syn.ours.flow;
        match syn.on_segment(now, &self.config, &seg) {
            SynSentOutcome::Ignore => return Err(Dropped::BadFlags),
            SynSentOutcome::Reply(segment) => {
                self.reply(&flow, segment);
                return Err(Dropped::BadAck);
            }
            SynSentOutcome::Refused => {
                self.counters.attempt_fails += 1;
                self.drop_slot(id, CloseReason::Refused);
                return Err(Dropped::Reset);
            }
            SynSentOutcome::SimultaneousOpen(irs, peer, wnd) => {
                let ours = Ours::new(flow, syn.ours.options, syn.ours.iss, syn.ours.ts_offset);
                let slot = SynReceived::new(ours, None, irs, peer, wnd, false);
                self.replace(id, Slot::SynReceived(Box::new(slot)));
            }
            SynSentOutcome::Connected(settled) => {
                let mut conn = Connection::new(now, &self.config, &settled);
                conn.owe_ack();
                self.replace(id, Slot::Connection(Box::new(conn)));
                self.counters.active_opens += 1;
                self.events.push_back(Event::Connected(id));
                if !seg.payload.is_empty() || seg.has(Flags::FIN) {
                    self.on_rest(now, id, seg);
                }
            }
        }
        self.settle(now, id);
        Ok(())
    }

    /// What a SYN,ACK carried besides: text and FIN come one number after the SYN.
    fn on_rest(&mut self, now: Instant, id: ConnId, mut seg: Segment) {
        seg.seq = seg.seq.wrapping_add(1);
        seg.flags = Flags(seg.flags.0 & !Flags::SYN.0);
        let timestamps = seg.options.timestamps();
        seg.options = Options::Segment(SegmentOptions {
            timestamps,
            ..Default::default()
        });
        if let Some(Entry {
            slot: Slot::Connection(conn),
            ..
        }) = self.table.get_mut(id)
        {
            // Whatever is wrong with it, the handshake stands.
            let _ = conn.on_segment(now, seg);
        }
    }

    fn on_syn_received(&mut self, now: Instant, id: ConnId, seg: Segment) -> Result<(), Dropped> {
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

    /// RFC 9293 §3.10.7.4 for TIME-WAIT, with RFC 1337 (RST) and RFC 6191 (SYN).
    fn on_time_wait(
        &mut self,
        now: Instant,
        id: ConnId,
        record: TimeWait,
        local: bool,
        seg: &Segment,
    ) -> Result<(), Dropped> {
        let Some(&flow) = self.table.flow(id) else {
            return Err(Dropped::NoSocket);
        };
        if seg.has(Flags::RST) {
            return Err(Dropped::BadReset); // TW-4
        }
        let seq = record.rcv_nxt.expand(seg.seq);
        if record.is_reopened_by(seg) {
            self.time_waits -= 1;
            self.table.remove(id);
            return self.on_unknown(now, &flow, local, seg); // TW-1
        }
        if seg.is_empty() {
            // Two ends in TIME-WAIT must not answer each other for ever.
            let recently = record
                .answered_at
                .is_some_and(|at| now - at < OUT_OF_WINDOW_PERIOD);
            if seq == record.rcv_nxt {
                return Ok(());
            }
            if recently {
                return Err(Dropped::OutOfWindow);
            }
        }
        let timestamps = record.timestamps.map(|(recent, offset)| Timestamps {
            tsval: (now.as_millis() as u32).wrapping_add(offset),
            tsecr: recent,
        });
        self.reply(
            &flow,
            Segment {
                seq: record.snd_nxt,
                ack: record.rcv_nxt.wire(),
                window: record.window,
                flags: Flags::ACK,
                options: Options::Segment(SegmentOptions {
                    timestamps,
                    ..Default::default()
                }),
                payload: (),
                urgent: 0,
                mss: NO_MSS,
            },
        );
        let fin_again = seg.has(Flags::FIN) && seq + seg.len() == record.rcv_nxt;
        if let Some(entry) = self.table.get_mut(id)
            && let Slot::TimeWait(record) = &mut entry.slot
        {
            if fin_again {
                record.expires = now + self.config.time_wait; // SM-15
            }
            if seg.is_empty() {
                record.answered_at = Some(now);
            }
        }
        Err(Dropped::OutOfWindow)
    }

    /// ICMP reports an error about a segment with this sequence number.
    pub fn on_icmp_error(&mut self, now: Instant, flow: &FlowKey, seq: WireSeq, error: IcmpError) {
        let Some(id) = self.table.lookup(flow) else {
            return;
        };
        let Some(entry) = self.table.get_mut(id) else {
            return;
        };
        match &mut entry.slot {
            Slot::Connection(conn) => {
                conn.on_icmp_error(error, seq);
                self.settle(now, id);
            }
            Slot::SynSent(syn) if seq == syn.ours.iss => match error {
                // Hard errors end an attempt (SHLD-26), the others only explain a timeout.
                IcmpError::PortUnreachable | IcmpError::ProtocolUnreachable => {
                    self.counters.attempt_fails += 1;
                    self.drop_slot(id, CloseReason::Refused);
                }
                IcmpError::HostUnreachable | IcmpError::NetUnreachable | IcmpError::Prohibited => {
                    self.counters.attempt_fails += 1;
                    self.drop_slot(id, CloseReason::Unreachable);
                }
                _ => syn.soft_error = true,
            },
            _ => {}
        }
    }

    pub(super) fn insert(&mut self, flow: FlowKey, slot: Slot) -> ConnId {
        self.table.insert(
            flow,
            Entry {
                slot,
                armed: None,
                ready: false,
            },
        )
    }

    fn replace(&mut self, id: ConnId, slot: Slot) {
        if let Some(entry) = self.table.get_mut(id) {
            entry.slot = slot;
        }
    }
}

impl TimeWait {
    /// RFC 6191 §2: whether `seg` is a SYN from after the old connection.
    fn is_reopened_by(&self, seg: &Segment) -> bool {
        let newer = match (self.timestamps, seg.options.timestamps()) {
            (Some((recent, _)), Some(got)) if got.tsval != recent => {
                (got.tsval.wrapping_sub(recent) as i32) > 0
            }
            _ => self.rcv_nxt.expand(seg.seq) > self.rcv_nxt,
        };
        seg.has(Flags::SYN) && !seg.flags.intersects(Flags::ACK | Flags::RST) && newer
    }
}

/// MUST-46, MUST-57, MUST-63: who can be at the other end of a connection.
pub(super) fn can_open(flow: &FlowKey) -> bool {
    let unicast = match flow.remote.ip() {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast() && ip.octets()[0] != 0,
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unspecified(),
    };
    unicast && flow.remote.port() != 0
}

impl Connection {
    /// What stays in the table when nobody holds a connection in TIME-WAIT any more.
    pub(super) fn time_wait(&self, config: &crate::config::Config, now: Instant) -> TimeWait {
        let (snd_nxt, rcv_nxt, timestamps) = self.last_numbers();
        TimeWait {
            snd_nxt,
            rcv_nxt,
            timestamps,
            window: self.last_window(),
            answered_at: None,
            expires: self.time_wait_end(config).unwrap_or(now + config.time_wait),
        }
    }
}
