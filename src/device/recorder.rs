//! A flight recorder: the last packets and events of each shard in a ring in memory, written to a
//! file when something goes wrong.
//!
//! The file is an [annotated capture](super::Capture) of what was last: headers and the first bytes
//! of each packet with a comment. It is written by a thread of its own on the caller's
//! [order](FlightRecorder::order), and by itself when a connection is reset by its peer, when its
//! retransmission timer has fired three times in a row, or when it has stalled.

mod orders;
mod ring;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use ustack_tcp::observe::{Packed, Record, Records, Timer, What};
use ustack_tcp::time::Instant;
use ustack_tcp::{CloseReason, FlowKey, State};

use super::{Caps, Device, LostPacket, RxBatch, TxBatch};

use orders::Orders;
use ring::Ring;
use writer::Writer;

/// Timeouts in a row that are worth a file.
const TIMEOUTS: u8 = 3;

/// How long a file waits for what others hold.
const PATIENCE: Duration = Duration::from_millis(200);

/// Stalls that are remembered, so that each has one file.
const MAX_STALLS: usize = 256;

/// Where a recorder writes to, and how much.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    /// The directory of its files: the first of these that can be made and written to.
    pub directories: Vec<PathBuf>,
    /// Bytes of each shard's ring.
    pub size: usize,
    /// Files that stay there; the oldest go.
    pub max_files: usize,
    /// Bytes of all files that stay there.
    pub max_bytes: u64,
    /// Least time between two files that nobody has asked for; `None`: there are no such files.
    pub pause: Option<Duration>,
    /// How long nothing is acknowledged before that counts as a stall.
    pub stall: Duration,
    /// The interface's name in the files.
    pub interface: String,
    /// What files say of themselves, besides the version.
    pub comment: Option<String>,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            directories: vec![std::env::temp_dir().join("ustack")],
            size: 8 << 20,
            max_files: 16,
            max_bytes: 128 << 20,
            pause: Some(Duration::from_secs(10)),
            stall: Duration::from_secs(10),
            interface: String::from("ustack"),
            comment: None,
        }
    }
}

/// How a recorder goes.
#[derive(Debug, Default)]
pub struct RecorderCounters {
    /// Files written.
    pub files: AtomicU64,
    /// Occasions that came too soon after the last file, or while others were being written, or for
    /// which no files are wanted.
    pub skipped: AtomicU64,
    /// Frames that are in no ring: it was being read.
    pub missed: AtomicU64,
}

/// A handle to a flight recorder. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct FlightRecorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rings: Arc<Rings>,
    /// Not before then is a file written that nobody has asked for.
    not_before: Mutex<Option<Instant>>,
    orders: Orders,
}

/// What there is to write.
#[derive(Debug)]
struct Rings {
    options: RecorderOptions,
    each: Mutex<Vec<Arc<Kept>>>,
    writer: Mutex<Writer>,
    counters: Arc<RecorderCounters>,
}

/// What is kept of one queue.
#[derive(Debug)]
struct Kept {
    ring: Mutex<Ring>,
    /// Whether no half turn is under way: who only wants to know that takes no lock, as what comes
    /// meanwhile would be missed.
    is_between: AtomicBool,
}

impl FlightRecorder {
    /// A recorder without a device; see [`FlightRecorder::record`].
    pub fn new(options: RecorderOptions) -> Self {
        Self(Arc::new(Shared {
            rings: Arc::new(Rings {
                writer: Mutex::new(Writer::new(&options)),
                options,
                each: Mutex::default(),
                counters: Arc::default(),
            }),
            not_before: Mutex::new(None),
            orders: Orders::new(),
        }))
    }

    /// Records what goes through one queue of a device.
    pub fn record<D: Device>(&self, device: D) -> Recorder<D> {
        let rings = &self.0.rings;
        let kept = Arc::new(Kept {
            ring: Mutex::new(Ring::new(rings.options.size)),
            is_between: AtomicBool::new(true),
        });
        rings.each.lock().push(Arc::clone(&kept));
        Recorder {
            device,
            flight: self.clone(),
            kept,
            misses: false,
            is_cut: false,
            recorded: 0,
            stalls: VecDeque::new(),
        }
    }

    /// Has a file written soon; `why` goes into its name and into the log.
    pub fn order(&self, why: &str) {
        let rings = Arc::clone(&self.0.rings);
        // It says by itself what went wrong.
        let write = move |why: &str| drop(rings.write(why, PATIENCE));
        if let Err(error) = self.0.orders.give(why, write) {
            tracing::debug!(why, %error, "the flight recorder is not written");
            self.skip();
        }
    }

    /// Writes a file before it returns: for a program that is about to end. What is being changed
    /// at that moment is left out.
    pub fn write(&self, why: &str) -> io::Result<PathBuf> {
        self.0.rings.write(why, Duration::ZERO)
    }

    /// Has a file written when a thread of this process panics, before the panic goes on. Holds until
    /// the recorder is gone.
    pub fn write_on_panic(&self) {
        let rings = Arc::downgrade(&self.0.rings);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            if let Some(rings) = rings.upgrade() {
                let what = panic.payload_as_str().unwrap_or("?");
                // It says by itself what went wrong.
                let _ = rings.write(&format!("panic: {what}"), Duration::ZERO);
            }
        }));
    }

    /// How it goes.
    pub fn counters(&self) -> Arc<RecorderCounters> {
        Arc::clone(&self.0.rings.counters)
    }

    /// Something went wrong: a file, unless there was one just now.
    fn on_occasion(&self, now: Instant, why: impl FnOnce() -> String) {
        let mut not_before = self.0.not_before.lock();
        let is_early = not_before.is_some_and(|at| now < at);
        let pause = self.0.rings.options.pause;
        let Some(pause) = pause.filter(|_| !is_early) else {
            return self.skip();
        };
        *not_before = Some(now + pause);
        drop(not_before);
        self.order(&why());
    }

    fn skip(&self) {
        self.0
            .rings
            .counters
            .skipped
            .fetch_add(1, Ordering::Relaxed);
    }
}

impl Rings {
    /// What is noted at the end of a half turn that is under way is waited for so long.
    fn write(&self, why: &str, patience: Duration) -> io::Result<PathBuf> {
        let rings = self.each.try_lock_for(PATIENCE).map(|rings| rings.clone());
        let rings = rings.unwrap_or_default();
        let until = std::time::Instant::now() + patience;
        let copies = rings.iter().filter_map(|kept| kept.copy(until));
        let copies: Vec<_> = copies.collect();
        let Some(mut writer) = self.writer.try_lock_for(10 * PATIENCE) else {
            return Err(io::Error::other("another file is being written"));
        };
        let written = writer.write(why, SystemTime::now(), &copies);
        match &written {
            Ok(path) => {
                self.counters.files.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(file = %path.display(), why, "flight recorder written");
            }
            Err(error) => {
                tracing::warn!(
                    why,
                    %error,
                    "the flight recorder cannot be written; name a directory with --recorder DIR"
                );
            }
        }
        written
    }
}

impl Kept {
    /// A copy of the ring, between two half turns if there is such a moment until then.
    fn copy(&self, until: std::time::Instant) -> Option<Vec<u8>> {
        loop {
            let may_copy =
                || self.is_between.load(Ordering::Relaxed) || std::time::Instant::now() >= until;
            if may_copy() {
                let ring = self.ring.try_lock_for(PATIENCE)?;
                if may_copy() {
                    return Some(ring.copy());
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A device whose last packets are kept.
#[derive(Debug)]
pub struct Recorder<D> {
    device: D,
    flight: FlightRecorder,
    kept: Arc<Kept>,
    /// Frames of this half turn are in no ring: notes of it would be taken for others'.
    misses: bool,
    /// A half turn that the ring has the beginning of is over, which could not be written.
    is_cut: bool,
    /// Frames at the front of the batch to send that are recorded already.
    recorded: usize,
    /// Stalls that had their file: the flow, and since when. The last few.
    stalls: VecDeque<(FlowKey, Instant)>,
}

impl<D> Recorder<D> {
    /// The device inside.
    pub const fn get_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Writes to the ring, unless it is being read, or something of this half turn was missed
    /// already. So many frames are not in it, then.
    fn keep(&mut self, frames: usize, write: impl FnOnce(&mut Ring)) {
        let ring = self.kept.ring.try_lock().filter(|_| !self.misses);
        let is_between = &self.kept.is_between;
        if let Some(mut ring) = ring {
            if mem::take(&mut self.is_cut) {
                ring.end_turn();
            }
            write(&mut ring);
            is_between.store(ring.is_between(), Ordering::Relaxed);
        } else {
            is_between.store(true, Ordering::Relaxed); // nothing more is noted of this one
            self.is_cut = true;
            self.misses = true;
            let counters = &self.flight.0.rings.counters;
            counters.missed.fetch_add(frames as u64, Ordering::Relaxed);
        }
    }

    #[inline]
    fn look_for_trouble(&mut self, now: Instant, records: &Records) {
        if !records.has_alarms() {
            return;
        }
        let alarms = records.packed().filter(|packed| packed.has_alarms());
        for record in alarms.flat_map(Packed::records) {
            if let Some(why) = trouble(&record, self.flight.0.rings.options.stall)
                && (why != STALL || self.is_new_stall(&record))
            {
                let (local, remote) = (record.flow.local, record.flow.remote);
                let why = || format!("{why} ({local} to {remote})");
                self.flight.on_occasion(now, why);
            }
        }
    }

    /// A stall goes on for as long as nobody ends it: only its beginning is news.
    fn is_new_stall(&mut self, record: &Record) -> bool {
        let since = record.now.and_then(|now| now.stalled_since);
        let Some(stall) = since.map(|since| (record.flow, since)) else {
            return false;
        };
        if self.stalls.contains(&stall) {
            return false;
        }
        if self.stalls.len() == MAX_STALLS {
            self.stalls.pop_front();
        }
        self.stalls.push_back(stall);
        true
    }
}

/// Nothing was acknowledged for long.
const STALL: &str = "stall";

/// What is worth a file.
fn trouble(record: &Record, stall: Duration) -> Option<&'static str> {
    match record.what {
        What::State {
            from,
            reason: Some(CloseReason::Reset),
        } if !matches!(from, State::SynSent | State::SynReceived) => Some("connection reset"),
        What::Timer(Timer::Retransmission(TIMEOUTS)) => Some("three timeouts in a row"),
        What::Timer(Timer::Retransmission(_) | Timer::Persist(_)) => {
            let since = record.now.and_then(|now| now.stalled_since)?;
            (record.at - since >= stall).then_some(STALL)
        }
        _ => None,
    }
}

impl<D: Device> Device for Recorder<D> {
    fn caps(&self) -> Caps {
        self.device.caps()
    }

    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_recv_ready(cx)
    }

    fn recv(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let before = batch.len();
        let received = self.device.recv(now, batch)?;
        let frames = &batch.frames()[before..];
        if !frames.is_empty() {
            self.misses = false;
            self.keep(frames.len(), |ring| {
                ring.end_turn(); // of one of which nothing was noted
                ring.receive(now, frames);
            });
        }
        Ok(received)
    }

    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let fresh = batch.len() - self.recorded;
        let recorded = self.recorded;
        self.keep(fresh, |ring| {
            let first = batch.pushed() - fresh as u64;
            ring.send(now, first, batch.iter().skip(recorded));
            batch
                .notes()
                .each(|told, frames| ring.note(now, told, frames));
            ring.end_turn();
        });
        self.misses = false;
        self.look_for_trouble(now, batch.notes().records());
        let sent = self.device.send(now, batch);
        self.recorded = batch.len();
        sent
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_send_ready(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.device.poll_timeout()
    }

    fn wants_notes(&self) -> bool {
        true
    }

    fn take_lost(&mut self, lost: &mut Vec<LostPacket>) {
        self.device.take_lost(lost);
    }
}

#[cfg(test)]
mod tests;
