//! Every packet of a device, written to a pcapng file by a thread of its own.
//!
//! What the file shows: each packet as the stack saw it, from its IP header on (link type RAW).
//!
//! - **Checksums** that a device's offload would have finished are finished in the file, so that
//!   Wireshark finds no bad checksum that was not on the wire. Those that came in complete are
//!   shown as they came.
//! - **TCP super-segments** are one packet of up to 64 KiB, as `tcpdump` shows them on a Linux
//!   host; [`CaptureOptions::split`] shows the wire segments instead.
//! - **UDP super-datagrams** are always shown as the datagrams they stand for, since the
//!   boundaries are what their receiver sees.
//! - **[Annotated](CaptureOptions::annotate)**, each packet has a comment: why it was sent or what
//!   became of it. Packets stand in the order in which the stack dealt with them, and those that
//!   [`Impair`](super::Impair) has lost on purpose are there, too, on an interface of their own.

mod batch;
mod files;
mod filter;
mod secrets;
mod sink;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Sender, TrySendError, bounded};
use ustack_tcp::time::Instant;

use super::{Caps, Device, LostPacket, RxBatch, TxBatch};
use batch::Batch;
pub use files::{Files, NumberedFiles, Rotation};
pub use filter::{CaptureDirection, CaptureDirectionError, CaptureFilter, CaptureFilterError};
use sink::Sink;
pub(super) use sink::{CapturedHead, write_heads};

/// What to capture, and how much may wait to be written.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// The interface's name in the file.
    pub interface: String,
    /// Bytes kept of each packet.
    pub snaplen: u32,
    /// Whether TCP super-segments are shown as wire segments.
    pub split: bool,
    /// Whether each packet has a comment, and packets that were lost on purpose are shown.
    pub annotate: bool,
    /// What the file says of itself, besides the version: the command line, say, and the seed.
    pub comment: Option<String>,
    /// Which packets are written.
    pub filter: CaptureFilter,
    /// The direction of packets that are written; `None`: both.
    pub direction: Option<CaptureDirection>,
    /// When to go on in another file; see [`Capture::with_files`].
    pub rotation: Rotation,
    /// A file to which TLS libraries write secrets (`SSLKEYLOGFILE`); what it has is embedded, so
    /// that Wireshark can decrypt.
    pub secrets: Option<PathBuf>,
    /// Packets that may wait to be written; what comes beyond is dropped and counted.
    pub queue: usize,
    /// Bytes of packets that may wait to be written, likewise.
    pub queue_bytes: usize,
    /// Wall-clock time of [`Instant::ZERO`]; `None` reads the clock at the first packet.
    pub epoch: Option<SystemTime>,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            interface: String::from("ustack"),
            snaplen: 0x4_0000,
            split: false,
            annotate: false,
            comment: None,
            filter: CaptureFilter::default(),
            direction: None,
            rotation: Rotation::default(),
            secrets: None,
            queue: 16_384,
            queue_bytes: 64 << 20,
            epoch: None,
        }
    }
}

/// How a capture goes. Frames: a super-segment counts once.
#[derive(Debug, Default)]
pub struct CaptureCounters {
    /// Frames written, or left out by the filter.
    pub written: AtomicU64,
    /// Frames not written: the thread was behind, or the file could not be written.
    pub dropped: AtomicU64,
    /// Events that no comment tells: their flows sent and received nothing for long, and too many did.
    pub events_left_out: AtomicU64,
    /// Frames waiting to be written.
    waiting: AtomicUsize,
    /// Their bytes.
    waiting_bytes: AtomicUsize,
}

/// A device whose packets are recorded, in the order in which the stack received and sent them.
///
/// The stack never waits for the file: what the bounded queue cannot take is dropped and counted,
/// the next packet's drop count says how many are missing before it, and the sum stands at the end
/// of the file (an interface statistics block). Blocks go to the file whole, as soon as the thread
/// has caught up, so a file whose writer was killed can be read.
#[derive(Debug)]
pub struct Capture<D> {
    device: D,
    recorder: Arc<Recorder>,
    /// Frames at the front of the batch to send that are recorded already.
    recorded: usize,
    /// Frames received, whose notes are still to come.
    held: Batch,
    lost: Vec<LostPacket>,
}

/// The way to the file, for all queues of a device.
#[derive(Debug)]
struct Recorder {
    options: CaptureOptions,
    /// `None` only while dropping.
    queue: Option<Sender<Batch>>,
    writer: Option<JoinHandle<()>>,
    counters: Arc<CaptureCounters>,
    epoch: OnceLock<SystemTime>,
    /// Frames dropped since the last that were not.
    missing: AtomicU64,
}

impl<D: Device> Capture<D> {
    /// Records what goes through `device` to `file`. Headers are written at once, so that a file
    /// that cannot be written is found here.
    pub fn new(
        device: D,
        file: impl Write + Send + 'static,
        options: CaptureOptions,
    ) -> io::Result<Self> {
        let options = CaptureOptions {
            rotation: Rotation::default(),
            ..options
        };
        Self::with_files(device, files::One::new(file), options)
    }

    /// Records to one file after the other, as [`CaptureOptions::rotation`] says.
    pub fn with_files(
        device: D,
        files: impl Files + 'static,
        options: CaptureOptions,
    ) -> io::Result<Self> {
        let counters = Arc::<CaptureCounters>::default();
        let (queue, batches) = bounded(options.queue.max(1));
        let sink = Sink::new(Box::new(files), &options, Arc::clone(&counters))?;
        let writer = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || sink.run(&batches))?;
        let recorder = Recorder {
            queue: Some(queue),
            writer: Some(writer),
            counters,
            epoch: options.epoch.map(OnceLock::from).unwrap_or_default(),
            missing: AtomicU64::new(0),
            options,
        };
        Ok(Self::of(device, Arc::new(recorder)))
    }

    /// Records another queue of the device to the same file, which is complete once all are
    /// dropped. Queues run at once, so neighbouring packets of two of them may stand in either
    /// order; their times are right.
    pub fn beside<E: Device>(&self, device: E) -> Capture<E> {
        Capture::of(device, Arc::clone(&self.recorder))
    }

    fn of(mut device: D, recorder: Arc<Recorder>) -> Self {
        let mut lost = Vec::new();
        if recorder.options.annotate {
            device.take_lost(&mut lost); // from now on they are kept
        }
        Self {
            device,
            recorder,
            recorded: 0,
            held: Batch::default(),
            lost,
        }
    }

    /// How the capture goes.
    pub fn counters(&self) -> Arc<CaptureCounters> {
        Arc::clone(&self.recorder.counters)
    }

    /// The device inside.
    pub fn get_ref(&self) -> &D {
        &self.device
    }
}

impl<D> Capture<D> {
    /// Sends what is held on its way to the file.
    fn flush(&mut self) {
        if !self.held.is_empty() {
            self.recorder.enqueue(std::mem::take(&mut self.held));
        }
    }
}

impl Recorder {
    /// Wall-clock time of `now`. One reading of the wall clock serves the whole capture, so that
    /// its times are as monotonic as the stack's.
    fn wall_clock(&self, now: Instant) -> Duration {
        let since_start = now - Instant::ZERO;
        let epoch = *self.epoch.get_or_init(|| {
            let clock = SystemTime::now();
            clock.checked_sub(since_start).unwrap_or(UNIX_EPOCH)
        });
        epoch.duration_since(UNIX_EPOCH).unwrap_or_default() + since_start
    }

    fn enqueue(&self, mut batch: Batch) {
        let (frames, bytes, counters) = (batch.frames(), batch.bytes(), &self.counters);
        batch.missing = self.missing.swap(0, Ordering::Relaxed);
        let waiting = counters.waiting.fetch_add(frames, Ordering::Relaxed);
        let waiting_bytes = counters.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = (waiting == 0 || waiting + frames <= self.options.queue)
            && waiting_bytes + bytes <= self.options.queue_bytes;
        let refused = match &self.queue {
            Some(queue) if fits => queue.try_send(batch).err().map(|error| match error {
                TrySendError::Full(batch) | TrySendError::Disconnected(batch) => batch,
            }),
            _ => Some(batch),
        };
        if let Some(batch) = refused {
            counters.waiting.fetch_sub(frames, Ordering::Relaxed);
            counters.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            counters.dropped.fetch_add(frames as u64, Ordering::Relaxed);
            let missing = batch.missing + frames as u64;
            self.missing.fetch_add(missing, Ordering::Relaxed);
        }
    }
}

impl<D: Device> Device for Capture<D> {
    fn caps(&self) -> Caps {
        self.device.caps()
    }

    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_recv_ready(cx)
    }

    fn recv(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        self.flush();
        let before = batch.len();
        let received = self.device.recv(now, batch)?;
        if received > 0 {
            let options = &self.recorder.options;
            self.held.time = self.recorder.wall_clock(now);
            for frame in &batch.frames()[before..] {
                self.held.receive(frame, options);
            }
        }
        if !self.recorder.options.annotate {
            self.flush();
        }
        Ok(received)
    }

    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let options = &self.recorder.options;
        if batch.len() > self.recorded {
            self.held.first_sent = batch.pushed() - (batch.len() - self.recorded) as u64;
            for frame in batch.iter().skip(self.recorded) {
                self.held.send(&frame, options);
            }
        }
        if options.annotate {
            self.held.notes.append(batch.notes());
        }
        if !self.held.is_empty() {
            self.held.time = self.recorder.wall_clock(now);
        }
        let sent = self.device.send(now, batch);
        // What the device left is offered again, and is in the file already.
        self.recorded = batch.len();
        if self.recorder.options.annotate {
            self.device.take_lost(&mut self.lost);
            for lost in self.lost.drain(..) {
                let at = self.recorder.wall_clock(lost.at);
                self.held.lost.push((at, lost));
            }
        }
        self.flush();
        sent
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_send_ready(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.device.poll_timeout()
    }

    fn wants_notes(&self) -> bool {
        self.recorder.options.annotate || self.device.wants_notes()
    }

    /// They are in the file, and go on from here no more.
    fn take_lost(&mut self, lost: &mut Vec<LostPacket>) {
        if !self.recorder.options.annotate {
            self.device.take_lost(lost);
        }
    }
}

/// What was received last is written, too.
impl<D> Drop for Capture<D> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes what is still waiting and the final counts, then closes the file.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing more to tell.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;
