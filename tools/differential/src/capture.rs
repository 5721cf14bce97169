//! What both ends of the link saw, as a pcapng file with one interface for each end.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};

use crate::script::End;

/// A packet, as one end saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub end: End,
    /// It left there; otherwise it arrived.
    pub sent: bool,
    /// On the hosts' clocks.
    pub at: Duration,
    /// The packet.
    pub data: Bytes,
}

/// 2026-01-01 00:00:00 UTC: where captures begin, whatever the hosts' clocks showed.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Writes what was seen, of each packet at most `most` bytes; `comment` says why, and `remarks` what
/// is to be said of single packets, by their number from 1 on.
pub fn write_capture(
    file: impl Write,
    seen: &[Seen],
    most: usize,
    comment: &str,
    remarks: &[(usize, String)],
) -> io::Result<()> {
    let section = SectionHeaderBlock {
        endianness: Endianness::Little,
        options: vec![
            SectionHeaderOption::UserApplication("differential".into()),
            SectionHeaderOption::Common(CommonOption::Comment(comment.into())),
        ],
        ..SectionHeaderBlock::default()
    };
    let mut pcapng = PcapNgWriter::with_section_header(file, section).map_err(io::Error::other)?;
    for name in ["A", "B"] {
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(name.into()),
                InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
            ],
        };
        pcapng
            .write_pcapng_block(interface)
            .map_err(io::Error::other)?;
    }
    let begin = seen.first().map_or(Duration::ZERO, |first| first.at);
    for (number, seen) in (1..).zip(seen) {
        let direction = if seen.sent { 2 } else { 1 };
        let mut options = vec![EnhancedPacketOption::Flags(direction)];
        let remarks = remarks.iter().filter(|(about, _)| *about == number);
        options.extend(remarks.map(|(_, remark)| {
            EnhancedPacketOption::Common(CommonOption::Comment(remark.as_str().into()))
        }));
        let packet = EnhancedPacketBlock {
            interface_id: u32::from(seen.end == End::B),
            timestamp: EPOCH + seen.at.saturating_sub(begin),
            original_len: seen.data.len() as u32,
            data: (&seen.data[..seen.data.len().min(most)]).into(),
            options,
        };
        pcapng
            .write_pcapng_block(packet)
            .map_err(io::Error::other)?;
    }
    Ok(())
}
