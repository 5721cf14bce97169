//! Packets in, reports out: the table of conversations and its bounds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use referee::capture::Packet;
use referee::packet::{self, ACK, Checksums, Loose, RST, SYN, TcpPacket};
use serde::Serialize;

use crate::conversation::Conversation;
use crate::moment::Moment;
use crate::report::Report;

/// Damaged packets that are named; more are only counted.
const MAX_NAMED: usize = 8;
/// How long after its end a conversation may say something yet: twice the MSL of Linux and others.
const LINGER: Duration = Duration::from_secs(60);

/// No capture is so long; files may say anything, and times are summed.
const LATEST: Duration = Duration::from_secs(1 << 32);

/// What may be kept in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Conversations followed at once. Above that the half of them that was silent longest is told
    /// as it stands.
    pub conversations: usize,
    /// Bytes of all conversations together, besides about 4 KiB for each of them. Above that the
    /// one at hand forgets what is on its way.
    pub bytes: usize,
    /// Reports that wait for conversations which began before theirs and are not over. Above that
    /// they come out of turn.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            conversations: 16_384,
            bytes: 64 << 20,
            waiting: 4096,
        }
    }
}

/// What belongs to no conversation, and what was too much.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// IP packets.
    pub packets: u64,
    /// Segments of TCP.
    pub segments: u64,
    /// UDP, ICMP, fragments and other protocols.
    pub others: u64,
    /// Packets of which only the beginning was recorded.
    pub cut: u64,
    /// Packets that cannot be read at all.
    pub unreadable: u64,
    /// The first of these, with the reason.
    pub unreadable_first: Vec<(usize, String)>,
    /// Conversations.
    pub conversations: usize,
    /// Conversations told before their end to make room.
    pub dropped: usize,
    /// How often a conversation had to forget what was on its way.
    pub shed: u64,
}

/// Follows conversations. Give it packets, take reports, [`finish`](Self::finish) it, take the rest.
#[derive(Debug)]
pub struct Explainer {
    limits: Limits,
    live: HashMap<[SocketAddr; 2], Conversation>,
    /// Reports that wait for their turn, by number.
    waiting: BTreeMap<usize, Report>,
    ready: VecDeque<Report>,
    /// The number of the report whose turn is next.
    next: usize,
    held: usize,
    swept: Duration,
    totals: Totals,
}

impl Default for Explainer {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Explainer {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            live: HashMap::new(),
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            next: 1,
            held: 0,
            swept: Duration::ZERO,
            totals: Totals::default(),
        }
    }

    /// A packet of the capture, in its order.
    pub fn on_packet(&mut self, packet: &Packet) {
        let recorded = &packet.recorded;
        let now = Moment {
            packet: recorded.number,
            at: recorded.time.min(LATEST),
        };
        self.totals.packets += 1;
        let is_cut = packet.cut.is_some();
        self.totals.cut += u64::from(is_cut);
        let checksums = if is_cut {
            Checksums::Unknown
        } else {
            Checksums::Partial
        };
        match packet::read_loosely(&recorded.data, checksums) {
            Ok(Some(loose)) => self.on_segment(now, packet, &loose),
            Ok(None) => self.on_other(now, packet),
            Err(malformed) => {
                self.totals.unreadable += 1;
                if self.totals.unreadable_first.len() < MAX_NAMED {
                    let named = (recorded.number, malformed.what);
                    self.totals.unreadable_first.push(named);
                }
            }
        }
        if now.at.saturating_sub(self.swept) >= LINGER {
            self.swept = now.at;
            self.sweep(|one| one.is_over() && now.since(one.last) >= LINGER, false);
        }
    }

    /// The next report, in the order in which conversations began as far as the limits allow.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.ready.pop_front()
    }

    /// Nothing more comes: all conversations are told.
    pub fn finish(&mut self) {
        self.sweep(|_| true, false);
    }

    /// What was counted so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    fn on_segment(&mut self, now: Moment, packet: &Packet, loose: &Loose) {
        let tcp = &loose.tcp;
        self.totals.segments += 1;
        let key = key(tcp.source, tcp.destination);
        let begins_anew = self
            .live
            .get(&key)
            .is_some_and(|one| begins_anew(one, now, tcp));
        if begins_anew {
            self.retire(key);
        }
        if !self.live.contains_key(&key) {
            self.make_room(now);
            self.totals.conversations += 1;
        }
        let number = self.totals.conversations;
        let make = || Conversation::new(number, now, tcp);
        let one = self.live.entry(key).or_insert_with(make);
        let before = one.held();
        add(one, now, packet, loose);
        self.held = (self.held + one.held()).saturating_sub(before);
        if self.held > self.limits.bytes && one.held() > 0 {
            let before = one.held();
            one.shed();
            self.held = (self.held + one.held()).saturating_sub(before);
            self.totals.shed += 1;
        }
    }

    /// What is no segment may be an ICMP error about one.
    fn on_other(&mut self, now: Moment, packet: &Packet) {
        self.totals.others += 1;
        if let Some(quote) = referee::quote(&packet.recorded.data)
            && let Some(one) = self.live.get_mut(&key(quote.source, quote.destination))
        {
            one.on_icmp(now, &quote);
        }
    }

    fn make_room(&mut self, now: Moment) {
        if self.live.len() < self.limits.conversations {
            return;
        }
        self.sweep(Conversation::is_over, false);
        if self.live.len() < self.limits.conversations {
            return;
        }
        let mut silent: Vec<Duration> = self.live.values().map(|one| now.since(one.last)).collect();
        let middle = silent.len() / 2;
        let (_, &mut median, _) = silent.select_nth_unstable(middle);
        self.sweep(|one| now.since(one.last) >= median, true);
    }

    /// Tells the conversations that `is_told` chooses.
    fn sweep(&mut self, is_told: impl Fn(&Conversation) -> bool, drops: bool) {
        let chosen = self.live.iter().filter(|(_, one)| is_told(one));
        let mut chosen: Vec<_> = chosen.map(|(&key, one)| (one.number, key)).collect();
        chosen.sort_unstable();
        for (_, key) in chosen {
            if drops && let Some(one) = self.live.get_mut(&key) {
                one.was_dropped = true;
                self.totals.dropped += 1;
            }
            self.retire(key);
        }
    }

    fn retire(&mut self, key: [SocketAddr; 2]) {
        let Some(one) = self.live.remove(&key) else {
            return;
        };
        self.held = self.held.saturating_sub(one.held());
        self.waiting.insert(one.number, Report::new(&one));
        while let Some(first) = self.waiting.first_entry() {
            let is_next = *first.key() <= self.next;
            if !is_next && self.waiting.len() <= self.limits.waiting {
                break;
            }
            let Some((number, report)) = self.waiting.pop_first() else {
                break;
            };
            self.next = self.next.max(number + 1);
            self.ready.push_back(report);
        }
    }
}

fn key(one: SocketAddr, other: SocketAddr) -> [SocketAddr; 2] {
    [one.min(other), one.max(other)]
}

/// Whether a SYN opens another conversation between the ends of `one`.
fn begins_anew(one: &Conversation, now: Moment, tcp: &TcpPacket) -> bool {
    if !tcp.has(SYN) || tcp.has(ACK | RST) {
        return false;
    }
    let isn = one.sides[one.side(tcp.source)].isn;
    let is_other = isn.is_some_and(|isn| isn != tcp.seq);
    // A SYN into a connection that lives on belongs to its story.
    is_other && (one.is_over() || now.since(one.last) >= LINGER || one.established.is_none())
}

fn add(one: &mut Conversation, now: Moment, packet: &Packet, loose: &Loose) {
    let tcp = &loose.tcp;
    if packet.cut.is_some() {
        one.cut += 1;
        one.rules.stop();
    }
    let side = one.side(tcp.source);
    if loose.damaged.is_some() {
        one.sides[side].damaged.add(now);
        if tcp.has(SYN) {
            one.rules.stop(); // what it offered may have been agreed on all the same
        }
    }
    if let Some(fault) = &loose.options {
        let end = &mut one.sides[side];
        if end.bad_options.times == 0 {
            end.bad_option.clone_from(&fault.what);
            end.bad_syn = tcp.has(SYN);
        }
        end.bad_options.add(now);
    }
    if loose.damaged.is_none() && loose.options.is_none() {
        one.rules.on_packet(now, &packet.recorded.data);
    }
    one.on_segment(now, tcp);
}
