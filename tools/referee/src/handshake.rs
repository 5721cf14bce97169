//! SYNs, and what they agree on.

use std::time::Duration;

use crate::conversation::Conversation;
use crate::end::{End, Offer, Sight};
use crate::judge::{Faults, Seen};
use crate::packet::{ACK, SYN, TcpPacket};
use crate::rule::Rule;

/// An end that heard nothing for so long may have given up, and begin anew.
const PATIENCE: Duration = Duration::from_secs(30);

impl Conversation {
    /// `side` sends a SYN: the first one, the same again, or that of a new conversation.
    pub(crate) fn check_syn(&mut self, side: usize, seen: &Seen<'_>, faults: &mut Faults) {
        let tcp = seen.tcp;
        match self.ends[side].isn {
            Some(isn) if isn != tcp.seq => self.begin_anew(side, seen, faults),
            // A SYN,ACK alone, to a SYN that was not seen.
            None if tcp.has(ACK) && !self.begun => {
                if self.ends[side].sight == Sight::Exact && !self.reused {
                    faults.push(Rule::BeforeHandshake, "answers a SYN that was never sent");
                }
                return;
            }
            _ => {}
        }
        self.begun = !self.mixed;
        let (end, peer) = self.pair(side);
        if end.isn.is_none() {
            end.isn = Some(tcp.seq);
            end.began = seen.now;
            end.heard = seen.now;
        }
        end.reset = None;
        end.asked = seen.now;
        if tcp.has(ACK) {
            check_agreed(end, peer, tcp, faults);
        } else if tcp.options.timestamps.is_some_and(|(_, tsecr)| tsecr != 0) {
            faults.push(Rule::EchoUnseen, "echoes a timestamp without an ACK");
        }
        end.offer.add(tcp);
    }

    /// `side` sends a SYN with another ISN than before.
    fn begin_anew(&mut self, side: usize, seen: &Seen<'_>, faults: &mut Faults) {
        let (now, tcp) = (seen.now, seen.tcp);
        let (end, peer) = self.pair(side);
        let patient = now.saturating_sub(end.heard) < PATIENCE;
        let reset = end.reset.is_some() || peer.reset.is_some() || end.perhaps_reset;
        let open = !reset && end.fin.is_none() && patient;
        let fault = if tcp.has(ACK) {
            // Another SYN cookie follows only a minute later.
            open && (end.acked > 0 || now.saturating_sub(end.began) < PATIENCE)
        } else {
            // A SYN that was not answered may belong to an attempt that was given up.
            open && end.synchronized()
        };
        if fault {
            faults.push(Rule::OtherIsn, "is a SYN with another ISN than before");
        }
        if tcp.has(ACK) {
            *end = End::new(end.sight).with_peer(end);
            peer.forget_peer();
        } else {
            let sights = self.ends.each_ref().map(|end| end.sight);
            self.ends = sights.map(End::new);
        }
        self.reused = true;
        self.mixed = fault || self.mixed && tcp.has(ACK);
    }

    /// Options of every segment but a RST.
    pub(crate) fn check_options(&mut self, side: usize, tcp: &TcpPacket, faults: &mut Faults) {
        let (end, peer) = self.pair(side);
        if !peer.offer.sack && !tcp.options.sack.is_empty() {
            faults.push(
                Rule::OptionNotAgreed,
                "carries SACK blocks, which the peer did not permit",
            );
        }
        let agreed = end.offer.timestamps && peer.offer.timestamps;
        let Some((tsval, tsecr)) = tcp.options.timestamps else {
            if agreed && !tcp.has(SYN) {
                faults.push(Rule::TimestampMissing, "lacks its timestamps");
            }
            return;
        };
        if !tcp.has(SYN) && !agreed {
            faults.push(
                Rule::OptionNotAgreed,
                "carries timestamps, which were not agreed on",
            );
            return;
        }
        let near = end.sight > Sight::Passing;
        if near && let Some(back) = end.said_times.advance(tsval).filter(|&by| by < 0) {
            faults.push(
                Rule::TimestampBack,
                format!("has TSval {tsval}, {} below the one before", -back),
            );
        }
        if !tcp.has(ACK) {
            return;
        }
        if !end.got_times.contains(tsecr) {
            faults.push(
                Rule::EchoUnseen,
                format!("echoes timestamp {tsecr}, which never arrived"),
            );
        } else if near && let Some(back) = end.echoed.advance(tsecr).filter(|&by| by < 0) {
            faults.push(
                Rule::EchoBack,
                format!("echoes timestamp {tsecr}, {} below the one before", -back),
            );
        }
    }
}

impl End {
    /// The same end with a new ISN: what it got from its peer is as it was.
    fn with_peer(mut self, before: &Self) -> Self {
        self.got = before.got.clone();
        self.got_times = before.got_times.clone();
        self.acks.clone_from(&before.acks);
        self
    }
}

/// A SYN,ACK takes up what the SYN offered.
fn check_agreed(end: &End, peer: &End, tcp: &TcpPacket, faults: &mut Faults) {
    let Offer {
        window_scale,
        timestamps,
        ..
    } = peer.offer;
    if end.offer.first {
        return; // both opened: it repeats what its own SYN offered
    }
    if tcp.options.window_scale.is_some() && window_scale.is_none() {
        faults.push(
            Rule::OptionNotAgreed,
            "answers with a window scale, the SYN had none",
        );
    }
    if tcp.options.timestamps.is_some() && !timestamps {
        faults.push(
            Rule::OptionNotAgreed,
            "answers with timestamps, the SYN had none",
        );
    }
}
