//! The thread that writes: batches become blocks.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::Receiver;
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

use super::batch::{Batch, Piece, is_cut};
use super::files::Files;
use super::filter::CaptureDirection as Direction;
use super::secrets::KeyLog;
use super::{CaptureCounters, CaptureOptions};
use crate::batch::Frame;
use crate::device::gso;
use crate::observe::{Entry, Part, Turn, Waiting, comment, discarded};

/// The interface of packets that went by, and of those that were lost on purpose.
const DEVICE: u32 = 0;
const LOST: u32 = 1;

/// Blocks are written at the latest when this much has been collected.
const BLOCK_BUFFER: usize = 256 << 10;

/// Collects whole blocks, so that each goes to the file in one write.
struct Blocks {
    file: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    /// Bytes of the file.
    written: u64,
}

impl Blocks {
    fn write_out(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        written.and_then(|()| self.file.flush())
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writing thread's state.
pub(super) struct Sink {
    files: Box<dyn Files>,
    pcapng: PcapNgWriter<Blocks>,
    options: CaptureOptions,
    keys: Option<KeyLog>,
    counters: Arc<CaptureCounters>,
    received: u64,
    /// When the file's first packet was.
    first_time: Option<Duration>,
    last_time: Duration,
    /// Frames that are missing before the next packet.
    missing: u64,
    waiting: Waiting,
    /// Room for a comment.
    text: String,
    /// The file failed; nothing more is written, everything is counted as dropped.
    failed: bool,
}

/// A packet on its way into a block.
struct Shown<'a> {
    time: Duration,
    interface: u32,
    direction: Direction,
    data: &'a [u8],
    /// Bytes of the whole packet.
    len: usize,
    comment: &'a str,
}

impl Sink {
    pub(super) fn new(
        mut files: Box<dyn Files>,
        options: &CaptureOptions,
        counters: Arc<CaptureCounters>,
    ) -> io::Result<Self> {
        let pcapng = begin(files.next()?, options)?;
        let mut sink = Self {
            files,
            pcapng,
            options: options.clone(),
            keys: options.secrets.clone().map(KeyLog::new),
            counters,
            received: 0,
            first_time: None,
            last_time: Duration::ZERO,
            missing: 0,
            waiting: Waiting::default(),
            text: String::new(),
            failed: false,
        };
        sink.write_secrets()?;
        sink.pcapng.get_mut().write_out()?;
        Ok(sink)
    }

    pub(super) fn run(mut self, batches: &Receiver<Batch>) {
        while let Ok(batch) = batches.recv() {
            self.on_batch(&batch);
            while self.pcapng.get_ref().buffer.len() < BLOCK_BUFFER
                && let Ok(batch) = batches.try_recv()
            {
                self.on_batch(&batch);
            }
            self.write_out();
        }
        if !self.failed && self.write_statistics().is_ok() {
            self.write_out();
        }
    }

    fn on_batch(&mut self, batch: &Batch) {
        self.missing += batch.missing;
        let frames = batch.frames() as u64;
        self.received += frames;
        let written = !self.failed
            && self.rotate(batch.time).is_ok()
            && self.write_secrets().is_ok()
            && self.write_batch(batch).is_ok();
        let counter = if written {
            &self.counters.written
        } else {
            &self.counters.dropped
        };
        counter.fetch_add(frames, Ordering::Relaxed);
        let counters = &self.counters;
        counters
            .waiting
            .fetch_sub(batch.frames(), Ordering::Relaxed);
        counters
            .waiting_bytes
            .fetch_sub(batch.bytes(), Ordering::Relaxed);
    }

    fn write_batch(&mut self, batch: &Batch) -> io::Result<()> {
        let turn = Turn {
            received: &batch.received,
            sent: &batch.sent,
            first_sent: batch.first_sent,
            notes: &batch.notes.to_notes(),
        };
        let mut result = Ok(());
        let mut told = 0; // events to come that the last packet has told
        turn.each(|entry| {
            let (direction, piece, part) = match entry {
                Entry::Received(piece, part) => (Direction::In, piece, part),
                Entry::Sent(piece, part) => (Direction::Out, piece, part),
                Entry::Event(_) if told > 0 => return told -= 1,
                Entry::Event(note) => return self.waiting.push(note),
            };
            let frame = batch.frame(piece);
            told = 0;
            if result.is_ok() && self.wants(direction, &frame.data) {
                told = part.notes.len().saturating_sub(1);
                let events = self.waiting.take(&part);
                let part = events.before(&part);
                result = self.write_frame(batch.time, direction, (&frame, piece), &part);
            }
        });
        result?;
        let forgotten = self.waiting.take_forgotten();
        let counter = &self.counters.events_left_out;
        counter.fetch_add(forgotten, Ordering::Relaxed);
        let mut text = std::mem::take(&mut self.text);
        for (time, lost) in &batch.lost {
            text.clear();
            discarded(lost.reason, &mut text);
            let direction = if lost.is_sent {
                Direction::Out
            } else {
                Direction::In
            };
            if !self.wants(direction, &lost.packet) {
                continue;
            }
            self.write_packet(&Shown {
                time: *time,
                interface: LOST,
                direction,
                data: &lost.packet,
                len: lost.packet.len(),
                comment: &text,
            })?;
        }
        self.text = text;
        Ok(())
    }

    fn write_frame(
        &mut self,
        time: Duration,
        direction: Direction,
        (frame, piece): (&Frame, &Piece),
        part: &Part<'_>,
    ) -> io::Result<()> {
        let is_cut = is_cut(piece.offload, &self.options);
        let mut text = std::mem::take(&mut self.text);
        let mut shown = |part: &Part<'_>, data: &[u8], len: usize| {
            text.clear();
            comment(part, &mut text);
            self.write_packet(&Shown {
                time,
                interface: DEVICE,
                direction,
                data,
                len,
                comment: &text,
            })
        };
        let mut result = Ok(());
        if is_cut {
            let mut packets = Vec::new();
            let cut = gso::cut(frame, |packet| packets.push(packet));
            if cut.is_err() {
                packets = vec![frame.data.to_vec()];
            }
            let count = packets.len() as u32;
            for (index, packet) in (0..).zip(&packets) {
                let part = Part {
                    index,
                    count,
                    ..*part
                };
                result = result.and_then(|()| shown(&part, packet, packet.len()));
            }
        } else if frame.data.len() < piece.len {
            result = shown(part, &frame.data, piece.len);
        } else {
            // A frame whose metadata is nonsense is still worth seeing.
            let packet = gso::completed(frame).unwrap_or_else(|_| frame.data.to_vec());
            result = shown(part, &packet, packet.len());
        }
        self.text = text;
        result
    }

    /// Whether the file is to show it.
    fn wants(&self, direction: Direction, packet: &[u8]) -> bool {
        let is_other = |only| only != direction;
        !self.options.direction.is_some_and(is_other) && self.options.filter.passes(packet)
    }

    fn write_packet(&mut self, shown: &Shown<'_>) -> io::Result<()> {
        self.last_time = self.last_time.max(shown.time);
        self.first_time.get_or_insert(shown.time);
        let mut options = vec![EnhancedPacketOption::Flags(shown.direction as u32)];
        if self.missing > 0 {
            options.push(EnhancedPacketOption::DropCount(std::mem::take(
                &mut self.missing,
            )));
        }
        if !shown.comment.is_empty() {
            let comment = CommonOption::Comment(shown.comment.into());
            options.push(EnhancedPacketOption::Common(comment));
        }
        let snaplen = shown.data.len().min(self.options.snaplen as usize);
        let block = EnhancedPacketBlock {
            interface_id: shown.interface,
            timestamp: shown.time,
            original_len: shown.len as u32,
            data: shown.data[..snaplen].into(),
            options,
        };
        let written = self.pcapng.write_pcapng_block(block);
        written.map(drop).map_err(io::Error::other)
    }

    /// Goes on in another file when it is time to.
    fn rotate(&mut self, now: Duration) -> io::Result<()> {
        let blocks = self.pcapng.get_ref();
        let bytes = blocks.written + blocks.buffer.len() as u64;
        let rotation = self.options.rotation;
        let is_full = rotation.bytes.is_some_and(|most| bytes >= most);
        let age = self.first_time.map(|first| now.saturating_sub(first));
        let is_old = age.is_some_and(|age| rotation.age.is_some_and(|most| age >= most));
        if self.first_time.is_none() || !(is_full || is_old) {
            return Ok(());
        }
        self.write_statistics()?;
        self.pcapng.get_mut().write_out()?;
        let next = self
            .files
            .next()
            .and_then(|file| begin(file, &self.options));
        match next {
            Ok(pcapng) => self.pcapng = pcapng,
            Err(error) => {
                self.fail(&error);
                return Err(error);
            }
        }
        self.first_time = None;
        self.received = 0;
        if let Some(keys) = &mut self.keys {
            keys.restart();
        }
        Ok(())
    }

    fn write_secrets(&mut self) -> io::Result<()> {
        match self.keys.as_mut().and_then(KeyLog::next_block) {
            Some(block) => self.pcapng.get_mut().write_all(&block),
            None => Ok(()),
        }
    }

    fn write_statistics(&mut self) -> io::Result<()> {
        let dropped = self.counters.dropped.load(Ordering::Relaxed);
        let block = InterfaceStatisticsBlock {
            interface_id: DEVICE,
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
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed = true;
        tracing::error!(
            %error,
            "the capture file cannot be written any more; free some space and start again"
        );
    }
}

/// The beginning of a packet, and what is known of it.
pub(in crate::device) struct CapturedHead<'a> {
    /// Since 1970.
    pub(in crate::device) time: Duration,
    pub(in crate::device) is_sent: bool,
    pub(in crate::device) data: &'a [u8],
    /// Bytes of the whole packet.
    pub(in crate::device) len: usize,
    pub(in crate::device) part: Part<'a>,
}

/// Writes a whole file at once, of packets that `packets` hands over one by one.
pub(in crate::device) fn write_heads(
    file: impl Write + Send + 'static,
    options: &CaptureOptions,
    packets: impl FnOnce(&mut dyn FnMut(&CapturedHead<'_>) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<()> {
    let files = Box::new(super::files::One::new(file));
    let mut sink = Sink::new(files, options, Arc::default())?;
    let mut text = String::new();
    packets(&mut |packet| {
        text.clear();
        comment(&packet.part, &mut text);
        let direction = if packet.is_sent {
            Direction::Out
        } else {
            Direction::In
        };
        sink.received += 1;
        sink.write_packet(&Shown {
            time: packet.time,
            interface: DEVICE,
            direction,
            data: packet.data,
            len: packet.len,
            comment: &text,
        })?;
        let blocks = sink.pcapng.get_mut();
        if blocks.buffer.len() < BLOCK_BUFFER {
            return Ok(());
        }
        blocks.write_out()
    })?;
    sink.write_statistics()?;
    sink.pcapng.get_mut().write_out()
}

/// A section and its interfaces.
fn begin(
    file: Box<dyn Write + Send>,
    options: &CaptureOptions,
) -> io::Result<PcapNgWriter<Blocks>> {
    let version = format!("ustack {}", env!("CARGO_PKG_VERSION"));
    let mut about = format!("{version}: checksums left to offload are completed");
    if let Some(comment) = &options.comment {
        about = format!("{about}; {comment}");
    }
    let section = SectionHeaderBlock {
        // The crate's default is big-endian, which a secrets block of the host would contradict.
        endianness: Endianness::Little,
        options: vec![
            SectionHeaderOption::UserApplication(version.into()),
            SectionHeaderOption::Common(CommonOption::Comment(about.into())),
        ],
        ..SectionHeaderBlock::default()
    };
    let blocks = Blocks {
        file,
        buffer: Vec::with_capacity(BLOCK_BUFFER),
        written: 0,
    };
    let mut pcapng =
        PcapNgWriter::with_section_header(blocks, section).map_err(io::Error::other)?;
    let lost = format!("{}-impair", options.interface);
    let names = [Some(&options.interface), options.annotate.then_some(&lost)];
    for name in names.into_iter().flatten() {
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: options.snaplen,
            options: vec![
                InterfaceDescriptionOption::IfName(name.into()),
                InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
            ],
        };
        pcapng
            .write_pcapng_block(interface)
            .map_err(io::Error::other)?;
    }
    Ok(pcapng)
}
