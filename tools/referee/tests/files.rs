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
    assert!(matches!(error, CaptureError::NoCapture { .. }), "{error}");

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

/// The packet behind the header of a link.
fn behind(link: DataLink, header: &[u8]) -> Vec<capture::Recorded> {
    let frame = [header, &PACKET].concat();
    let name = format!("link-{}", u32::from(link));
    let file = Scratch::new(&name, &pcap(link, frame.len() as u32, &frame));
    capture::read(&file.0).unwrap()
}

#[test]
fn links_of_many_kinds_are_read() {
    let tagged = [&[0xff; 12][..], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 8, 0]].concat();
    let mut cooked = vec![0; 14];
    cooked.extend([8, 0]);
    let mut cooked_2 = vec![8, 0];
    cooked_2.resize(20, 0);
    for (link, header) in [
        (DataLink::ETHERNET, tagged),
        (DataLink::LINUX_SLL, cooked),
        (DataLink::LINUX_SLL2, cooked_2),
        (DataLink::NULL, vec![2, 0, 0, 0]),
        (DataLink::LOOP, vec![0, 0, 0, 2]),
    ] {
        let packets = behind(link, &header);
        assert_eq!(packets.len(), 1, "{link:?}");
        assert_eq!(packets[0].data, PACKET[..], "{link:?}");
    }
}

/// A file that tcpdump did not finish, and one with a snap length.
#[test]
fn what_is_there_is_read() {
    let mut broken = pcap(DataLink::RAW, 20, &PACKET);
    let whole = broken.len();
    broken.extend_from_within(24..);
    broken.truncate(whole + 17);
    let file = Scratch::new("breaks-off", &broken);
    let capture = capture::read_all(&file.0).unwrap();
    assert_eq!(capture.packets.len(), 1);
    let reason = capture.breaks_off.unwrap();
    assert!(
        matches!(reason, CaptureError::Format { after: 1, .. }),
        "{reason}"
    );

    let mut packet = PACKET;
    packet[3] = 40;
    let file = Scratch::new("snap", &pcap(DataLink::RAW, 40, &packet));
    let capture = capture::read_all(&file.0).unwrap();
    assert_eq!(capture.packets[0].data, [packet, [0; 20]].concat());
    assert_eq!(Vec::from_iter(capture.cut), [1]);
}
