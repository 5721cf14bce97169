//! What files can be read, and what is said of those that cannot.

use std::path::PathBuf;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use referee::capture::{self, CaptureError};

/// A file of the test's own, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("replay-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A pcap file of one packet.
fn pcap(link: DataLink, length: u32, data: &[u8]) -> Vec<u8> {
    let header = PcapHeader {
        datalink: link,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    let packet = PcapPacket::new(Duration::from_secs(7), length, data).unwrap();
    writer.write_packet(&packet).unwrap();
    writer.into_inner()
}

const PACKET: [u8; 20] = [
    0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
];

#[test]
fn ethernet_is_stripped_of_header_and_padding() {
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x00]);
    frame.extend(PACKET);
    frame.resize(60, 0);
    let file = Scratch::new("ethernet", &pcap(DataLink::ETHERNET, 60, &frame));
    let packets = capture::read(&file.0).unwrap();
    assert_eq!(packets.len(), 1);
    assert_eq!((packets[0].number, packets[0].time), (1, Duration::ZERO));
    assert_eq!(packets[0].data, PACKET[..]);
}

#[test]
fn frames_of_other_protocols_are_left_out() {
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x06]);
    frame.resize(60, 0);
    let file = Scratch::new("arp", &pcap(DataLink::ETHERNET, 60, &frame));
    assert_eq!(capture::read(&file.0).unwrap(), []);
}

#[test]
fn what_cannot_be_replayed_is_named() {
    let missing = capture::read(&std::env::temp_dir().join("replay-no-such-file")).unwrap_err();
    assert!(matches!(missing, CaptureError::Io { .. }), "{missing}");

    let text = Scratch::new("text", b"this is no capture, is it?");
    let error = capture::read(&text.0).unwrap_err();
    assert!(
        matches!(error, CaptureError::Format { after: 0, .. }),
        "{error}"
    );

    let wifi = Scratch::new("wifi", &pcap(DataLink::IEEE802_11, 20, &PACKET));
    let error = capture::read(&wifi.0).unwrap_err();
    assert!(
        matches!(error, CaptureError::LinkType { number: 1, .. }),
        "{error}"
    );

    let short = Scratch::new("short", &pcap(DataLink::RAW, 1500, &PACKET));
    let error = capture::read(&short.0).unwrap_err().to_string();
    assert!(error.contains("packet 1: only 20 of 1500 bytes"), "{error}");

    let mut broken = pcap(DataLink::RAW, 20, &PACKET);
    broken.truncate(broken.len() - 3);
    let broken = Scratch::new("broken", &broken);
    let error = capture::read(&broken.0).unwrap_err();
    assert!(matches!(error, CaptureError::Format { .. }), "{error}");
}
