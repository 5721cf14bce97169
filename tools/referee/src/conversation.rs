//! Two ends and what they say to each other.

use std::net::SocketAddr;
use std::time::Duration;

use crate::end::{End, Sight};
use crate::judge::{Fault, Faults, Seen};
use crate::packet::{ACK, CWR, ECE, FIN, RST, SYN, TcpPacket};
use crate::position::position;
use crate::rule::Rule;
use crate::violation::Flow;

/// A conversation between two addresses; after a new SYN, the newest.
#[derive(Debug)]
pub(crate) struct Conversation {
    addresses: [SocketAddr; 2],
    pub(crate) ends: [End; 2],
    /// It began with a SYN. Of others, only what each packet says by itself is judged.
    pub(crate) begun: bool,
    /// Two ISNs of one end are about, and nobody knows which of them is meant.
    pub(crate) mixed: bool,
    /// The addresses were used before: there may be segments of the conversation before this.
    pub(crate) reused: bool,
    /// When anything was seen of it last.
    pub(crate) last: Duration,
}

impl Conversation {
    pub(crate) fn new(addresses: [SocketAddr; 2]) -> Self {
        Self {
            addresses,
            ends: [Sight::Passing; 2].map(End::new),
            begun: false,
            mixed: false,
            reused: false,
            last: Duration::ZERO,
        }
    }

    /// Which of the two ends `address` is.
    pub(crate) fn side(&self, address: SocketAddr) -> usize {
        usize::from(address != self.addresses[0])
    }

    /// What `side` sends.
    pub(crate) fn flow(&self, side: usize) -> Flow {
        let (source, destination) = (self.addresses[side], self.addresses[1 - side]);
        Flow {
            source,
            destination,
        }
    }

    pub(crate) fn set_sight(&mut self, sight: impl Fn(SocketAddr) -> Sight) {
        for (end, &address) in self.ends.iter_mut().zip(&self.addresses) {
            end.sight = sight(address);
        }
    }

    /// The end at `side`, and its peer.
    pub(crate) fn pair(&mut self, side: usize) -> (&mut End, &mut End) {
        let [first, second] = &mut self.ends;
        if side == 0 {
            (first, second)
        } else {
            (second, first)
        }
    }

    pub(crate) fn check_overdue(&mut self, side: usize, now: Duration) -> Option<Fault> {
        self.ends[side].check_overdue(now)
    }

    /// `side` sends a segment. `forgetful`: what is unknown may have been forgotten.
    pub(crate) fn on_sent(&mut self, side: usize, seen: &Seen<'_>, forgetful: bool) -> Vec<Fault> {
        self.last = seen.now;
        let mut faults = Faults::new(seen.packet);
        let tcp = seen.tcp;
        check_alone(tcp, &mut faults);
        if tcp.has(RST) {
            self.check_reset(side, seen, &mut faults);
            return faults.list;
        }
        if tcp.has(SYN) {
            self.check_syn(side, seen, &mut faults);
        } else if self.ends[side].isn.is_none() {
            let exact = self.ends[side].sight == Sight::Exact;
            if exact && !self.reused && !forgetful {
                faults.push(Rule::BeforeHandshake, "comes before any SYN of its sender");
                self.reused = true;
            }
            return faults.list;
        }
        if self.begun {
            self.check_segment(side, seen, &mut faults);
        }
        faults.list
    }

    fn check_segment(&mut self, side: usize, seen: &Seen<'_>, faults: &mut Faults) {
        let tcp = seen.tcp;
        self.check_after_reset(side, seen, faults);
        if !tcp.has(SYN | ACK) {
            faults.push(Rule::Flags, "has no ACK bit");
        }
        self.check_ecn(side, tcp, faults);
        self.check_options(side, tcp, faults);
        if tcp.has(ACK) {
            self.check_ack(side, tcp, faults);
        }
        self.check_text(side, seen, faults);
        let end = &mut self.ends[side];
        end.opened |= !tcp.has(SYN);
        end.pay_ack(seen.now);
        if let Some((tsval, tsecr)) = tcp.options.timestamps {
            end.said_times.add(tsval);
            if tcp.has(ACK) {
                end.echoed.add(tsecr);
            }
        }
    }

    fn check_ecn(&self, side: usize, tcp: &TcpPacket, faults: &mut Faults) {
        let [end, peer] = [&self.ends[side], &self.ends[1 - side]];
        if end.offer.accurate_ecn || peer.offer.accurate_ecn {
            return;
        }
        let agreed = end.offer.ecn && peer.offer.ecn;
        if tcp.has(SYN) {
            if tcp.has(ACK) && tcp.flags & (ECE | CWR) == ECE && !peer.offer.ecn {
                faults.push(
                    Rule::EcnNotAgreed,
                    "agrees to ECN, which the SYN did not ask for",
                );
            }
        } else if !agreed && tcp.has(ECE | CWR) {
            faults.push(
                Rule::EcnNotAgreed,
                "has ECE or CWR set, and ECN was not agreed on",
            );
        }
        if tcp.ecn != 0 && !agreed {
            faults.push(
                Rule::EcnNotAgreed,
                "is marked as ECN-capable, and ECN was not agreed on",
            );
        }
    }

    /// A segment reaches `side`.
    pub(crate) fn on_delivered(&mut self, side: usize, seen: &Seen<'_>) {
        let tcp = seen.tcp;
        let (end, peer) = self.pair(side);
        end.heard = seen.now;
        end.timer.restart();
        end.note_ack(tcp);
        let Some(isn) = peer.isn else {
            return;
        };
        let seq = position(isn, peer.sent, tcp.seq);
        if tcp.has(RST) {
            end.on_reset(seen, seq);
            return;
        }
        let stale = if tcp.has(SYN) {
            tcp.seq != isn
        } else {
            seq + tcp.seq_len() > peer.sent
        };
        if stale {
            return; // of a conversation before this one
        }
        let accepted = end.accepts(tcp, seq, tcp.seq_len()) || tcp.has(SYN);
        end.got_times
            .add_some(tcp.options.timestamps.map(|(tsval, _)| tsval));
        end.on_text(seen, seq, accepted);
        if tcp.has(ACK) && end.isn.is_some() {
            end.on_ack(peer, seen, accepted);
        } else if tcp.has(SYN) {
            // What a Fast Open server may send before it is acknowledged.
            end.edge = end.edge.max(1 + tcp.window as u64);
        }
    }
}

impl End {
    /// What a segment brings reaches this end, which surely reads it if `accepted`.
    fn on_text(&mut self, seen: &Seen<'_>, seq: u64, accepted: bool) {
        let tcp = seen.tcp;
        let end = seq + tcp.seq_len();
        if seq == end {
            return;
        }
        if tcp.has(FIN) {
            self.got_fin = Some(end - 1);
        }
        self.got.insert(seq, end);
        let before = self.taken.contiguous();
        // A server whose queue is full ignores what would open the connection.
        let opened = self.opened || self.offer.first || tcp.has(SYN);
        if accepted && opened && !self.acks_long_ago(tcp) {
            self.taken.insert(seq, end.min(self.said_edge.max(1)));
        }
        let taken = self.taken.contiguous();
        if taken > before && !tcp.has(SYN) && self.reset.is_none() {
            self.owe_ack(seen, taken);
        }
    }

    /// RFC 5961 §5: what acknowledges less than a window ago is answered and not processed.
    fn acks_long_ago(&self, tcp: &TcpPacket) -> bool {
        let ack = position(self.isn.unwrap_or_default(), self.sent, tcp.ack);
        tcp.has(ACK) && ack + self.widest < self.acked
    }

    /// An acknowledgment of the peer reaches this end.
    fn on_ack(&mut self, peer: &Self, seen: &Seen<'_>, accepted: bool) {
        let tcp = seen.tcp;
        let ack = position(self.isn.unwrap_or_default(), self.sent, tcp.ack);
        if ack > self.sent {
            return; // of something never sent, or of a conversation before this one
        }
        let window = (tcp.window as u64) << peer.scale(self, tcp);
        let edge = ack + window;
        self.widest = self.widest.max(window);
        if ack >= self.acked {
            self.window_closed = tcp.window == 0;
        }
        if accepted {
            self.knows_acked = self.knows_acked.max(ack);
        }
        if self.acked == 0 && ack > 0 {
            self.timer.sample(seen.now, Some(self.asked));
        }
        self.edge = self.edge.max(edge);
        self.acked = self.acked.max(ack);
        // Which transmission it was is not known: none took less than this.
        let mut sent = self.kept.acknowledge(ack);
        for &(left, right) in &tcp.options.sack {
            let at = |wire| position(self.isn.unwrap_or_default(), self.sent, wire);
            let (left, right) = (at(left), at(right));
            sent = sent.max(self.kept.youngest(left, right));
            self.kept.sack(left, right);
        }
        self.timer.sample(seen.now, sent);
    }
}

/// What a segment may not say whatever came before it.
fn check_alone(tcp: &TcpPacket, faults: &mut Faults) {
    let options = &tcp.options;
    if tcp.reserved & !1 != 0 {
        faults.push(
            Rule::ReservedBits,
            format!("has reserved bits {:#x} set", tcp.reserved),
        );
    }
    if tcp.has(SYN) && tcp.has(FIN | RST) {
        faults.push(Rule::Flags, "has SYN set with FIN or RST");
    }
    let of_syn = [
        (options.mss.is_some(), "an MSS"),
        (options.window_scale.is_some(), "a window scale"),
        (options.sack_permitted, "SACK-permitted"),
    ];
    for (_, what) in of_syn.iter().filter(|(has, _)| *has && !tcp.has(SYN)) {
        faults.push(Rule::SynOption, format!("carries {what} and is no SYN"));
    }
    if let Some(scale) = options.window_scale.filter(|&scale| scale > 14) {
        faults.push(
            Rule::WindowScaleTooLarge,
            format!("offers a window scale of {scale}"),
        );
    }
}
