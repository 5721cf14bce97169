//! What a segment says of its sender's own bytes.

use std::time::Duration;

use referee::packet::{FIN, SYN};

use super::{Conversation, Seen};
use crate::flight::{Passing, Place, Sent};
use crate::growth::Stop;
use crate::repeats::{Again, Cause};
use crate::side::Shrunk;

/// What nobody should be surprised by in a machine that has other things to do.
const LEEWAY: Duration = Duration::from_millis(15);
/// What overtakes on a path without a measured round trip.
const OVERTAKES: Duration = Duration::from_millis(3);
/// No retransmission timer is quicker than this.
const QUICKEST_TIMER: Duration = Duration::from_millis(100);
/// Before the retransmission timers in use, which are Linux's 200 ms at least, only a probe is sent.
const EARLY: Duration = Duration::from_millis(190);

impl Conversation {
    pub(super) fn on_text(&mut self, seen: &Seen<'_>) {
        let (now, tcp, side) = (seen.now, seen.tcp, seen.side);
        let newest = self.sides[side].tsval;
        if let Some((tsval, _)) = tcp.options.timestamps {
            self.sides[side].on_tsval(tsval);
        }
        if self.is_probe(seen) || seen.end == seen.seq {
            return;
        }
        let length = tcp.payload.len();
        let mss = self.mss(side);
        let own = &mut self.sides[side];
        if length > 0 {
            own.data_segments += 1;
            own.payload += length as u64;
            own.first_data.get_or_insert(now);
            own.largest = own.largest.max(length);
            own.largest_wire = own.largest_wire.max(tcp.length);
        }
        if tcp.has(FIN) {
            own.fin.get_or_insert(now);
            own.fin_at = Some(seen.end - 1);
            // More was acknowledged than there is: nothing is missing here.
            if seen.end < own.flight.una {
                own.flight.missed = 0;
            }
        }
        let passing = Passing {
            now,
            start: seen.seq,
            end: seen.end,
            wire: tcp.length,
            tsval: tcp.options.timestamps.map(|(tsval, _)| tsval),
        };
        match own.flight.send(&passing) {
            Place::New => self.on_new(seen, mss),
            Place::Late(gap) => self.on_late(seen, &gap, newest),
            Place::Again(before) if self.is_copy(seen, &before) => {
                self.sides[side].copies.add(now);
            }
            Place::Again(before) => self.on_again(seen, before),
            Place::Old => {}
        }
    }

    /// Asks a closed window whether it opened, or a silent end whether it is there.
    fn is_probe(&mut self, seen: &Seen<'_>) -> bool {
        let tcp = seen.tcp;
        if tcp.has(SYN | FIN) {
            return false;
        }
        let [own, peer] = if seen.side == 0 {
            let [client, server] = &mut self.sides;
            [client, server]
        } else {
            let [client, server] = &mut self.sides;
            [server, client]
        };
        let is_old = tcp.payload.len() <= 1 && seen.seq + 1 == own.flight.una;
        let is_beyond = peer.window.is_closed() && seen.seq >= peer.window.edge;
        if !is_old && !is_beyond {
            return false;
        }
        if peer.window.is_closed() {
            peer.window.on_probe();
        } else {
            own.keepalives.add(seen.now);
            own.unanswered += 1;
        }
        true
    }

    fn on_new(&mut self, seen: &Seen<'_>, mss: u64) {
        let (now, side) = (seen.now, seen.side);
        let length = seen.tcp.payload.len() as u64;
        if length == 0 {
            return;
        }
        let answer = self.sides[side].answers.least();
        let own = &mut self.sides[side];
        own.last_data = Some(now);
        own.repeats.on_new();
        let size = own.flight.size();
        own.growth.on_sent(now, size);
        own.waits.on_send(now, answer);
        let window = &mut self.sides[1 - side].window;
        let before = window.full.times;
        window.on_sent(now, seen.end, length, mss);
        if window.full.times > before {
            self.sides[side].growth.stop(now, Stop::Window);
        }
    }

    /// A segment that others have overtaken, or that repeats what was lost before it came by.
    fn on_late(&mut self, seen: &Seen<'_>, gap: &Sent, newest: Option<u32>) {
        let by = seen.now.since(gap.first);
        let tsval = seen.tcp.options.timestamps.map(|(tsval, _)| tsval);
        let age = newest
            .zip(tsval)
            .map(|(newest, tsval)| newest.wrapping_sub(tsval) as i32);
        let quick = self
            .round_trip()
            .map_or(OVERTAKES, |rtt| (rtt / 2).max(OVERTAKES));
        let is_overtaken = match age {
            Some(age) if age > 0 => true,
            Some(age) if age < 0 => false,
            _ => by <= quick,
        };
        let own = &mut self.sides[seen.side];
        if is_overtaken {
            own.reordered.add(seen.now);
            own.reordered_by = own.reordered_by.max(by);
            return;
        }
        own.lost_before += 1;
        self.on_again(seen, *gap);
    }

    /// What comes again was not sent again: a SYN, bytes that came with a SYN and were not taken, or
    /// what the network has doubled or kept for later.
    fn is_copy(&self, seen: &Seen<'_>, before: &Sent) -> bool {
        let own = &self.sides[seen.side];
        if seen.tcp.has(SYN) || own.syns.contains(&before.first) {
            return true;
        }
        let tsval = seen.tcp.options.timestamps.map(|(tsval, _)| tsval);
        let age = tsval.zip(before.tsval);
        let age = age.map(|(now, before)| now.wrapping_sub(before) as i32);
        // No answer can have come so soon, unless there is a reason to send it again.
        let round_trip = self.round_trip().unwrap_or_default();
        let is_sudden = seen.now.since(before.last) < round_trip / 2;
        match age {
            Some(age) if age < 0 => true,
            Some(0) => is_sudden,
            Some(_) => false,
            None => is_sudden && before.signal.is_none(),
        }
    }

    fn on_again(&mut self, seen: &Seen<'_>, before: Sent) {
        let (now, tcp, side) = (seen.now, seen.tcp, seen.side);
        let cause = self.cause(seen, &before);
        let own = &mut self.sides[side];
        own.growth.stop(now, Stop::Loss);
        let is_smaller = tcp.length + 64 < before.wire && own.arrived_wire + 40 < before.wire;
        if cause == Cause::Timeout && is_smaller && own.supers == 0 && own.shrunk.is_none() {
            own.shrunk = Some(Shrunk {
                from: before.wire,
                to: tcp.length,
                now,
                end: seen.end,
                arrived: false,
            });
        }
        own.repeats.on_again(&Again {
            now,
            start: seen.seq,
            end: seen.end,
            before,
            cause,
            tsval: tcp.options.timestamps.map(|(tsval, _)| tsval),
            una: own.flight.una,
            nxt: own.flight.nxt,
        });
    }

    /// Why a range is sent again, told from what its sender can have heard by now.
    fn cause(&self, seen: &Seen<'_>, before: &Sent) -> Cause {
        let now = seen.now;
        let (own, peer) = (&self.sides[seen.side], &self.sides[1 - seen.side]);
        let round_trip = self.round_trip().unwrap_or_default();
        // A signal passes here, its sender reacts, maybe after RACK's patience, and that passes.
        let reaction = own.answers.least() * 3 / 2 + round_trip / 2 + LEEWAY;
        let heard = peer.last.is_some_and(|last| now.since(last) <= reaction);
        let episode = own.repeats.current();
        let timed_out = episode.is_some_and(|episode| episode.timeouts > 0);
        let is_told = before
            .signal
            .is_some_and(|at| heard || now.since(at) <= reaction);
        let goes_on = episode.is_some_and(|episode| episode.signals > 0) && heard;
        let fresh = peer.last.is_some_and(|last| last.at > before.last.at);
        let mut errors = self.icmp.iter().filter(|error| error.about == seen.side);
        if errors.any(|error| error.mtu.is_some() && error.now.packet > before.last.packet) {
            return Cause::TooBig;
        }
        if timed_out && heard && fresh {
            return Cause::AfterTimeout;
        }
        let is_quick = now.since(before.last) < QUICKEST_TIMER && heard;
        if !timed_out && (is_told || goes_on && fresh || is_quick && before.sacked) {
            return Cause::Signal;
        }
        let is_early = now.since(before.last) < EARLY;
        let is_tail = seen.end == own.flight.nxt && seen.seq > own.flight.una;
        if (is_tail || is_early) && before.times <= 1 && !timed_out {
            return Cause::Probe;
        }
        Cause::Timeout
    }
}
