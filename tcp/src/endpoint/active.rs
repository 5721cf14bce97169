//! Active opens: a port, a SYN, and the answer (RFC 9293 §3.10.1, §3.10.7.3).

use alloc::boxed::Box;

use bytes::Bytes;

use crate::config::SocketOptions;
use crate::connection::Negotiated;
use crate::endpoint::input::{can_open, text_of_syn};
use crate::endpoint::{ConnId, Event, Slot, Tcp};
use crate::error::{CloseReason, ConnectError, Dropped};
#[cfg(any(test, feature = "testing"))]
use crate::handshake::FastOpenCache;
use crate::handshake::{
    FastOpenRequest, Ours, SynReceived, SynSent, SynSentOutcome, syn_data_room,
};
use crate::observe::AckWhy;
use crate::segment::{Ecn, FastOpen, Flags, FlowKey, Segment};
use crate::time::Instant;

/// Ports tried before an active open gives up (PT-2).
const MAX_PORT_TRIES: u32 = 65_536;

/// What a server is taken to accept in a segment if it never said (RFC 9293 §3.7.1).
const DEFAULT_MSS: u16 = 536;

impl Tcp {
    /// Opens a connection. A local port of 0 is replaced by an ephemeral one; the flow it got is
    /// returned. [`Event::Connected`] or [`Event::Closed`] follows.
    pub fn connect(
        &mut self,
        now: Instant,
        flow: FlowKey,
        options: SocketOptions,
    ) -> Result<(ConnId, FlowKey), ConnectError> {
        let ours = self.begin_connect(now, flow, options)?;
        Ok(self.insert_syn_sent(now, SynSent::new(ours, None)))
    }

    /// Opens a connection with data in its SYN, if the server gave a Fast Open cookie before; else
    /// asks for one, and sends the data as soon as the connection is open (RFC 7413,
    /// `sendto(MSG_FASTOPEN)`). Returns how many bytes of `data` were taken, too: as many as the
    /// send buffer holds.
    ///
    /// The server may see the data twice, if the SYN does and the server forgets: it has to be
    /// such that this does no harm (RFC 7413 §2.1).
    pub fn connect_with_data(
        &mut self,
        now: Instant,
        flow: FlowKey,
        options: SocketOptions,
        data: &Bytes,
    ) -> Result<(ConnId, FlowKey, usize), ConnectError> {
        let mut ours = self.begin_connect(now, flow, options)?;
        let room = options
            .send_buffer
            .unwrap_or(self.config.send_buffer_initial);
        let room = self.early_room(room as usize);
        let taken = data.len().min(room);
        ours.data = data.slice(..taken);
        let request = self.fast_open.request(now, &ours.flow);
        let (id, flow) = self.insert_syn_sent(now, SynSent::new(ours, request));
        Ok((id, flow, taken))
    }

    /// Forgets all cookies that servers gave: a test begins anew (`ip tcp_metrics flush`).
    #[cfg(any(test, feature = "testing"))]
    pub fn forget_cookies(&mut self) {
        self.fast_open = FastOpenCache::default();
    }

    /// How many bytes the SYN of [`Tcp::connect_with_data`] would carry from `local` to `remote`;
    /// `None` without a cookie.
    pub fn fast_open_room(
        &self,
        now: Instant,
        flow: &FlowKey,
        options: &SocketOptions,
    ) -> Option<usize> {
        match self.fast_open.request(now, flow)? {
            FastOpenRequest::Cookie { mss, .. } => {
                let mss = options.clamp_mss(mss);
                Some(syn_data_room(&self.config, flow, mss))
            }
            FastOpenRequest::Ask => None,
        }
    }

    fn begin_connect(
        &mut self,
        now: Instant,
        flow: FlowKey,
        options: SocketOptions,
    ) -> Result<Ours, ConnectError> {
        if !can_open(&flow) {
            return Err(ConnectError::InvalidRemote);
        }
        if self.connection_count() >= self.config.max_connections {
            return Err(ConnectError::TooManyConnections);
        }
        let flow = self.choose_port(flow)?;
        if self.table.lookup(&flow).is_some() {
            return Err(ConnectError::AddrInUse);
        }
        let iss = self.secrets.isn(now, &flow);
        let offset = self.secrets.timestamp_offset(&flow);
        let options = self.option_sets.share(&options);
        let mut ours = Ours::new(flow, options, iss, offset);
        ours.window_limit = self.first_window();
        Ok(ours)
    }

    fn insert_syn_sent(&mut self, now: Instant, syn: SynSent) -> (ConnId, FlowKey) {
        let flow = syn.ours.flow;
        self.counters.active_opens += 1;
        self.charge_early(syn.ours.data.len());
        let id = self.table.insert(Slot::SynSent(Box::new(syn)));
        self.settle(now, id);
        self.observe_opening(now, &flow, id);
        (id, flow)
    }

    fn choose_port(&mut self, mut flow: FlowKey) -> Result<FlowKey, ConnectError> {
        if flow.local.port() != 0 {
            return Ok(flow);
        }
        let range = self.config.ephemeral_ports;
        let (modulus, remainder) = self.config.port_class;
        let ports = self
            .secrets
            .ports(flow.local.ip(), flow.remote, range, MAX_PORT_TRIES);
        for port in ports.filter(|port| port % modulus.max(1) == remainder) {
            flow.local.set_port(port);
            if !self.listeners.has_port(port) && self.table.lookup(&flow).is_none() {
                return Ok(flow);
            }
        }
        Err(ConnectError::AddrNotAvailable)
    }

    pub(super) fn on_syn_sent(
        &mut self,
        now: Instant,
        id: ConnId,
        seg: &mut Segment,
    ) -> Result<(), Dropped> {
        let Some(Slot::SynSent(syn)) = self.table.get_mut(id) else {
            return Err(Dropped::NoSocket);
        };
        let flow = syn.ours.flow;
        match syn.on_segment(now, &self.config, seg) {
            SynSentOutcome::Ignore => return Err(Dropped::BadFlags),
            SynSentOutcome::Reply(segment) => {
                self.reset(&flow, segment);
                return Err(Dropped::BadAck);
            }
            SynSentOutcome::Refused => {
                self.counters.attempt_fails += 1;
                self.drop_slot(id, CloseReason::Refused);
                return Err(Dropped::Reset);
            }
            SynSentOutcome::Retry => {}
            SynSentOutcome::SimultaneousOpen(peer) => {
                let slot = SynReceived::new(syn.ours.crossed(), None, peer, false);
                self.replace(id, Slot::SynReceived(Box::new(slot)));
            }
            SynSentOutcome::Connected(settled, cookie) => {
                self.note_fast_open(now, id, &settled, cookie);
                self.open(now, id, &settled);
                self.events.push_back(Event::Connected(id));
                self.on_rest(now, id, seg);
            }
        }
        self.settle(now, id);
        Ok(())
    }

    /// What this server makes of Fast Open (RFC 7413 §4.1.3).
    fn note_fast_open(
        &mut self,
        now: Instant,
        id: ConnId,
        settled: &Negotiated,
        cookie: Option<FastOpen>,
    ) {
        let Some(Slot::SynSent(syn)) = self.table.get(id) else {
            return;
        };
        let (tried, unanswered) = syn.fast_open_tried();
        if settled.syn_data_acked > 0 {
            self.counters.fast_open_active += 1;
        } else if syn.syn_data() > 0 {
            self.counters.fast_open_active_fail += 1;
        }
        let mss = settled.peer.mss.unwrap_or(DEFAULT_MSS);
        if let Some(cookie) = cookie.filter(|cookie| tried && !cookie.cookie().is_empty()) {
            self.fast_open.on_cookie(&settled.flow, cookie, mss);
        } else if unanswered && settled.syn_data_acked == 0 {
            self.fast_open.on_silence(now, &settled.flow);
        } else if tried {
            self.fast_open.on_mss(&settled.flow, mss);
        }
    }

    /// What a SYN,ACK carried besides, and the ACK that it wants.
    fn on_rest(&mut self, now: Instant, id: ConnId, seg: &Segment) {
        if let Some(Slot::Connection(conn)) = self.table.get_mut(id) {
            conn.owe_ack(AckWhy::Opened);
            if !seg.payload.is_empty() || seg.has(Flags::FIN) {
                // Whatever is wrong with it, the handshake stands.
                let _ = conn.on_segment(now, Ecn::NotEct, &mut text_of_syn(seg));
            }
        }
    }
}
