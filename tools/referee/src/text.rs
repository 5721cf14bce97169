//! What an end sends: bytes and FIN, in their places and within bounds.

use std::net::SocketAddr;

use crate::conversation::Conversation;
use crate::end::{End, Sight};
use crate::judge::{Faults, Seen};
use crate::packet::{FIN, SYN};
use crate::position::position;
use crate::rule::Rule;

impl Conversation {
    /// The segment's place in its sender's stream.
    pub(crate) fn check_text(&mut self, side: usize, seen: &Seen<'_>, faults: &mut Faults) {
        let tcp = seen.tcp;
        let (end, peer) = self.pair(side);
        let Some(isn) = end.isn else {
            return;
        };
        let seq = position(isn, end.sent, tcp.seq);
        let (start, length) = (seq + u64::from(tcp.has(SYN)), tcp.payload.len() as u64);
        if seq > end.sent {
            if end.sight > Sight::Passing {
                faults.push(
                    Rule::Gap,
                    format!("begins at {seq}, only {} were sent before", end.sent),
                );
            }
            end.sent = seq;
        }
        if tcp.seq_len() == 0 {
            return;
        }
        if length > 0 && !tcp.has(SYN) {
            end.check_state(peer, faults);
            end.check_edge(start, length, faults);
            if !seen.offload {
                check_mss(peer, seen, faults);
                end.check_path(seen, faults);
            }
        }
        end.check_again(seen, seq, faults);
        end.check_fin(seen, start + length, faults);
        if let Some(difference) = end.kept.send(seen.now, start, &tcp.payload)
            && start + length > end.acked
        {
            let what = format!(
                "has {:#04x} at {}, where {:#04x} was sent before",
                difference.now, difference.at, difference.before
            );
            faults.push(Rule::OtherBytes, what);
        }
        end.sent = end.sent.max(seq + tcp.seq_len());
    }
}

impl End {
    /// Bytes wait for the handshake, but for those that Fast Open allows.
    fn check_state(&self, peer: &Self, faults: &mut Faults) {
        if !self.got.covers(0, 1) {
            if self.sight > Sight::Passing {
                faults.push(
                    Rule::BeforeHandshake,
                    "brings bytes before the peer's SYN arrived",
                );
            }
        } else if self.acked == 0 && !peer.offer.data {
            faults.push(
                Rule::BeforeHandshake,
                "brings bytes before its SYN was acknowledged",
            );
        }
    }

    /// RFC 9293 §3.8.6.1: one byte may ask a closed window whether it opened.
    fn check_edge(&self, start: u64, length: u64, faults: &mut Faults) {
        let end = start + length;
        let probe = length == 1 && self.edge <= self.acked && start <= self.acked;
        if end > self.edge && !probe {
            faults.push(
                Rule::OutsideWindow,
                format!("ends at {end}, the window at {}", self.edge),
            );
        }
    }

    /// What was sent before is sent again, in part at least.
    fn check_again(&mut self, seen: &Seen<'_>, seq: u64, faults: &mut Faults) {
        let tcp = seen.tcp;
        let end = seq + tcp.seq_len();
        let again = seq < self.sent;
        // A keep-alive may bring one byte of before (RFC 9293 §3.8.4), and so may a probe.
        let known = end <= self.knows_acked && tcp.payload.len() != 1 && !tcp.has(SYN);
        if again && known && self.sight == Sight::Exact {
            faults.push(
                Rule::AcknowledgedAgain,
                format!("is {seq}..{end}, {} was acknowledged", self.knows_acked),
            );
        }
        if end > self.acked {
            self.check_timer(seen, seq, again, faults);
        }
        let bytes = !tcp.payload.is_empty() && !tcp.has(SYN);
        if again && end > self.acked && bytes {
            self.check_early(seen.now, seq..end, faults);
        }
    }

    fn check_fin(&mut self, seen: &Seen<'_>, end: u64, faults: &mut Faults) {
        let has_fin = seen.tcp.has(FIN);
        // RFC 9293 §3.8.4: a keep-alive's byte lies before SND.NXT, in the place of the FIN.
        let keep_alive = seen.tcp.payload.len() == 1 && end == self.sent;
        match self.fin {
            Some(fin) if end == fin + 1 && keep_alive && !has_fin => {}
            Some(fin) if end > fin && !(has_fin && seen.tcp.payload.is_empty()) => {
                faults.push(
                    Rule::AfterFin,
                    format!("brings bytes up to {end}, FIN was at {fin}"),
                );
            }
            Some(fin) if has_fin && end != fin => {
                faults.push(
                    Rule::FinMoved,
                    format!("says FIN at {end}, it was at {fin} before"),
                );
            }
            None if has_fin && end < self.sent => {
                faults.push(
                    Rule::FinMoved,
                    format!("says FIN at {end}, after bytes up to {}", self.sent),
                );
            }
            _ => {}
        }
        if has_fin {
            self.fin = Some(end);
        }
    }
}

/// RFC 9293 §3.7.1: the MSS counts options, too.
fn check_mss(peer: &End, seen: &Seen<'_>, faults: &mut Faults) {
    let tcp = seen.tcp;
    let default = match tcp.source {
        SocketAddr::V4(_) => 536,
        SocketAddr::V6(_) => 1220,
    };
    let mss = peer.offer.mss.unwrap_or(default) as usize;
    let length = tcp.payload.len() + tcp.option_bytes;
    if length > mss {
        faults.push(
            Rule::MssExceeded,
            format!("holds {length} bytes with options, the peer's MSS is {mss}"),
        );
    }
}
