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

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};
use ustack_tcp::time::Instant;

use super::{Caps, Device, Frame, GsoKind, Offload, RxBatch, TxBatch, TxFrame, gso};

/// What to capture, and how much may wait to be written.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// The interface's name in the file.
    pub interface: String,
    /// Bytes kept of each packet.
    pub snaplen: u32,
    /// Whether TCP super-segments are shown as wire segments.
    pub split: bool,
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
            queue: 16_384,
            queue_bytes: 64 << 20,
            epoch: None,
        }
    }
}

/// How a capture goes. Frames: a super-segment counts once.
#[derive(Debug, Default)]
pub struct CaptureCounters {
    /// Frames written.
    pub written: AtomicU64,
    /// Frames not written: the thread was behind, or the file could not be written.
    pub dropped: AtomicU64,
    /// Bytes waiting to be written.
    waiting: AtomicUsize,
}

/// A device whose packets are recorded, in the order in which the stack received and sent them.
///
/// The stack never waits for the file: what the bounded queue cannot take is dropped and counted,
/// and the count stands at the end of the file (an interface statistics block). Blocks go to the
/// file whole, as soon as the thread has caught up, so a file whose writer was killed can be read.
#[derive(Debug)]
pub struct Capture<D> {
    device: D,
    recorder: Arc<Recorder>,
    /// Frames at the front of the batch to send that are recorded already.
    recorded: usize,
}

/// The way to the file, for all queues of a device.
#[derive(Debug)]
struct Recorder {
    options: CaptureOptions,
    /// `None` only while dropping.
    queue: Option<Sender<Record>>,
    writer: Option<JoinHandle<()>>,
    counters: Arc<CaptureCounters>,
    epoch: OnceLock<SystemTime>,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    In = 1,
    Out = 2,
}

/// A frame on its way to the file.
#[derive(Debug)]
struct Record {
    time: Duration,
    direction: Direction,
    parts: Vec<Bytes>,
    offload: Offload,
}

impl Record {
    fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

impl<D: Device> Capture<D> {
    /// Records what goes through `device` to `file`. Headers are written at once, so that a file
    /// that cannot be written is found here.
    pub fn new(
        device: D,
        file: impl Write + Send + 'static,
        options: CaptureOptions,
    ) -> io::Result<Self> {
        let counters = Arc::<CaptureCounters>::default();
        let (queue, records) = bounded(options.queue.max(1));
        let sink = Sink::new(file, &options, Arc::clone(&counters))?;
        let writer = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || sink.run(&records))?;
        let recorder = Recorder {
            queue: Some(queue),
            writer: Some(writer),
            counters,
            epoch: options.epoch.map(OnceLock::from).unwrap_or_default(),
            options,
        };
        Ok(Self {
            device,
            recorder: Arc::new(recorder),
            recorded: 0,
        })
    }

    /// Records another queue of the device to the same file, which is complete once all are
    /// dropped. Queues run at once, so neighbouring packets of two of them may stand in either
    /// order; their times are right.
    pub fn beside<E: Device>(&self, device: E) -> Capture<E> {
        Capture {
            device,
            recorder: Arc::clone(&self.recorder),
            recorded: 0,
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

    fn enqueue(&self, record: Record) {
        let (len, counters) = (record.len(), &self.counters);
        let fits =
            counters.waiting.fetch_add(len, Ordering::Relaxed) + len <= self.options.queue_bytes;
        let sent = match &self.queue {
            Some(queue) if fits => queue
                .try_send(record)
                .map_err(|error| matches!(error, TrySendError::Full(_))),
            _ => Err(false),
        };
        if sent.is_err() {
            counters.waiting.fetch_sub(len, Ordering::Relaxed);
            counters.dropped.fetch_add(1, Ordering::Relaxed);
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
        let before = batch.len();
        let received = self.device.recv(now, batch)?;
        if received > 0 {
            let time = self.recorder.wall_clock(now);
            for frame in &batch.frames()[before..] {
                let record = Record {
                    time,
                    direction: Direction::In,
                    parts: vec![frame.data.clone()],
                    offload: frame.offload,
                };
                self.recorder.enqueue(record);
            }
        }
        Ok(received)
    }

    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        if batch.len() > self.recorded {
            let time = self.recorder.wall_clock(now);
            for frame in batch.iter().skip(self.recorded) {
                let record = Record {
                    time,
                    direction: Direction::Out,
                    parts: parts(&frame),
                    offload: frame.offload,
                };
                self.recorder.enqueue(record);
            }
        }
        let sent = self.device.send(now, batch);
        // What the device left is offered again, and is in the file already.
        self.recorded = batch.len();
        sent
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_send_ready(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.device.poll_timeout()
    }
}

fn parts(frame: &TxFrame<'_>) -> Vec<Bytes> {
    let headers = (!frame.headers.is_empty()).then(|| Bytes::copy_from_slice(frame.headers));
    headers
        .into_iter()
        .chain(frame.chunks.iter().cloned())
        .collect()
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

/// Collects whole blocks, so that each goes to the file in one write.
struct Blocks<W> {
    file: W,
    buffer: Vec<u8>,
}

/// Blocks are written at the latest when this much has been collected.
const BLOCK_BUFFER: usize = 256 << 10;

impl<W: Write> Blocks<W> {
    fn write_out(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.and_then(|()| self.file.flush())
    }
}

impl<W> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writing thread's state.
struct Sink<W: Write> {
    pcapng: PcapNgWriter<Blocks<W>>,
    snaplen: usize,
    split: bool,
    counters: Arc<CaptureCounters>,
    received: u64,
    last_time: Duration,
    /// The file failed; nothing more is written, everything is counted as dropped.
    failed: bool,
}

impl<W: Write> Sink<W> {
    fn new(file: W, options: &CaptureOptions, counters: Arc<CaptureCounters>) -> io::Result<Self> {
        let comment = format!("ustack {}", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            // The crate's default is big-endian, which a secrets block of the host would contradict.
            endianness: Endianness::Little,
            options: vec![
                SectionHeaderOption::UserApplication(comment.as_str().into()),
                SectionHeaderOption::Common(CommonOption::Comment(
                    format!("{comment}: checksums left to offload are completed").into(),
                )),
            ],
            ..SectionHeaderBlock::default()
        };
        let blocks = Blocks {
            file,
            buffer: Vec::with_capacity(BLOCK_BUFFER),
        };
        let mut pcapng =
            PcapNgWriter::with_section_header(blocks, section).map_err(io::Error::other)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: options.snaplen,
            options: vec![
                InterfaceDescriptionOption::IfName(options.interface.as_str().into()),
                InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
            ],
        };
        pcapng
            .write_pcapng_block(interface)
            .map_err(io::Error::other)?;
        pcapng.get_mut().write_out()?;
        Ok(Self {
            pcapng,
            snaplen: options.snaplen as usize,
            split: options.split,
            counters,
            received: 0,
            last_time: Duration::ZERO,
            failed: false,
        })
    }

    fn run(mut self, records: &Receiver<Record>) {
        while let Ok(record) = records.recv() {
            self.on_record(&record);
            while self.pcapng.get_ref().buffer.len() < BLOCK_BUFFER {
                match records.try_recv() {
                    Ok(record) => self.on_record(&record),
                    Err(_) => break,
                }
            }
            self.write_out();
        }
        if !self.failed && self.write_statistics().is_ok() {
            self.write_out();
        }
    }

    fn on_record(&mut self, record: &Record) {
        let len = record.len();
        self.received += 1;
        let written = !self.failed && self.write_frame(record).is_ok();
        let counter = if written {
            &self.counters.written
        } else {
            &self.counters.dropped
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.counters.waiting.fetch_sub(len, Ordering::Relaxed);
    }

    fn write_frame(&mut self, record: &Record) -> io::Result<()> {
        let frame = joined(record);
        let whole = match frame.offload.gso {
            None => true,
            Some(gso) => gso.kind != GsoKind::Udp && !self.split,
        };
        if whole {
            // A frame whose metadata is nonsense is still worth seeing.
            let packet = gso::completed(&frame).unwrap_or_else(|_| frame.data.to_vec());
            return self.write_packet(record, &packet);
        }
        let mut result = Ok(());
        let cut = gso::cut(&frame, |packet| {
            if result.is_ok() {
                result = self.write_packet(record, &packet);
            }
        });
        match cut {
            Ok(()) => result,
            Err(_) => self.write_packet(record, &frame.data),
        }
    }

    fn write_packet(&mut self, record: &Record, packet: &[u8]) -> io::Result<()> {
        self.last_time = record.time;
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: record.time,
            original_len: packet.len() as u32,
            data: packet[..packet.len().min(self.snaplen)].into(),
            options: vec![EnhancedPacketOption::Flags(record.direction as u32)],
        };
        self.pcapng
            .write_pcapng_block(block)
            .map(drop)
            .map_err(io::Error::other)
    }

    fn write_statistics(&mut self) -> io::Result<()> {
        let dropped = self.counters.dropped.load(Ordering::Relaxed);
        let block = InterfaceStatisticsBlock {
            interface_id: 0,
            timestamp: self.last_time,
            options: vec![
                InterfaceStatisticsOption::IsbIfRecv(self.received.max(dropped)),
                InterfaceStatisticsOption::IsbOsDrop(dropped),
            ],
        };
        self.pcapng
            .write_pcapng_block(block)
            .map(drop)
            .map_err(io::Error::other)
    }

    fn write_out(&mut self) {
        let blocks = self.pcapng.get_mut();
        if self.failed {
            blocks.buffer.clear();
        } else if let Err(error) = blocks.write_out() {
            self.failed = true;
            tracing::error!(
                %error,
                "the capture file cannot be written any more; free some space and start again"
            );
        }
    }
}

fn joined(record: &Record) -> Frame {
    let data = match &record.parts[..] {
        [single] => single.clone(),
        parts => parts.concat().into(),
    };
    Frame {
        data,
        offload: record.offload,
    }
}

#[cfg(test)]
mod tests;
