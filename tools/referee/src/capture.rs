//! Captures: pcap and pcapng files as a list of IP packets.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::{Block, PcapNgReader};

/// The first bytes of a pcapng file: the type of its section header.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const ETHERNET_HEADER: usize = 14;

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
    /// The file is no capture, or breaks off.
    #[error("{} after packet {after}: {reason}; record it again, or cut it with editcap", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// The last packet that could be read; 0: none.
        after: usize,
        /// What the reader says.
        reason: String,
    },
    /// A packet that is neither raw IP nor Ethernet.
    #[error(
        "{} packet {number}: link type {link:?}; only raw IP and Ethernet can be read",
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

/// Reads all IP packets of a pcap or pcapng file; frames of other protocols are left out.
pub fn read(path: &Path) -> Result<Vec<Recorded>, CaptureError> {
    let io_error = |source| CaptureError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(io_error)?;
    let mut magic = [0; 4];
    let length = file.read(&mut magic).map_err(io_error)?;
    file.seek(SeekFrom::Start(0)).map_err(io_error)?;
    let mut list = List::new(path);
    if magic[..length] == SECTION_HEADER {
        read_pcapng(BufReader::new(file), &mut list)?;
    } else {
        read_pcap(BufReader::new(file), &mut list)?;
    }
    Ok(list.packets)
}

struct List<'a> {
    path: &'a Path,
    count: usize,
    start: Option<Duration>,
    packets: Vec<Recorded>,
}

impl<'a> List<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            count: 0,
            start: None,
            packets: Vec::new(),
        }
    }

    fn format_error(&self, reason: &dyn ToString) -> CaptureError {
        CaptureError::Format {
            path: self.path.to_owned(),
            after: self.count,
            reason: reason.to_string(),
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
        if data.len() < length {
            return Err(CaptureError::Cut {
                path: self.path.to_owned(),
                number,
                held: data.len(),
                length,
            });
        }
        let start = *self.start.get_or_insert(time);
        let packet = match link {
            DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => Some(data),
            DataLink::ETHERNET => ip_of_ethernet(data),
            _ => {
                return Err(CaptureError::LinkType {
                    path: self.path.to_owned(),
                    number,
                    link,
                });
            }
        };
        if let Some(packet) = packet {
            self.packets.push(Recorded {
                number,
                time: time.saturating_sub(start),
                lost,
                data: Bytes::copy_from_slice(packet),
            });
        }
        Ok(())
    }
}

/// The IP packet of an Ethernet frame, without the padding that short frames carry.
fn ip_of_ethernet(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(ETHERNET_HEADER..)?;
    let length = match frame[12..14] {
        [0x08, 0x00] => u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]) as usize,
        [0x86, 0xdd] => 40 + u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]) as usize,
        _ => return None,
    };
    packet.get(..length)
}

fn read_pcap(source: impl Read, list: &mut List<'_>) -> Result<(), CaptureError> {
    let mut reader = PcapReader::new(source).map_err(|error| list.format_error(&error))?;
    let link = reader.header().datalink;
    while let Some(packet) = reader.next_packet() {
        let packet = packet.map_err(|error| list.format_error(&error))?;
        let length = packet.orig_len() as usize;
        list.push(link, packet.timestamp(), length, packet.data(), false)?;
    }
    Ok(())
}

fn read_pcapng(source: impl Read, list: &mut List<'_>) -> Result<(), CaptureError> {
    let mut reader = PcapNgReader::new(source).map_err(|error| list.format_error(&error))?;
    while let Some(block) = reader.next_block() {
        let (block, state) = block.map_err(|error| list.format_error(&error))?;
        let Block::EnhancedPacket(packet) = block else {
            continue;
        };
        let interface = state.interfaces().get(packet.interface_id as usize);
        let link = interface
            .ok_or_else(|| list.format_error(&"a packet of an interface never described"))?
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

fn is_lost(packet: &EnhancedPacketBlock<'_>) -> bool {
    packet.options.iter().any(|option| {
        matches!(
            option,
            EnhancedPacketOption::Common(CommonOption::Comment(text)) if text.starts_with("lost")
        )
    })
}
