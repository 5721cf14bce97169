//! Captures: pcap and pcapng files as IP packets, one after the other ([`Reader`]) or all of them.

mod reader;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use pcap_file::DataLink;

pub use reader::{Cut, Packet, Reader};

/// What a capture may hold, in bytes: it is kept in memory.
const ROOM: usize = 1 << 30;
/// What a packet takes up besides its bytes, about.
const OVERHEAD: usize = 256;

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
    let mut reader = Reader::open(path)?;
    let mut list = List {
        fills_up,
        room: ROOM,
        capture: Capture::default(),
    };
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) => list.push(path, packet)?,
            Ok(None) => break,
            Err(error @ CaptureError::Format { .. }) => {
                list.capture.breaks_off = Some(error);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(list.capture)
}

/// What is read so far.
struct List {
    fills_up: bool,
    /// How many bytes there is room for yet.
    room: usize,
    capture: Capture,
}

impl List {
    fn push(&mut self, path: &Path, packet: Packet) -> Result<(), CaptureError> {
        let Packet { recorded, cut } = packet;
        let number = recorded.number;
        if let Some(Cut { held, length }) = cut {
            if !self.fills_up {
                return Err(CaptureError::Cut {
                    path: path.to_owned(),
                    number,
                    held,
                    length,
                });
            }
            self.capture.cut.insert(number);
        }
        let room = self.room.checked_sub(recorded.data.len() + OVERHEAD);
        self.room = room.ok_or_else(|| CaptureError::TooLarge {
            path: path.to_owned(),
            number,
        })?;
        self.capture.packets.push(recorded);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let path = Path::new("large");
        let mut list = List {
            fills_up: true,
            room: 3 * (20 + OVERHEAD),
            capture: Capture::default(),
        };
        let packet = |number| Packet {
            recorded: Recorded {
                number,
                time: Duration::ZERO,
                lost: false,
                data: Bytes::from_static(&[0x45; 20]),
            },
            cut: None,
        };
        for number in 1..=3 {
            list.push(path, packet(number)).unwrap();
        }
        let result = list.push(path, packet(4));
        assert!(
            matches!(result, Err(CaptureError::TooLarge { number: 4, .. })),
            "{result:?}"
        );
    }
}
