//! The referee itself: packets to conversations, faults to violations.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use etherparse::IpSlice;

use crate::conversation::Conversation;
use crate::end::Sight;
use crate::judge::{Fault, Seen};
use crate::message;
use crate::packet::{self, Checksums, Malformed, TcpPacket};
use crate::violation::{Flow, Violation};

/// Conversations followed at once; above that, those that were silent longest are forgotten.
const MAX_CONVERSATIONS: usize = 65_536;
/// Violations kept; more are only counted.
const MAX_VIOLATIONS: usize = 10_000;

/// Where the referee stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// At both ends: [`Referee::on_sent`] and [`Referee::on_delivered`].
    Ends,
    /// At one point: [`Referee::on_seen`].
    Point {
        /// Ends at this very point: their packets pass it in the order they are sent, none is lost
        /// before it, and what passes towards them arrives, unless it is said to be lost. At a
        /// device that nothing impairs both ends are near; of other ends nothing is assumed.
        near: Vec<IpAddr>,
    },
}

/// What the referee lets pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Packets are seen before or after a device's offload: segments may be larger than the MSS,
    /// and checksums those of the pseudo-header alone.
    pub offload: bool,
}

/// Watches any number of conversations.
#[derive(Debug)]
pub struct Referee {
    view: View,
    options: Options,
    conversations: HashMap<[SocketAddr; 2], Conversation>,
    /// A conversation was forgotten: one without SYN may be it.
    forgetful: bool,
    violations: Vec<Violation>,
    count: usize,
}

impl Referee {
    /// A referee who has seen nothing yet.
    pub fn new(view: View, options: Options) -> Self {
        Self {
            view,
            options,
            conversations: HashMap::new(),
            forgetful: false,
            violations: Vec::new(),
            count: 0,
        }
    }

    /// An IP packet leaves its source, `at` this time since the beginning. Answers how many rules
    /// it breaks, as do the others.
    pub fn on_sent(&mut self, packet: usize, at: Duration, data: &Bytes) -> usize {
        let before = self.count;
        match self.read_sent(data) {
            Ok(Some(tcp)) => self.judge(packet, at, &tcp, |_| Sight::Exact),
            Ok(None) => {}
            Err(malformed) => self.push_malformed(packet, at, data, malformed),
        }
        self.count - before
    }

    /// An IP packet reaches its destination. What is damaged on its way, or lost, does not.
    pub fn on_delivered(&mut self, packet: usize, at: Duration, data: &Bytes) -> usize {
        let before = self.count;
        match self.read(data) {
            Ok(Some(tcp)) => self.deliver(packet, at, &tcp),
            Ok(None) => self.deliver_error(at, data),
            Err(_) => {}
        }
        self.count - before
    }

    /// An IP packet passes the point; `lost`: it is known not to reach its destination.
    pub fn on_seen(&mut self, packet: usize, at: Duration, data: &Bytes, lost: bool) -> usize {
        let before = self.count;
        match self.read_sent(data) {
            Ok(Some(tcp)) => {
                let near = match &self.view {
                    View::Ends => Vec::new(),
                    View::Point { near } => near.clone(),
                };
                self.judge(packet, at, &tcp, |address| {
                    if near.contains(&address.ip()) {
                        Sight::Near
                    } else {
                        Sight::Passing
                    }
                });
                if !lost {
                    self.deliver(packet, at, &tcp);
                }
            }
            Ok(None) if !lost => self.deliver_error(at, data),
            Ok(None) => {}
            Err(malformed) => self.push_malformed(packet, at, data, malformed),
        }
        self.count - before
    }

    /// Nothing more comes: what should have been said by now?
    pub fn finish(&mut self, at: Duration) -> usize {
        let before = self.count;
        let mut overdue = Vec::new();
        for conversation in self.conversations.values_mut() {
            for side in 0..2 {
                let faults = conversation.check_overdue(side, at);
                overdue.extend(
                    faults
                        .into_iter()
                        .map(|fault| (conversation.flow(side), fault)),
                );
            }
        }
        overdue.sort_by_key(|(_, fault)| fault.packet);
        for (flow, fault) in overdue {
            self.push(at, flow, fault);
        }
        self.count - before
    }

    /// The violations so far, the first 10,000 of them.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The violations since they were taken last.
    pub fn take_violations(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.violations)
    }

    /// How many violations there were in all.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many conversations are being followed.
    pub fn conversations(&self) -> usize {
        self.conversations.len()
    }

    fn read(&self, data: &Bytes) -> Result<Option<TcpPacket>, Malformed> {
        let checksums = if self.options.offload {
            Checksums::Partial
        } else {
            Checksums::Whole
        };
        packet::read(data, checksums)
    }

    fn read_sent(&self, data: &Bytes) -> Result<Option<TcpPacket>, Malformed> {
        let segment = self.read(data)?;
        packet::check_hops(data).map(|()| segment)
    }

    fn judge(
        &mut self,
        packet: usize,
        now: Duration,
        tcp: &TcpPacket,
        sight: impl Fn(SocketAddr) -> Sight,
    ) {
        let (offload, forgetful) = (self.options.offload, self.forgetful);
        let flow = Flow {
            source: tcp.source,
            destination: tcp.destination,
        };
        let conversation = self.conversation(tcp);
        let side = conversation.side(tcp.source);
        conversation.set_sight(sight);
        let overdue = [side, 1 - side].map(|side| {
            (
                conversation.flow(side),
                conversation.check_overdue(side, now),
            )
        });
        let seen = Seen {
            packet,
            now,
            tcp,
            offload,
        };
        let faults = conversation.on_sent(side, &seen, forgetful);
        let faults = faults.into_iter().map(|fault| (flow, fault));
        let overdue = overdue
            .into_iter()
            .filter_map(|(flow, fault)| Some((flow, fault?)));
        for (flow, fault) in overdue.chain(faults) {
            self.push(now, flow, fault);
        }
    }

    fn deliver(&mut self, packet: usize, now: Duration, tcp: &TcpPacket) {
        let offload = self.options.offload;
        let conversation = self.conversation(tcp);
        let side = conversation.side(tcp.destination);
        conversation.on_delivered(
            side,
            &Seen {
                packet,
                now,
                tcp,
                offload,
            },
        );
    }

    /// What is no segment may be an ICMP error about one.
    fn deliver_error(&mut self, now: Duration, data: &[u8]) {
        let Some(quote) = message::quote(data) else {
            return;
        };
        let mut addresses = [quote.source, quote.destination];
        addresses.sort_unstable();
        if let Some(conversation) = self.conversations.get_mut(&addresses) {
            conversation.on_error(now, &quote);
        }
    }

    fn conversation(&mut self, tcp: &TcpPacket) -> &mut Conversation {
        let mut addresses = [tcp.source, tcp.destination];
        addresses.sort_unstable();
        if self.conversations.len() >= MAX_CONVERSATIONS
            && !self.conversations.contains_key(&addresses)
        {
            self.forget();
        }
        let make = || Conversation::new(addresses);
        self.conversations.entry(addresses).or_insert_with(make)
    }

    /// Forgets the half of all conversations that was silent longest.
    fn forget(&mut self) {
        let mut times: Vec<_> = self.conversations.values().map(|one| one.last).collect();
        let (_, &mut median, _) = times.select_nth_unstable(MAX_CONVERSATIONS / 2);
        self.conversations.retain(|_, one| one.last > median);
        self.forgetful = true;
    }

    fn push_malformed(&mut self, packet: usize, at: Duration, data: &[u8], malformed: Malformed) {
        let flow = addresses(data);
        let Malformed { rule, what } = malformed;
        self.push(at, flow, Fault { rule, packet, what });
    }

    fn push(&mut self, at: Duration, flow: Flow, fault: Fault) {
        let Fault { rule, packet, what } = fault;
        self.count += 1;
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation {
                rule,
                packet,
                at,
                flow,
                what,
            });
        }
    }
}

/// The addresses of a packet that is wrong in some way, as far as they can be read.
fn addresses(data: &[u8]) -> Flow {
    let unknown = IpAddr::from([0; 4]);
    let (source, destination) = match IpSlice::from_slice(data) {
        Ok(ip) => (ip.source_addr(), ip.destination_addr()),
        Err(_) => (unknown, unknown),
    };
    let with_port = |address| SocketAddr::new(address, 0);
    Flow {
        source: with_port(source),
        destination: with_port(destination),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn segment(client: usize, syn: bool) -> Bytes {
        let source = [10, 1, (client >> 8) as u8, client as u8];
        let port = 1024 + (client >> 16) as u16;
        let builder = PacketBuilder::ipv4(source, [10, 0, 0, 1], 64).tcp(port, 80, 7, 1000);
        let builder = if syn { builder.syn() } else { builder.ack(9) };
        let mut data = Vec::new();
        builder.write(&mut data, &[]).unwrap();
        data.into()
    }

    #[test]
    fn memory_is_bounded() {
        let mut referee = Referee::new(View::Ends, Options::default());
        let count = MAX_CONVERSATIONS + 10;
        for client in 0..count {
            let at = Duration::from_micros(client as u64);
            assert_eq!(referee.on_sent(client, at, &segment(client, true)), 0);
        }
        assert!(referee.conversations() <= MAX_CONVERSATIONS);
        let at = Duration::from_secs(1);
        assert_eq!(
            referee.on_sent(count, at, &segment(0, false)),
            0,
            "it may have begun"
        );
        for number in 0..MAX_VIOLATIONS + 10 {
            assert_eq!(referee.on_sent(number, at, &Bytes::from_static(b"?")), 1);
        }
        assert_eq!(referee.violations().len(), MAX_VIOLATIONS);
        assert_eq!(referee.count(), MAX_VIOLATIONS + 10);
    }
}
