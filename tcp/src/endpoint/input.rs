//! Where a segment goes: its connection, a listener, or back as a RST (RFC 9293 §3.10.7).

use alloc::boxed::Box;
use core::net::IpAddr;

use crate::connection::{Connection, State};
use crate::endpoint::{ConnId, Entry, Event, Slot, Tcp};
use crate::error::{CloseReason, Dropped, IcmpError};
use crate::handshake::{Ours, SynReceived, SynSentOutcome, reset_for};
use crate::segment::{Ecn, Flags, FlowKey, Options, Segment, SegmentOptions};
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

    pub(super) fn on_flow_segment(
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
    pub(super) fn on_unknown(
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
    pub(super) fn on_rest(&mut self, now: Instant, id: ConnId, mut seg: Segment) {
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

    pub(super) fn replace(&mut self, id: ConnId, slot: Slot) {
        if let Some(entry) = self.table.get_mut(id) {
            entry.slot = slot;
        }
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
