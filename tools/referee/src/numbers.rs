//! What an end says of the bytes it got: acknowledgment, window, SACK blocks.

use crate::conversation::Conversation;
use crate::end::{End, Sight};
use crate::judge::Faults;
use crate::packet::{SYN, TcpPacket};
use crate::position::position;
use crate::rule::Rule;

impl Conversation {
    pub(crate) fn check_ack(&mut self, side: usize, tcp: &TcpPacket, faults: &mut Faults) {
        let (end, peer) = self.pair(side);
        let Some(isn) = peer.isn else {
            if end.sight == Sight::Exact {
                faults.push(
                    Rule::AckUnseen,
                    "acknowledges something, and nothing ever came",
                );
            }
            return;
        };
        let ack = position(isn, peer.sent, tcp.ack);
        let got = end.got.contiguous();
        if ack > got {
            faults.push(
                Rule::AckUnseen,
                format!("acknowledges {ack}, only {got} arrived"),
            );
            if ack > peer.sent {
                return;
            }
            end.got.insert(0, ack);
        }
        end.check_sack(isn, peer.sent, ack, tcp, faults);
        if ack < end.said_ack {
            if end.sent_later(tcp) && !tcp.has(SYN) {
                faults.push(
                    Rule::AckBack,
                    format!("acknowledges {ack}, after {} before", end.said_ack),
                );
            }
            return;
        }
        end.check_window(peer, ack, tcp, faults);
        end.said_ack = ack;
    }
}

impl End {
    fn check_window(&mut self, peer: &Self, ack: u64, tcp: &TcpPacket, faults: &mut Faults) {
        let scale = self.scale(peer, tcp);
        let edge = ack + ((tcp.window as u64) << scale);
        // After the peer's FIN nothing can come, so no window means anything.
        let over = self.got_fin.is_some_and(|fin| ack > fin);
        let later = ack > self.said_ack || self.sent_later(tcp);
        // RFC 7323 §2.4: rounding to the scale may take back less than one unit.
        if later && !over && !tcp.has(SYN) && edge + (1 << scale) <= self.said_edge {
            let before = self.said_edge;
            faults.push(
                Rule::WindowShrunk,
                format!("takes its window back from {before} to {edge}"),
            );
            self.said_edge = edge;
        }
        self.said_edge = self.said_edge.max(edge);
    }

    fn check_sack(&self, isn: u32, near: u64, ack: u64, tcp: &TcpPacket, faults: &mut Faults) {
        let at = |wire| position(isn, near, wire);
        let blocks: Vec<_> = tcp
            .options
            .sack
            .iter()
            .map(|&(left, right)| (at(left), at(right)))
            .collect();
        for (index, &(left, right)) in blocks.iter().enumerate() {
            // RFC 2883: the first block may say what came twice, below the acknowledgment or in the next block.
            let duplicate = index == 0
                && (right <= ack
                    || blocks
                        .get(1)
                        .is_some_and(|&(from, to)| from <= left && right <= to));
            if left >= right {
                faults.push(
                    Rule::SackFalse,
                    format!("SACKs {left}..{right}, which is nothing"),
                );
            } else if !self.got.covers(left, right) {
                faults.push(
                    Rule::SackFalse,
                    format!("SACKs {left}..{right}, which did not all arrive"),
                );
            } else if left <= ack && !duplicate {
                faults.push(
                    Rule::SackFalse,
                    format!("SACKs {left}..{right} and acknowledges {ack}"),
                );
            }
        }
    }
}
