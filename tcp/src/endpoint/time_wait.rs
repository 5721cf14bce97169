//! TIME-WAIT: what ends it early, and the record that stays once the application has let go.

use crate::config::Config;
use crate::connection::{Connection, OUT_OF_WINDOW_PERIOD};
use crate::endpoint::{ConnId, Marking, NO_MSS, Slot, Tcp};
use crate::error::Dropped;
use crate::flow::Flow;
use crate::segment::{Ecn, Flags, FlowKey, Options, Segment, SegmentOptions, Timestamps};
use crate::seq::{SeqNum, WindowScale, WireSeq, WireWindow};
use crate::table::Table;
use crate::time::{Instant, Stamp};

/// What is left of a connection in TIME-WAIT: enough to answer a FIN sent again and to tell a
/// new SYN from an old one (RFC 6191).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeWait {
    snd_nxt: WireSeq,
    rcv_nxt: WireSeq,
    /// Timestamps were in use.
    timestamps: bool,
    /// TS.Recent, and our offset.
    ts_recent: u32,
    ts_offset: u32,
    /// The window field of the last ACK, and its shift.
    window: WireWindow,
    scale: WindowScale,
    marking: Marking,
    expires: Stamp,
    /// When a segment without text was answered last.
    answered_at: Option<Stamp>,
}

const _: () = assert!(size_of::<TimeWait>() == 32 && size_of::<Slot>() == 48);

/// What a record makes of a segment.
enum Answer {
    /// It is fine, and changes nothing.
    Nothing,
    /// It is no good, and deserves no answer.
    Silence(Dropped),
    /// An ACK, if one of those without text was not answered just now.
    Ack(Dropped),
    /// The peer's FIN came again: an ACK, and all the time once more (SM-15).
    Restart,
}

impl Tcp {
    /// A segment for a record.
    pub(super) fn on_time_wait(
        &mut self,
        now: Instant,
        id: ConnId,
        record: TimeWait,
        local: bool,
        seg: &Segment,
    ) -> Result<(), Dropped> {
        let Some(flow) = self.table.flow(id) else {
            return Err(Dropped::NoSocket);
        };
        if let Some(done) = self.reopen(now, id, record, local, seg) {
            return done;
        }
        if seg.has(Flags::RST) {
            return if record.is_closed_by(seg) && !self.config.rfc1337 {
                self.remove_time_wait(id);
                Err(Dropped::Reset)
            } else {
                Err(Dropped::BadReset) // TW-4
            };
        }
        let (done, restart) = match record.answer(seg) {
            Answer::Nothing => return Ok(()),
            Answer::Silence(reason) => return Err(reason),
            Answer::Ack(reason) => (Err(reason), false),
            Answer::Restart => (Err(Dropped::OutOfWindow), true),
        };
        // Two ends in TIME-WAIT must not answer each other for ever.
        let recently = |at: Stamp| now - at.near(now) < OUT_OF_WINDOW_PERIOD;
        if has_text(seg) || !record.answered_at.is_some_and(recently) {
            self.reply(&flow, record.ack(now), record.marking);
        }
        if let Some(Slot::TimeWait(_, record)) = self.table.get_mut(id) {
            if restart {
                record.expires = Stamp::after(now + self.config.time_wait);
            }
            if !has_text(seg) {
                record.answered_at = Some(Stamp::after(now));
            }
        }
        done
    }

    /// A segment for a connection in TIME-WAIT that an application still holds.
    pub(super) fn on_held_time_wait(
        &mut self,
        now: Instant,
        id: ConnId,
        record: TimeWait,
        local: bool,
        seg: &mut Segment,
    ) -> Result<(), Dropped> {
        if let Some(done) = self.reopen(now, id, record, local, seg) {
            return done;
        }
        let Some(Slot::Connection(conn)) = self.table.get_mut(id) else {
            return Err(Dropped::NoSocket);
        };
        let done = if seg.has(Flags::RST) && record.is_closed_by(seg) && !self.config.rfc1337 {
            conn.end_time_wait();
            Err(Dropped::Reset)
        } else {
            conn.on_segment(now, Ecn::NotEct, seg)
        };
        self.settle(now, id);
        done
    }

    /// A SYN of a new connection takes the flow over, if somebody listens (TW-1, MAY-2). `None`:
    /// it is none, and TIME-WAIT goes on (TW-3).
    fn reopen(
        &mut self,
        now: Instant,
        id: ConnId,
        record: TimeWait,
        local: bool,
        seg: &Segment,
    ) -> Option<Result<(), Dropped>> {
        let flow = self.table.flow(id)?;
        let listener = self.listeners.lookup(flow.local, local)?;
        let Options::Syn(options) = seg.options else {
            return None;
        };
        if !record.is_reopened_by(seg) {
            return None;
        }
        match self.table.get_mut(id)? {
            Slot::Connection(conn) => {
                // The application keeps its socket.
                conn.end_time_wait();
                self.table.forget_flow(id);
                self.settle(now, id);
            }
            _ => self.remove_time_wait(id),
        }
        let done = self.on_syn(now, &flow, listener, (seg, options), Some(record));
        if done.is_ok() {
            self.counters.time_wait_recycled += 1;
        } else {
            self.insert_time_wait(now, flow, record);
        }
        Some(done)
    }

    pub(super) fn insert_time_wait(&mut self, now: Instant, flow: FlowKey, record: TimeWait) {
        let slot = Slot::TimeWait(Flow::new(&flow), record);
        let id = self.table.insert(slot);
        self.on_time_wait_record(now, id, &record);
    }

    /// One record more: the oldest makes room (TW-5).
    pub(super) fn on_time_wait_record(&mut self, now: Instant, id: ConnId, record: &TimeWait) {
        self.arm(id, Some(record.expires(now)));
        self.time_waits += 1;
        self.counters.time_waits += 1;
        self.oldest_time_waits.push_back(id.index);
        if self.oldest_time_waits.len() > 2 * self.time_waits + 64 {
            // One that starts over and over would keep the ended ones behind it.
            let table = &self.table;
            let lives = |&index: &u32| time_wait_at(table, index).is_some();
            self.oldest_time_waits.retain(lives);
        }
        while let Some(&oldest) = self.oldest_time_waits.front() {
            let record = time_wait_at(&self.table, oldest);
            if record.is_some() && self.time_waits <= self.config.max_tw_buckets {
                break;
            }
            self.oldest_time_waits.pop_front();
            if let Some(id) = record {
                self.counters.time_wait_overflow += 1;
                self.remove_time_wait(id);
            }
        }
    }

    pub(super) fn remove_time_wait(&mut self, id: ConnId) {
        self.time_waits -= 1;
        self.table.remove(id);
    }
}

/// The record that has this index now, if it is one.
fn time_wait_at(table: &Table<Slot>, index: u32) -> Option<ConnId> {
    let id = table.holder(index)?;
    table.get(id).is_some_and(Slot::is_time_wait).then_some(id)
}

impl TimeWait {
    /// When it ends.
    pub(super) const fn expires(&self, now: Instant) -> Instant {
        self.expires.near(now)
    }

    const fn rcv_nxt(&self) -> SeqNum {
        SeqNum::first(self.rcv_nxt)
    }

    /// TS.Recent and our offset, where timestamps were in use.
    fn timestamps(&self) -> Option<(u32, u32)> {
        self.timestamps.then_some((self.ts_recent, self.ts_offset))
    }

    /// RFC 6191 §2: whether `seg` is a SYN from after the old connection.
    fn is_reopened_by(&self, seg: &Segment) -> bool {
        let newer = match (self.timestamps(), seg.options.timestamps()) {
            (Some((recent, _)), Some(got)) if got.tsval != recent => {
                (got.tsval.wrapping_sub(recent) as i32) > 0
            }
            // Old segments have none, and PAWS will tell.
            (None, Some(_)) => true,
            _ => self.rcv_nxt().expand(seg.seq) >= self.rcv_nxt(),
        };
        seg.has(Flags::SYN) && !seg.flags.intersects(Flags::ACK | Flags::RST) && newer
    }

    /// The ISN of a connection that follows: beyond what this one used (MAY-2).
    pub(super) fn next_iss(&self, iss: WireSeq) -> WireSeq {
        if (iss.0.wrapping_sub(self.snd_nxt.0) as i32) > 0 {
            iss
        } else {
            self.snd_nxt.wrapping_add(u32::from(u16::MAX) + 2)
        }
    }

    /// RFC 5961 §3.2: the exact number, as in any synchronized state.
    fn is_closed_by(&self, seg: &Segment) -> bool {
        seg.seq == self.rcv_nxt
    }

    /// RFC 9293 §3.10.7.4, for what is neither RST nor a new SYN.
    fn answer(&self, seg: &Segment) -> Answer {
        if seg.has(Flags::SYN) {
            return Answer::Ack(Dropped::BlindSyn); // RFC 5961 §4.2
        }
        if let Some((recent, _)) = self.timestamps() {
            match seg.options.timestamps() {
                None => return Answer::Silence(Dropped::NoTimestamp),
                Some(got) if (got.tsval.wrapping_sub(recent) as i32) < 0 => {
                    return Answer::Ack(Dropped::StaleTimestamp);
                }
                Some(_) => {}
            }
        }
        let nxt = self.rcv_nxt();
        let seq = nxt.expand(seg.seq);
        let right = nxt + self.window.bytes(self.scale);
        let acceptable = if seg.is_empty() {
            nxt <= seq && seq < right || seq == nxt
        } else {
            seq + seg.len() > nxt && seq < right
        };
        if !acceptable {
            let again = seg.has(Flags::FIN) && seq + seg.len() == nxt;
            return if again {
                Answer::Restart
            } else {
                Answer::Ack(Dropped::OutOfWindow)
            };
        }
        if !seg.has(Flags::ACK) {
            return Answer::Silence(Dropped::NoAck);
        }
        if (seg.ack.0.wrapping_sub(self.snd_nxt.0) as i32) > 0 {
            return Answer::Ack(Dropped::BadAck);
        }
        Answer::Nothing // nothing follows a FIN
    }

    fn ack(&self, now: Instant) -> Segment<()> {
        let timestamps = self.timestamps().map(|(recent, offset)| Timestamps {
            tsval: (now.as_millis() as u32).wrapping_add(offset),
            tsecr: recent,
        });
        Segment {
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            window: self.window,
            flags: Flags::ACK,
            options: Options::Segment(SegmentOptions {
                timestamps,
                ..Default::default()
            }),
            payload: (),
            urgent: 0,
            mss: NO_MSS,
        }
    }
}

fn has_text(seg: &Segment) -> bool {
    !seg.payload.is_empty() || seg.has(Flags::FIN)
}

impl Connection {
    /// What stays in the table when nobody holds a connection in TIME-WAIT any more.
    pub(super) fn time_wait(&self, config: &Config, now: Instant) -> TimeWait {
        let (snd_nxt, rcv_nxt, timestamps) = self.last_numbers();
        let (ts_recent, ts_offset) = timestamps.unwrap_or_default();
        let (window, scale) = self.last_window();
        let expires = self.time_wait_end(config).unwrap_or(now + config.time_wait);
        TimeWait {
            snd_nxt,
            rcv_nxt: rcv_nxt.wire(),
            timestamps: timestamps.is_some(),
            ts_recent,
            ts_offset,
            window,
            scale,
            marking: Marking::of(&self.options),
            answered_at: None,
            expires: Stamp::after(expires),
        }
    }
}
