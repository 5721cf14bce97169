//! Captures: pcap and pcapng files as a list of IP packets.

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::link;

/// The first bytes of a pcapng file: the type of its section header.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The first bytes of a file that gzip made.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What a capture may hold, in bytes: it is kept in memory.
const ROOM: usize = 1 << 30;
/// What a packet takes up besides its bytes, about.
const OVERHEAD: usize = 256;
/// Packets among which a copy of a sent packet is looked for.
const RECENT: usize = 16;

/// One recorded packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its number in the file, from 1, as Wireshark shows it.
    pub number: usize,
    /// Time since the first packet of the file.
    pub time: Duration,
    /// It never reached the other end: its comment begins with `lost`.
    pub lost: bool,
    /// The packet from its IP header on.
    pub data: Bytes,
}

/// Why a capture cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no capture.
    #[error("{} is no capture: {reason}; pcap and pcapng are read (tcpdump -w, Wireshark)", path.display())]
    NoCapture {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file is damaged or breaks off.
    #[error("{} after packet {after}: {reason}; record it again, or cut it with editcap", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// The last packet that could be read; 0: none.
        after: usize,
        /// What the reader says.
        reason: String,
    },
    /// The capture is too large to be kept in memory.
    #[error(
        "{} holds more than can be kept in memory, {ROOM} bytes up to packet {number}; take out what \
         matters: tcpdump -r FILE -w PART host ADDR",
        path.display()
    )]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The first packet that is too much.
        number: usize,
    },
    /// A packet of a link that cannot be read.
    #[error(
        "{} packet {number}: link type {link:?}; raw IP, Ethernet, Linux's cooked captures and \
         BSD's loopback can be read",
        path.display()
    )]
    LinkType {
        /// Which file.
        path: PathBuf,
        /// The packet's number, from 1.
        number: usize,
        /// What the file says.
        link: DataLink,
    },
    /// A packet of which the capture holds only the beginning.
    #[error(
        "{} packet {number}: only {held} of {length} bytes were recorded; record with full length \
         (tcpdump -s 0)",
        path.display()
    )]
    Cut {
        /// Which file.
        path: PathBuf,
        /// The packet's number, from 1.
        number: usize,
        /// Bytes in the file.
        held: usize,
        /// Bytes on the wire.
        length: usize,
    },
}

/// What could be read of a file.
#[derive(Debug, Default)]
pub struct Capture {
    /// All IP packets; frames of other protocols are left out.
    pub packets: Vec<Recorded>,
    /// Numbers of the packets of which only the beginning was recorded (a snap length): they are
    /// filled up with zeros, and their checksums are wrong.
    pub cut: BTreeSet<usize>,
    /// Where the file breaks off.
    pub breaks_off: Option<CaptureError>,
}

/// Reads all IP packets of a pcap or pcapng file; frames of other protocols are left out. The file
/// is whole, and so are all packets.
pub fn read(path: &Path) -> Result<Vec<Recorded>, CaptureError> {
    let list = read_list(path, false)?;
    match list.breaks_off {
        Some(error) => Err(error),
        None => Ok(list.packets),
    }
}

/// Reads what there is of a file that may break off, with packets that may be cut.
pub fn read_all(path: &Path) -> Result<Capture, CaptureError> {
    let capture = read_list(path, true)?;
    match capture.breaks_off {
        Some(error) if capture.packets.is_empty() => Err(error),
        _ => Ok(capture),
    }
}

fn read_list(path: &Path, fills_up: bool) -> Result<Capture, CaptureError> {
    let io_error = |source| CaptureError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(io_error)?;
    let mut magic = Vec::new();
    let limit = SECTION_HEADER.len() as u64;
    (&mut file)
        .take(limit)
        .read_to_end(&mut magic)
        .map_err(io_error)?;
    let mut list = List::new(path, fills_up);
    let is_pcapng = magic == SECTION_HEADER;
    let no_capture = match &magic[..] {
        [] => Some("it is empty"),
        [first, second, ..] if [*first, *second] == GZIP => Some("it is compressed, gunzip it"),
        _ => None,
    };
    if let Some(reason) = no_capture {
        return Err(list.no_capture(reason.to_owned()));
    }
    // A pipe cannot go back to its beginning.
    let source = BufReader::new(Cursor::new(magic).chain(file));
    let result = if is_pcapng {
        read_pcapng(source, &mut list)
    } else {
        read_pcap(source, &mut list)
    };
    match result {
        Err(error @ CaptureError::Format { .. }) => list.capture.breaks_off = Some(error),
        other => other?,
    }
    Ok(list.capture)
}

struct List<'a> {
    path: &'a Path,
    fills_up: bool,
    count: usize,
    start: Option<Duration>,
    /// When the latest packet was recorded. Recorders with many queues may tell times that go
    /// back; the order of the file holds.
    latest: Duration,
    /// How many bytes there is room for yet.
    room: usize,
    /// The latest packets that a cooked capture has as sent.
    sent: VecDeque<Bytes>,
    capture: Capture,
}

impl<'a> List<'a> {
    fn new(path: &'a Path, fills_up: bool) -> Self {
        Self {
            path,
            fills_up,
            count: 0,
            start: None,
            latest: Duration::ZERO,
            room: ROOM,
            sent: VecDeque::new(),
            capture: Capture::default(),
        }
    }

    fn no_capture(&self, reason: String) -> CaptureError {
        CaptureError::NoCapture {
            path: self.path.to_owned(),
            reason,
        }
    }

    fn format_error(&self, reason: String) -> CaptureError {
        CaptureError::Format {
            path: self.path.to_owned(),
            after: self.count,
            reason,
        }
    }

    fn push(
        &mut self,
        link: DataLink,
        time: Duration,
        length: usize,
        data: &[u8],
        lost: bool,
    ) -> Result<(), CaptureError> {
        self.count += 1;
        let number = self.count;
        let is_cut = data.len() < length;
        if is_cut && !self.fills_up {
            return Err(CaptureError::Cut {
                path: self.path.to_owned(),
                number,
                held: data.len(),
                length,
            });
        }
        let taken = data.len() + OVERHEAD;
        let room = self.room.checked_sub(taken);
        self.room = room.ok_or_else(|| CaptureError::TooLarge {
            path: self.path.to_owned(),
            number,
        })?;
        let start = *self.start.get_or_insert(time);
        self.latest = self.latest.max(time.saturating_sub(start));
        if !link::is_known(link) {
            return Err(CaptureError::LinkType {
                path: self.path.to_owned(),
                number,
                link,
            });
        }
        let Some(content) = link::content(link, data) else {
            return Ok(());
        };
        let mut data = content.packet.to_vec();
        if is_cut {
            data.resize(link::length(&data).unwrap_or(data.len()).max(data.len()), 0);
            self.capture.cut.insert(number);
        }
        let data = Bytes::from(data);
        if let Some(is_outgoing) = content.is_outgoing
            && self.is_copy(&data, is_outgoing)
        {
            return Ok(());
        }
        self.capture.packets.push(Recorded {
            number,
            time: self.latest,
            lost,
            data,
        });
        Ok(())
    }

    /// A capture of all devices has packets over loopback twice: as they are sent and as they
    /// arrive.
    fn is_copy(&mut self, data: &Bytes, is_outgoing: bool) -> bool {
        if is_outgoing {
            self.sent.truncate(RECENT - 1);
            self.sent.push_front(data.clone());
            return false;
        }
        let place = self.sent.iter().position(|sent| sent == data);
        place.is_some_and(|place| self.sent.remove(place).is_some())
    }
}

fn read_pcap(source: impl Read, list: &mut List<'_>) -> Result<(), CaptureError> {
    let mut reader = PcapReader::new(source).map_err(|error| list.no_capture(words(&error)))?;
    let link = reader.header().datalink;
    while let Some(packet) = reader.next_packet() {
        let packet = packet.map_err(|error| list.format_error(words(&error)))?;
        let length = packet.orig_len() as usize;
        list.push(link, packet.timestamp(), length, packet.data(), false)?;
    }
    Ok(())
}

fn read_pcapng(source: impl Read, list: &mut List<'_>) -> Result<(), CaptureError> {
    let mut reader = PcapNgReader::new(source).map_err(|error| list.no_capture(words(&error)))?;
    while let Some(block) = reader.next_block() {
        let (block, state) = block.map_err(|error| list.format_error(words(&error)))?;
        let Block::EnhancedPacket(packet) = block else {
            continue;
        };
        let interface = state.interfaces().get(packet.interface_id as usize);
        let link = interface
            .ok_or_else(|| {
                list.format_error("a packet of an interface never described".to_owned())
            })?
            .linktype;
        let length = packet.original_len as usize;
        list.push(
            link,
            packet.timestamp,
            length,
            &packet.data,
            is_lost(&packet),
        )?;
    }
    Ok(())
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
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let mut list = List::new(Path::new("large"), true);
        list.room = 3 * (20 + OVERHEAD);
        for _ in 0..3 {
            list.push(DataLink::RAW, Duration::ZERO, 20, &[0x45; 20], false)
                .unwrap();
        }
        let result = list.push(DataLink::RAW, Duration::ZERO, 20, &[0x45; 20], false);
        assert!(
            matches!(result, Err(CaptureError::TooLarge { number: 4, .. })),
            "{result:?}"
        );
    }

    #[test]
    fn time_never_goes_back() {
        let mut list = List::new(Path::new("queues"), true);
        for millis in [1000, 1005, 1003, 1007] {
            let time = Duration::from_millis(millis);
            list.push(DataLink::RAW, time, 20, &[0x45; 20], false)
                .unwrap();
        }
        let times = list.capture.packets.iter();
        let times: Vec<u128> = times.map(|packet| packet.time.as_millis()).collect();
        assert_eq!(times, [0, 5, 5, 7]);
    }
}
