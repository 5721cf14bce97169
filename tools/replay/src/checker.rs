//! The rules every segment must keep that the stack sends, checked without any of its own code.

use std::collections::HashSet;
use std::time::Duration;

use crate::conversation::Conversation;
use crate::packet::{ACK, CWR, ECE, FIN, RST, SYN, TcpOptions, TcpPacket};
use referee::position;
use referee::ranges::{Counted, Ranges};

/// An ACK of in-order bytes may wait this long (RFC 9293 MUST-40).
const DELAYED_ACK_LIMIT: Duration = Duration::from_millis(500);

/// What the stack did, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Segments sent.
    pub segments: usize,
    /// Segments that repeated sequence numbers sent before.
    pub retransmissions: usize,
    /// Segments with a SACK block above the acknowledgment.
    pub sacks: usize,
    /// Segments whose first SACK block says that something came twice (RFC 2883).
    pub dsacks: usize,
    /// Segments that offered no window.
    pub zero_windows: usize,
    /// Segments sent to ask a peer with no window whether it has one.
    pub probes: usize,
    /// The most positions sent and not yet acknowledged.
    pub max_in_flight: u64,
    /// Segments after the SYN that echo a congestion mark (ECE, RFC 3168 §6.1.3).
    pub ece: usize,
    /// Segments that say the window was reduced (CWR, RFC 3168 §6.1.2).
    pub cwr: usize,
    /// Bytes of the peer's SYN that the SYN,ACK acknowledges (RFC 7413).
    pub fast_open: u64,
    /// A RST was sent.
    pub reset: bool,
}

/// One segment of the stack, for whoever needs to know what was sent when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) seq: u64,
    pub(crate) ack: u64,
    pub(crate) tsval: Option<u32>,
}

/// Follows both directions of a conversation of the stack.
#[derive(Debug)]
pub struct Checker {
    expected: Vec<u8>,
    expected_fin: Option<u64>,
    addresses: (std::net::SocketAddr, std::net::SocketAddr),
    mtu: usize,
    /// What arrived at the stack.
    their_isn: u32,
    their_end: u64,
    their_syn: Option<TcpPacket>,
    arrived: Ranges,
    their_fin: Option<u64>,
    tsvals: HashSet<u32>,
    /// The highest position their window lets the stack send up to.
    send_edge: u64,
    acked_by_them: u64,
    window_closed: bool,
    /// What the stack sent.
    isn: Option<u32>,
    syn: Option<TcpPacket>,
    end: u64,
    acked: u64,
    receive_edge: u64,
    last_tsecr: Option<u32>,
    ack_owed: Option<Duration>,
    pub(crate) transmitted: Counted,
    pub(crate) log: Vec<Sent>,
    /// What it came to so far.
    pub tally: Tally,
}

impl Checker {
    /// A checker for the stack in the place of the conversation's local end, behind a device with
    /// this MTU.
    pub fn new(conversation: &Conversation, mtu: usize) -> Self {
        Self {
            expected: conversation.ours.stream.clone(),
            expected_fin: conversation.ours.fin,
            addresses: (conversation.local, conversation.remote),
            mtu,
            their_isn: conversation.theirs.isn,
            their_end: 0,
            their_syn: None,
            arrived: Ranges::default(),
            their_fin: None,
            tsvals: HashSet::new(),
            send_edge: 0,
            acked_by_them: 0,
            window_closed: false,
            isn: None,
            syn: None,
            end: 0,
            acked: 0,
            receive_edge: 0,
            last_tsecr: None,
            ack_owed: None,
            transmitted: Counted::default(),
            log: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The stack's initial sequence number, once it said it.
    pub fn isn(&self) -> Option<u32> {
        self.isn
    }

    /// The highest position the stack allows the other end to send up to.
    pub fn receive_edge(&self) -> u64 {
        self.receive_edge
    }

    /// The highest position the other end has said to have.
    pub fn acked_by_them(&self) -> u64 {
        self.acked_by_them
    }

    /// The position after the last that the stack sent.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The first position that never arrived at the stack.
    pub fn arrived(&self) -> u64 {
        self.arrived.contiguous()
    }

    fn scale(&self, of: Option<&TcpPacket>) -> u8 {
        let scale = |syn: Option<&TcpPacket>| syn.and_then(|syn| syn.options.window_scale);
        match (scale(self.syn.as_ref()), scale(self.their_syn.as_ref())) {
            (Some(_), Some(_)) => scale(of).unwrap_or(0).min(14),
            _ => 0,
        }
    }

    fn timestamps_agreed(&self) -> bool {
        [&self.syn, &self.their_syn].iter().all(|syn| {
            syn.as_ref()
                .is_some_and(|syn| syn.options.timestamps.is_some())
        })
    }

    /// A segment of the other end reaches the stack, its acknowledgment in the stack's numbers.
    pub fn on_arrival(&mut self, now: Duration, tcp: &TcpPacket) {
        if self.acknowledges_unsent(tcp) {
            return; // RFC 9293 §3.10.7.4: it is dropped, whatever else it holds
        }
        if tcp.has(SYN) && self.their_syn.is_none() {
            self.their_syn = Some(tcp.clone());
            // Fast Open: an answer may leave before the handshake is over (RFC 7413 §4.2.2).
            self.send_edge = 1 + tcp.window as u64;
        }
        self.tsvals
            .extend(tcp.options.timestamps.map(|(tsval, _)| tsval));
        let seq = position(self.their_isn, self.their_end, tcp.seq);
        let end = seq + tcp.seq_len();
        if tcp.has(FIN) {
            self.their_fin = Some(end - 1);
        }
        let before = self.arrived.contiguous();
        if !tcp.has(RST) && (tcp.has(SYN) || end <= self.receive_edge.max(self.their_end) + 1) {
            self.arrived.insert(seq, end);
            self.their_end = self.their_end.max(end);
        }
        if self.arrived.contiguous() > before && !tcp.has(SYN) {
            self.ack_owed.get_or_insert(now);
        }
        if tcp.has(RST) {
            self.ack_owed = None;
        }
        if let (true, Some(isn)) = (tcp.has(ACK) && !tcp.has(RST), self.isn) {
            let scale = if tcp.has(SYN) {
                0
            } else {
                self.scale(self.their_syn.as_ref())
            };
            let ack = position(isn, self.end, tcp.ack);
            self.acked_by_them = self.acked_by_them.max(ack);
            self.send_edge = self.send_edge.max(ack + ((tcp.window as u64) << scale));
            self.window_closed = self.send_edge <= self.acked_by_them;
        }
    }

    fn acknowledges_unsent(&self, tcp: &TcpPacket) -> bool {
        let isn = self.isn.filter(|_| tcp.has(ACK) && !tcp.has(SYN | RST));
        isn.is_some_and(|isn| position(isn, self.end, tcp.ack) > self.end)
    }

    /// A segment of the stack; what is wrong with it is said.
    pub fn on_output(
        &mut self,
        now: Duration,
        length: usize,
        tcp: &TcpPacket,
    ) -> Result<(), String> {
        self.tally.segments += 1;
        if (tcp.source, tcp.destination) != self.addresses {
            return Err(format!("goes from {} to {}", tcp.source, tcp.destination));
        }
        if length > self.mtu {
            return Err(format!(
                "is {length} bytes long, the device takes {}",
                self.mtu
            ));
        }
        if tcp.has(RST) {
            self.tally.reset = true;
            self.ack_owed = None;
            return self.check_rst(tcp);
        }
        if tcp.has(SYN) {
            return self.check_syn(tcp);
        }
        let Some(isn) = self.isn else {
            return Err("comes before any SYN".to_owned());
        };
        if !tcp.has(ACK) {
            return Err("has no ACK bit".to_owned());
        }
        if tcp.has(ECE | CWR) && !self.syn.as_ref().is_some_and(|syn| syn.has(ECE)) {
            return Err("speaks ECN, on which nobody agreed".to_owned());
        }
        self.tally.ece += usize::from(tcp.has(ECE));
        self.tally.cwr += usize::from(tcp.has(CWR));
        let seq = position(isn, self.end, tcp.seq);
        self.check_options(tcp)?;
        self.check_ack(tcp)?;
        self.check_bytes(tcp, seq)?;
        let end = seq + tcp.seq_len();
        if tcp.seq_len() > 0 && seq < self.end {
            self.tally.retransmissions += 1;
        }
        self.transmitted.add(seq, end);
        self.end = self.end.max(end);
        let in_flight = self.end - self.acked_by_them.min(self.end);
        self.tally.max_in_flight = self.tally.max_in_flight.max(in_flight);
        self.note(tcp, seq);
        self.check_waiting(now)
    }

    /// The clock moved: no acknowledgment may be overdue.
    pub fn check_waiting(&mut self, now: Duration) -> Result<(), String> {
        if self.acked >= self.arrived.contiguous() {
            self.ack_owed = None;
        }
        match self.ack_owed {
            Some(since) if now.saturating_sub(since) > DELAYED_ACK_LIMIT => Err(format!(
                "position {} arrived {:?} ago and is not acknowledged",
                self.arrived.contiguous() - 1,
                now.saturating_sub(since)
            )),
            _ => Ok(()),
        }
    }

    fn note(&mut self, tcp: &TcpPacket, seq: u64) {
        self.log.push(Sent {
            seq,
            ack: self.acked,
            tsval: tcp.options.timestamps.map(|(tsval, _)| tsval),
        });
    }

    /// RFC 9293 §3.10.7.1: a RST lies where the peer expects it.
    fn check_rst(&self, tcp: &TcpPacket) -> Result<(), String> {
        if !tcp.payload.is_empty() {
            return Err("is a RST with payload".to_owned());
        }
        let ack = position(self.their_isn, self.their_end, tcp.ack);
        if tcp.has(ACK) && ack > self.arrived.contiguous() {
            return Err(format!(
                "is a RST that acknowledges {ack}, which never arrived"
            ));
        }
        if let Some(isn) = self.isn {
            let seq = position(isn, self.end, tcp.seq);
            if seq > self.end.max(self.acked_by_them) {
                return Err(format!("is a RST at {seq}, beyond {} sent", self.end));
            }
        }
        Ok(())
    }

    fn check_syn(&mut self, tcp: &TcpPacket) -> Result<(), String> {
        if self.isn.is_some_and(|isn| isn != tcp.seq) {
            return Err("is a SYN with another ISN than before".to_owned());
        }
        if tcp.has(FIN) || !tcp.payload.is_empty() {
            return Err("is a SYN with FIN or payload".to_owned());
        }
        let options = &tcp.options;
        if tcp.has(ACK) {
            let theirs = self
                .their_syn
                .as_ref()
                .ok_or("acknowledges a SYN that never came")?;
            // Fast Open: what came with the SYN may be acknowledged with it (RFC 7413 §4.2.2).
            let acked = tcp.ack.wrapping_sub(self.their_isn) as u64;
            if !(1..=self.arrived.contiguous()).contains(&acked) {
                return Err(format!("is a SYN that acknowledges {}", tcp.ack));
            }
            self.check_agreed(tcp, &theirs.options)?;
            self.acked = self.acked.max(acked);
            self.tally.fast_open = acked - 1;
        }
        let header = if tcp.source.is_ipv4() { 40 } else { 60 };
        match options.mss {
            Some(mss) if mss as usize <= self.mtu - header && mss >= 536 => {}
            mss => return Err(format!("offers MSS {mss:?} on an MTU of {}", self.mtu)),
        }
        if options.window_scale.is_some_and(|scale| scale > 14) {
            return Err("offers a window scale above 14".to_owned());
        }
        let asked = self
            .their_syn
            .as_ref()
            .is_some_and(|syn| syn.flags & (ECE | CWR) == ECE | CWR);
        let ecn = match tcp.has(ACK) {
            true if asked => ECE,
            true => 0,
            false => ECE | CWR,
        };
        if tcp.flags & !(SYN | ACK | ecn) != 0 {
            return Err(format!("is a SYN with flags {:#04x}", tcp.flags));
        }
        self.tally.retransmissions += usize::from(self.isn.is_some());
        self.isn = Some(tcp.seq);
        self.end = self.end.max(1);
        self.transmitted.add(0, 1);
        self.receive_edge = self.receive_edge.max(1 + tcp.window as u64);
        self.syn = Some(tcp.clone());
        self.note(tcp, 0);
        Ok(())
    }

    /// A SYN,ACK takes up what the SYN offered, and nothing else.
    fn check_agreed(&self, tcp: &TcpPacket, asked: &TcpOptions) -> Result<(), String> {
        let options = &tcp.options;
        let both = self.syn.as_ref().is_some_and(|syn| !syn.has(ACK));
        for (name, given, offered) in [
            (
                "a window scale",
                options.window_scale.is_some(),
                asked.window_scale.is_some(),
            ),
            (
                "timestamps",
                options.timestamps.is_some(),
                asked.timestamps.is_some(),
            ),
            ("SACK", options.sack_permitted, asked.sack_permitted),
        ] {
            if given != offered && !both {
                let verb = if given { "offers" } else { "leaves out" };
                return Err(format!("{verb} {name}, the SYN did otherwise"));
            }
        }
        if let (Some((_, tsecr)), Some((tsval, _))) = (options.timestamps, asked.timestamps)
            && tsecr != tsval
            // A SYN that came again may be the one that is echoed (RFC 7323 §4.3).
            && !self.tsvals.contains(&tsecr)
        {
            return Err(format!("echoes timestamp {tsecr}, the SYN said {tsval}"));
        }
        Ok(())
    }

    fn check_options(&mut self, tcp: &TcpPacket) -> Result<(), String> {
        let options = &tcp.options;
        if options.mss.is_some() || options.window_scale.is_some() || options.sack_permitted {
            return Err("carries an option of a SYN".to_owned());
        }
        if let Some(kind) = options.unknown.first() {
            return Err(format!("carries option {kind}"));
        }
        match (options.timestamps, self.timestamps_agreed()) {
            (Some(_), false) => return Err("carries timestamps nobody agreed on".to_owned()),
            (None, true) => return Err("lacks its timestamps".to_owned()),
            (Some((_, tsecr)), true) => {
                if !self.tsvals.contains(&tsecr) {
                    return Err(format!("echoes timestamp {tsecr}, which never arrived"));
                }
                let last = self.last_tsecr.unwrap_or(tsecr);
                if (tsecr.wrapping_sub(last) as i32) < 0 {
                    return Err(format!("echoes timestamp {tsecr} after {last}"));
                }
                self.last_tsecr = Some(tsecr);
            }
            (None, false) => {}
        }
        self.check_sack(tcp)
    }

    fn check_sack(&mut self, tcp: &TcpPacket) -> Result<(), String> {
        let agreed = [&self.syn, &self.their_syn]
            .iter()
            .all(|syn| syn.as_ref().is_some_and(|syn| syn.options.sack_permitted));
        if !agreed && !tcp.options.sack.is_empty() {
            return Err("carries SACK nobody agreed on".to_owned());
        }
        let mut above = false;
        for (index, &(left, right)) in tcp.options.sack.iter().enumerate() {
            let at = |wire| position(self.their_isn, self.their_end, wire);
            let (left, right, ack) = (at(left), at(right), at(tcp.ack));
            if left >= right || !self.arrived.covers(left, right) {
                return Err(format!("SACKs {left}..{right}, which did not all arrive"));
            }
            let duplicate = right <= ack
                || (tcp.options.sack.iter().skip(1))
                    .any(|&(from, to)| at(from) <= left && right <= at(to));
            if index == 0 && duplicate {
                self.tally.dsacks += 1;
            } else if left <= ack {
                return Err(format!("SACKs {left}..{right} and acknowledges {ack}"));
            } else {
                above = true;
            }
        }
        self.tally.sacks += usize::from(above);
        Ok(())
    }

    fn check_ack(&mut self, tcp: &TcpPacket) -> Result<(), String> {
        let ack = position(self.their_isn, self.their_end, tcp.ack);
        let arrived = self.arrived.contiguous();
        if ack > arrived {
            return Err(format!("acknowledges {ack}, only {arrived} arrived"));
        }
        if ack < self.acked {
            return Err(format!("acknowledges {ack}, after {} before", self.acked));
        }
        self.acked = ack;
        if self.their_fin.is_some_and(|fin| ack > fin) {
            return Ok(()); // nothing more can come, so no window means anything
        }
        let scale = self.scale(self.syn.as_ref());
        let edge = ack + ((tcp.window as u64) << scale);
        // RFC 7323 §2.4: rounding to the scale may take back less than one unit.
        if edge + (1 << scale) <= self.receive_edge {
            return Err(format!(
                "takes its window back from {} to {edge}",
                self.receive_edge
            ));
        }
        self.receive_edge = self.receive_edge.max(edge);
        self.tally.zero_windows += usize::from(tcp.window == 0);
        Ok(())
    }

    fn check_bytes(&mut self, tcp: &TcpPacket, seq: u64) -> Result<(), String> {
        let length = tcp.payload.len() as u64;
        if seq > self.end {
            return Err(format!(
                "begins at {seq}, only {} were sent before",
                self.end
            ));
        }
        if seq + 1 < self.acked_by_them && seq + length <= self.acked_by_them {
            return Err(format!(
                "is at {seq}, {} was acknowledged",
                self.acked_by_them
            ));
        }
        let theirs = self.their_syn.as_ref().and_then(|syn| syn.options.mss);
        let mss = theirs.unwrap_or(if tcp.source.is_ipv4() { 536 } else { 1220 }) as u64;
        let options = if tcp.options.timestamps.is_some() {
            12
        } else {
            0
        };
        if length > mss - options {
            return Err(format!(
                "holds {length} bytes, the peer's MSS leaves {}",
                mss - options
            ));
        }
        let probe = self.window_closed && (length <= 1 || seq < self.acked_by_them);
        if probe && seq <= self.acked_by_them {
            self.tally.probes += 1;
        } else if length > 0 && seq + length > self.send_edge {
            return Err(format!(
                "ends at {}, the window at {}",
                seq + length,
                self.send_edge
            ));
        }
        if length > 0 {
            let start = (seq as usize).wrapping_sub(1);
            let expected = self.expected.get(start..start + length as usize);
            let expected = expected.ok_or_else(|| {
                format!(
                    "ends at {}, the recorded end said {}",
                    seq + length,
                    self.expected.len()
                )
            })?;
            if let Some(at) = (0..length as usize).find(|&at| expected[at] != tcp.payload[at]) {
                let (said, right) = (tcp.payload[at], expected[at]);
                return Err(format!(
                    "byte {} is {said:#04x}, not {right:#04x}",
                    start + at
                ));
            }
        }
        if tcp.has(FIN) && self.expected_fin.is_some_and(|fin| fin != seq + length) {
            return Err(format!("says FIN at {}", seq + length));
        }
        Ok(())
    }
}
