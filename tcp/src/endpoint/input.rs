//! Where a segment goes: its connection, a listener, or back as a RST (RFC 9293 §3.10.7).

use core::convert::Infallible;
use core::net::IpAddr;

use crate::connection::State;
use crate::endpoint::{ConnId, MANY, Slot, Tcp};
use crate::error::{CloseReason, Dropped, IcmpError};
use crate::followers::Followers;
use crate::handshake::reset_for;
use crate::segment::{Ecn, Flags, FlowKey, Options, Segment, SegmentOptions};
use crate::seq::{WireSeq, WireWindow};
use crate::time::Instant;

impl Tcp {
    /// A segment arrived for `flow`. `local` says whether `flow.local` is one of this host's own
    /// addresses (transparent listeners take the others).
    pub fn on_segment(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        local: bool,
        ecn: Ecn,
        mut segment: Segment,
    ) -> Result<(), Dropped> {
        if self.is_observed() {
            let call = |tcp: &mut Self, segment| -> Result<_, Infallible> {
                Ok(tcp.on_segment(now, flow, local, ecn, segment))
            };
            let Ok(done) = self.observe_segment(now, flow, segment, call);
            return done;
        }
        self.ack_overdue = false;
        let done = match self.table.lookup_again(flow) {
            Some(id) => self.on_flow_segment(now, id, local, ecn, &mut segment),
            None => self.on_unknown(now, flow, local, &segment),
        };
        self.counters.on_segment(done);
        done
    }

    /// As [`Tcp::on_segment`], but a segment that nobody here waits for comes back, neither
    /// counted nor answered: another endpoint of the host may know its flow.
    pub fn offer_segment(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        local: bool,
        ecn: Ecn,
        mut segment: Segment,
    ) -> Result<Result<(), Dropped>, Segment> {
        if self.is_observed() {
            return self.observe_segment(now, flow, segment, |tcp, segment| {
                tcp.offer_segment(now, flow, local, ecn, segment)
            });
        }
        self.ack_overdue = false;
        let done = match self.table.lookup_again(flow) {
            Some(id) => self.on_flow_segment(now, id, local, ecn, &mut segment),
            None if self.is_awaited(now, flow, local, &segment) => {
                self.on_unknown(now, flow, local, &segment)
            }
            None => return Err(segment),
        };
        self.counters.on_segment(done);
        Ok(done)
    }

    /// As [`Tcp::on_segment`] for `segment` and each of its `followers`, if all of them are what
    /// their connection expects: the next bytes in order. Else none of them is taken, and the first
    /// comes back: what becomes of one may then depend on what the one before it changed.
    pub fn on_train(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        ecn: Ecn,
        segment: Segment,
        followers: &mut Followers,
    ) -> Result<(), Segment> {
        if self.is_observed() {
            return self.observe_train(now, flow, ecn, segment, followers);
        }
        let Some(id) = self.table.lookup_again(flow) else {
            return Err(segment);
        };
        let Some(Slot::Connection(conn)) = self.table.get_mut(id) else {
            return Err(segment);
        };
        if conn.opening.is_some() {
            return Err(segment);
        }
        let segments = 1 + followers.len();
        if let Some(memory) = &mut self.memory {
            memory.grant(conn, segments * segment.payload.len());
        }
        conn.on_train(now, ecn, segment, followers)?;
        self.ack_overdue = conn.ack_overdue();
        self.settle(now, id);
        self.counters.on_accepted(segments as u64);
        Ok(())
    }

    /// Whether there are so many connections that [`Tcp::expect`] is worth while.
    pub fn is_far_apart(&self) -> bool {
        self.table.len() >= MANY
    }

    /// Segments of these flows are about to come, in this order. It changes nothing but the time that
    /// takes: among very many connections each lies in memory far away, and what is fetched for all of
    /// them together costs little more than what is fetched for one. See [`Tcp::is_far_apart`].
    pub fn expect(&mut self, flows: &[FlowKey]) {
        self.table.expect(flows);
        for slot in self.table.expected() {
            if let Slot::Resting(_, rest) = slot {
                self.dormitory.glance(rest);
            }
        }
    }

    /// Whether anything is known of `flow` here.
    pub fn has_flow(&self, flow: &FlowKey) -> bool {
        self.table.lookup(flow).is_some()
    }

    /// A segment of a flow that the table knows. Its payload is taken out if it is kept.
    #[inline]
    pub(super) fn on_flow_segment(
        &mut self,
        now: Instant,
        id: ConnId,
        local: bool,
        ecn: Ecn,
        segment: &mut Segment,
    ) -> Result<(), Dropped> {
        let Some(Slot::Connection(conn)) = self.table.get_mut(id) else {
            return self.on_slot_segment(now, id, local, ecn, segment);
        };
        if conn.opening.is_some() || conn.state() == State::TimeWait {
            return self.on_slot_segment(now, id, local, ecn, segment);
        }
        if let Some(memory) = &mut self.memory {
            memory.grant(conn, segment.payload.len());
        }
        let done = conn.on_segment(now, ecn, segment);
        self.ack_overdue = conn.ack_overdue();
        self.settle(now, id);
        done
    }

    /// As [`Tcp::on_flow_segment`], for what is not simply open.
    fn on_slot_segment(
        &mut self,
        now: Instant,
        id: ConnId,
        local: bool,
        ecn: Ecn,
        segment: &mut Segment,
    ) -> Result<(), Dropped> {
        let Some(slot) = self.table.get_mut(id) else {
            return Err(Dropped::NoSocket);
        };
        match slot {
            Slot::Connection(conn) if conn.state() == State::TimeWait => {
                let record = conn.time_wait(&self.config, now);
                self.on_held_time_wait(now, id, record, local, segment)
            }
            Slot::Connection(_) => self.on_opening_segment(now, id, ecn, segment),
            Slot::Resting(..) => {
                self.wake(id);
                self.on_flow_segment(now, id, local, ecn, segment)
            }
            Slot::SynSent(_) => self.on_syn_sent(now, id, segment),
            Slot::SynReceived(_) => self.on_syn_received(now, id, ecn, segment),
            Slot::TimeWait(_, record) => {
                let record = *record;
                self.on_time_wait(now, id, record, local, segment)
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
        if let Some(listener) = listener
            && !seg.has(Flags::RST)
        {
            match &seg.options {
                _ if seg.has(Flags::ACK) => {
                    if let Some(done) = self.on_cookie(now, flow, listener, seg) {
                        return done;
                    }
                }
                Options::Syn(peer) => return self.on_syn(now, flow, listener, (seg, *peer), None),
                Options::Segment(_) => return Err(Dropped::BadFlags),
            }
        }
        // A transparent host leaves other hosts' addresses alone.
        if let Some(reset) = reset_for(seg)
            && (local || listener.is_some())
        {
            self.reset(flow, reset);
        }
        Err(Dropped::NoSocket)
    }

    /// Whether a listener begins something with the first segment of a flow: it is a SYN, or the
    /// ACK of a cookie, or nothing that any flow would take.
    fn is_awaited(&self, now: Instant, flow: &FlowKey, local: bool, seg: &Segment) -> bool {
        let Some(listener) = self.listeners.lookup(flow.local, local) else {
            return false;
        };
        match (seg.has(Flags::RST), seg.has(Flags::ACK)) {
            (true, _) => false,
            (_, true) => self.settled_by_cookie(now, flow, listener, seg).is_some(),
            (_, false) => true,
        }
    }

    /// ICMP reports an error about a segment with this sequence number.
    pub fn on_icmp_error(&mut self, now: Instant, flow: &FlowKey, seq: WireSeq, error: IcmpError) {
        let Some(id) = self.table.lookup(flow) else {
            return;
        };
        let Some(slot) = self.table.get_mut(id) else {
            return;
        };
        match slot {
            Slot::Connection(conn) => {
                let opening = conn.opening.as_ref();
                if opening.is_some_and(|syn| seq == syn.ours.iss) {
                    // About its SYN,ACK, which fits any path.
                    if !matches!(error, IcmpError::PacketTooBig { .. }) {
                        conn.on_soft_error(error);
                    }
                } else {
                    conn.on_icmp_error(now, error, seq);
                }
                self.settle(now, id);
            }
            Slot::SynSent(syn) if seq == syn.ours.iss => match (close_reason(error), error) {
                (Some(reason), _) => {
                    self.counters.attempt_fails += 1;
                    self.drop_slot(id, reason);
                }
                (None, IcmpError::PacketTooBig { .. }) => {
                    if syn.on_packet_too_big() {
                        self.settle(now, id);
                    }
                }
                (None, _) => syn.soft_error = true,
            },
            // What only could not be reached may be again: the SYN,ACK is repeated.
            Slot::SynReceived(syn)
                if seq == syn.ours.iss
                    && !syn.held
                    && close_reason(error) == Some(CloseReason::Refused) =>
            {
                self.drop_half_open(now, id, CloseReason::Refused);
            }
            _ => {}
        }
    }

    pub(super) fn replace(&mut self, id: ConnId, slot: Slot) {
        if let Some(old) = self.table.get_mut(id) {
            *old = slot;
        }
    }
}

/// Errors that end an attempt to open (SHLD-26); the others only explain a timeout.
const fn close_reason(error: IcmpError) -> Option<CloseReason> {
    match error {
        IcmpError::PortUnreachable | IcmpError::ProtocolUnreachable => Some(CloseReason::Refused),
        IcmpError::HostUnreachable | IcmpError::NetUnreachable | IcmpError::Prohibited => {
            Some(CloseReason::Unreachable)
        }
        _ => None,
    }
}

/// What a SYN or SYN,ACK carried besides: text and FIN come one number after the SYN, and the window
/// was not scaled.
pub(super) fn text_of_syn(seg: &Segment) -> Segment {
    let mut seg = seg.clone();
    let Options::Syn(options) = &seg.options else {
        return seg;
    };
    let scale = options.window_scale.unwrap_or_default();
    seg.window = WireWindow::from_bytes(u32::from(seg.window.0), scale);
    seg.options = Options::Segment(SegmentOptions {
        timestamps: options.timestamps,
        ..Default::default()
    });
    seg.seq = seg.seq.wrapping_add(1);
    seg.flags = Flags(seg.flags.0 & !Flags::SYN.0);
    seg
}

/// MUST-46, MUST-57, MUST-63: who can be at the other end of a connection.
pub(super) fn can_open(flow: &FlowKey) -> bool {
    let unicast = match flow.remote.ip() {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast() && ip.octets()[0] != 0,
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unspecified(),
    };
    unicast && flow.remote.port() != 0 && flow.local.is_ipv4() == flow.remote.is_ipv4()
}
