//! A capture, packet by packet, in bounded memory.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::{CaptureError, Recorded};
use crate::link;

/// The first bytes of a pcapng file: the type of its section header.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The first bytes of a file that gzip made.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Packets among which a copy of a sent packet is looked for.
const RECENT: usize = 16;

/// One IP packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The packet. Of one that is cut the rest is zeros, and its checksums are wrong.
    pub recorded: Recorded,
    /// Only its beginning was recorded (a snap length).
    pub cut: Option<Cut>,
}

/// How much of a frame there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes in the file.
    pub held: usize,
    /// Bytes on the wire.
    pub length: usize,
}

/// Reads a pcap or pcapng file packet by packet; frames that hold no IP packet are left out.
pub struct Reader {
    path: PathBuf,
    source: Source,
    /// Bytes read of the file so far.
    taken: Rc<Cell<u64>>,
    /// Frames read so far.
    count: usize,
    start: Option<Duration>,
    /// When the latest packet was recorded. Recorders with many queues may tell times that go
    /// back; the order of the file holds.
    latest: Duration,
    /// The latest packets that a cooked capture has as sent.
    sent: VecDeque<Bytes>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.path)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

type Input = BufReader<Counted>;

enum Source {
    Pcap(Box<PcapReader<Input>>),
    PcapNg(Box<PcapNgReader<Input>>),
}

/// The file with its first bytes put back, as a pipe cannot go back to its beginning.
struct Counted {
    inner: io::Chain<Cursor<Vec<u8>>, File>,
    taken: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

/// What comes next in a file.
enum Next<'a> {
    Frame(Raw<'a>),
    /// What says nothing of packets.
    Other,
    End,
}

/// A frame as the file has it.
struct Raw<'a> {
    link: DataLink,
    time: Duration,
    length: usize,
    data: Cow<'a, [u8]>,
    lost: bool,
}

impl Reader {
    /// Opens a capture and reads its header. Errors: the file cannot be read, or is no capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let io_error = |source| CaptureError::Io {
            path: path.to_owned(),
            source,
        };
        let no_capture = |reason: &str| CaptureError::NoCapture {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let mut file = File::open(path).map_err(io_error)?;
        let mut magic = Vec::new();
        let limit = SECTION_HEADER.len() as u64;
        (&mut file)
            .take(limit)
            .read_to_end(&mut magic)
            .map_err(io_error)?;
        match &magic[..] {
            [] => return Err(no_capture("it is empty")),
            [first, second, ..] if [*first, *second] == GZIP => {
                return Err(no_capture("it is compressed, gunzip it"));
            }
            _ => {}
        }
        let is_pcapng = magic == SECTION_HEADER;
        let taken = Rc::new(Cell::new(0));
        let input = BufReader::new(Counted {
            inner: Cursor::new(magic).chain(file),
            taken: Rc::clone(&taken),
        });
        let source = if is_pcapng {
            let reader = PcapNgReader::new(input).map_err(|error| no_capture(&words(&error)))?;
            Source::PcapNg(Box::new(reader))
        } else {
            let reader = PcapReader::new(input).map_err(|error| no_capture(&words(&error)))?;
            Source::Pcap(Box::new(reader))
        };
        Ok(Self {
            path: path.to_owned(),
            source,
            taken,
            count: 0,
            start: None,
            latest: Duration::ZERO,
            sent: VecDeque::new(),
        })
    }

    /// Bytes of the file that were read so far.
    pub fn position(&self) -> u64 {
        self.taken.get()
    }

    /// The next IP packet; `None` at the end. Errors: the file is damaged here or breaks off, or
    /// holds frames of a link that cannot be read. Nothing more can be read after an error.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, CaptureError> {
        loop {
            let (path, count) = (&self.path, &mut self.count);
            let format_error = |after, reason| CaptureError::Format {
                path: path.clone(),
                after,
                reason,
            };
            let next = match &mut self.source {
                Source::Pcap(reader) => next_pcap(reader),
                Source::PcapNg(reader) => next_pcapng(reader),
            };
            let raw = match next.map_err(|reason| format_error(*count, reason))? {
                Next::Frame(raw) => raw,
                Next::Other => continue,
                Next::End => return Ok(None),
            };
            *count += 1;
            if !link::is_known(raw.link) {
                return Err(CaptureError::LinkType {
                    path: path.clone(),
                    number: *count,
                    link: raw.link,
                });
            }
            let start = *self.start.get_or_insert(raw.time);
            self.latest = self.latest.max(raw.time.saturating_sub(start));
            let (number, time) = (*count, self.latest);
            if let Some(packet) = packet(&raw, number, time, &mut self.sent) {
                return Ok(Some(packet));
            }
        }
    }
}

/// The IP packet of a frame, unless it is the copy of one that was there already.
fn packet(
    raw: &Raw<'_>,
    number: usize,
    time: Duration,
    sent: &mut VecDeque<Bytes>,
) -> Option<Packet> {
    let content = link::content(raw.link, &raw.data)?;
    let cut = (raw.data.len() < raw.length).then_some(Cut {
        held: raw.data.len(),
        length: raw.length,
    });
    let mut data = content.packet.to_vec();
    if cut.is_some() {
        data.resize(link::length(&data).unwrap_or(data.len()).max(data.len()), 0);
    }
    let data = Bytes::from(data);
    if let Some(is_outgoing) = content.is_outgoing
        && is_copy(sent, &data, is_outgoing)
    {
        return None;
    }
    let recorded = Recorded {
        number,
        time,
        lost: raw.lost,
        data,
    };
    Some(Packet { recorded, cut })
}

/// A capture of all devices has packets over loopback twice: as they are sent and as they arrive.
fn is_copy(sent: &mut VecDeque<Bytes>, data: &Bytes, is_outgoing: bool) -> bool {
    if is_outgoing {
        sent.truncate(RECENT - 1);
        sent.push_front(data.clone());
        return false;
    }
    let place = sent.iter().position(|one| one == data);
    place.is_some_and(|place| sent.remove(place).is_some())
}

fn next_pcap(reader: &mut PcapReader<Input>) -> Result<Next<'_>, String> {
    let link = reader.header().datalink;
    let Some(packet) = reader.next_packet() else {
        return Ok(Next::End);
    };
    let packet = packet.map_err(|error| words(&error))?;
    let (time, length) = (packet.timestamp(), packet.orig_len() as usize);
    Ok(Next::Frame(Raw {
        link,
        time,
        length,
        data: packet.into_data(),
        lost: false,
    }))
}

fn next_pcapng(reader: &mut PcapNgReader<Input>) -> Result<Next<'_>, String> {
    let Some(block) = reader.next_block() else {
        return Ok(Next::End);
    };
    let (block, state) = block.map_err(|error| words(&error))?;
    let Block::EnhancedPacket(packet) = block else {
        return Ok(Next::Other);
    };
    let interface = state.interfaces().get(packet.interface_id as usize);
    let interface = interface.ok_or("a packet of an interface never described")?;
    let (time, lost) = (packet.timestamp, is_lost(&packet));
    Ok(Next::Frame(Raw {
        link: interface.linktype,
        time,
        length: packet.original_len as usize,
        data: packet.data,
        lost,
    }))
}

/// What the reader says, or the system.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    match causes.find_map(|error| error.downcast_ref::<io::Error>()) {
        Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the file ends too early".to_owned()
        }
        Some(error) => error.to_string(),
        None => error.to_string(),
    }
}

fn is_lost(packet: &EnhancedPacketBlock<'_>) -> bool {
    packet.options.iter().any(|option| {
        matches!(
            option,
            EnhancedPacketOption::Common(CommonOption::Comment(text)) if text.starts_with("lost")
        )
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A pcap file with one raw packet of 20 bytes at each of these times, in milliseconds.
    fn file(name: &str, millis: &[u32]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("{name}-{}.pcap", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let mut put = |numbers: &[u32]| {
            for number in numbers {
                file.write_all(&number.to_le_bytes()).unwrap();
            }
        };
        put(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 101]);
        for at in millis {
            put(&[at / 1000, at % 1000 * 1000, 20, 20]);
            put(&[0x1400_0045, 0, 0, 0, 0]);
        }
        path
    }

    #[test]
    fn time_never_goes_back() {
        let path = file("queues", &[1000, 1005, 1003, 1007]);
        let mut reader = Reader::open(&path).unwrap();
        let mut times = Vec::new();
        while let Some(packet) = reader.next_packet().unwrap() {
            times.push(packet.recorded.time.as_millis());
        }
        let length = path.metadata().unwrap().len();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(times, [0, 5, 5, 7]);
        assert_eq!(reader.position(), length);
    }
}
