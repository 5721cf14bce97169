//! TIME-WAIT once the application has let go: a record, and what it answers.

use crate::config::Config;
use crate::connection::{Connection, OUT_OF_WINDOW_PERIOD};
use crate::endpoint::{ConnId, NO_MSS, Slot, Tcp};
use crate::error::Dropped;
use crate::segment::{Flags, Options, Segment, SegmentOptions, Timestamps};
use crate::seq::{SeqNum, WireSeq, WireWindow};
use crate::time::Instant;

/// What is left of a connection in TIME-WAIT: enough to answer a FIN sent again and to tell a
/// new SYN from an old one (RFC 6191).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeWait {
    snd_nxt: WireSeq,
    rcv_nxt: SeqNum,
    /// TS.Recent and our offset, where timestamps were in use.
    timestamps: Option<(u32, u32)>,
    /// The window field of the last ACK.
    window: WireWindow,
    pub(super) expires: Instant,
    /// When a segment without text was answered last.
    answered_at: Option<Instant>,
}

const _: () = assert!(size_of::<TimeWait>() <= 48);

impl Tcp {
    /// RFC 9293 §3.10.7.4 for TIME-WAIT, with RFC 1337 (RST) and RFC 6191 (SYN).
    pub(super) fn on_time_wait(
        &mut self,
        now: Instant,
        id: ConnId,
        record: TimeWait,
        local: bool,
        seg: &Segment,
    ) -> Result<(), Dropped> {
        let Some(&flow) = self.table.flow(id) else {
            return Err(Dropped::NoSocket);
        };
        if seg.has(Flags::RST) {
            return Err(Dropped::BadReset); // TW-4
        }
        let seq = record.rcv_nxt.expand(seg.seq);
        if record.is_reopened_by(seg) {
            self.time_waits -= 1;
            self.table.remove(id);
            return self.on_unknown(now, &flow, local, seg); // TW-1
        }
        if seg.is_empty() {
            // Two ends in TIME-WAIT must not answer each other for ever.
            let recently = record
                .answered_at
                .is_some_and(|at| now - at < OUT_OF_WINDOW_PERIOD);
            if seq == record.rcv_nxt {
                return Ok(());
            }
            if recently {
                return Err(Dropped::OutOfWindow);
            }
        }
        let timestamps = record.timestamps.map(|(recent, offset)| Timestamps {
            tsval: (now.as_millis() as u32).wrapping_add(offset),
            tsecr: recent,
        });
        self.reply(
            &flow,
            Segment {
                seq: record.snd_nxt,
                ack: record.rcv_nxt.wire(),
                window: record.window,
                flags: Flags::ACK,
                options: Options::Segment(SegmentOptions {
                    timestamps,
                    ..Default::default()
                }),
                payload: (),
                urgent: 0,
                mss: NO_MSS,
            },
        );
        let fin_again = seg.has(Flags::FIN) && seq + seg.len() == record.rcv_nxt;
        if let Some(entry) = self.table.get_mut(id)
            && let Slot::TimeWait(record) = &mut entry.slot
        {
            if fin_again {
                record.expires = now + self.config.time_wait; // SM-15
            }
            if seg.is_empty() {
                record.answered_at = Some(now);
            }
        }
        Err(Dropped::OutOfWindow)
    }
}

impl TimeWait {
    /// RFC 6191 §2: whether `seg` is a SYN from after the old connection.
    pub(super) fn is_reopened_by(&self, seg: &Segment) -> bool {
        let newer = match (self.timestamps, seg.options.timestamps()) {
            (Some((recent, _)), Some(got)) if got.tsval != recent => {
                (got.tsval.wrapping_sub(recent) as i32) > 0
            }
            _ => self.rcv_nxt.expand(seg.seq) > self.rcv_nxt,
        };
        seg.has(Flags::SYN) && !seg.flags.intersects(Flags::ACK | Flags::RST) && newer
    }
}

impl Connection {
    /// What stays in the table when nobody holds a connection in TIME-WAIT any more.
    pub(super) fn time_wait(&self, config: &Config, now: Instant) -> TimeWait {
        let (snd_nxt, rcv_nxt, timestamps) = self.last_numbers();
        TimeWait {
            snd_nxt,
            rcv_nxt,
            timestamps,
            window: self.last_window(),
            answered_at: None,
            expires: self.time_wait_end(config).unwrap_or(now + config.time_wait),
        }
    }
}
